"""Names of the version before are read, with a line that says what they are called now."""

import pytest

from reid_ray.config.base import build
from reid_ray.config.identify import IdentifyRun
from reid_ray.config.tune import Study
from reid_ray.errors import ConfigError

OLD = {
    "name": "old",
    "data": {
        "datasets": [
            {"source": "herd", "name": "zebra", "species": "zebra"},
            {
                "source": "folder",
                "name": "fox",
                "root": "/fox",
                "detections": {"file": "md.json", "without": "aside"},
            },
        ],
        "images": {"crop": "bbox"},
        "split": {"kind": "open_set", "new_animals": True, "unknown_as_new": True},
    },
    "baselines": {
        "matching": [{"name": "SIFT", "tuning_lookups": 7, "shortlist": {"by": "winner", "size": 3}}]
    },
    "fusion": [{"parts": ["SIFT", "winner"], "lookups": 9, "shortlist": {"by": "winner", "size": 3}}],
    "transfer": {"evaluate": ["zebra"], "settings": ["winner"], "variants": ["all", "other_domains"]},
    "scaling": {"winner_workers": 0},
}


def test_a_study_with_old_names_is_the_study_with_new_names(capsys: pytest.CaptureFixture[str]) -> None:
    old = build(Study, OLD, ["scaling.winner_workers=1"], where="old.yaml")
    assert old.scaling.confirmation_workers == 1
    assert old.data.datasets[0].source == "synthetic"
    assert old.data.datasets[1].detections.without == "quarantine"  # type: ignore[union-attr]
    assert (old.data.split.unknown_individuals, old.data.split.ask_unknown) == (True, True)
    matching = old.baselines.matching[0]
    assert matching.leave_one_out_queries == 7
    assert matching.shortlist is not None
    assert matching.shortlist.by == "selected_trial"
    assert (old.fusion[0].parts, old.fusion[0].leave_one_out_queries) == (("SIFT", "selected_trial"), 9)
    assert old.transfer is not None
    assert old.transfer.settings == ("selected_trial",)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(set(lines)) == 10
    assert "note: old.yaml: 'winner_workers' is now 'confirmation_workers'; " in "\n".join(lines)
    assert "note: old.yaml: 'source: herd' is now 'source: synthetic'; " in "\n".join(lines)


def test_new_names_are_read_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    raw = {"reference": {"source": "folder", "name": "lookups", "root": "winner"}, "leave_one_out_queries": 5}
    raw["query"] = {"source": "folder", "name": "winner", "root": "herd"}
    raw["local"] = {"name": "SIFT"}
    run = build(IdentifyRun, raw, [], where="new.yaml")
    assert (run.leave_one_out_queries, run.query.name, run.query.root) == (5, "winner", "herd")  # type: ignore[union-attr]
    assert capsys.readouterr().err == ""


def test_a_setting_under_both_names_is_refused() -> None:
    raw = OLD | {"scaling": {"winner_workers": 0, "confirmation_workers": 2}}
    with pytest.raises(
        ConfigError, match="winner_workers and confirmation_workers, which are the same setting"
    ):
        build(Study, raw, [], where="both.yaml")
