"""Settings over collections: figures by hand, what diverged is told and never the best."""

from dataclasses import replace

import pandas as pd
import pytest

from reid_ray.reporting.per_setting import best_settings, per_setting
from reid_ray.reporting.pooled import Method
from reid_ray.runs.methods import Result
from reid_ray.runs.study import MethodRecord


def trained(dataset: str, right: int, of: int = 10, *, name: str, **changes) -> MethodRecord:
    """A trial on one dataset that answered `right` of `of` queries rightly."""
    result = Result(
        name + dataset,
        name,
        "trial",
        "ArcFace",
        dataset,
        params={"backbone": "b", "lr": 0.1},
        metrics={"val/top1": right / of},
    )
    answers = pd.DataFrame(
        {
            "query": [f"{dataset}/{n}" for n in range(of)],
            "dataset": dataset,
            "domain": "seen",
            "correct": [n < right for n in range(of)],
        }
    )
    return MethodRecord(replace(result, **changes), answers if not changes else None, [])


def setting(name: str, *records: MethodRecord) -> Method:
    return Method(name, "ArcFace", records)


@pytest.fixture
def methods() -> list[Method]:
    failed = trained("z", 0, name="fell", status="diverged", metrics={})
    return [
        setting("fell", trained("x", 10, name="fell"), trained("y", 10, name="fell"), failed),
        setting("low", *(trained(d, n, name="low") for d, n in zip("xyz", (1, 2, 6), strict=True))),
        setting("high", *(trained(d, n, name="high") for d, n in zip("xyz", (3, 5, 9), strict=True))),
    ]


def test_quartiles_over_datasets_by_hand(methods) -> None:
    table = per_setting(methods).set_index("method")
    # 0.3, 0.5, 0.9: quartiles half way between neighbours.
    assert table.loc["high", ["q1", "median", "q3"]].tolist() == pytest.approx([0.4, 0.5, 0.7])
    assert table.loc["high", ["worst", "best", "val_median"]].tolist() == [0.3, 0.9, 0.5]


def test_what_did_not_finish_everywhere_comes_last_and_is_never_the_best(methods) -> None:
    table = per_setting(methods)
    assert table["method"].tolist() == ["high", "low", "fell"]
    assert table.set_index("method").loc["fell", ["datasets", "finished"]].tolist() == [3, 2]
    assert best_settings(table)["method"].tolist() == ["high"]


def test_without_trials_there_are_no_settings() -> None:
    assert len(per_setting([])) == len(best_settings(per_setting([]))) == 0
