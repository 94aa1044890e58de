"""Predictions and figures, by hand."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from searched import answer_queries

from reid_ray.evaluation.metrics import chance, chance_metrics, cmc, identity_accuracy, summarise
from reid_ray.evaluation.predictions import COLUMNS, pool, predictions_table
from reid_ray.evaluation.ranking import rank_block


def photos() -> pd.DataFrame:
    """Two datasets that share an identity's name: references a a b | a, queries a b | a."""
    table = pd.DataFrame(
        [
            ("zebra", "a", "reference", False),
            ("zebra", "a", "query", False),
            ("zebra", "b", "reference", False),
            ("zebra", "a", "reference", True),
            ("zebra", "b", "query", False),
            ("owl", "a", "reference", False),
            ("owl", "c", "reference", False),
            ("owl", "a", "query", False),
            ("owl", "unknown", "none", False),
        ],
        columns=["dataset", "identity", "split", "validation"],
    )
    table["image_id"] = [str(i) for i in range(len(table))]
    table["key"] = table["dataset"] + "/" + table["image_id"]
    table["group"] = table["dataset"]
    table["domain"] = np.where(table["dataset"] == "owl", "unseen", "seen")
    return table


def test_each_query_is_searched_among_the_references_of_its_own_dataset_only():
    seen = []

    def search(queries, references, query_labels, reference_labels):
        seen.append((queries.tolist(), references.tolist()))
        scores = np.ones((len(queries), len(references)))
        return rank_block(scores, query_labels, reference_labels, k=2)

    table = answer_queries(photos(), search)
    assert seen == [([1, 4], [0, 2, 3]), ([7], [5, 6])]
    assert list(table.columns) == list(COLUMNS)
    assert table["query"].tolist() == ["zebra/1", "zebra/4", "owl/7"]
    assert table["predicted"].tolist() == ["a", "a", "a"]
    assert table["correct"].tolist() == [True, False, True]
    assert table["first_correct"].tolist() == [1, 2, 1]
    assert table["top_keys"].tolist()[0] == ["zebra/0", "zebra/2"]


def test_validation_asks_held_out_references_and_never_a_query_photo():
    asked = []

    def search(queries, references, query_labels, reference_labels):
        asked.append((queries.tolist(), references.tolist()))
        return rank_block(np.ones((1, len(references))), query_labels, reference_labels, k=1)

    table = answer_queries(photos(), search, validation=True)
    assert asked == [([3], [0, 2])]
    assert table["query"].tolist() == ["zebra/3"]


def test_lists_are_as_long_as_there_are_references_and_survive_parquet(tmp_path):
    ranked = rank_block(np.array([[0.5, 0.25]]), [1], [2, 1], k=5)
    table = predictions_table(photos(), [7], [5, 6], ranked)
    table.to_parquet(tmp_path / "p.parquet")
    back = pd.read_parquet(tmp_path / "p.parquet").iloc[0]
    assert list(back["top_keys"]) == ["owl/5", "owl/6"]
    assert list(back["top_scores"]) == [0.5, 0.25]
    assert back["correct"].dtype == bool


def test_no_references_means_no_answer_and_a_wrong_one():
    ranked = rank_block(np.empty((1, 0)), [1], [], k=3)
    row = predictions_table(photos(), [7], [], ranked).iloc[0]
    assert (row["predicted"], row["correct"], row["top_keys"]) == ("", False, [])
    assert len(pool([])) == 0


def answers(rows) -> pd.DataFrame:
    return pd.DataFrame(
        rows, columns=["dataset", "domain", "identity", "correct", "first_correct", "average_precision"]
    )


def test_figures_are_those_computed_by_hand():
    table = answers(
        [
            ("z", "seen", "a", True, 1, 1.0),
            ("z", "seen", "a", True, 1, 0.5),
            ("z", "seen", "a", False, 5, 0.25),
            ("z", "seen", "b", False, 6, 0.05),
            ("o", "unseen", "a", False, 0, 0.0),
        ]
    )
    figures = summarise(table)
    assert figures["seen/top1"] == 0.5
    assert figures["seen/top5"] == 0.75
    assert figures["seen/balanced_top1"] == pytest.approx((2 / 3 + 0) / 2)
    assert figures["seen/mAP"] == pytest.approx(0.45)
    assert figures["seen/queries"] == 4
    assert figures["test/z/top1"] == 0.5
    assert figures["unseen/top5"] == 0
    # Two animals say no more than a single photo would: Wilson's interval of a half of 1.
    assert figures["seen/top1_low"] == pytest.approx(0.0546, abs=5e-5)
    assert figures["seen/top1_high"] == pytest.approx(0.9454, abs=5e-5)
    assert not any(name.startswith("nan") or value != value for name, value in figures.items())


def test_a_domain_without_queries_has_no_figures():
    figures = summarise(answers([("z", "seen", "a", True, 1, 1.0)]))
    assert not [name for name in figures if name.startswith("unseen/")]
    assert summarise(answers([])) == {}


def test_the_cmc_curve_counts_queries_up_to_each_rank_and_never_those_without_a_match():
    assert cmc([1, 3, 0, 2], [1, 2, 3, 100]).tolist() == [0.25, 0.5, 0.75, 0.75]
    assert cmc([], [1, 2]).tolist() == [0, 0]


