"""Measure what leaving the other flank out saves and gains: pairs matched, seconds, answers.

    python benchmarks/viewpoint.py --data ../shared/data [--queries 80]

NyalaDev, LNBNN (3 votes, plain distances), RootSIFT, all keypoints, one process: of the first division of
`identify.py`, so many new photos of known animals are asked among the known ones. Prints a Markdown table.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from identify import SIGHTING, divided

from reid_ray.config.datasets import Images
from reid_ray.config.matching import Matching
from reid_ray.datasets.images import read_prepared
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.matching.engine import use_one_thread
from reid_ray.methods.bench import InProcess
from reid_ray.methods.gallery import Gallery
from reid_ray.methods.local_features import LocalFeatures

LNBNN = {"extractor": {"kind": "sift", "root": True}, "score": "lnbnn", "neighbours": [3]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=80)
    given = parser.parse_args()
    use_one_thread()
    root = given.data / "NyalaDev"
    rows = pd.read_csv(root / "metadata.csv", dtype=str).assign(dataset="NyalaDev")
    identities = pd.factorize(rows["identity"])[0].astype(np.int64)
    met = rows["identity"] + "/" + rows["path"].str.extract(SIGHTING, expand=False)
    known, new = divided(identities, pd.factorize(met)[0].astype(np.int64), 0)
    new = new[np.isin(identities[new], identities[known])]
    new = np.sort(np.random.default_rng(0).permutation(new)[: given.queries])
    photos = (read_prepared(str(root), path, images=Images(short_px=256)).pixels for path in rows["path"])
    images = PreparedImages.pack(photos)
    print("| viewpoint | pairs | seconds | first right |")
    print("|---|---|---|---|")
    with TemporaryDirectory() as folder:
        here = InProcess(images, Path(folder))
        gallery = Gallery.of(rows, known, new, name="NyalaDev")
        here.features(gallery.photos, Matching.parse(LNBNN, where="benchmark"))  # kept in the folder
        for viewpoint in ("off", "prefer", "only"):
            config = Matching.parse(
                {**LNBNN, "distances": ["plain"], "viewpoint": viewpoint}, where="benchmark"
            )
            ready = LocalFeatures(config).prepare([gallery], here)[0]
            began = time.perf_counter()
            ranked, _ = ready.rank(here, gallery.queries, k=1)
            seconds = time.perf_counter() - began
            pairs = gallery.under(config).pairs(gallery.queries)
            right = float((ranked.first_correct == 1).mean())
            print(
                f"| {viewpoint} | {pairs} | {seconds:.1f} | {100 * right:.1f} % of {len(new)} |", flush=True
            )


if __name__ == "__main__":
    main()
