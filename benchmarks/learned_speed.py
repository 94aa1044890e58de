"""Measure what learned local features cost: seconds a photo, and pairs a second by each way to match.

    uv sync --group weights
    python benchmarks/learned_speed.py --data ../shared/data [--px 256 384]

NyalaDev, one thread, CPU time of this process: 8 photos; 4 of them with 40; LightGlue 4 pairs. Prints a
Markdown table.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from learned_features import Collection, extractors

from reid_ray.config.matching import LightGlue, Sift
from reid_ray.matching import lightglue
from reid_ray.matching.engine import Packed, count_block, fastest_product, nearest_images, use_one_thread
from reid_ray.matching.extract import extract
from reid_ray.matching.features import Features

PHOTOS, ASKED, GLUED = 40, 4, 4


def cpu_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def pairs_a_second(features: Features, asked: int, work: Callable[[Packed, Packed], object]) -> float:
    packed = Packed.of(features).sketched()
    work(packed.part(0, 1), packed.part(0, 3))  # compiled, where it is
    return asked * len(features) / cpu_s(lambda: work(packed.part(0, asked), packed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--px", type=int, nargs="+", default=[256, 384])
    given = parser.parse_args()
    use_one_thread()
    torch.set_num_threads(1)
    print(f"product of descriptors: {fastest_product()} for whole numbers\n")
    print("| features | px | keypoints | s a photo | ratio, pairs/s | mutual | LNBNN | LightGlue |")
    print("|---|---|---|---|---|---|---|---|")
    for px in given.px:
        collection = Collection.load(given.data / "NyalaDev", Path("/nowhere"), px)
        photos = list(collection.photos(collection.table["path"][:PHOTOS]))
        for kind, config in extractors().items():
            extract(photos[:1], config)
            seconds = cpu_s(partial(extract, photos[:8], config)) / 8
            few = extract(photos[:8], config)
            features = Features.concat(few for _ in range(PHOTOS // 8))
            speeds = [
                pairs_a_second(
                    features, ASKED, lambda a, b, m=mutual: count_block(a, 0, len(a), b, (0.5,), mutual=m)
                )
                for mutual in (False, True)
            ]
            speeds.append(
                pairs_a_second(features, ASKED, lambda a, b: nearest_images(a, 0, len(a), b, kept=2))
            )
            if isinstance(config, Sift):
                glue = "-"
            else:
                second = LightGlue(model="lightglue", weights=config.weights)
                look = partial(lightglue.match_pairs, few.image(0), config=second, kind=kind.lower())
                look([few.image(1)])
                took = cpu_s(partial(look, [few.image(at) for at in range(1, GLUED + 1)]))
                glue = f"{GLUED / took:.2f}"
            cells = " | ".join(f"{one:.0f}" for one in speeds)
            print(
                f"| {kind} | {px} | {few.keypoints.mean():.0f} | {seconds:.3f} | {cells} | {glue} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
