"""Tables and verdicts of a made-up study."""

import io
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from reid_ray.reporting import tables, verdict
from reid_ray.reporting.pooled import candidates, chance_of, pooled_methods, selected_trial_of
from reid_ray.runs.methods import Result
from reid_ray.runs.study import MethodRecord


def answered(correct, *, domain="seen", dataset="d") -> pd.DataFrame:
    """Predictions with the given right and wrong answers, one animal per query."""
    number = np.arange(len(correct))
    return pd.DataFrame(
        {
            "query": [f"{dataset}/{i}" for i in number],
            "dataset": dataset,
            "group": dataset,
            "domain": domain,
            "identity": [f"a{i}" for i in number],
            "predicted": "a0",
            "correct": correct,
            "first_correct": np.where(correct, 1, 7),
            "average_precision": np.where(correct, 1.0, 0.1),
            "top_keys": [["k"]] * len(number),
            "top_identities": [["a0"]] * len(number),
            "top_scores": [[0.5]] * len(number),
        }
    )


def method(name, family="ArcFace", kind="trial", scope="d", key=None, **changes) -> Result:
    return Result(key or f"{name}/{scope}", name, kind, family, scope, **changes)


def study_of(record, *methods, selected_trial=None, **study):
    return replace(
        record, methods=list(methods), study={**record.study, "selected_trial": selected_trial, **study}
    )


def test_the_leaderboard_lists_the_best_first_and_what_has_no_result_last(record):
    table = tables.leaderboard(record)
    finished = table[table["status"] == "finished"]
    assert finished["seen_top1"].is_monotonic_decreasing
    assert table["status"].tolist()[-2:] == ["diverged", "failed"]
    assert table["seen_top1"].tail(2).isna().all()
    assert "NaN in epoch 4" in table["note"].iloc[-2]


def test_figures_of_the_leaderboard_are_those_of_the_answers(record):
    table = tables.leaderboard(record).set_index("method")
    sift = next(m for m in record.methods if m.result.method == "SIFT")
    seen = sift.predictions[sift.predictions["domain"] == "seen"]
    assert table.loc["SIFT", "seen_top1"] == seen["correct"].mean()
    assert table.loc["SIFT", "seen_queries"] == len(seen)
    assert table.loc["Guessing", "seen_top1"] < 0.2


def test_one_method_on_several_datasets_is_one_row_with_all_its_answers(record):
    parts = [
        MethodRecord(method("m", scope="d"), answered([True, True, False, False]), []),
        MethodRecord(method("m", scope="e"), answered([True] * 6, dataset="e"), []),
    ]
    table = tables.leaderboard(study_of(record, *parts))
    assert table["seen_top1"].tolist() == [0.8]
    assert table["seen_queries"].tolist() == [10]
    assert tables.setting_top1(pooled_methods(study_of(record, *parts))[0]) == 0.75


def test_a_query_that_two_results_answered_counts_once(record):
    parts = [
        MethodRecord(method("m", scope="d"), answered([True, False]), []),
        MethodRecord(method("m", scope="e"), answered([True, True]), []),
    ]
    table = tables.leaderboard(study_of(record, *parts))
    assert table[["seen_top1", "seen_queries"]].to_numpy().tolist() == [[0.5, 2.0]]


def test_a_method_that_failed_on_one_dataset_is_partial_and_does_not_compete(record):
    parts = [
        MethodRecord(method("m", "local features", "baseline"), answered([True] * 4), []),
        MethodRecord(method("m", "local features", "baseline", "e", status="out_of_memory"), None, []),
    ]
    study = study_of(record, *parts)
    assert tables.leaderboard(study)["status"].tolist() == ["partial"]
    assert tables.leaderboard(study)["note"].tolist() == ["finished on 1 of 2 datasets"]
    assert candidates(pooled_methods(study), "seen") == []


def test_only_the_chosen_trial_and_baselines_compete_even_if_another_trial_did_better(record):
    weak, strong = answered([True, False, False, False]), answered([True] * 4)
    study = study_of(
        record,
        MethodRecord(method("chosen", key="w"), weak, []),
        MethodRecord(method("lucky"), strong, []),
        MethodRecord(method("SIFT", "local features", "baseline"), weak, []),
        selected_trial="w",
    )
    methods = pooled_methods(study)
    assert [m.name for m in candidates(methods, "seen")] == ["chosen", "SIFT"]
    assert verdict.passed_over(methods).name == "lucky"
    assert selected_trial_of(methods).name == "chosen"


def local_features(record, **right: int) -> list:
    """Methods of which each is right about so many of the same 20 animals."""
    parts = [
        MethodRecord(
            method(name, "local features", "baseline", key=name),
            answered([True] * count + [False] * (20 - count)),
            [],
        )
        for name, count in right.items()
    ]
    return pooled_methods(study_of(record, *parts))