def test_equal_names_in_two_datasets_are_two_animals():
    table = answers([("z", "seen", "a", True, 1, 1), ("y", "seen", "a", False, 2, 0.5)])
    assert identity_accuracy(table)["top1"].tolist() == [1.0, 0.0]


def test_chance_equals_the_mean_over_all_orders_of_references():
    rows = photos()
    zebra = chance(rows).set_index("query").loc["zebra/1"]
    right = [True, False, True]  # references of zebra: a, b, a
    orders = list(itertools.permutations(right))
    precision = [np.mean([sum(order[: i + 1]) / (i + 1) for i in range(3) if order[i]]) for order in orders]
    assert zebra["top1"] == pytest.approx(np.mean([order[0] for order in orders]))
    assert zebra["mAP"] == pytest.approx(np.mean(precision))
    assert zebra["top5"] == 1.0


def test_chance_of_top_5_agrees_with_a_million_draws_in_theory():
    # 2 right of 12: 1 - C(10,5)/C(12,5) = 1 - 252/792.
    rows = pd.DataFrame(
        {
            "key": [str(i) for i in range(13)],
            "dataset": "d",
            "group": "d",
            "domain": "seen",
            "identity": ["a"] * 2 + ["b"] * 10 + ["a"],
            "split": ["reference"] * 12 + ["query"],
        }
    )
    assert chance(rows)["top5"].tolist() == pytest.approx([1 - 252 / 792])


def test_chance_per_domain_is_the_mean_over_queries_without_an_interval():
    figures = chance_metrics(photos())
    assert figures["seen/top1"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert figures["unseen/top1"] == figures["unseen/top1_low"] == figures["unseen/top1_high"] == 0.5
    assert figures["test/owl/queries"] == 1


def test_a_query_whose_animal_has_no_reference_cannot_be_guessed():
    rows = photos()
    rows.loc[4, "identity"] = "z"
    assert chance(rows).set_index("query").loc["zebra/4", ["top1", "top5", "mAP"]].tolist() == [0, 0, 0]


def met() -> pd.DataFrame:
    """Photos with encounters and sides. Query zebra/1 (met with zebra/0), zebra/4 (met with none),
    owl/7 of an unknown encounter."""
    table = photos()
    table["encounter"] = ["1", "1", "2", "3", "9", "", "", "", ""]
    table["orientation"] = ["left", "Left ", "right", "right", "left", "", "left", "left", ""]
    return table


def by_encounter(queries, references, query_labels, reference_labels):
    """A search that prefers lower positions, and knows `met`'s encounters."""
    scores = -np.tile(np.arange(len(references)), (len(queries), 1))
    ranked = rank_block(scores, query_labels, reference_labels, k=2)
    if len(queries) == 1:
        return ranked  # owls: no encounters are known
    out = np.zeros_like(scores, bool)
    out[0, 0] = True
    other = rank_block(scores, query_labels, reference_labels, k=2, left_out_qg=out)
    return replace(ranked, other_encounter=other)


def test_figures_without_the_own_encounter_and_by_side_stand_beside_the_others():
    table = answer_queries(met(), by_encounter)
    # zebra/1: 0 (a, left), then 2 (b, right); zebra/4: 0 (a, left), 2 (b, right); owl/7: 5 (a).
    assert table["first_correct"].tolist() == [1, 2, 1]
    assert table["other_encounter_first_correct"].tolist() == [2, 2, -1]
    assert table["side"].tolist() == ["same", "same", ""]
    assert table["other_encounter_side"].tolist() == ["other", "same", ""]
    figures = summarise(table)
    assert figures["seen/top1"] == 0.5
    assert figures["seen/top1_same_side"] == 0.5
    assert figures["seen/top1_other_side"] == 0.0
    assert figures["other_encounter/seen/top1"] == 0.0
    assert figures["other_encounter/seen/mAP"] == pytest.approx(0.5)
    assert figures["other_encounter/seen/queries"] == 2
    assert figures["other_encounter/test/zebra/answerable"] == 1.0
    assert not any(name.startswith("other_encounter/unseen") for name in figures)
    assert "unseen/top1_same_side" not in figures


def test_new_animals_do_not_count_among_those_without_a_reference_of_another_encounter():
    table = answer_queries(met(), by_encounter)
    table["known"] = [False, True, True]  # as if the first query's animal were new
    table["other_encounter_first_correct"] = [0, 2, -1]
    assert summarise(table)["other_encounter/test/zebra/answerable"] == 1.0


def test_a_method_that_is_not_asked_again_has_no_figures_without_the_own_encounter():
    def once(*given):
        return replace(by_encounter(*given), other_encounter=None)

    table = answer_queries(met(), once)
    assert table["other_encounter_first_correct"].tolist() == [-1, -1, -1]
    assert table["other_encounter_side"].tolist() == ["", "", ""]
    figures = summarise(table)
    assert figures["seen/top1"] == 0.5
    assert not [name for name in figures if name.startswith("other_encounter")]


def test_without_encounters_and_sides_nothing_is_added():
    figures = summarise(answer_queries(photos(), by_encounter))
    assert not [name for name in figures if "side" in name or "other_encounter" in name]
