"""A study goes without collections that are not here where its config allows that, and says so."""

from pathlib import Path
from typing import Any

import pytest

from reid_ray.config.collections import advice, present
from reid_ray.config.tune import Study
from reid_ray.errors import ConfigError

GROUPS = {"a": "cattle", "b": "cattle", "c": "seals"}


def study(root: Path, **raw: Any) -> Study:
    datasets = [
        {"source": "folder", "name": name, "group": group, "root": str(root / name)}
        for name, group in GROUPS.items()
    ]
    data = {"missing": "leave_out", "datasets": datasets, "unseen": raw.pop("unseen", [])}
    return Study.parse({"name": "s", "data": data, **raw}, where="test")


def with_folders(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir()
    return root


def test_collections_without_a_folder_are_left_out_and_told(tmp_path: Path) -> None:
    asked = study(with_folders(tmp_path, "a", "c"), unseen=["cattle"])
    here = present(asked)
    assert [dataset.name for dataset in here.study.data.datasets] == ["a", "c"]
    assert here.left_out == [f"b is not run: no folder {tmp_path / 'b'}"]
    assert here.study.data.unseen == ("cattle",)
    assert here.study.trials() == asked.trials()


def test_a_study_of_which_all_is_here_is_the_same(tmp_path: Path) -> None:
    asked = study(with_folders(tmp_path, *GROUPS))
    assert present(asked) == (asked, [])


def test_trainings_that_are_left_nothing_of_their_own_are_told(tmp_path: Path) -> None:
    transfer = {"evaluate": ["a"], "variants": ["all", "same_domain", "other_domains"]}
    here = present(study(with_folders(tmp_path, "a", "c"), transfer=transfer))
    assert here.study.transfer is not None
    assert here.study.transfer.variants == ("all", "other_domains")
    assert here.left_out[1].startswith("transfer same_domain is not run: ")


def test_without_the_collections_that_are_evaluated_there_is_no_transfer(tmp_path: Path) -> None:
    transfer = {"evaluate": ["a"], "variants": ["all", "other_domains"]}
    assert present(study(with_folders(tmp_path, "b", "c"), transfer=transfer)).study.transfer is None


def test_a_study_of_which_nothing_is_here_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"none of the 3 collections is here .*{tmp_path.name}"):
        present(study(tmp_path))


def test_a_published_preparation_that_is_not_done_is_told() -> None:
    assert advice("IPanda50", cropped=False, boxed=False) == []
    assert advice("my_lynx", cropped=False, boxed=False) == []
    assert advice("BelugaID", cropped=True, boxed=True) == []
    assert "cut to its box" in advice("BelugaID", cropped=False, boxed=True)[0]
    assert "cut to what is not black" in advice("SealID", cropped=True, boxed=False)[0]
