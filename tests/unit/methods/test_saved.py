"""A method is the same after it was saved and loaded, and damage is noticed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from collection import bench, table

from reid_ray.config.datasets import Images
from reid_ray.config.fusion import Fusion
from reid_ray.config.matching import MatchedShortlist, Matching, Shortlist
from reid_ray.config.models import KReciprocal
from reid_ray.embedding.encoding import Encoding
from reid_ray.errors import StorageError
from reid_ray.methods import saved
from reid_ray.methods.answer import answer
from reid_ray.methods.embedding import ANY, Embedding
from reid_ray.methods.fusion import Fusing
from reid_ray.methods.local_features import LocalFeatures
from reid_ray.methods.ready import Method
from reid_ray.methods.saved import SavedMethod
from reid_ray.methods.shortlist import Shortlisted

SIFT = LocalFeatures(Matching.parse({"thresholds": [0.4, 0.8]}, where="test"))
NETWORK = Embedding("tiny", "k", {ANY: Encoding("test_efficientnet", "random", 64, seed=3)})
LNBNN = LocalFeatures(Matching.parse({"name": "LNBNN", "score": "lnbnn", "neighbours": [1, 3]}, where="test"))
FUSION = Fusing(Fusion(parts=("SIFT", "tiny"), combine="log_odds"), (SIFT, NETWORK))


def behind(near: Method) -> Shortlisted:
    shortlist = MatchedShortlist(by=near.name, size=5)
    return Shortlisted(LocalFeatures(SIFT.config.model_copy(update={"shortlist": shortlist})), near)


METHODS: dict[str, Method] = {
    "embedding": NETWORK,
    "local": SIFT,
    "k-reciprocal": replace(NETWORK, rerank=KReciprocal(size=15, k1=(3,), k2=(2,), weights=(0.2,))),
    "shortlist": behind(NETWORK),
    "behind local features": behind(LNBNN),
    "behind a fusion": behind(FUSION),
    "behind what is behind a shortlist": behind(behind(NETWORK)),
    "fusion": FUSION,
    "fusion by a learned order": replace(FUSION, config=Fusion(parts=("SIFT", "tiny"), combine="learned")),
    "fusion behind local features": replace(
        FUSION,
        config=FUSION.config.model_copy(update={"shortlist": Shortlist(by="LNBNN", size=7)}),
        near=LNBNN,
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_kind_answers_alike_after_it_was_saved_and_loaded(name: str, tmp_path: Path) -> None:
    rows, here = table(), bench(tmp_path / "a")
    first = answer(METHODS[name], rows, here, k=5)
    images = Images(short_px=64)
    about = {"study": "s"}
    saved.save(SavedMethod(METHODS[name], images, first.learnt, about=about), tmp_path / "selected")
    moved = tmp_path / "elsewhere"
    (tmp_path / "selected").rename(moved)
    again = saved.load(moved)
    assert (again.images, again.about) == (images, about)
    assert json.loads(json.dumps(again.learnt)) == json.loads(json.dumps(first.learnt))
    gallery = first.ready[0].gallery
    (ready,) = again.method.prepare([gallery], bench(tmp_path / "b"), learnt=again.learnt)
    assert json.loads(json.dumps(ready.learnt)) == {
        key: value
        for key, value in json.loads(json.dumps(first.learnt[gallery.fingerprint])).items()
        if key in ready.learnt
    }
    ranked, _ = ready.rank(here, gallery.queries, k=5)
    expected, _ = first.ready[0].rank(here, gallery.queries, k=5)
    assert ranked.top_index.tolist() == expected.top_index.tolist()
    np.testing.assert_array_equal(ranked.top_score, expected.top_score)


def test_nothing_is_learnt_again_on_the_same_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reid_ray.methods import local_features

    rows, here = table(), bench(tmp_path)
    first = answer(SIFT, rows, here, k=5)
    gallery = first.ready[0].gallery

    def never(*_: object, **__: object) -> None:
        raise AssertionError("settings were chosen again")

    monkeypatch.setattr(local_features.Asking, "tune", never)
    SIFT.prepare([gallery], here, learnt=first.learnt)
    with pytest.raises(AssertionError, match="chosen again"):
        SIFT.prepare([gallery], here, learnt={})


@pytest.mark.parametrize("name", ["method.json", "weights/0.safetensors", "trained_on.txt"])
def test_a_flipped_bit_is_noticed(name: str, tmp_path: Path) -> None:
    saved.save(SavedMethod(NETWORK, Images(), trained_on=frozenset({"ab", "cd"})), tmp_path)
    assert saved.load(tmp_path).trained_on == {"ab", "cd"}
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(bytes(data))
    with pytest.raises(StorageError):
        saved.load(tmp_path)


def test_files_outside_the_folder_are_refused(tmp_path: Path) -> None:
    saved.save(SavedMethod(SIFT, Images()), tmp_path)
    content = json.loads((tmp_path / "method.json").read_text())
    content.pop("seal")
    content["sha256"]["../../etc/passwd"] = "00"
    (tmp_path / "method.json").write_text(json.dumps(content))
    with pytest.raises(StorageError, match="outside its folder"):
        saved.load(tmp_path)


def test_equal_scores_rank_as_in_the_study_whatever_the_folders_are_called(tmp_path: Path) -> None:
    rows = table()
    first = answer(SIFT, rows, bench(tmp_path), k=5)
    gallery = first.ready[0].gallery
    contents = rows["content"].to_numpy(str)
    kept = SavedMethod(
        SIFT,
        Images(),
        first.learnt,
        collections={gallery.fingerprint: "one"},
        orders={gallery.fingerprint: contents[gallery.photos[: gallery.references]].tolist()},
        trained_on=frozenset(contents[:3]),
    )
    shuffled = rows.sample(frac=1, random_state=0).reset_index(drop=True)
    references, queries = (np.flatnonzero(shuffled["split"] == part) for part in ("reference", "query"))
    again = kept.gallery(shuffled, references, queries, collection="mine")
    assert again.name == "one"
    order = shuffled["content"].iloc[again.photos[: again.references]].tolist()
    assert order == rows["content"].iloc[gallery.photos[: gallery.references]].tolist()
    assert [contents[:3].tolist().count(one) for one in order] == again.trained.astype(int).tolist()
    other = kept.gallery(shuffled, references[1:], queries, collection="mine")
    assert other.name == "mine"


def test_a_method_of_another_version_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved.save(SavedMethod(SIFT, Images()), tmp_path)
    monkeypatch.setattr(saved, "VERSION", 2)
    with pytest.raises(StorageError, match="version 1 of the format, this program reads 2; run the study"):
        saved.load(tmp_path)
