"""Measure how fast local features are matched, beside OpenCV and, where it can be imported, faiss.

    python benchmarks/matching.py --data ../shared/data/NyalaDev

Prints a table in Markdown. Ways are measured interleaved, on the process's own CPU time, so that other work
on the machine harms little. How often animals are named rightly is measured by `python -m reid_ray.match`.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path

import cv2
import int8_peak
import numpy as np
import torch

from reid_ray.config.datasets import Images
from reid_ray.config.matching import Matching, Sift
from reid_ray.datasets.images import read_prepared
from reid_ray.matching import engine, vnni
from reid_ray.matching.engine import Packed, count_block, nearest_images
from reid_ray.matching.extract import extract
from reid_ray.matching.features import Features

PLAIN = Sift()
PHOTOS = 60


def drawn(folder: Path) -> Features:
    """SIFT of some photos below the folder, prepared as in a study."""
    paths = sorted(folder.rglob("*.jpg"))
    places = np.random.default_rng(0).permutation(len(paths))[:PHOTOS]
    images = [
        read_prepared(str(folder), str(paths[at].relative_to(folder)), images=Images()) for at in places
    ]
    return extract([one.pixels for one in images], PLAIN)


def speed(features: Features, rounds: int) -> Iterator[str]:
    """Pairs per CPU second of each way, interleaved, on the same real pairs."""
    part = features.take(np.arange(48))
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
    yield f"{np.mean(part.keypoints):.0f} keypoints per photo on average"
    yield "| way | pairs / CPU s | as GOP/s | times OpenCV | times faiss |"
    yield "|---|---|---|---|---|"
    for name, rate in rates.items():
        faiss = f"{rate / rates[FAISS]:.1f}" if FAISS in rates else "-"
        yield (
            f"| {name} | {rate:.0f} | {rate * per_pair / 1e9:.0f} | {rate / rates[OPENCV]:.1f} | {faiss} |"
        )
    if vnni.supported():  # torch has no fast int8 product without it
        reached = {name: rates[name] * per_pair / 1e9 for name in PRODUCTS.values() if name in rates}
        yield from peaks(rounds, reached)
    yield from two_processes(features)


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


def two_processes(features: Features) -> Iterator[str]:
    """What two processes do over one, in clock and CPU time; beside it, what registers alone allow.

    That product touches no memory, so it falls short of two only by what else the machine does.
    """
    packed = Packed.of(features).sketched()
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
        count_block(_PACKED[0], 0, PHOTOS, _PACKED[0], [0.5])
    else:
        int8_peak.measure(256)
    return time.perf_counter() - begin, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of photos")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    engine.use_one_thread()
    for line in speed(drawn(arguments.data), arguments.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
