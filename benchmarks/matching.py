"""Measure local features: accuracy of each variant, speed of the engine, growth with the
references.

    python benchmarks/matching.py accuracy --data ../shared/data [--only LionData] [--lookups 200]
    python benchmarks/matching.py speed --data ../shared/data
    python benchmarks/matching.py shortlist --data ../shared/data [--model runs/lion/winner]

Each prints a table in Markdown. `speed` compares with faiss where `faiss` can be imported. Pairs
are measured interleaved, on the process's own CPU time, so that other work on the machine harms
little.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from reid_ray.config.datasets import Data
from reid_ray.config.matching import Extractor, Matching, Sift, Verify
from reid_ray.datasets.catalogue import load_rows
from reid_ray.datasets.images import read_prepared
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding import backbones
from reid_ray.embedding.embed import embed
from reid_ray.embedding.model import Encoder
from reid_ray.evaluation.intervals import mcnemar, wilson
from reid_ray.evaluation.ranking import Ranked, concat, rank_block
from reid_ray.matching import engine, shortlist, tuning, vlad
from reid_ray.matching.engine import Packed, count_block
from reid_ray.matching.features import Features
from reid_ray.matching.scoring import EXCLUDED, References, Setting, score_block
from reid_ray.matching.store import load_or_extract
from reid_ray.splits.assign import assign

SPLITS = {"LionData": "given", "NyalaDev": "closed_set"}
ROOT, PLAIN, RICH = Sift(root=True), Sift(), Sift(root=True, contrast_threshold=0.02)
VARIANTS: dict[str, Matching] = {
    "SIFT": Matching(),
    "SIFT, query looks": Matching(direction="query_to_reference"),
    "SIFT + mutual": Matching(mutual=True),
    "RootSIFT": Matching(extractor=ROOT),
    "RootSIFT + mutual": Matching(extractor=ROOT, mutual=True),
    "RootSIFT + mutual, contrast 0.02": Matching(extractor=RICH, mutual=True),
    "RootSIFT + mutual, sum per identity": Matching(extractor=ROOT, mutual=True, per_identity=True),
    "RootSIFT + mutual + affine MAGSAC": Matching(extractor=ROOT, mutual=True, verify=Verify()),
    "SIFT, 250 strongest": Matching(extractor=Sift(max_keypoints=250)),
    "SIFT, 100 strongest": Matching(extractor=Sift(max_keypoints=100)),
    "LNBNN, SIFT": Matching(score="lnbnn"),
    "LNBNN, RootSIFT": Matching(extractor=ROOT, score="lnbnn"),
    "LNBNN per identity, RootSIFT": Matching(extractor=ROOT, score="lnbnn", per_identity=True),
    "LNBNN, RootSIFT, contrast 0.02": Matching(extractor=RICH, score="lnbnn"),
    "LNBNN per identity, RootSIFT, contrast 0.02": Matching(
        extractor=RICH, score="lnbnn", per_identity=True
    ),
    "LNBNN, contrast chosen": Matching(extractor=ROOT, alternatives=(RICH,), score="lnbnn"),
}
OTHER_ENCOUNTERS = ("SIFT", "RootSIFT", "RootSIFT + mutual", "LNBNN, RootSIFT")


@dataclass(frozen=True)
class Collection:
    """A dataset's photos with their split; features are kept in `cache`."""

    name: str
    rows: pd.DataFrame
    images: list[NDArray[np.uint8]]
    cache: Path

    @classmethod
    def load(cls, name: str, root: Path, cache: Path) -> "Collection":
        data = Data.parse(
            {
                "datasets": [{"source": "table", "name": name, "root": str(root / name)}],
                "split": {"kind": SPLITS[name]},
            },
            where=name,
        )
        rows = assign(load_rows(data, made=cache).rows, data.split).rows
        images = [
            read_prepared(str(row.root), str(row.path), images=data.images).pixels
            for row in rows.itertuples()
        ]
        if name == "NyalaDev":
            rows["encounter"] = rows["path"].str.extract(r"/(\d+)_", expand=False)
        return cls(name, rows, images, cache)

    def features(self, extractor: Extractor) -> Features:
        return load_or_extract(self.cache, self.images, extractor)

    def positions(self, part: str) -> NDArray[np.int64]:
        return np.flatnonzero(self.rows["split"] == part)

    @property
    def identities(self) -> NDArray[np.int64]:
        return pd.factorize(self.rows["identity"])[0].astype(np.int64)

    @property
    def encounters(self) -> NDArray[np.int64]:
        if "encounter" not in self.rows:
            return np.full(len(self.rows), -1)
        return pd.factorize(self.rows["encounter"])[0].astype(np.int64)

    def sides(self, extractor: Extractor) -> tuple[Features, References]:
        """Features of the queries, and the references."""
        features = self.features(extractor)
        q, g = self.positions("query"), self.positions("reference")
        searched = features.take(g)
        references = References(
            Packed.of(searched), self.identities[g], self.encounters[g], searched
        )
        return features.take(q), references


