"""Measure local features: accuracy of each variant, speed of the engine, growth with the
references.

    python benchmarks/matching.py accuracy --data ../shared/data [--only LionData] [--leave-one-out 200]
    python benchmarks/matching.py speed --data ../shared/data
    python benchmarks/matching.py shortlist --data ../shared/data [--model runs/lion/selected_trial]

Each prints a table in Markdown. `speed` compares with faiss where `faiss` can be imported. Pairs
are measured interleaved, on the process's own CPU time, so that other work on the machine harms
little.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import cv2
import int8_peak
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from reid_ray.config.datasets import Data
from reid_ray.config.matching import Extractor, Matching, Sift, Verify
from reid_ray.datasets.catalogue import load_rows
from reid_ray.datasets.encounters import encounter_codes, same_encounter
from reid_ray.datasets.images import read_prepared
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding import backbones
from reid_ray.embedding.embed import embed
from reid_ray.embedding.model import Encoder
from reid_ray.evaluation.intervals import mcnemar, wilson
from reid_ray.evaluation.ranking import Ranked, concat, rank_block
from reid_ray.evaluation.stream import unit_rows
from reid_ray.matching import engine, shortlist, tuning, vlad, vnni
from reid_ray.matching.engine import Packed, count_block, nearest_images
from reid_ray.matching.extract import resized
from reid_ray.matching.features import Features
from reid_ray.matching.scoring import References, Setting, score_views, settings_of
from reid_ray.matching.store import load_or_extract
from reid_ray.methods.leave_one_out import sample
from reid_ray.splits.assign import assign

SPLITS = {"LionData": "given", "NyalaDev": "closed_set"}
ROOT, PLAIN = Sift(root=True), Sift()
DENSE, DENSER, DENSEST = (Sift(root=True, contrast_threshold=c) for c in (0.03, 0.02, 0.01))
VARIANTS: dict[str, Matching] = {
    "SIFT": Matching(),
    "SIFT, query looks": Matching(direction="query_to_reference"),
    "SIFT + mutual": Matching(mutual=True),
    "RootSIFT": Matching(extractor=ROOT),
    "RootSIFT + mutual": Matching(extractor=ROOT, mutual=True),
    "RootSIFT + mutual, contrast 0.02": Matching(extractor=DENSER, mutual=True),
    "RootSIFT + mutual, normalised": Matching(extractor=ROOT, mutual=True, normalised=True),
    "RootSIFT + mutual, sum per identity": Matching(extractor=ROOT, mutual=True, per_identity=True),
    "RootSIFT + mutual + affine MAGSAC": Matching(extractor=ROOT, mutual=True, verify=Verify()),
    "RootSIFT + mutual + homography MAGSAC": Matching(
        extractor=ROOT, mutual=True, verify=Verify(model="homography")
    ),
    "SIFT, 250 strongest": Matching(extractor=Sift(max_keypoints=250)),
    "SIFT, 100 strongest": Matching(extractor=Sift(max_keypoints=100)),
    "LNBNN, SIFT": Matching(score="lnbnn"),
    "LNBNN, RootSIFT": Matching(extractor=ROOT, score="lnbnn"),
    "LNBNN per identity, RootSIFT": Matching(extractor=ROOT, score="lnbnn", per_identity=True),
    "LNBNN, RootSIFT, contrast 0.03": Matching(extractor=DENSE, score="lnbnn"),
    "LNBNN, RootSIFT, contrast 0.02": Matching(extractor=DENSER, score="lnbnn"),
    "LNBNN, RootSIFT, contrast 0.01": Matching(extractor=DENSEST, score="lnbnn"),
    "LNBNN per identity, RootSIFT, contrast 0.02": Matching(
        extractor=DENSER, score="lnbnn", per_identity=True
    ),
    "LNBNN + affine MAGSAC, contrast 0.02": Matching(
        extractor=DENSER, score="lnbnn", verify=Verify(candidates=5)
    ),
    "LNBNN, contrast 0.02, shorter side 384": Matching(extractor=DENSER, score="lnbnn", short_px=384),
    "LNBNN, contrast chosen": Matching(extractor=ROOT, alternatives=(DENSER,), score="lnbnn"),
}


@dataclass(frozen=True)
class Collection:
    """A dataset's photos with their split; features are kept in `cache`."""

    name: str
    rows: pd.DataFrame
    images: list[NDArray[np.uint8]]
    cache: Path

    @classmethod
    def load(cls, name: str, root: Path, cache: Path) -> "Collection":
        dataset = {"source": "table", "name": name, "root": str(root / name)}
        if name == "NyalaDev":
            dataset["encounter_from"] = {"pattern": r"(\d+)_[^/]*$"}
        data = Data.parse({"datasets": [dataset], "split": {"kind": SPLITS[name]}}, where=name)
        rows = assign(load_rows(data, made=cache).rows, data.split).rows
        images = [
            read_prepared(str(row.root), str(row.path), images=data.images).pixels
            for row in rows.itertuples()
        ]
        return cls(name, rows, images, cache)

    def features(self, extractor: Extractor, short_px: int | None = None) -> Features:
        """Features of all photos, a part at a time, so that a run that was stopped goes on."""
        images = (resized(image, short_px) for image in self.images)
        return Features.concat(
            load_or_extract(self.cache, part, extractor)
            for part in iter(lambda: list(islice(images, 64)), [])
        )

    def positions(self, part: str) -> NDArray[np.int64]:
        return np.flatnonzero(self.rows["split"] == part)

    @property
    def identities(self) -> NDArray[np.int64]:
        return pd.factorize(self.rows["identity"])[0].astype(np.int64)

    @property
    def encounters(self) -> NDArray[np.int64]:
        return encounter_codes(self.rows)

    def sides(self, extractor: Extractor, short_px: int | None = None) -> tuple[Features, References]:
        """Features of the queries, and the references."""
        features = self.features(extractor, short_px)
        q, g = self.positions("query"), self.positions("reference")
        searched = features.take(g)
        references = References(
            Packed.of(searched).sketched(), self.identities[g], self.encounters[g], searched
        )
        return features.take(q), references


