"""Reading YAML configs: what is understood, and how everything else is refused."""

from pathlib import Path
from typing import Annotated

import pytest
import yaml
from pydantic import Field

from reid_ray.config.base import Config, build, load, read_yaml
from reid_ray.config.datasets import Data
from reid_ray.config.tune import Study
from reid_ray.errors import ConfigError


class Inner(Config):
    rate: float = 0.5
    steps: int = 3
    word: str = "a"


class Outer(Config):
    name: str = "x"
    inner: Inner = Inner()
    items: tuple[Annotated[int, Field(ge=0)], ...] = (1, 2)
    parts: Annotated[tuple[Inner, ...], Field(min_length=1)] = (Inner(),)
    flag: bool = False


def read(tmp_path: Path, text: str, *overrides: str) -> Outer:
    path = tmp_path / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return load(Outer, path, overrides)


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, *overrides)
    return str(caught.value)


def test_an_unknown_key_is_refused_with_its_path(tmp_path: Path) -> None:
    text = refusal(tmp_path, "inner: {rat: 1.0}")
    assert "some.yaml: inner.rat: unknown key" in text


def test_a_key_given_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    assert "line 3: key 'name' is given twice" in refusal(tmp_path, "name: a\nflag: true\nname: b")
    # PyYAML alone would take the last one without a word.
    assert yaml.safe_load("name: a\nname: b") == {"name": "b"}


@pytest.mark.parametrize("word", ["no", "on", "off", "yes", "012", "0x10", "1_000", "12:30"])
def test_words_that_yaml_1_1_reinterprets_stay_strings(tmp_path: Path, word: str) -> None:
    assert read(tmp_path, f"name: {word}").name == word


def test_no_is_not_a_truth_value(tmp_path: Path) -> None:
    assert 'flag: found "no"' in refusal(tmp_path, "flag: no")


def test_a_number_with_a_leading_zero_is_refused_where_a_number_is_due(tmp_path: Path) -> None:
    assert 'inner.steps: found "012"' in refusal(tmp_path, "inner: {steps: 012}")


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("1E3", 1000.0), (".5", 0.5), ("2", 2.0), ("-1.", -1.0)]
)
def test_numbers_are_numbers_as_in_yaml_1_2(tmp_path: Path, text: str, value: float) -> None:
    assert read(tmp_path, f"inner: {{rate: {text}}}").inner.rate == value


@pytest.mark.parametrize("text", [".inf", "-.inf", ".nan", "1e999", "!!float .inf", "!!float .nan"])
def test_infinity_is_refused_with_its_key(tmp_path: Path, text: str) -> None:
    assert "inner.rate" in refusal(tmp_path, f"inner:\n  rate: {text}")


@pytest.mark.parametrize(
    "text",
    [
        "name: !!binary aGk=",
        "name: !!python/object:os.system x",
        "? [a]\n: b",
        "1: a",
        "a: b: c",
        "a: " + "9" * 5000,
        "a: &a [*a]",
    ],
)
def test_what_is_not_plain_data_is_refused(tmp_path: Path, text: str) -> None:
    assert "some.yaml" in refusal(tmp_path, text)


@pytest.mark.parametrize("text", ["", "- a", "just words"])
def test_a_file_without_a_map_is_refused(tmp_path: Path, text: str) -> None:
    assert "expected a map" in refusal(tmp_path, text)


def test_a_float_is_no_integer_and_a_string_no_number(tmp_path: Path) -> None:
    assert "inner.steps: found 2.5" in refusal(tmp_path, "inner: {steps: 2.5}")
    assert 'inner.rate: found "fast"' in refusal(tmp_path, "inner: {rate: fast}")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        load(Outer, "nowhere.yaml")


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: lion")
    assert load(Outer, path).name == "lion"


