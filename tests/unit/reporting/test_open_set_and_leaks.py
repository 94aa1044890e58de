"""Unknown individuals and leaks in the report: there when there is something to say, harmless, in CSV."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from searched import answer_queries
from test_page import Outline

from reid_ray.evaluation.metrics import chance_metrics
from reid_ray.evaluation.ranking import rank_block
from reid_ray.reporting.open_set import open_set_table
from reid_ray.reporting.page import write_report
from reid_ray.reporting.pooled import pooled_methods
from reid_ray.reporting.sections import data, datasets, leaks, open_set
from reid_ray.reporting.tables import answers, dataset_audit, ranks_table, setting_top1

LEAK = {
    "kind": "near_duplicate",
    "dataset": "LeopardSynthetic",
    "keys": 7,
    "action": "report",
    "text": "seven of them",
    "pairs": [["LeopardSynthetic/q", "LeopardSynthetic/r"]],
}
BACKGROUND = {
    "dataset": "ZebraSynthetic",
    "photos": 140,
    "queries": 30,
    "top1": 0.5,
    "top1_low": 0.33,
    "top1_high": 0.67,
    "chance": 0.1,
    "beats_chance": True,
}


@pytest.fixture(scope="module")
def opened(record):
    """The made-up study, with two animals of ZebraSynthetic in queries alone."""
    rows = record.rows.copy()
    new = rows["dataset"].eq("ZebraSynthetic") & rows["identity"].isin(["zebra-00", "zebra-01"])
    rows.loc[new, ["split", "validation"]] = ["query", False]

    def search(queries, references, query_labels, reference_labels):
        rng = np.random.default_rng(0)
        scores = rng.random((len(queries), len(references)))
        scores += query_labels[:, None] == reference_labels
        return rank_block(scores, query_labels, reference_labels, k=10)

    table = answer_queries(rows, search)
    table.loc[table["dataset"] == "ZebraSynthetic", "threshold"] = 1.0
    methods = []
    for one in record.methods:
        if one.result.family == "chance":
            one = replace(one, result=replace(one.result, metrics=chance_metrics(rows)))
        elif one.result.method == "SIFT":
            one = replace(one, predictions=table)
        else:
            continue
        methods.append(one)
    study = {**record.study, "selected_trial": None, "leaks": [LEAK], "background": [BACKGROUND]}
    return replace(record, rows=rows, methods=methods, study=study)


def page_of(record, folder) -> str:
    page = write_report(record, folder, [data.SECTION, datasets.SECTION, open_set.SECTION, leaks.SECTION])
    return re.sub(r"\s+", " ", page.read_text(encoding="utf-8"))


def test_the_table_of_new_animals_has_methods_and_guessing(opened):
    table = open_set_table(pooled_methods(opened)).set_index("method")
    assert list(table.index) == ["SIFT", "Guessing"]
    # Right references score 1 and more, wrong ones less: everything is told apart.
    assert table.loc["SIFT", ["auroc", "baks", "baus", "geometric"]].tolist() == [1, 1, 1, 1]
    assert table.loc["SIFT", "new_queries"] == 28
    assert table.loc["Guessing", "auroc"] == 0.5


def test_figures_elsewhere_are_of_known_animals_only(opened):
    sift = next(m for m in pooled_methods(opened) if m.name == "SIFT")
    assert sift.figures["seen/top1"] == 1
    assert setting_top1(sift) == 1
    assert len(answers([sift], opened.rows)) == len(sift.predictions) + 28
    assert (~answers([sift], opened.rows)["known"].astype(bool)).sum() == 28
    assert ranks_table([sift])["share"].eq(1).all()


def test_the_page_names_the_collection_that_leaks_with_an_example(opened, tmp_path):
    text = page_of(opened, tmp_path)
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    assert {"Unknown individuals", "Leaks"} <= set(titles)
    assert "<bdi>q</bdi> = <bdi>r</bdi>" in text
    assert "nearly the same picture as a reference" in text
    assert "above guessing" in text
    told = pd.read_csv(tmp_path / "leaks.csv").iloc[0]
    assert (told["dataset"], told["photos"], told["done"]) == ("LeopardSynthetic", 7, "still asked")
    assert pd.read_csv(tmp_path / "background.csv")["top1"].tolist() == [0.5]
    assert len(pd.read_csv(tmp_path / "open_set.csv")) == 2


def test_a_study_without_leaks_says_that_they_were_looked_for(record, tmp_path):
    study = {**record.study, "leaks": [], "background": []}
    text = page_of(replace(record, study=study), tmp_path / "sought")
    assert "No query photo is a reference photo, or nearly one" in text
    assert "Unknown individuals" not in text
    assert not (tmp_path / "sought" / "open_set.csv").exists()
    assert ">Leaks<" not in page_of(record, tmp_path / "before")  # made by an earlier version


def test_the_new_tables_are_as_well_formed_as_the_others(opened, tmp_path):
    text = page_of(opened, tmp_path)
    outline = Outline(text)
    assert outline.stack == []
    assert len(re.findall("<table[ >]", text)) == text.count("<caption>")
    assert not re.search(r"<th(?![^>]*scope=)[ >]", text)
    labels = re.findall(r'role="region" aria-label="([^"]+)"', text)
    assert len(labels) == len(set(labels))


def test_hostile_names_in_leaks_stay_text(opened, hostile_names, tmp_path):
    told = [{**LEAK, "dataset": name, "pairs": [[name, name]]} for name in hostile_names]
    background = [{**BACKGROUND, "dataset": name} for name in hostile_names]
    study = {**opened.study, "leaks": told, "background": background}
    text = page_of(replace(opened, study=study), tmp_path)
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert "'=cmd" in (tmp_path / "leaks.csv").read_text(encoding="utf-8")


def test_photos_for_training_alone_are_counted_by_themselves(record, tmp_path):
    rows = record.rows.copy()
    rows.loc[rows["identity"] == "zebra-00", "split"] = "train"
    apart = replace(record, rows=rows)
    audit = dataset_audit(apart).set_index("dataset")
    assert audit.loc["ZebraSynthetic", "train"] == 14
    assert "Training only" in page_of(apart, tmp_path / "a")
    assert "Training only" not in page_of(record, tmp_path / "b")


def test_query_photos_of_new_animals_are_counted_by_themselves(record, tmp_path):
    rows = record.rows.copy()
    new = (rows["identity"] == "zebra-00") & (rows["split"] == "query")
    rows.loc[new, "identity"] = "unknown individual"
    apart = replace(record, rows=rows)
    assert dataset_audit(apart).set_index("dataset")["new"].to_dict()["ZebraSynthetic"] == new.sum() > 0
    assert dataset_audit(record)["new"].sum() == 0
    assert "without a reference" in page_of(apart, tmp_path / "a")