def accuracy(
    collections: list[Collection], lookups: int, keypoints: int | None, only: list[str] | None
) -> Iterator[str]:
    """Top-1 of every variant, with its 95 % interval."""
    yield (
        "| collection | variant | chosen | right on references % | keypoints | top-1 % (95 %) "
        "| top-5 % | right of | McNemar p against the plain one | CPU s |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for collection in collections:
        for name, config in variants(collection):
            if only and name not in only:
                continue
            extractor = config.extractor
            if keypoints and not extractor.max_keypoints:
                extractor = extractor.model_copy(update={"max_keypoints": keypoints})
            changes = {"tuning_lookups": lookups, "extractor": extractor}
            yield row_of(collection, name, config.model_copy(update=changes))


def chosen(
    collection: Collection, config: Matching
) -> tuple[Features, References, tuning.Tuned, str]:
    """Both sides with the extractor and setting chosen on the references, and its description."""
    best: tuple[Features, References, tuning.Tuned, str] | None = None
    for extractor in (config.extractor, *config.alternatives):
        queries, references = collection.sides(extractor)
        tuned = tuning.choose(references, config)
        setting = tuned.setting
        text = f"{setting.threshold:g}"
        if config.score == "lnbnn":
            text = f"k {setting.neighbours}, {setting.distance}"
        if config.alternatives and isinstance(extractor, Sift):
            text += f", contrast {extractor.contrast_threshold:g}"
        if best is None or tuned.best > best[2].best:
            best = queries, references, tuned, text
    assert best is not None
    return best


def against_plain(
    collection: Collection, name: str, config: Matching, first: NDArray[np.int32]
) -> str:
    """McNemar's p against SIFT with the same references, from the answers that it left."""
    folder = collection.cache / "answers"
    folder.mkdir(parents=True, exist_ok=True)
    out, cap = config.exclude_same_encounter, config.extractor.max_keypoints
    slug = f"{collection.name}-{out}-{cap}-{config.tuning_lookups}"
    np.save(folder / f"{slug}-{name.split(', other')[0]}.npy", first == 1)
    plain = folder / f"{slug}-SIFT.npy"
    if not plain.exists():
        return "-"
    return f"{mcnemar(np.load(plain), first == 1).p_exact:.3g}"


def variants(collection: Collection) -> Iterator[tuple[str, Matching]]:
    yield from VARIANTS.items()
    if (collection.encounters >= 0).any():
        for name in OTHER_ENCOUNTERS:
            config = VARIANTS[name].model_copy(update={"exclude_same_encounter": True})
            yield f"{name}, other encounters only", config


def row_of(collection: Collection, name: str, config: Matching) -> str:
    began = time.process_time()
    queries, references, tuned, text = chosen(collection, config)
    ranked = rank(collection, queries, references, config, tuned.setting)
    first = ranked.first_correct
    right, total = int((first == 1).sum()), len(first)
    low, high = wilson(right, total)
    keypoints = np.mean(np.concatenate([queries.keypoints, np.diff(references.packed.offsets)]))
    return (
        f"| {collection.name} | {name} | {text} | {100 * tuned.best:.1f} | {keypoints:.0f} "
        f"| {100 * right / total:.1f} ({100 * low:.1f}-{100 * high:.1f}) "
        f"| {100 * ((first > 0) & (first <= 5)).mean():.1f} | {right}/{total} "
        f"| {against_plain(collection, name, config, first)} "
        f"| {time.process_time() - began:.0f} |"
    )


def rank(
    collection: Collection,
    queries: Features,
    references: References,
    config: Matching,
    setting: Setting,
) -> Ranked:
    q = collection.positions("query")
    labels, encounters = collection.identities[q], collection.encounters[q]
    parts = []
    for at in range(len(q)):
        scores = score_block(
            queries.take([at]), encounters[at : at + 1], references, config, setting
        )
        possible = np.where(scores[0] == EXCLUDED, -1, references.identities_g)
        parts.append(rank_block(scores, labels[at : at + 1], possible, k=5))
    return concat(parts)


def shortlists(
    collections: list[Collection], lookups: int, model: Path | None, score: str
) -> Iterator[str]:
    """Top-1 behind shortlists of B by each embedding, what the shortlist reaches, what it costs.

    Every length is matched by itself, so that its cost is measured. The setting is chosen once, on
    all pairs of references.
    """
    config = VARIANTS[score].model_copy(update={"tuning_lookups": lookups})
    yield (
        "| collection | shortlist by | candidates | right one among them % | top-1 % (95 %) "
        "| pairs | CPU s | CPU s of the vectors |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for collection in collections:
        queries, references = collection.sides(config.extractor)
        setting = tuning.choose(references, config).setting
        for name, embed_all in embeddings(collection, config.extractor, model).items():
            began = time.process_time()
            vectors = embed_all()
            spent = time.process_time() - began
            for row in curve(collection, queries, references, config, setting, vectors):
                yield f"| {collection.name} | {name} | {row} | {spent:.1f} |"


def embeddings(
    collection: Collection, extractor: Extractor, model: Path | None
) -> dict[str, Callable[[], NDArray[np.float32]]]:
    """Ways to get a vector per photo, by name."""
    features = collection.features(extractor)
    ways = {
        "VLAD": lambda: vlad.describe(
            features, vlad.learn_centres(features.take(collection.positions("reference")))
        )
    }
    if model is not None:
        ways[model.name] = lambda: by_model(collection, model)
    return ways


def by_model(collection: Collection, folder: Path) -> NDArray[np.float32]:
    """Vectors of a timm folder, such as the `winner` that a study leaves."""
    config = json.loads((folder / "config.json").read_text())
    px = int(config["pretrained_cfg"]["input_size"][-1])
    backbone = backbones.build(config["architecture"], weights=str(folder), input_px=px)
    images = PreparedImages.pack(collection.images)
    positions = np.arange(len(images))
    return embed(Encoder(backbone), images, positions, px=px, device=torch.device("cpu"))


def curve(
    collection: Collection,
    queries: Features,
    references: References,
    config: Matching,
    setting: Setting,
    vectors: NDArray[np.float32],
) -> Iterator[str]:
    q, g = collection.positions("query"), collection.positions("reference")
    order = shortlist.nearest_first(shortlist.unit(vectors[q]), shortlist.unit(vectors[g]))
    share = shortlist.reached(order, collection.identities[q], collection.identities[g])
    none_out = np.zeros((1, len(g)), bool)
    for count in (1, 2, 5, 10, 20, 50, 100, 200, len(g)):
        began, right = time.process_time(), 0
        for at in range(len(q)):
            one = queries.take([at])
            chosen = shortlist.candidates(order[at : at + 1], none_out, count)
            packed = Packed.of(one)
            found = shortlist.score_candidates(packed, one, chosen, references, config, setting)
            best = chosen[0][int(np.argmax(found[0]))]
            right += int(references.identities_g[best] == collection.identities[q[at]])
        low, high = wilson(right, len(q))
        yield (
            f"{count} | {100 * share[count - 1]:.1f} "
            f"| {100 * right / len(q):.1f} ({100 * low:.1f}-{100 * high:.1f}) "
            f"| {count * len(q)} | {time.process_time() - began:.1f}"
        )


def speed(collection: Collection, rounds: int) -> Iterator[str]:
    """Pairs per CPU second of each way, interleaved, on the same real pairs."""
    features = collection.features(PLAIN)
    picked = np.random.default_rng(0).permutation(len(features))[:44]
    part = features.take(picked)
    packed = Packed.of(part)
    work = float(packed.offsets[4]) * float(packed.offsets[-1] - packed.offsets[4]) * 256
    per_pair = work / 160
    few, searched = packed.part(0, 4), packed.part(4, 44)
    small = {pairs: operations(part, pairs) / per_pair for pairs in (8, 20)}
    ways: dict[str, tuple[Callable[[], object], float]] = {
        "this engine (17 thresholds)": (
            lambda: count_block(few, 0, 4, searched, Matching().thresholds), 160,
        ),
        "this engine (1 threshold)": (lambda: count_block(few, 0, 4, searched, [0.5]), 160),
        "this engine, mutual (1)": (
            lambda: count_block(few, 0, 4, searched, [0.5], mutual=True), 160,
        ),
        "this engine, float32 product": (
            lambda: count_block(few, 0, 4, searched, [0.5], product="float32"), 160,
        ),
        "OpenCV BFMatcher": (lambda: by_opencv(part, 8), small[8]),
    }  # fmt: skip
    if (faiss_pairs := by_faiss(part)) is not None:
        ways["faiss flat, per pair (wildlife-tools)"] = (lambda: faiss_pairs(20), small[20])
    seconds = interleaved({name: way for name, (way, _) in ways.items()}, rounds)
    ours = 160 / seconds["this engine (17 thresholds)"]
    yield f"{np.mean(part.keypoints):.0f} keypoints per photo on average; {collection.name}"
    yield "| way | pairs / CPU s | GOP/s | ours / it |"
    yield "|---|---|---|---|"
    for name, (_, pairs) in ways.items():
        rate = pairs / seconds[name]
        yield f"| {name} | {rate:.0f} | {rate * per_pair / 1e9:.0f} | {ours / rate:.1f} |"
    yield from peaks(rounds, work / seconds["this engine (1 threshold)"] / 1e9)
    yield from two_processes(collection)


def interleaved(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Least CPU seconds of each way over `rounds` rounds in which each has its turn."""
    least = dict.fromkeys(ways, np.inf)
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            begin = time.process_time()
            way()
            least[name] = min(least[name], time.process_time() - begin)
    return least


def operations(part: Features, pairs: int) -> float:
    """Multiplications and additions of photo 0 with the `pairs` photos from number 4 on."""
    return float(part.keypoints[0] * part.keypoints[4 : 4 + pairs].sum() * 256)


def by_opencv(part: Features, pairs: int) -> int:
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    total = 0
    query = part.image(0).descriptors.astype(np.float32)
    for g in range(4, 4 + pairs):
        found = matcher.knnMatch(part.image(g).descriptors.astype(np.float32), query, k=2)
        total += sum(a.distance**2 < 0.5 * b.distance**2 for a, b in found)
    return total


def by_faiss(part: Features) -> Callable[[int], int] | None:
    """The loop of wildlife-tools' MatchDescriptors; None without faiss."""
    try:
        import faiss  # type: ignore[import-not-found]
    except ImportError:
        return None
    faiss.omp_set_num_threads(1)
    floats = [part.image(i).descriptors.astype(np.float32) for i in range(len(part))]
    index = faiss.IndexFlatL2(128)

    def match(pairs: int) -> int:
        total = 0
        for g in range(4, 4 + pairs):
            index.reset()
            index.add(floats[0])
            score, _ = index.search(floats[g], k=2)
            ratio = score[:, 0] / score[:, 1]
            total += sum(int(np.sum(ratio < t)) for t in Matching().thresholds)
        return total

    return match


def peaks(rounds: int, reached: float) -> Iterator[str]:
    """What torch's bare int8 product does at this descriptor length, without any use of the
    result.
    """
    ways: dict[str, Callable[[], object]] = {}
    for rows, columns in [(2048, 2048), (1024, 384), (700, 384)]:
        a = torch.randint(-128, 128, (rows, 128), dtype=torch.int8)
        b = torch.randint(-128, 128, (columns, 128), dtype=torch.int8)
        out = torch.empty(rows, columns, dtype=torch.int32)
        repeats = 8 * 2048**2 // (rows * columns)

        def product(
            a: torch.Tensor = a, b: torch.Tensor = b, out: torch.Tensor = out, n: int = repeats
        ) -> None:
            for _ in range(n):
                torch._int_mm(a, b.t(), out=out)

        ways[f"{rows} x {columns} x 128"] = product
    for name, seconds in interleaved(ways, rounds).items():
        peak = 8 * 2048**2 * 256 / seconds / 1e9
        share = 100 * reached / peak
        yield f"bare int8 product {name}: {peak:.0f} GOP/s; the engine reaches {share:.0f} %"


def two_processes(collection: Collection) -> Iterator[str]:
    """Wall-clock pairs per second of two processes over one, alternating."""
    packed = Packed.of(collection.features(PLAIN)).part(0, 60)
    context = get_context("spawn")
    with context.Pool(2, initializer=_start, initargs=(packed,)) as pool:
        pool.map(_work, [0, 1])
        gains = []
        for _ in range(5):
            one = max(pool.map(_work, [0], chunksize=1))
            begin = time.perf_counter()
            pool.map(_work, [0, 1], chunksize=1)
            both = time.perf_counter() - begin
            gains.append(2 * one / both)
    yield f"two processes / one: {np.median(gains):.2f} (median of {np.round(gains, 2).tolist()})"


_PACKED: list[Packed] = []


def _start(packed: Packed) -> None:
    engine.use_one_thread()
    _PACKED.append(packed)


def _work(_: int) -> float:
    begin = time.perf_counter()
    count_block(_PACKED[0], 0, 60, _PACKED[0], [0.5])
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("accuracy", "speed", "shortlist"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=sorted(SPLITS), default=None)
    parser.add_argument("--cache", type=Path, default=Path("runs/benchmark-features"))
    parser.add_argument(
        "--lookups", type=int, default=200, help="references looked up to choose the threshold"
    )
    parser.add_argument("--keypoints", type=int, default=None, help="keep so many per photo")
    parser.add_argument("--variants", nargs="*", default=None, help="only these, by name")
    parser.add_argument(
        "--model", type=Path, default=None, help="shortlist: also by this timm folder's vectors"
    )
    parser.add_argument(
        "--score", choices=sorted(VARIANTS), default="RootSIFT + mutual", help="shortlist: of what"
    )
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    engine.use_one_thread()
    names = [arguments.only] if arguments.only else list(SPLITS)
    collections = [Collection.load(name, arguments.data, arguments.cache) for name in names]
    if arguments.what == "speed":
        lines = speed(collections[-1], arguments.rounds)
    elif arguments.what == "shortlist":
        lines = shortlists(collections, arguments.lookups, arguments.model, arguments.score)
    else:
        lines = accuracy(collections, arguments.lookups, arguments.keypoints, arguments.variants)
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
