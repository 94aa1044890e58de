"""Examples: the right ones, encoded anew, with real matches."""

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from reid_ray.config.matching import Matching, Sift
from reid_ray.matching import sift
from reid_ray.matching.engine import Packed, count_block
from reid_ray.reporting.gallery import make_gallery, matched_points, panels, pick
from reid_ray.runs import files


@pytest.fixture(scope="module")
def made(record, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    return folder, files.read_json(make_gallery(record.rows, images, panels(record), folder))


def test_the_chosen_trial_and_the_local_features_are_shown(record):
    found = panels(record)
    assert {panel.family for panel in found} == {"Triplet", "local features"}
    sift = next(m for m in record.methods if m.result.method == "SIFT")
    other = replace(sift, result=replace(sift.result, key="f" * 16, method="DINO", family="pretrained"))
    study = record.study | {"selected": other.result.key}
    more = replace(record, study=study, methods=[*record.methods, other])
    families = {panel.family for panel in panels(more)}
    assert families == {"Triplet", "local features", "pretrained"}
    assert next(p for p in found if p.family == "local features").ratio("zebra") == 0.6


def test_matches_are_drawn_with_the_settings_and_thresholds_of_the_method(record):
    def local(params, **settings):
        changed = [
            replace(m, result=replace(m.result, params=params)) if m.result.method == "SIFT" else m
            for m in record.methods
        ]
        config = record.study["config"] | {"baselines": {"matching": [{"name": "SIFT", **settings}]}}
        study = record.study | {"config": config}
        found = panels(replace(record, methods=changed, study=study))
        return next(p for p in found if p.family == "local features")

    rooted = local({}, extractor={"kind": "sift", "root": True}, mutual=True)
    assert rooted.matching.extractor.root
    assert rooted.matching.mutual
    one, other = record.rows["dataset"].unique()[:2]
    each = local({f"threshold/{one}": 0.7, f"threshold/{other}": 0.5})
    assert (each.ratio(one), each.ratio(other)) == (0.7, 0.5)
    assert local({"threshold": 0.7}).ratio(one) == 0.7


@pytest.mark.parametrize("direction", ["reference_to_query", "query_to_reference"])
def test_as_many_lines_are_drawn_as_the_method_counts(images, direction):
    query, reference = images[0], np.ascontiguousarray(images[0][:, 30:])
    config = Matching(direction=direction)
    drawn = len(matched_points(query, reference, 0.6, config)[0])
    packed = Packed.of(sift.extract([query, reference], Sift()))
    counted = count_block(packed.take([0]), 0, 1, packed.take([1]), [0.6], direction=direction)
    assert drawn == counted[0, 0, 0] > 20


def test_right_and_wrong_answers_are_what_the_predictions_say(record, made):
    _, gallery = made
    for panel, source in zip(gallery["panels"], panels(record), strict=True):
        answers = source.predictions.set_index("query")
        assert sum(case["correct"] for case in panel["cases"]) == 3
        wrong = {case["query"] for case in panel["cases"] if not case["correct"]}
        assert wrong == set(answers.index[~answers["correct"]])
        assert panel["wrong"] == len(wrong)
        for case in panel["cases"]:
            row = answers.loc[case["query"]]
            assert case["correct"] == row["correct"]
            assert case["predicted"] == row["predicted"]
            assert case["reference"] == row["top_keys"][0]
            assert (case["right_image"] is None) == case["correct"]


def test_of_many_wrong_answers_some_are_shown_and_all_are_counted(record, images, tmp_path):
    path = make_gallery(record.rows, images, panels(record), tmp_path, each=1, most_wrong=2)
    for panel, source in zip(files.read_json(path)["panels"], panels(record), strict=True):
        assert sum(not case["correct"] for case in panel["cases"]) == 2
        assert panel["wrong"] == (~source.predictions["correct"]).sum() > 2


def test_beside_a_wrong_answer_stands_the_right_animal(record, made):
    identity = dict(zip(record.rows["key"], record.rows["identity"], strict=True))
    split = dict(zip(record.rows["key"], record.rows["split"], strict=True))
    names = {hashlib.sha256(key.encode()).hexdigest()[:16]: key for key in record.rows["key"]}
    wrong = [case for panel in made[1]["panels"] for case in panel["cases"] if not case["correct"]]
    for case in wrong:
        key = names[case["right_image"].removesuffix(".jpg")]
        assert (identity[key], split[key]) == (case["identity"], "reference")


def test_thumbnails_are_small_jpegs_without_metadata_and_named_by_hash(made):
    folder, _ = made
    pictures = list(folder.glob("*.jpg"))
    assert pictures
    for path in pictures:
        assert path.stem.isalnum()
        assert len(path.stem) == 16
        assert path.stat().st_size < 60_000
        with Image.open(path) as picture:
            assert not picture.getexif()
            assert picture.height <= 320


def test_thumbnails_show_the_photo_of_their_row(record, images, made):
    folder, gallery = made
    case = gallery["panels"][0]["cases"][0]
    position = record.rows["key"].tolist().index(case["query"])
    with Image.open(folder / case["query_image"]) as picture:
        small = np.asarray(picture.resize((8, 8)), float)
    expected = np.asarray(Image.fromarray(images[position]).resize((8, 8)), float)
    assert np.abs(small - expected).mean() < 12


def test_the_same_seed_picks_the_same_queries(record):
    predictions = panels(record)[0].predictions
    first = pick(predictions, right=3, wrong=3, rng=np.random.default_rng(5))
    again = pick(predictions, right=3, wrong=3, rng=np.random.default_rng(5))
    assert [row["query"] for row in first] == [row["query"] for row in again]


def test_a_query_without_any_reference_is_never_picked(record):
    predictions = panels(record)[0].predictions.copy()
    predictions["top_keys"] = [[] for _ in range(len(predictions))]
    assert pick(predictions, right=3, wrong=3, rng=np.random.default_rng(0)) == []


def test_matched_points_of_a_shifted_photo_lie_at_the_shift(images):
    photo = images[0]
    left, right = photo[:, :200], photo[:, 24:224]
    points_l, points_r = matched_points(np.ascontiguousarray(left), np.ascontiguousarray(right), 0.5)
    assert len(points_l) > 20
    shift = points_l - points_r
    assert np.median(shift[:, 0]) == pytest.approx(24, abs=0.5)
    assert np.median(shift[:, 1]) == pytest.approx(0, abs=0.5)


def test_an_empty_photo_has_no_matches(images):
    blank = np.zeros((64, 64, 3), np.uint8)
    assert matched_points(blank, images[0], 0.9)[0].shape == (0, 2)
    assert matched_points(images[0], blank, 0.9)[0].shape == (0, 2)


def test_lines_are_drawn_where_the_matcher_says(record, images, tmp_path):
    point = np.array([[40.0, 80.0]], np.float32)
    panel = next(p for p in panels(record) if p.matching is not None)
    path = make_gallery(
        record.rows, images, [panel], tmp_path, each=1, matcher=lambda q, r, t: (point, point)
    )
    case = files.read_json(path)["panels"][0]["cases"][0]
    assert case["matches"] == 1
    plain = make_gallery(
        record.rows, images, [panel], tmp_path / "p", each=1, matcher=lambda q, r, t: (point[:0], point[:0])
    )
    name = files.read_json(plain)["panels"][0]["cases"][0]["matches_image"]
    drawn, bare = (
        np.asarray(Image.open(io.BytesIO((folder / name).read_bytes())), int)
        for folder in (tmp_path, tmp_path / "p")
    )
    changed = np.abs(drawn - bare).sum(2).max(1) > 150
    rows = np.flatnonzero(changed)
    assert rows.min() >= 80 * 220 / 160 - 12
    assert rows.max() <= 80 * 220 / 160 + 12
