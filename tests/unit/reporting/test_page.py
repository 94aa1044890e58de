"""The page: complete, self-contained, and harmless whatever the data are called."""

import base64
import hashlib
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest

from reid_ray.errors import StorageError
from reid_ray.reporting.gallery import make_gallery, panels
from reid_ray.reporting.page import write_report
from reid_ray.reporting.sections import animals, examples, leaderboard, verdict
from reid_ray.runs import files

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Outline(HTMLParser):
    """Tags, attributes, text, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text, self.stack = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def report(record, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    with_gallery = replace(record, gallery_path=folder / "gallery")
    make_gallery(record.rows, images, panels(record), with_gallery.gallery_path)
    return write_report(with_gallery, folder / "out")


@pytest.fixture(scope="module")
def page(report) -> str:
    return report.read_text(encoding="utf-8")


def test_every_section_is_there_and_linked(page):
    outline = Outline(page)
    assert outline.stack == []
    anchors = {v for t, n, v in outline.attributes if n == "id"}
    links = [v[1:] for t, n, v in outline.attributes if n == "href" and v.startswith("#")]
    assert set(links) <= anchors
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert len(titles) == 15
    assert titles[0] == "Verdict"


def test_figures_and_thumbnails_are_inside_the_page(page):
    tags = Outline(page).tags
    assert tags.count("svg") == 26  # thirteen, for wide and narrow screens
    assert tags.count("img") > 12


def test_nothing_is_loaded_or_run_and_the_policy_says_so(page):
    outline = Outline(page)
    assert not {"link", "iframe", "object", "form"} & set(outline.tags)
    assert not [n for _, n, _ in outline.attributes if n.startswith("on") or n == "style"]
    sources = [v for _, n, v in outline.attributes if n in ("src", "srcset")]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    policy = next(v for t, n, v in outline.attributes if n == "content" and "default-src" in v)
    css = re.search(r"<style>(.*?)</style>", page, re.S)[1]
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    of_css, of_script = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (css, script)
    )
    assert policy.startswith(
        f"default-src 'none'; style-src 'sha256-{of_css}'; script-src 'sha256-{of_script}'; img-src data:"
    )


def test_identifiers_are_unique(page):
    identifiers = re.findall(r' id="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))


def test_labels_of_regions_are_unique(page):
    labels = re.findall(r'role="region" aria-label="([^"]+)"', page)
    assert len(labels) == len(set(labels)) > 8


def test_tables_have_captions_and_scopes_and_pictures_have_descriptions(page):
    assert page.count("<table") == page.count("<caption>")
    assert not re.search(r"<th(?![^>]*scope=)[ >]", page)
    assert not re.search(r"<img(?![^>]*alt=)", page)
    levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_the_verdict_says_what_the_tables_say(record, page):
    text = re.sub(r"\s+", " ", "".join(Outline(page).text))
    assert "names the right animal in" in text
    assert "the query photos had no part in the choice" in text
    assert "1 planned method has not run yet" in text
    assert "diverged: loss became NaN in epoch 4" in text
    assert "Pretrained weights could not be had" in text
    assert "trained by 2 workers under DDP" in text
    assert "2 photos could not be used" in text


def test_the_headline_is_the_share_of_right_answers(record, page, tmp_path):
    """Counted anew from the answers of the best method, and read from the page."""
    text = re.sub(r"[\s\u00a0]+", " ", "".join(Outline(page).text))
    chosen = record.study["selected_trial"]
    shares = {}
    for one in record.methods:
        if one.predictions is None or one.result.kind not in ("trial", "baseline"):
            continue
        if one.result.kind == "trial" and one.result.key != chosen:
            continue
        seen = one.predictions[one.predictions["domain"] == "seen"]
        known = seen[seen["known"].astype(bool)]
        shares[one.result.method] = 100 * (known["predicted"] == known["identity"]).mean()
    best = max(shares, key=lambda name: shares[name])
    expected = f"On seen species, {best} stands first with {shares[best]:.1f} %"
    assert expected in text
    assert f"Best on seen species {shares[best]:.1f} %" in re.sub(r"\s+", " ", text)
    selected = next(one.result for one in record.methods if one.result.method in shares)
    path = write_report(
        replace(record, study=record.study | {"selected": selected.key}), tmp_path, [verdict.SECTION]
    )
    text = re.sub(r"[\s\u00a0]+", " ", "".join(Outline(path.read_text(encoding="utf-8")).text))
    share = f"{shares[selected.method]:.1f} %"
    assert f"Use {selected.method}: it names the right animal in {share} of the query photos" in text


def test_single_animals_are_those_of_the_method_that_the_verdict_calls_best(record, tmp_path):
    trials = {
        m.result.key: m.result.metrics.get("seen/top1")
        for m in record.methods
        if m.result.kind == "trial" and m.result.status == "finished"
    }
    worst = min(trials, key=lambda key: trials[key])
    other = replace(record, study={**record.study, "selected_trial": worst})
    page = write_report(other, tmp_path, [verdict.SECTION, animals.SECTION])
    text = page.read_text(encoding="utf-8")
    assert "<strong><bdi>SIFT</bdi></strong> stands first" in text
    assert "Top-1 per animal of SIFT, worst to best" in text


def test_the_manifest_names_every_file_with_its_checksum(report):
    manifest = files.read_json(report.parent / "manifest.json")["files"]
    there = {path.name for path in report.parent.iterdir()} - {"manifest.json"}
    assert set(manifest) == there
    for name, entry in manifest.items():
        assert hashlib.sha256((report.parent / name).read_bytes()).hexdigest() == entry["sha256"]
    assert report.stat().st_size < 10_000_000


def test_csv_files_can_be_read_back(record, report):
    board = pd.read_csv(report.parent / "leaderboard.csv")
    assert len(board) == 17
    assert len(pd.read_csv(report.parent / "quarantine.csv")) == 2
    assert all(len(pd.read_csv(path).columns) for path in report.parent.glob("*.csv"))


def test_the_same_study_gives_the_same_report(record, tmp_path):
    first = write_report(record, tmp_path / "a").read_bytes()
    assert write_report(record, tmp_path / "b").read_bytes() == first


def test_hostile_names_stay_text(hostile_record, tmp_path):
    path = write_report(hostile_record, tmp_path)
    text = path.read_text(encoding="utf-8")
    outline = Outline(text)
    assert outline.tags.count("script") == 1  # ours
    assert "<script>alert(1)</script>" in "".join(outline.text)
    assert "\u202e" not in text
    assert "\x00" not in text
    assert "\u27e8U+202E\u27e9" in text
    assert "'=cmd" in (tmp_path / "quarantine.csv").read_text(encoding="utf-8")


def test_a_study_in_which_nothing_finished_still_has_a_page(record, tmp_path):
    failed = [m for m in record.methods if m.result.status != "finished"]
    for methods in ([], failed):
        study = {**record.study, "selected_trial": None, "warnings": []}
        path = write_report(replace(record, methods=methods, study=study), tmp_path)
        assert "nothing to compare" in path.read_text(encoding="utf-8")


def test_a_study_of_baselines_on_one_dataset_has_no_empty_sections(record, tmp_path):
    sift = next(m for m in record.methods if m.result.method == "SIFT")
    only = sift.predictions[sift.predictions["dataset"] == "ZebraSynthetic"]
    study = {**record.study, "selected_trial": None, "methods": [sift.result.key]}
    rows = record.rows[record.rows["dataset"] == "ZebraSynthetic"]
    small = replace(
        record,
        methods=[replace(sift, predictions=only)],
        rows=rows,
        study=study,
        quarantine=record.quarantine.head(0),
    )
    text = write_report(small, tmp_path).read_text(encoding="utf-8")
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    for absent in ("Training", "Which settings matter", "Seen and unseen species"):
        assert absent not in titles
    assert "Every photo could be used" in text


def test_many_trials_are_folded_behind_a_click_and_all_are_there(record, tmp_path):
    trials = [m for m in record.methods if m.result.kind == "trial"]
    more = [
        replace(m, result=replace(m.result, key=f"{m.result.key}{n}", method=f"{m.result.method} #{n}"))
        for n in range(4)
        for m in trials
    ]
    many = replace(record, methods=record.methods + more)
    text = write_report(many, tmp_path, [leaderboard.SECTION]).read_text()
    assert f"All {17 + len(more)} methods" in text
    assert text.count("lr=0.001 #3</bdi>") >= 1


def test_a_gallery_cannot_name_a_file_outside_its_folder(record, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    folder = tmp_path / "gallery"
    case = {f"{kind}_image": "../secret.jpg" for kind in ("query", "reference", "right", "matches")}
    files.write_json(folder / "gallery.json", {"panels": [{"cases": [case]}]})
    with pytest.raises(StorageError, match="thumbnail cannot be read"):
        write_report(replace(record, gallery_path=folder), tmp_path / "out", [examples.SECTION])


def test_a_damaged_gallery_is_named(record, tmp_path):
    files.write_json(tmp_path / "gallery" / "gallery.json", {"panels": [{}]})
    with pytest.raises(StorageError, match=r"gallery\.json: not a gallery"):
        write_report(replace(record, gallery_path=tmp_path / "gallery"), tmp_path / "out", [examples.SECTION])


def test_one_published_collection_has_its_published_figures_and_no_empty_figure(record, tmp_path):
    sift = next(m for m in record.methods if m.result.method == "SIFT")
    rename = {"ZebraSynthetic": "LionData"}
    only = sift.predictions[sift.predictions["dataset"] == "ZebraSynthetic"].replace({"dataset": rename})
    rows = record.rows[record.rows["dataset"] == "ZebraSynthetic"].replace({"dataset": rename})
    study = {**record.study, "selected_trial": None, "methods": [sift.result.key]}
    result = replace(sift.result, scope="LionData")
    small = replace(record, methods=[replace(sift, result=result, predictions=only)], rows=rows, study=study)
    text = write_report(small, tmp_path).read_text(encoding="utf-8")
    section = text.split("Over collections</h2>")[1].split("<h2")[0]
    assert "25.2" in section  # MegaDescriptor-L-384 on LionData, as published
    assert "<figure" not in section
