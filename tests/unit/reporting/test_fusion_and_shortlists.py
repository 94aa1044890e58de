"""Sections on fusions and shortlists."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from reid_ray.evaluation.intervals import wilson
from reid_ray.evaluation.metrics import summarise
from reid_ray.evaluation.quality import probability_figures
from reid_ray.reporting.page import write_report
from reid_ray.reporting.sections import fusion, probabilities, shortlists
from reid_ray.reporting.sections.section import Subject
from reid_ray.reporting.shortlists import curves_figure, shortlist_curves
from reid_ray.runs.methods import Result
from reid_ray.runs.study import MethodRecord, StudyRecord


@pytest.fixture(scope="module")
def joined(record: StudyRecord) -> StudyRecord:
    """The study with SIFT behind a shortlist, and a fusion that answers as SIFT but for 20 photos."""
    sift = next(m for m in record.methods if m.result.method == "SIFT")
    assert sift.predictions is not None
    curve = {
        f"shortlist/{dataset}/{name}_{size}": value / size
        for dataset in ("ZebraSynthetic", "SealSynthetic")
        for name, value in (("among", 2.0), ("top1", 1.0))
        for size in (5, 20, 100)
    }
    few = replace(
        sift.result,
        key="few",
        method="SIFT-20",
        metrics=sift.result.metrics | curve,
        params={"shortlist": "selected_trial", "candidates": 20},
    )
    table = sift.predictions.copy()
    wrong = table.index[(table["domain"] == "seen") & ~table["correct"]][:20]
    table.loc[wrong, ["correct", "first_correct"]] = [True, 1]
    table["top_scores"] = [[0.5, 0.25]] * len(table)
    sure = np.random.default_rng(0).uniform(size=(4, len(table)))
    table["probability"], table["unknown_probability"] = 0.8 * sure[0], 0.2 * sure[1]
    table["withheld_probability"], table["withheld_unknown"] = 0.5 * sure[2], 0.5 * sure[3]
    fused = Result(
        key="fused",
        method="both",
        kind="baseline",
        family="fusion",
        scope=sift.result.scope,
        params={"parts": "SIFT + selected_trial", "shortlist": "selected_trial", "candidates": 20},
        metrics=summarise(table) | probability_figures(table),
    )
    late = [MethodRecord(few, sift.predictions, []), MethodRecord(fused, table, [])]
    return replace(record, methods=[*record.methods, *late])


def fused_table(record: StudyRecord) -> pd.DataFrame:
    table = next(one.predictions for one in record.methods if one.result.key == "fused")
    assert table is not None
    return table


def test_a_row_per_length_with_wilsons_interval_and_the_length_in_use(joined: StudyRecord) -> None:
    table = shortlist_curves(Subject(joined).methods)
    assert list(zip(table["dataset"], table["candidates"], table["used"], strict=True)) == [
        (dataset, size, size == 20)
        for dataset in ("SealSynthetic", "ZebraSynthetic")
        for size in (5, 20, 100)
    ]
    assert table["among"].tolist() == pytest.approx([0.4, 0.1, 0.02] * 2)
    assert set(table["by"]) == {"selected_trial"}
    zebras = table[table["dataset"] == "ZebraSynthetic"].iloc[0]
    expected = wilson(round(0.2 * zebras["queries"]), int(zebras["queries"]))
    assert (zebras["top1_low"], zebras["top1_high"]) == pytest.approx(expected)


def test_curves_are_drawn_as_one_element_and_nothing_where_there_are_none(
    joined: StudyRecord, record: StudyRecord
) -> None:
    svg = curves_figure(shortlist_curves(Subject(joined).methods))
    texts = [node.text or "" for node in ElementTree.fromstring(svg).iter() if "text" in node.tag]
    assert any("SIFT-20" in text for text in texts)
    assert any("ZebraSynthetic" in text for text in texts)
    assert curves_figure(shortlist_curves(Subject(record).methods)) == ""


def test_a_fusion_is_compared_with_each_part_by_mcnemar(joined: StudyRecord) -> None:
    subject = Subject(joined)
    table = fusion.fused_and_parts(subject)
    assert table[["part", "domain"]].to_numpy().tolist() == [
        ["SIFT", "seen"],
        ["SIFT", "unseen"],
        ["selected_trial", "seen"],
        ["selected_trial", "unseen"],
    ]
    queries = table["queries"].iloc[0]
    first = table.iloc[0]
    assert first["difference"] == pytest.approx(20 / queries)
    assert first["p"] < 0.05
    assert first["low"] > 0
    assert table["difference"].iloc[1] == 0
    for row in table.itertuples():
        assert row.difference == pytest.approx(row.fused_top1 - row.part_top1)
        assert row.low <= row.difference <= row.high


def test_the_page_tells_of_both_and_leaves_them_out_of_a_study_without(
    joined: StudyRecord, record: StudyRecord, tmp_path
) -> None:
    told = (fusion.SECTION, shortlists.SECTION, probabilities.SECTION)
    page = write_report(joined, tmp_path / "with", told).read_text()
    assert 'id="fusion"' in page
    assert 'id="shortlists"' in page
    assert 'id="probabilities"' in page
    judged = pd.read_csv(tmp_path / "with" / "probabilities.csv").set_index(["method", "domain"])
    expected = probability_figures(fused_table(joined))
    for domain in ("seen", "unseen"):
        for name in ("brier", "constant", "auroc", "named_at_95"):
            assert judged.loc[("both", domain), name] == pytest.approx(
                expected[f"{domain}/probability/{name}"], abs=1e-6
            )
            shown = judged.loc[("both", domain), "brier"]
            assert f'<td class="num">{shown:.3f}</td>' in page
    assert (tmp_path / "with" / "shortlists.csv").read_text().count("SIFT-20") == 6
    assert (tmp_path / "with" / "fusion.csv").read_text().count("both") == 4
    plain = Subject(record)
    assert fusion.SECTION.contents(plain) is None
    assert shortlists.SECTION.contents(plain) is None