def test_overrides_reach_maps_lists_and_missing_parents(tmp_path: Path) -> None:
    config = read(tmp_path, "items: [1, 2, 3]", "items.1=9", "inner.rate=1e-3", "name=007")
    assert config.items == (1, 9, 3)
    assert config.inner.rate == 1e-3
    assert config.name == "007"


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("inner.rate", "expected key.path=value"),
        ("=1", "expected key.path=value"),
        ("a..b=1", "expected key.path=value"),
        ("items.7=1", "'items.7': expected a position from 0 to 1"),
        ("items.²=1", "expected a position from 0 to 1"),
        ("name.deep=1", "has no keys"),
        ("inner.rat=1", "inner.rat: unknown key"),
        ("name=[", "--set name: not valid YAML"),
    ],
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str, part: str) -> None:
    assert part in refusal(tmp_path, "items: [1, 2]\nname: a", override)


def test_the_environment_is_read_in_strings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHETIC_ROOT", "/photos")
    assert read(tmp_path, "name: ${SYNTHETIC_ROOT}/lion").name == "/photos/lion"
    assert read(tmp_path, "name: ${NOT_SET_HERE:-other}/lion").name == "other/lion"
    assert "NOT_SET_HERE is not set" in refusal(tmp_path, "name: ${NOT_SET_HERE}")


def test_a_fault_in_a_list_is_told_once_and_by_its_item(tmp_path: Path) -> None:
    text = refusal(tmp_path, "parts: [{steps: many}]")
    assert 'parts.0.steps: found "many"' in text
    assert "at least 1 item" not in text


def test_an_empty_list_is_still_told(tmp_path: Path) -> None:
    assert "parts: found []" in refusal(tmp_path, "parts: []")


def test_several_faults_are_told_at_once(tmp_path: Path) -> None:
    text = refusal(tmp_path, "inner: {steps: a, rate: b}\nitems: [-1]")
    assert all(key in text for key in ("inner.steps", "inner.rate", "items.0"))


def test_equal_settings_have_equal_digests_in_any_order(tmp_path: Path) -> None:
    one = read(tmp_path, "name: a\ninner: {rate: 0.5}")
    other = read(tmp_path, "inner: {steps: 3}\nname: a")
    assert one.digest() == other.digest() != read(tmp_path, "name: b").digest()


def test_a_config_cannot_be_changed(tmp_path: Path) -> None:
    config = read(tmp_path, "name: a")
    with pytest.raises(ValueError, match="frozen"):
        config.name = "b"  # type: ignore[misc]


def collections(*groups: str) -> list[dict[str, str]]:
    return [
        {"source": "synthetic", "name": f"h{place}", "group": group, "species": "zebra"}
        for place, group in enumerate(groups)
    ]


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        ({"datasets": []}, "datasets: found []"),
        ({"datasets": collections("a") * 2}, "found twice: ['h0']"),
        ({"datasets": collections("a"), "unseen": ["b"]}, "unseen names no group"),
        ({"datasets": collections("a"), "unseen": ["a"]}, "nothing to train on"),
        ({"datasets": [{"source": "ftp", "name": "x"}]}, "datasets.0"),
        ({"datasets": [{"source": "folder", "name": "../x", "root": "."}]}, "datasets.0.folder.name"),
    ],
)
def test_collections_that_contradict_each_other_are_refused(raw: dict[str, object], part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Data.parse(raw, where="here")
    assert part in str(caught.value)


def test_the_default_grid_is_the_72_points_of_the_paper() -> None:
    study = Study.parse({"name": "s", "data": {"datasets": collections("a")}}, where="here")
    trials = study.trials()
    assert len(trials) == 72
    assert len({trial.label for trial in trials}) == 72
    assert sum(trial.loss.name == "arcface" for trial in trials) == 36


@pytest.mark.parametrize(
    ("key", "meant"),
    [("tranining", "training"), ("training.epoch", "epochs"), ("baselines.pretraind", "pretrained")],
)
def test_a_misspelt_key_is_told_with_the_one_that_is_meant(key: str, meant: str) -> None:
    raw = read_yaml(Path(__file__).parents[3] / "tune_configs" / "tune" / "quickstart.yaml")
    with pytest.raises(ConfigError, match=f"{key}: unknown key; did you mean {meant}\\?"):
        build(Study, raw, [f"{key}=3"], where="x")
