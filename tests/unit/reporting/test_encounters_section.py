"""The section on other encounters and sides, against figures of a made-up study."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reid_ray.reporting.page import write_report
from reid_ray.reporting.sections import encounters, verdict
from reid_ray.reporting.sections.encounters import encounters_table
from reid_ray.reporting.sections.section import Subject
from reid_ray.runs.study import StudyRecord

SECTIONS = (verdict.SECTION, encounters.SECTION)


def with_encounters(record: StudyRecord) -> StudyRecord:
    """Zebras' encounters are known: every third right answer came from the own one. Sides of all."""
    methods = []
    for one in record.methods:
        table = one.predictions
        if table is not None:
            lost = table["correct"] & (np.arange(len(table)) % 3 == 0)
            known = table["dataset"] == "ZebraSynthetic"
            first = table["first_correct"].mask(lost, 4).where(known, -1)
            table = table.assign(
                other_encounter_first_correct=first,
                other_encounter_average_precision=table["average_precision"],
                side=np.where(np.arange(len(table)) % 2, "same", "other"),
                other_encounter_side="same",
            )
        methods.append(replace(one, predictions=table))
    return replace(record, methods=methods)


def test_both_figures_stand_side_by_side_for_methods_that_stand_for_themselves(record: StudyRecord) -> None:
    known = with_encounters(record)
    table = encounters_table(Subject(known))
    assert set(table["family"]) <= {"local features", "untrained", "ArcFace", "Triplet"}
    row = table[(table["method"] == "SIFT") & (table["domain"] == "seen")].iloc[0]
    answers = next(m.predictions for m in known.methods if m.result.method == "SIFT")
    seen = answers[answers["domain"] == "seen"]
    zebras = seen[seen["dataset"] == "ZebraSynthetic"]
    assert row["top1"] == pytest.approx(seen["correct"].mean())
    expected = (zebras["other_encounter_first_correct"] == 1).mean()
    assert row["other_encounter_top1"] == pytest.approx(expected)
    assert row["difference"] == pytest.approx(expected - seen["correct"].mean())
    assert row["other_encounter_queries"] == len(zebras)
    same = seen["correct"] & (seen["side"] == "same")
    assert row["top1_same_side"] == pytest.approx(same.mean())
    assert row["other_encounter_top1_other_side"] == 0
    unseen = table[table["domain"] == "unseen"]
    assert unseen["other_encounter_top1"].isna().all()
    assert unseen["top1_other_side"].notna().all()


def test_the_page_says_so_only_where_it_is_known(record: StudyRecord, tmp_path: Path) -> None:
    page = write_report(with_encounters(record), tmp_path / "known", SECTIONS).read_text(encoding="utf-8")
    assert 'id="encounters"' in page
    rows = encounters_table(Subject(with_encounters(record)))
    best = rows[rows["domain"] == "seen"].sort_values("other_encounter_top1").iloc[-1]
    told = page.partition('id="verdict"')[2].partition("</section>")[0]
    assert f"{100 * best['other_encounter_top1']:.1f}&nbsp;%</strong>" in told
    assert "without those of the query’s own encounter" in page
    assert "by the other" in page
    plain = write_report(record, tmp_path / "plain", SECTIONS).read_text(encoding="utf-8")
    assert 'id="encounters"' not in plain
    assert pd.read_csv(tmp_path / "plain" / "encounters.csv").empty


def test_where_no_figure_changes_the_page_says_so_once_and_the_verdict_not_at_all(
    record: StudyRecord, tmp_path: Path
) -> None:
    methods = []
    for one in record.methods:
        table = one.predictions
        if table is not None:
            table = table.assign(
                other_encounter_first_correct=table["first_correct"],
                other_encounter_average_precision=table["average_precision"],
            )
        methods.append(replace(one, predictions=table))
    page = write_report(replace(record, methods=methods), tmp_path, SECTIONS).read_text(encoding="utf-8")
    section = page.partition('id="encounters"')[2].partition("</section>")[0]
    assert "every figure is the same" in section
    assert "<table" not in section
    assert "Asked for another day" not in page.partition('id="verdict"')[2].partition("</section>")[0]