@pytest.mark.parametrize(
    ("selected", "said"),
    [
        ("SIFT", "On seen species, CLIP (90.0 %) cannot be told apart from it."),
        ("DINO", "On seen species, SIFT (95.0 %) and CLIP (90.0 %) did better on the query photos."),
        ("CLIP", "On seen species, SIFT (95.0 %) cannot be told apart from it."),
    ],
)
def test_the_rivals_are_those_that_are_as_good_or_better(record, selected, said):
    methods = local_features(record, SIFT=19, CLIP=18, DINO=4)
    (mine,) = [one for one in methods if one.name == selected]
    assert verdict.rival_lines(mine, methods) == [said]


def test_far_ahead_of_all_the_second_is_named(record):
    methods = local_features(record, SIFT=19, DINO=4, CLIP=2)
    assert verdict.rival_lines(methods[0], methods) == ["On seen species, the next is DINO (20.0 %)."]


def test_the_verdict_names_the_gap_and_the_published_p_value(record):
    # Fagerland et al. 2013: 1 and 7 disagreements, mid-p 0.039.
    a = answered([True] + [False] * 7 + [True] * 12)
    b = answered([False] + [True] * 7 + [True] * 12)
    study = study_of(
        record,
        MethodRecord(method("ArcFace", key="w"), b, []),
        MethodRecord(method("SIFT", "local features", "baseline"), a, []),
        selected_trial="w",
    )
    (found,) = verdict.domain_verdicts(pooled_methods(study))
    (pair,) = found.comparisons
    ends = f"{100 * pair.low:.1f} to {100 * pair.high:.1f}"
    assert str(pair) == (
        f"ArcFace beats SIFT by 30.0 points (95 % interval {ends}, p = 0.039, 20 query photos)"
    )
    assert 0 < pair.low < 0.3 < pair.high


def test_small_differences_cannot_be_significant(record):
    study = study_of(
        record,
        MethodRecord(method("ArcFace", key="w"), answered([True] * 6 + [False] * 4), []),
        MethodRecord(method("SIFT", "local features", "baseline"), answered([True] * 5 + [False] * 5), []),
        selected_trial="w",
    )
    (found,) = verdict.domain_verdicts(pooled_methods(study))
    said = str(found.comparisons[0])
    assert "do not differ significantly: 10.0 points apart (95 % interval 0.0 to " in said
    assert said.endswith(", p = 0.5, 10 query photos)")


def test_a_comparison_names_the_better_first_whatever_the_order(record):
    study = study_of(
        record,
        MethodRecord(method("worse"), answered([True, False, False]), []),
        MethodRecord(method("better"), answered([True, True, False]), []),
    )
    worse, better = pooled_methods(study)
    assert verdict.compare(worse, better, "seen") == verdict.compare(better, worse, "seen")
    assert verdict.compare(worse, better, "seen").better == "better"
    assert verdict.compare(worse, better, "unseen") is None


def test_many_photos_of_a_single_animal_do_not_make_a_method_better(record):
    """Ten photos on which they differ are of one animal, which may have gone either way."""
    right, wrong = answered([True] * 20), answered([False] * 10 + [True] * 10)
    identities = ["one"] * 10 + [f"other{i}" for i in range(10)]
    study = study_of(
        record,
        MethodRecord(method("ArcFace", key="w"), right.assign(identity=identities), []),
        MethodRecord(method("SIFT", "local features", "baseline"), wrong.assign(identity=identities), []),
        selected_trial="w",
    )
    (found,) = verdict.domain_verdicts(pooled_methods(study))
    assert found.comparisons[0].p == 0.5
    assert not found.comparisons[0].significant


def test_the_best_of_many_is_corrected_for_having_been_chosen_by_these_photos(record):
    rng = np.random.default_rng(0)
    records = [
        MethodRecord(method(f"M{n}", "pre-trained", "baseline"), answered(list(rng.random(120) < 0.5)), [])
        for n in range(30)
    ]
    (found,) = verdict.domain_verdicts(pooled_methods(study_of(record, *records)))
    assert found.among == 30
    assert found.corrected is not None  # the luckiest of thirty coins
    assert 0.5 < found.corrected.value < found.figure("top1") - 0.02


def test_a_method_that_is_alone_needs_no_correction(record):
    study = study_of(record, MethodRecord(method("A", "pre-trained", "baseline"), answered([True] * 9), []))
    (found,) = verdict.domain_verdicts(pooled_methods(study))
    assert (found.corrected, found.among) == (None, 1)


def test_the_best_is_tested_against_the_runner_up_and_the_best_of_another_kind(record):
    records = [
        MethodRecord(method(name, family, "baseline"), answered([True] * n + [False] * (9 - n)), [])
        for name, family, n in [
            ("A", "pretrained", 8),
            ("B", "pretrained", 7),
            ("C", "pretrained", 6),
            ("SIFT", "local features", 5),
        ]
    ]
    (found,) = verdict.domain_verdicts(pooled_methods(study_of(record, *records)))
    assert [(pair.better, pair.other) for pair in found.comparisons] == [("A", "B"), ("A", "SIFT")]


