"""Every question of a study: what is chosen and fitted comes from references, and queries only judge."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from collection import bench, table
from sklearn.metrics import brier_score_loss, roc_auc_score

from reid_ray.config.fusion import Fusion
from reid_ray.config.matching import MatchedShortlist, Matching
from reid_ray.evaluation.quality import Answers, answers_of, auroc, named_share, quality
from reid_ray.methods.answer import answer
from reid_ray.methods.fusion import Fusing
from reid_ray.methods.local_features import LocalFeatures
from reid_ray.methods.ready import Method
from reid_ray.methods.shortlist import Shortlisted

SIFT = Matching.parse({"thresholds": [0.4, 0.6, 0.8]}, where="test")
LNBNN = Matching.parse({"name": "LNBNN", "score": "lnbnn", "neighbours": [1, 3]}, where="test")
METHODS: dict[str, Method] = {
    "local": LocalFeatures(SIFT),
    "lnbnn": LocalFeatures(LNBNN),
    "shortlist": Shortlisted(
        LocalFeatures(SIFT.model_copy(update={"shortlist": MatchedShortlist(by="vlad", size=6)}))
    ),
    "behind lnbnn": Shortlisted(
        LocalFeatures(SIFT.model_copy(update={"shortlist": MatchedShortlist(by="LNBNN", size=6)})),
        LocalFeatures(LNBNN),
    ),
    "fusion": Fusing(Fusion(parts=("SIFT", "LNBNN")), (LocalFeatures(SIFT), LocalFeatures(LNBNN))),
}


@pytest.mark.parametrize("name", METHODS)
def test_query_photos_have_no_part_in_what_is_learnt_nor_in_validation(name: str, tmp_path: Path) -> None:
    rows = table()
    changed = rows.copy()
    queries = changed["split"].eq("query")
    changed.loc[queries, "identity"] = changed.loc[queries, "identity"].to_numpy()[::-1]
    one, other = (answer(METHODS[name], given, bench(tmp_path), k=3) for given in (rows, changed))
    assert one.learnt == other.learnt
    assert one.learnt
    val = {key: value for key, value in one.metrics.items() if key.startswith("val/")}
    assert set(val) == {"val/top1", "val/one/top1"}
    assert val == {key: value for key, value in other.metrics.items() if key.startswith("val/")}
    assert one.metrics["seen/top1"] != other.metrics["seen/top1"]


@pytest.mark.parametrize("name", ["local", "lnbnn", "shortlist", "behind lnbnn"])
def test_validation_photos_have_no_part_in_the_setting_they_judge(name: str, tmp_path: Path) -> None:
    """With other names of the validation photos, the setting that answers them is the same."""
    rows = table()
    held = rows["validation"]
    changed = rows.copy()
    changed.loc[held, "identity"] = changed.loc[held, "identity"].to_numpy()[::-1]
    one, other = (answer(METHODS[name], given, bench(tmp_path), k=3).ready[0] for given in (rows, changed))
    assert one.unvalidated is not None
    assert one.unvalidated["settings"] == other.unvalidated["settings"]  # type: ignore[index]
    assert one.unvalidated.get("near") == other.unvalidated.get("near")  # type: ignore[union-attr]


def test_probabilities_of_the_study_are_judged_with_the_animal_known_and_withheld(tmp_path: Path) -> None:
    found = answer(METHODS["local"], table(), bench(tmp_path), k=3)
    part = found.predictions
    assert part["probability"].between(0, 1).all()
    assert (part["probability"] + part["unknown_probability"] <= 1 + 1e-9).all()
    assert part["withheld_probability"].notna().all()
    answers = answers_of(part)
    right = np.concatenate([part["correct"], np.zeros(len(part), bool)])
    said = np.concatenate([part["probability"], part["withheld_probability"]])
    weight = np.repeat([0.8, 0.2], len(part))
    figures = found.metrics
    assert figures["seen/probability/brier"] == pytest.approx(
        brier_score_loss(right, said, sample_weight=weight)
    )
    unknown = np.concatenate([part["unknown_probability"], part["withheld_unknown"]])
    assert figures["seen/probability/auroc"] == pytest.approx(roc_auc_score(~answers.known, unknown))
    share = np.average(right, weights=weight)
    assert figures["seen/probability/constant"] == pytest.approx(share * (1 - share))


def test_real_unknown_individuals_take_the_place_of_withheld_ones(tmp_path: Path) -> None:
    rows = table()
    gone = rows["identity"].eq("animal-4") & rows["split"].eq("reference")
    found = answer(METHODS["local"], rows[~gone].reset_index(drop=True), bench_of(rows[~gone], tmp_path), k=3)
    answers = answers_of(found.predictions)
    assert (~answers.known).sum() == 2
    assert len(answers.right) == 10
    assert not answers.right[~answers.known].any()
    assert found.predictions["threshold"].notna().all()


def bench_of(rows: pd.DataFrame, folder: Path):
    from collection import pictures

    from reid_ray.datasets.prepared import PreparedImages
    from reid_ray.methods.bench import InProcess

    images = pictures()
    return InProcess(PreparedImages.pack(images[n] for n in rows.index), folder)


def test_a_share_is_named_as_far_as_95_in_100_names_are_right() -> None:
    """By hand: of 40, surest first, 30 right, 1 wrong, 9 right: 39 of 40 are 97.5 % right."""
    right = np.array([True] * 30 + [False] + [True] * 9)
    predicted, equal = np.linspace(0.99, 0.2, 40), np.ones(40)
    assert named_share(predicted, right, equal) == 1.0
    right[37:] = False  # 36 of the first 37 are right, 97.3 %; of 38 no more than 94.7 %
    assert named_share(predicted, right, equal) == pytest.approx(37 / 40)
    assert named_share(np.full(40, 0.5), right, equal) == 0.0  # equal ones are named together
    heavy = np.where(np.arange(40) == 30, 9.0, 1.0)  # the wrong one stands for nine
    assert named_share(predicted, right, heavy) == pytest.approx(30 / 48)


def test_auroc_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    high, low = np.round(rng.normal(1, 1, 50), 1), np.round(rng.normal(0, 1, 70), 1)
    expected = roc_auc_score(np.repeat([1, 0], [50, 70]), np.concatenate([high, low]))
    assert auroc(high, low) == pytest.approx(expected)


def test_figures_of_no_unknown_individual_have_no_auroc() -> None:
    known = np.ones(4, bool)

    given = Answers(
        np.array([0.9, 0.8, 0.2, 0.1]), np.zeros(4), np.array([1, 1, 0, 0], bool), known, np.ones(4)
    )
    figures = quality(given)
    assert "auroc" not in figures
    assert figures["brier"] == pytest.approx((0.01 + 0.04 + 0.04 + 0.01) / 4)
    assert figures["ece"] == pytest.approx((0.1 + 0.2 + 0.2 + 0.1) / 4)
