"""Unknown individuals: figures against scikit-learn, thresholds against brute force, leave-one-out queries
by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from searched import answer_queries
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from reid_ray.evaluation.metrics import chance_metrics, known_only, summarise
from reid_ray.evaluation.open_set import LeaveOneOutQueries, choose_threshold, open_figures
from reid_ray.evaluation.ranking import rank_block


def answers(
    scores: list[float], identities: list[str], predicted: list[str], threshold: float = 0.5
) -> pd.DataFrame:
    """Queries of one dataset; animals in capitals are new."""
    known = [name.islower() for name in identities]
    right = [a == b for a, b in zip(identities, predicted, strict=True)]
    return pd.DataFrame(
        {
            "query": [str(i) for i in range(len(scores))],
            "dataset": "d",
            "domain": "seen",
            "identity": identities,
            "known": known,
            "predicted": predicted,
            "correct": right,
            "first_correct": np.where(right, 1, 2 * np.array(known)),
            "average_precision": np.where(right, 1.0, 0.5 * np.array(known)),
            "top_scores": [[score] for score in scores],
            "threshold": threshold,
        }
    )


queries = st.lists(
    st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), st.sampled_from("abcXYZ"), st.sampled_from("abc")),
    min_size=2,
    max_size=40,
).filter(lambda found: len({name.islower() for _, name, _ in found}) == 2)


@settings(max_examples=40)
@given(queries)
def test_open_set_figures_are_scikit_learns(found):
    scores, identities, predicted = (list(column) for column in zip(*found, strict=True))
    table = answers(scores, identities, predicted)
    figures = open_figures(table, np.random.default_rng(0))
    known = np.array([name.islower() for name in identities])
    assert figures["auroc"] == pytest.approx(roc_auc_score(known, scores))
    said = np.where(np.array(scores) < 0.5, "nobody", predicted)
    expected = balanced_accuracy_score(np.array(identities)[known], said[known])
    assert figures["baks"] == pytest.approx(expected)
    # Of unknown individuals "nobody" is right, whichever they are; the mean is over animals.
    per_animal = [
        np.mean(said[np.array(identities) == name] == "nobody")
        for name in {n for n in identities if n.isupper()}
    ]
    assert figures["baus"] == pytest.approx(np.mean(per_animal))
    assert figures["geometric"] == pytest.approx((expected * np.mean(per_animal)) ** 0.5)
    for name in ("auroc", "baks", "baus", "geometric"):
        assert 0 <= figures[f"{name}_low"] <= figures[f"{name}_high"] <= 1


def test_auroc_of_two_datasets_compares_queries_of_one_only():
    # In each known scores beat new ones; the scales differ by a thousand.
    one, two = answers([3, 4, 1], ["a", "b", "X"], ["a", "b", "a"]), None
    two = answers([3000, 1000], ["c", "Y"], ["c", "c"]).assign(dataset="e")
    figures = open_figures(pd.concat([one, two]), np.random.default_rng(0))
    assert figures["auroc"] == 1


def test_an_interval_of_auroc_is_about_the_one_hanley_and_mcneil_give():
    # One photo per animal, so that drawing animals is drawing photos (Hanley, McNeil 1982).
    rng = np.random.default_rng(1)
    scores = np.concatenate([rng.normal(1, 1, 120), rng.normal(0, 1, 80)])
    identities = [f"k{i}" for i in range(120)] + [f"X{i}" for i in range(80)]
    table = answers(list(scores), [n if n[0] == "k" else n.upper() for n in identities], identities)
    figures = open_figures(table, np.random.default_rng(0))
    area = figures["auroc"]
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + 119 * (q1 - area**2) + 79 * (q2 - area**2)
    error = (spread / (120 * 80)) ** 0.5
    assert figures["auroc_high"] - figures["auroc_low"] == pytest.approx(3.92 * error, rel=0.15)


def test_many_animals_are_drawn_less_often_and_give_the_same_figures():
    rng = np.random.default_rng(2)
    known = [f"k{i % 900}" for i in range(6000)]
    new = [f"X{i}" for i in range(500)]
    scores = list(np.concatenate([rng.normal(1, 1, 6000), rng.normal(0, 1, 500)]))
    figures = open_figures(
        answers(scores, known + [n.upper() for n in new], known + known[:500]), np.random.default_rng(0)
    )
    truth = np.arange(6500) < 6000
    assert figures["auroc"] == pytest.approx(roc_auc_score(truth, scores))
    assert figures["auroc_low"] < figures["auroc"] < figures["auroc_high"]


def test_a_faultless_method_is_not_called_certain():
    # Three known and three unknown individuals, all answered rightly: Wilson's for 3 of 3 begins at 0.438.
    table = answers([0.9] * 3 + [0.1] * 3, [*"abcXYZ"], [*"abcaaa"])
    figures = summarise(table)
    for name in ("auroc", "baks", "baus", "geometric", "balanced_top1", "mAP"):
        ends = [figures[f"seen/{name}{end}"] for end in ("_low", "", "_high")]
        assert ends == pytest.approx([0.4385, 1, 1], abs=5e-5), name


def test_closed_set_figures_are_over_known_animals_only():
    table = answers([0.9, 0.9, 0.9, 0.1], ["a", "a", "b", "X"], ["a", "b", "b", "a"])
    figures = summarise(table)
    assert figures["seen/top1"] == pytest.approx(2 / 3)
    assert figures["seen/balanced_top1"] == pytest.approx((0.5 + 1) / 2)
    assert figures["seen/queries"] == 3
    assert figures["seen/unknown_queries"] == 1
    assert figures["seen/baus"] == 1
    assert len(known_only(table)) == 3
    alone = summarise(known_only(table))
    assert {n: v for n, v in figures.items() if n in alone} == alone
    assert not [name for name in alone if "unknown" in name or "auroc" in name]


def test_answers_of_earlier_versions_have_known_animals_only():
    table = answers([0.9, 0.1], ["a", "b"], ["a", "a"])
    assert summarise(table.drop(columns=["known", "threshold"])) == summarise(table)


def test_without_a_threshold_only_auroc_is_told():
    figures = open_figures(answers([1, 0], ["a", "X"], ["a", "a"], np.nan), np.random.default_rng(0))
    assert set(figures) == {"auroc", "auroc_low", "auroc_high"}


@given(st.integers(0, 10_000))
def test_average_precision_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    scores = rng.permutation(12).astype(float)[None]
    labels = rng.integers(0, 3, 12)
    labels[0] = 0
    found = rank_block(scores, [0], labels, k=3).average_precision[0]
    assert found == pytest.approx(average_precision_score(labels == 0, scores[0]), abs=1e-6)


leave_one_out_queries = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from([0.1, 0.2, 0.4, 0.4, 0.8]),
        st.booleans(),
        st.sampled_from([0.1, 0.3, 0.4, 0.5]),
    ),
    min_size=1,
    max_size=25,
)


def mean_over_animals(good: np.ndarray, identities: np.ndarray) -> float:
    return float(np.mean([good[identities == name].mean() for name in np.unique(identities)]))


@given(leave_one_out_queries)
def test_no_threshold_is_better_than_the_chosen_one(found):
    identities, present, right, withheld = (np.array(column) for column in zip(*found, strict=True))
    looked = LeaveOneOutQueries(present.astype(np.float32), right, withheld.astype(np.float32), identities)

    def worth(threshold: float) -> float:
        baks = mean_over_animals(right & (looked.present >= threshold), identities)
        return (baks * mean_over_animals(looked.withheld < threshold, identities)) ** 0.5

    best = max(worth(threshold) for threshold in np.arange(-0.05, 1, 0.05))
    assert worth(choose_threshold(looked)) == pytest.approx(best)


def test_a_threshold_parts_what_can_be_parted():
    looked = LeaveOneOutQueries(
        np.array([0.9, 0.8, np.nan], np.float32),
        np.array([True, True, False]),
        np.array([0.3, 0.4, 0.2], np.float32),
        np.array([0, 1, 2]),
    )
    assert choose_threshold(looked) == pytest.approx(0.6)
    nothing = looked._replace(present=np.full(3, np.nan, np.float32))
    assert np.isnan(choose_threshold(nothing))


def open_rows() -> pd.DataFrame:
    """a and b have two references each; X is new; one reference of a is kept from training."""
    table = pd.DataFrame(
        {
            "identity": ["a", "a", "b", "b", "a", "X", "unknown"],
            "split": [*["reference"] * 4, *["query"] * 3],
            "validation": [False, True, *[False] * 5],
        }
    )
    table["key"] = [f"d/{i}" for i in range(len(table))]
    return table.assign(dataset="d", group="d", domain="seen")


def search(queries, references, query_labels, reference_labels):
    scores = np.ones((len(queries), len(references)))
    return rank_block(scores, query_labels, reference_labels, k=2)


def test_a_disjoint_set_validates_on_what_was_learnt_about_and_never_searches_it_for_queries():
    rows = open_rows().iloc[:5].copy()
    rows.loc[[0, 1], ["identity", "split"]] = ["c", "train"]
    rows.loc[4, "identity"] = "b"
    seen = []

    def told(queries, references, query_labels, reference_labels):
        seen.append((queries.tolist(), references.tolist()))
        return search(queries, references, query_labels, reference_labels)

    answer_queries(rows, told)
    answer_queries(rows, told, validation=True)
    assert seen == [([4], [2, 3]), ([1], [0])]


def test_chance_of_new_animals_is_a_coin():
    figures = chance_metrics(open_rows())
    assert figures["seen/queries"] == 1
    assert figures["seen/unknown_queries"] == 2
    assert figures["seen/top1"] == 0.5
    assert figures["seen/auroc"] == figures["seen/baus"] == 0.5
    assert figures["seen/baks"] == 0.25
    assert figures["seen/geometric"] == pytest.approx((0.25 * 0.5) ** 0.5)