@pytest.mark.parametrize(("share", "said"), [(0.2, "had no part in the choice"), (0, "therefore optimistic")])
def test_the_reader_learns_whether_query_photos_had_a_part_in_the_choice(record, share, said):
    study = {"config": {"data": {"split": {"validation_share": share}}}}
    assert said in verdict.choice_sentence(study)
    assert "do not say" in verdict.choice_sentence({"config": None})


def test_the_ablation_counts_what_failed_and_never_takes_it_as_zero(record):
    table = tables.ablation(pooled_methods(record)).set_index(["family", "parameter", "value"])
    half = table.loc[("ArcFace", "margin", "0.5")]
    assert (half["settings"], half["failed"]) == (2, 2)
    assert half["q1"] > 0.3
    assert ("Triplet", "margin", "0.2") not in table.index  # it was never varied


def test_the_ablation_is_the_median_over_settings_by_hand(record):
    made = [
        MethodRecord(
            method(f"m{n}", params={"backbone": backbone}), answered([True] * n + [False] * (8 - n)), []
        )
        for n, backbone in [(2, "x"), (4, "x"), (8, "x"), (1, "y")]
    ]
    table = tables.ablation(pooled_methods(study_of(record, *made))).set_index("value")
    assert table.loc["x", ["q1", "median", "q3", "best"]].tolist() == [0.375, 0.5, 0.75, 1.0]
    assert table.loc["y", "median"] == 0.125


def test_seen_and_unseen_stand_side_by_side_with_guessing_last(record):
    table = tables.seen_unseen(pooled_methods(record))
    assert table["method"].iloc[-1] == "Guessing"
    assert len(table) == 4  # selected trial, two baselines, guessing
    np.testing.assert_allclose(table["difference"], table["unseen_top1"] - table["seen_top1"])


def test_the_audit_counts_photos_by_hand(record):
    zebra = tables.dataset_audit(record).set_index("dataset").loc["ZebraSynthetic"]
    # 10 animals x 14 photos, a lone animal and an unknown individual; 4 queries and 1 validation photo each.
    assert zebra[["photos", "identities", "singletons", "unknown"]].tolist() == [142, 11, 1, 1]
    assert zebra[["reference", "query", "validation", "quarantined"]].tolist() == [101, 40, 10, 1]


def test_chance_is_known_per_section(record):
    methods = pooled_methods(record)
    assert chance_of(methods, "unseen") == pytest.approx(1 / 9)
    assert chance_of(methods, "test/nowhere") is None


def test_every_answer_of_competing_methods_is_exported(record):
    table = tables.answers(pooled_methods(record), record.rows)
    assert len(table) == 3 * (40 + 32 + 36)
    assert (table["best_reference"].str.split("/").str[0] == table["dataset"]).all()
    paths = record.rows.set_index("key")["path"]
    assert table["path"].tolist() == paths[table["query"]].tolist()
    assert table["best_reference_path"].tolist() == paths[table["best_reference"]].tolist()


@pytest.mark.parametrize(
    "text", ["=cmd|' /C calc'!A0", "+1+A1", "-1-cmd", "-", "@SUM(A1)", "\uff1d1", "\t=1", " =1", "\n@"]
)
def test_a_spreadsheet_cannot_run_text_from_data(text):
    back = pd.read_csv(io.StringIO(tables.to_csv(pd.DataFrame({"a": [text], "n": [-1.5]}))))
    assert back["a"].iloc[0] == f"'{text}"
    assert back["n"].iloc[0] == -1.5


@pytest.mark.parametrize("text", ["-7", "+7", "-7.5", "-7,5", "می\u200cشود"])
def test_names_that_no_spreadsheet_runs_stay_as_they_are(text):
    assert tables.to_csv(pd.DataFrame({"a": [text]})) == pd.DataFrame({"a": [text]}).to_csv(index=False)


@pytest.mark.parametrize("text", ["-7", "=1", "'x", "a\u202eb", "0012", "\t=1"])
def test_a_plain_table_is_read_back_as_it_was(text):
    back = pd.read_csv(io.StringIO(tables.to_plain_csv(pd.DataFrame({"a": [text]}))), dtype=str)
    assert back["a"].iloc[0] == text


def test_names_of_columns_are_disarmed_too():
    assert tables.to_csv(pd.DataFrame({"=cmd": [1]})) == "'=cmd\n1\n"


def test_a_carriage_return_in_a_name_cannot_begin_a_line_of_csv():
    text = tables.to_csv(pd.DataFrame({"a": ["x\r=cmd"]}))
    assert text == "a\nx\u27e8U+000D\u27e9=cmd\n"


def test_ordinary_text_and_missing_values_stay_as_they_are_in_csv():
    table = pd.DataFrame({"a": ["zebra-1", None], "b": [0.1 + 0.2, np.nan]})
    assert tables.to_csv(table) == "a,b\nzebra-1,0.3\n,\n"


def test_a_study_without_any_method_has_empty_tables(record):
    empty = study_of(record)
    assert len(tables.leaderboard(empty)) == 0
    for make in (
        tables.ablation,
        partial(tables.answers, rows=record.rows),
        tables.per_identity,
        tables.datasets_table,
    ):
        assert len(make([])) == 0
