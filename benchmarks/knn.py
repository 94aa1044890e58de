"""Measure the streamed search against faiss's flat index on the same vectors, in turn in one run.

    python benchmarks/knn.py --queries 1000 --references 100000 --dims 1024 --rounds 3

Prints a table in Markdown: time by the clock and of the process's processors, peak memory beside the
vectors, and whether the k references are the same. Vectors are there once: faiss's index holds them, the
search reads them in place. Both have unit vectors, though the search scales them again. `faiss` comes
with `pip install faiss-cpu`.
"""

import argparse
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from reid_ray.evaluation.knn import cosine_knn

Floats = NDArray[np.float32]
PHOTOS = 10
"""References per identity; photos of one identity have a cosine of about 0.3."""
CHECKED = 16
"""Queries whose answers are compared with float64 products of all references."""


@dataclass(frozen=True)
class Cost:
    clock_s: float
    processor_s: float
    peak_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--references", type=int, default=100_000)
    parser.add_argument("--dims", type=int, default=1024)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--block", type=int, nargs=2, default=None, metavar=("QUERIES", "REFERENCES"))
    parser.add_argument("--without-plain", action="store_true", help="leave the third way out")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    faiss.omp_set_num_threads(asked.threads)
    index, references = make_index(asked.references, asked.dims)
    queries = make_vectors(asked.references, asked.queries, asked.dims, stream=1)
    labels_g = np.arange(asked.references) // PHOTOS
    labels_q = identities(asked.references, asked.queries, stream=1)
    options: dict[str, Any] = {"block": tuple(asked.block)} if asked.block else {}
    ways: dict[str, Callable[[], Any]] = {
        "faiss IndexFlatIP: k best": lambda: index.search(queries, asked.k),
        "ours: k best, rank of every right reference": lambda: cosine_knn(
            queries, references, labels_q, labels_g, k=asked.k, **options
        ),
        "ours: k best": lambda: cosine_knn(
            queries, references, np.full(len(queries), -1), labels_g, k=asked.k, **options
        ),
    }
    cosine_knn(queries[:2], references[:50], labels_q[:2], labels_g[:50], k=1, block=(1, 20))  # compiles
    if asked.without_plain:
        ways.popitem()
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    answers: dict[str, Any] = {}
    for _ in range(asked.rounds):
        for name, way in ways.items():
            answers[name], cost = measured(way)
            costs[name].append(cost)
            print(f"  {name}: {cost.clock_s:.2f} s, {cost.processor_s:.2f} processor s", flush=True)
    work = 2.0 * asked.queries * asked.references * asked.dims
    print(table(costs, work))
    first, ranked = list(answers.values())[:2]
    compare_ids(first[1], ranked.top_index, queries, references)
    check(ranked, queries, references, labels_q, labels_g)


def identities(references: int, count: int, *, stream: int) -> NDArray[np.int64]:
    return np.random.default_rng([7, stream]).integers(0, max(1, references // PHOTOS), count)


def make_vectors(references: int, count: int, dims: int, *, stream: int) -> Floats:
    """Unit vectors of photos of `identities`."""
    rng = np.random.default_rng([stream, count])
    vectors = np.stack([centre(name, dims) for name in identities(references, count, stream=stream)])
    vectors += 1.5 * rng.standard_normal((count, dims), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def centre(identity: int, dims: int) -> Floats:
    return np.random.default_rng([11, int(identity)]).standard_normal(dims, np.float32)


def make_index(count: int, dims: int) -> tuple[Any, Floats]:
    """A flat index of references 0, 0, ..., 1, 1, ... and its vectors, without a copy."""
    index = faiss.IndexFlatIP(dims)
    index.codes.resize(count * dims * 4)  # at once: growing by doubling would take twice as much
    index.ntotal = count
    vectors: Floats = faiss.rev_swig_ptr(index.get_xb(), count * dims).reshape(count, dims)
    rng = np.random.default_rng(5)
    for start in range(0, count, PHOTOS):
        part = vectors[start : start + PHOTOS]
        rng.standard_normal(out=part, dtype=np.float32)
        part *= 1.5
        part += centre(start // PHOTOS, dims)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return index, vectors


def measured(way: Callable[[], Any]) -> tuple[Any, Cost]:
    """Peak memory is what is resident at most, above what was before; sampled 100 times a second."""
    before, peak, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], resident() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    clock, processor = time.perf_counter(), time.process_time()
    answer = way()
    cost = time.perf_counter() - clock, time.process_time() - processor
    done.set()
    watcher.join()
    return answer, Cost(*cost, peak[0])


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def table(costs: dict[str, list[Cost]], work: float) -> str:
    """Medians; the ratio is that of faiss's time to the way's, round by round."""
    first = next(iter(costs.values()))
    lines = [
        "",
        "| way | clock, s | Gflop/s | times faiss | processor, s | times faiss | peak beside data |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rounds in costs.items():
        clock = np.median([cost.clock_s for cost in rounds])
        processor = np.median([cost.processor_s for cost in rounds])
        by_clock = np.median([f.clock_s / c.clock_s for f, c in zip(first, rounds, strict=True)])
        by_processor = np.median([f.processor_s / c.processor_s for f, c in zip(first, rounds, strict=True)])
        peak = max(cost.peak_bytes for cost in rounds) / 2**20
        lines.append(
            f"| {name} | {clock:.2f} | {work / clock / 1e9:.0f} | {by_clock:.2f} | {processor:.2f} "
            f"| {by_processor:.2f} | {peak:.0f} MiB |"
        )
    return "\n".join([*lines, ""])


def compare_ids(
    theirs: NDArray[np.int64], ours: NDArray[np.int64], queries: Floats, references: Floats
) -> None:
    """Where ids differ, how far the scores are apart: rounding swaps what is equal to it."""
    differ = np.argwhere(theirs != ours)
    gap = 0.0
    for q, place in differ:
        pair = references[[theirs[q, place], ours[q, place]]].astype(np.float64)
        scores = pair @ queries[q].astype(np.float64)
        gap = max(gap, abs(scores[0] - scores[1]))
    print(f"ids that differ from faiss: {len(differ)} of {theirs.size}; largest gap {gap:.1e}")


def check(
    ranked: Any, queries: Floats, references: Floats, labels_q: NDArray[Any], labels_g: NDArray[Any]
) -> None:
    """A few queries by float64 products of everything."""
    wrong = 0
    chosen = np.linspace(0, len(queries) - 1, min(CHECKED, len(queries))).astype(int)
    few = queries[chosen].astype(np.float64).T
    parts = [
        (references[start : start + 4096].astype(np.float64) @ few).astype(np.float32)
        for start in range(0, len(references), 4096)
    ]
    for q, scores in zip(chosen, np.concatenate(parts).T, strict=True):
        order = np.argsort(-scores, kind="stable")
        ranks = np.flatnonzero(labels_g[order] == labels_q[q]) + 1
        precision = np.mean(np.arange(1, len(ranks) + 1) / ranks)
        k = ranked.top_index.shape[1]
        same = np.array_equal(order[:k], ranked.top_index[q]) and ranked.first_correct[q] == ranks[0]
        wrong += not (same and abs(precision - ranked.average_precision[q]) < 1e-6)
    print(f"queries that differ from float64 products of all references: {wrong} of {len(chosen)}")


if __name__ == "__main__":
    main()