def accuracy(
    collections: list[Collection], leave_one_out_queries: int, keypoints: int | None, only: list[str] | None
) -> Iterator[str]:
    """Top-1 of every variant, with its 95 % interval; where encounters are known, a second row
    without references of the query's own encounter.
    """
    yield (
        "| collection | variant | references | chosen | right on references % | keypoints "
        "| top-1 % (95 %) | top-5 % | right of | by the same, the other side "
        "| McNemar p against the plain one | CPU s |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for collection in collections:
        for name, config in VARIANTS.items():
            if only and name not in only:
                continue
            extractor = config.extractor
            if keypoints and not extractor.max_keypoints:
                extractor = extractor.model_copy(update={"max_keypoints": keypoints})
            changes = {"leave_one_out_queries": leave_one_out_queries, "extractor": extractor}
            yield from rows_of(collection, name, config.model_copy(update=changes))


@dataclass(frozen=True)
class Chosen:
    """Both sides with the extractor and settings chosen on the references.

    Attributes:
        tuned: with all references, and with those of other encounters.
    """

    queries: Features
    references: References
    extractor: Extractor
    tuned: list[tuning.Tuned]

    def told(self, view: int, config: Matching) -> str:
        """What was chosen, in words."""
        setting = self.tuned[view].setting
        text = f"{setting.threshold:g}"
        if config.score == "lnbnn":
            text = f"k {setting.neighbours}, {setting.distance}"
        if config.alternatives and isinstance(self.extractor, Sift):
            text += f", contrast {self.extractor.contrast_threshold:g}"
        return text


def tuned_on(references: References, config: Matching) -> list[tuning.Tuned]:
    """The setting chosen leave-one-out, and that among references of other encounters."""
    settings = settings_of(config)
    asked = sample(len(references.packed), most=config.leave_one_out_queries, seed=0)
    itself = asked[:, None] == np.arange(len(references.packed))
    met = itself | same_encounter(references.encounters_g[asked], references.encounters_g)
    outs = [met if config.exclude_same_encounter else itself, met]
    right = tuning.right_per_setting(references, config, asked, outs)
    return [tuning.best_of(settings, one.sum(axis=0), len(asked)) for one in right]


def choose(collection: Collection, config: Matching) -> Chosen:
    best: Chosen | None = None
    for extractor in (config.extractor, *config.alternatives):
        queries, references = collection.sides(extractor, config.short_px)
        tuned = tuned_on(references, config)
        if best is None or tuned[0].best > best.tuned[0].best:
            best = Chosen(queries, references, extractor, tuned)
    assert best is not None
    return best


def against_plain(
    collection: Collection, name: str, config: Matching, view: str, first: NDArray[np.int32]
) -> str:
    """McNemar's p against SIFT with the same references, from the answers that it left."""
    folder = collection.cache / "answers"
    folder.mkdir(parents=True, exist_ok=True)
    slug = f"{collection.name}-{view}-{config.extractor.max_keypoints}-{config.leave_one_out_queries}"
    np.save(folder / f"{slug}-{name}.npy", first == 1)
    plain = folder / f"{slug}-SIFT.npy"
    if not plain.exists():
        return "-"
    return f"{mcnemar(np.load(plain), first == 1).p_exact:.3g}"


def rows_of(collection: Collection, name: str, config: Matching) -> Iterator[str]:
    began = time.process_time()
    chosen = choose(collection, config)
    answers = rank(collection, chosen, config)
    keypoints = np.mean(np.concatenate([chosen.queries.keypoints, np.diff(chosen.references.packed.offsets)]))
    cpu_s = time.process_time() - began
    for view, (ranked, what) in enumerate(zip(answers, ("all", "other encounters"), strict=False)):
        first = ranked.first_correct
        right, total = int((first == 1).sum()), len(first)
        low, high = wilson(right, total)
        yield (
            f"| {collection.name} | {name} | {what} | {chosen.told(view, config)} "
            f"| {100 * chosen.tuned[view].best:.1f} | {keypoints:.0f} "
            f"| {100 * right / total:.1f} ({100 * low:.1f}-{100 * high:.1f}) "
            f"| {100 * ((first > 0) & (first <= 5)).mean():.1f} | {right}/{total} "
            f"| {by_side(collection, ranked)} "
            f"| {against_plain(collection, name, config, what, first)} | {cpu_s:.0f} |"
        )


def by_side(collection: Collection, ranked: Ranked) -> str:
    """Right answers that came from a photo of the query's own side, and of the other one."""
    if "orientation" not in collection.rows:
        return "-"
    side = collection.rows["orientation"].to_numpy(str)
    own = side[collection.positions("query")]
    best = side[collection.positions("reference")][ranked.top_index[:, 0]]
    right = ranked.first_correct == 1
    return f"{(right & (own == best)).sum()}, {(right & (own != best)).sum()}"


def rank(collection: Collection, chosen: Chosen, config: Matching) -> list[Ranked]:
    """Answers with all references and, where encounters are known, with those of others."""
    q = collection.positions("query")
    labels, encounters = collection.identities[q], collection.encounters[q]
    references = chosen.references
    views = 2 if (encounters >= 0).any() else 1
    parts: list[list[Ranked]] = [[] for _ in range(views)]
    for at in range(len(q)):
        same = same_encounter(encounters[at : at + 1], references.encounters_g)
        outs = [np.zeros_like(same), same][:views]
        settings = [tuned.setting for tuned in chosen.tuned]
        query, pairs = chosen.queries.take([at]), list(zip(settings, outs, strict=False))
        scores = score_views(Packed.of(query), query, references, config, pairs)
        for part, one, out in zip(parts, scores, outs, strict=True):
            part.append(rank_block(one, labels[at : at + 1], references.identities_g, k=5, left_out_qg=out))
    return [concat(part) for part in parts]


def shortlists(
    collections: list[Collection], leave_one_out_queries: int, model: Path | None, score: str
) -> Iterator[str]:
    """Top-1 behind shortlists of B by each embedding, what the shortlist reaches, what it costs.

    Every length is matched by itself, so that its cost is measured. The setting is chosen once, on
    all pairs of references.
    """
    config = VARIANTS[score].model_copy(update={"leave_one_out_queries": leave_one_out_queries})
    yield (
        "| collection | shortlist by | candidates | right one among them % | top-1 % (95 %) "
        "| pairs | CPU s | CPU s of the vectors |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for collection in collections:
        queries, references = collection.sides(config.extractor)
        setting = tuned_on(references, config)[0].setting
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
    """Vectors of a timm folder, such as the `selected_trial` that a study leaves."""
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
    order = shortlist.nearest_first(unit_rows(vectors[q])[0], unit_rows(vectors[g])[0])
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
    picked = np.random.default_rng(0).permutation(len(features))[:48]
    part = features.take(picked)
    per_pair = operations(part, 8, 40) / 320
    ways: dict[str, tuple[Callable[[], object], float]] = {
        name: (way, 320) for name, way in ours(Packed.of(part)).items()
    }
    small = {pairs: operations(part, 1, pairs) / per_pair for pairs in (8, 20)}
    ways[OPENCV] = lambda: by_opencv(part, 8), small[8]
    if (faiss_pairs := by_faiss(part)) is not None:
        ways[FAISS] = lambda: faiss_pairs(20), small[20]
    seconds = interleaved({name: way for name, (way, _) in ways.items()}, rounds)
    rates = {name: pairs / seconds[name] for name, (_, pairs) in ways.items()}
    yield f"{np.mean(part.keypoints):.0f} keypoints per photo on average; {collection.name}"
    yield "| way | pairs / CPU s | as GOP/s | times OpenCV | times faiss |"
    yield "|---|---|---|---|---|"
    for name, rate in rates.items():
        faiss = f"{rate / rates[FAISS]:.1f}" if FAISS in rates else "-"
        yield (
            f"| {name} | {rate:.0f} | {rate * per_pair / 1e9:.0f} | {rate / rates[OPENCV]:.1f} | {faiss} |"
        )
    yield from peaks(
        rounds, {name: rates[name] * per_pair / 1e9 for name in PRODUCTS.values() if name in rates}
    )
    yield from two_processes(collection)


OPENCV, FAISS = "OpenCV BFMatcher", "faiss flat, per pair (wildlife-tools)"
PRODUCTS: dict[engine.Product, str] = {
    "fused": "fused, all compared whole, threshold 0.5",
    "int8": "torch int8, threshold 0.5",
    "float32": "float32, threshold 0.5",
}


def ours(packed: Packed) -> dict[str, Callable[[], object]]:
    """The engine's ways to match the first 8 photos with the 40 others.

    Sketches are made for the references once and are not timed; those of queries are.
    """
    queries, whole = packed.part(0, 8), packed.part(8, 48)
    sketched = whole.sketched()
    many = Matching().thresholds

    def count(
        references: Packed,
        thresholds: Sequence[float],
        *,
        mutual: bool = False,
        product: engine.Product | None = None,
    ) -> Callable[[], object]:
        return lambda: count_block(queries, 0, 8, references, thresholds, mutual=mutual, product=product)

    def nearest(references: Packed) -> Callable[[], object]:
        return lambda: nearest_images(queries, 0, 8, references, kept=2)

    ways = {
        "engine, threshold 0.3": count(sketched, [0.3]),
        "engine, threshold 0.5": count(sketched, [0.5]),
        f"engine, {len(many)} thresholds to {max(many):g}": count(sketched, many),
        "engine, mutual, threshold 0.5": count(sketched, [0.5], mutual=True),
        "engine, LNBNN, 1 neighbour": nearest(sketched),
    }
    for product, name in PRODUCTS.items():
        if product != "fused" or vnni.supported():
            ways[name] = count(whole, [0.5], product=product)
    if vnni.supported():
        ways["fused, all compared whole, mutual"] = count(whole, [0.5], mutual=True, product="fused")
    return ways


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


def operations(part: Features, queries: int, pairs: int) -> float:
    """Multiplications and additions of the first photos with the `pairs` photos from number 8 on."""
    looked = part.keypoints[:queries].sum() * part.keypoints[8 : 8 + pairs].sum()
    return float(looked * 2 * part.descriptors.shape[1])


def by_opencv(part: Features, pairs: int) -> int:
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    total = 0
    query = part.image(0).descriptors.astype(np.float32)
    for g in range(8, 8 + pairs):
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
    engine.use_one_thread()  # its BLAS was not loaded before
    floats = [part.image(i).descriptors.astype(np.float32) for i in range(len(part))]
    index = faiss.IndexFlatL2(128)

    def match(pairs: int) -> int:
        total = 0
        for g in range(8, 8 + pairs):
            index.reset()
            index.add(floats[0])
            score, _ = index.search(floats[g], k=2)
            ratio = score[:, 0] / score[:, 1]
            total += sum(int(np.sum(ratio < t)) for t in Matching().thresholds)
        return total

    return match


def peaks(rounds: int, reached: dict[str, float]) -> Iterator[str]:
    """What the core can do at most, what torch's bare int8 product does at this length without any
    use of the result, and the engine's shares of both.
    """
    ways: dict[str, Callable[[], object]] = {}
    for rows, columns in [(2048, 2048), (1024, 384), (700, 384), (1024, 192)]:
        a = torch.randint(-128, 128, (rows, 128), dtype=torch.int8)
        b = torch.randint(-128, 128, (columns, 128), dtype=torch.int8).t().contiguous()
        out = torch.empty(rows, columns, dtype=torch.int32)
        repeats = 8 * 2048**2 // (rows * columns)

        def product(
            a: torch.Tensor = a, b: torch.Tensor = b, out: torch.Tensor = out, n: int = repeats
        ) -> None:
            for _ in range(n):
                torch._int_mm(a, b, out=out)

        ways[f"torch's bare int8 product, {rows} x {columns} x 128"] = product
    found = {name: 8 * 2048**2 * 256 / seconds / 1e9 for name, seconds in interleaved(ways, rounds).items()}
    if (registers := int8_peak.measure(rounds)) is not None:
        found["the core's VNNI on registers alone"] = registers
    for name, peak in found.items():
        shares = ", ".join(f"{way} {100 * rate / peak:.0f} %" for way, rate in reached.items())
        yield f"{name}: {peak:.0f} GOP/s; {shares}"


def two_processes(collection: Collection) -> Iterator[str]:
    """What two processes do over one, in clock and CPU time; beside it, what registers alone allow.

    That product touches no memory, so it falls short of two only by what else the machine does.
    """
    packed = Packed.of(collection.features(PLAIN)).part(0, 60).sketched()
    kinds = ("the engine", *(("VNNI on registers",) if vnni.supported() else ()))
    gains: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    context = get_context("spawn")
    with context.Pool(2, initializer=_start, initargs=(packed,)) as pool:
        for kind in kinds:
            pool.map(_work, [kind, kind], chunksize=1)
        for _ in range(5):
            for kind in kinds:
                ((one_s, one_cpu_s),) = pool.map(_work, [kind])
                begin = time.perf_counter()
                both = pool.map(_work, [kind, kind], chunksize=1)
                both_s = time.perf_counter() - begin
                gains[kind].append((2 * one_s / both_s, 2 * one_cpu_s / max(c for _, c in both)))
    for kind, found in gains.items():
        clock, cpu = np.transpose(found)
        yield (
            f"two processes / one, {kind}: by the clock {np.median(clock):.2f} "
            f"(median of {np.round(clock, 2).tolist()}), "
            f"by CPU time {np.median(cpu):.2f} ({np.round(cpu, 2).tolist()})"
        )


_PACKED: list[Packed] = []


def _start(packed: Packed) -> None:
    engine.use_one_thread()
    _PACKED.append(packed)


def _work(kind: str) -> tuple[float, float]:
    """Seconds by the clock and of CPU time for about a second's work."""
    begin, began = time.perf_counter(), time.process_time()
    if kind == "the engine":
        count_block(_PACKED[0], 0, 60, _PACKED[0], [0.5])
    else:
        int8_peak.measure(256)
    return time.perf_counter() - begin, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("accuracy", "speed", "shortlist"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=sorted(SPLITS), default=None)
    parser.add_argument("--cache", type=Path, default=Path("runs/benchmark-features"))
    parser.add_argument(
        "--leave-one-out", type=int, default=200, help="leave-one-out queries to choose the threshold"
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
        lines = shortlists(collections, arguments.leave_one_out_queries, arguments.model, arguments.score)
    else:
        lines = accuracy(
            collections, arguments.leave_one_out_queries, arguments.keypoints, arguments.variants
        )
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
