"""Trainings with species withheld are compared on the same queries, by hand-made answers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_tables import answered, method

from reid_ray.evaluation.intervals import wilson
from reid_ray.reporting.page import render
from reid_ray.reporting.per_setting import per_setting
from reid_ray.reporting.pooled import pooled_methods
from reid_ray.reporting.sections import leaderboard, settings, verdict, withheld
from reid_ray.reporting.sections.section import Subject
from reid_ray.reporting.transfer import transfer_frame, transfer_lines, transfer_tables
from reid_ray.runs.study import MethodRecord

SELECTED_TRIAL = "net ArcFace m=0.25 s=16 lr=0.1"


def rows() -> pd.DataFrame:
    """Zebras of two places and giraffes: of each dataset 4 animals with 3 references and 5 queries."""
    parts = []
    for dataset, group in (("north", "zebra"), ("south", "zebra"), ("giraffe", "giraffe")):
        for animal in range(4):
            for photo in range(8):
                parts.append(
                    {
                        "key": f"{dataset}/{animal}{photo}",
                        "identity": f"a{animal}",
                        "dataset": dataset,
                        "group": group,
                        "domain": "seen",
                        "split": "query" if photo < 5 else "reference",
                        "validation": photo == 7,
                    }
                )
    return pd.DataFrame(parts)


def training(variant: str, right: int, name=SELECTED_TRIAL, domain="unseen", **changes) -> MethodRecord:
    """A training whose first `right` of 20 answers are right."""
    params = {
        "variant": variant,
        "trained_on": "south",
        "margin": 0.25,
        "scale": 16.0,
        "lr": 0.1,
        **changes.pop("params", {}),
    }
    result = method(name, kind="transfer", scope="north", key=f"{name}/{variant}", params=params, **changes)
    table = answered([True] * right + [False] * (20 - right), dataset="north", domain=domain)
    return MethodRecord(result, table if result.status == "finished" else None, [])


def baselines() -> list[MethodRecord]:
    north = answered([True] * 8 + [False] * 12, dataset="north")
    sift = pd.concat([north, answered([True] * 20, dataset="giraffe")], ignore_index=True)
    chance = method("chance", "chance", "baseline", metrics={"seen/top1": 0.9})
    return [
        MethodRecord(chance, None, []),
        MethodRecord(method("SIFT", "local features", "baseline"), sift, []),
        MethodRecord(method(SELECTED_TRIAL, key="w", metrics={"val/top1": 0.5}), sift, []),
    ]


@pytest.fixture
def study(record):
    def make(*methods, settings=("selected_trial",)):
        config = {**record.study["config"], "transfer": {"settings": settings}}
        about = {**record.study, "config": config, "selected_trial": "w"}
        return replace(record, rows=rows(), methods=[*baselines(), *methods], study=about)

    return make


def three() -> list[MethodRecord]:
    return [training("all", 18, domain="seen"), training("same_domain", 15), training("other_domains", 5)]


def test_three_rows_have_their_own_figures_on_the_same_queries(study):
    (table,) = transfer_tables(study(*three()))
    assert table.setting == SELECTED_TRIAL
    figures = [found.figures for _, found in table.variants]
    assert [f["seen/top1"] for f in figures] == [0.9, 0.75, 0.25]
    for f, right in zip(figures, (18, 15, 5), strict=True):
        low, high = wilson(right, 20)  # animals are fewer than photos, so theirs is wider
        assert f["seen/top1_low"] <= low + 0.001
        assert f["seen/top1_high"] >= high - 0.001


def test_trainings_are_compared_in_pairs_by_mcnemar(study):
    (table,) = transfer_tables(study(*three()))
    found = [(pair.better, pair.other, pair.queries) for pair in table.comparisons]
    everything, without, others = (
        "training on everything",
        "training without these collections",
        "training on other species only",
    )
    assert found == [(everything, without, 20), (everything, others, 20), (without, others, 20)]
    # 3, 13 and 10 answers are right in one training alone and none in the other: the exact tail is
    # 2 / 2^n, of which mid-p takes half.
    assert [pair.p for pair in table.comparisons] == pytest.approx([2**-3, 2**-13, 2**-10])


def test_context_rows_are_on_the_evaluated_queries_alone(study):
    (table,) = transfer_tables(study(*three()))
    sift, chance = table.context
    assert (sift.name, sift.figures["seen/top1"], sift.figures["seen/queries"]) == ("SIFT", 0.4, 20)
    # Of 12 references 3 show the right animal.
    assert chance.figures["seen/top1"] == pytest.approx(3 / 12)


def test_trainings_are_no_methods_of_the_leaderboard(study):
    assert [m.name for m in pooled_methods(study(*three()))] == ["chance", "SIFT", SELECTED_TRIAL]


def test_of_the_grid_each_variant_takes_its_best_on_its_own_validation_photos(study):
    methods = [
        training("all", 10, metrics={"val/top1": 0.6}),
        training("all", 18, name="other", metrics={"val/top1": 0.4}),
        training("other_domains", 10, metrics={"val/top1": 0.2}),
        training("other_domains", 6, name="other", metrics={"val/top1": 0.3}),
        training("other_domains", 20, name="third", status="diverged"),
    ]
    (table,) = transfer_tables(study(*methods, settings=("grid",)))
    assert [result.method for result, _ in table.variants] == [SELECTED_TRIAL, "other"]
    assert [found.figures["seen/top1"] for _, found in table.variants] == [0.5, 0.3]


def test_the_papers_setting_gets_a_table_of_its_own(study):
    paper = {"margin": 0.5, "scale": 64.0, "lr": 0.001}
    found = transfer_tables(
        study(*three(), training("all", 4, name="p", params=paper), settings=("selected_trial", "paper"))
    )
    assert [table.setting for table in found] == [SELECTED_TRIAL, "p"]


def test_a_training_without_a_result_is_told_and_not_compared(study):
    broken = training("same_domain", 0, status="diverged", note="loss became nan in epoch 3")
    made = study(three()[0], broken, three()[2])
    (table,) = transfer_tables(made)
    assert len(table.comparisons) == 1
    page = render(Subject(made), [], [withheld.SECTION])
    assert "diverged: <bdi>loss became nan in epoch 3</bdi>" in page
    assert any("diverged" in line for line in transfer_lines(made))


def test_the_page_says_what_each_training_learned_from(study):
    made = study(*three())
    page = render(Subject(made), [], [withheld.SECTION])
    section = page.split('<section id="withheld"')[1].split("</section>")[0]
    # 2 references of 4 animals are learned from in each dataset; the third validates.
    for text in ("24 photos of 12 animals", "16 photos of 8 animals", "8 photos of 4 animals"):
        assert text in section
    assert "south, giraffe" in section


def test_without_such_trainings_there_is_no_section(study):
    made = study()
    assert withheld.SECTION.contents(Subject(made)) is None
    assert transfer_frame(made).empty
    assert transfer_lines(made) == []


def test_medians_and_quartiles_over_datasets_count_every_dataset_the_same(record):
    shares = {"a": (1, 4), "b": (2, 4), "c": (9, 10), "d": (1, 1)}
    parts = [
        MethodRecord(
            method("m", scope=name), answered([True] * right + [False] * (of - right), dataset=name), []
        )
        for name, (right, of) in shares.items()
    ]
    lone = MethodRecord(method("lone", scope="a"), answered([True], dataset="a"), [])
    table = per_setting(pooled_methods(replace(record, methods=[*parts, lone]))).set_index("method")
    found = table.loc["m", ["q1", "median", "q3", "worst", "best", "datasets"]].tolist()
    points = np.array([0.25, 0.5, 0.9, 1.0])
    quartiles = points[0] + 0.75 * 0.25, points[2] + 0.25 * 0.1
    assert found == pytest.approx([quartiles[0], 0.7, quartiles[1], 0.25, 1, 4])


def test_settings_that_asha_stopped_are_neither_figures_nor_failures(record):
    note = "stopped early by ASHA after 4 of 12 epochs, validation top-1 23.0 %"
    methods = list(record.methods)
    place = next(i for i, m in enumerate(methods) if m.result.status == "diverged")
    stopped = methods[place].result.but(status="stopped", note=note, stopped_at=4)
    methods[place] = MethodRecord(stopped, None, methods[place].history)
    made = replace(record, methods=methods)
    totals = verdict.SECTION.contents(Subject(made))["totals"]
    assert (totals["stopped"], totals["unfinished"]) == (1, 1)
    context = settings.SECTION.contents(Subject(made))
    margins = [row for row in context["ablation"] if row["parameter"] == "margin"]
    assert [row["stopped"] for row in margins] == [0, 1]
    assert [row["failed"] for row in margins] == [0, 1]
    page = render(Subject(made), [], [verdict.SECTION, leaderboard.SECTION, settings.SECTION])
    assert f'<td colspan="5"><bdi>{note}</bdi>' in page
    assert "ASHA stopped 1 setting early" in page
    assert made.failed() == [m.result for m in methods if m.result.status == "failed"]
