"""Write metadata.csv for `reid_ray` into a collection that wildlife-datasets has downloaded.

    python examples/from_wildlife_datasets.py SealID /downloads/SealID

It gets those columns of their table that we read, `split` by their seed, and `bbox` where published figures
are of cropped photos: their own box, or what is not black. wildlife-datasets is a package of others, that you
install yourself (MIT up to 1.0.8).
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from reid_ray.config.collections import collections

COLUMNS = ["image_id", "identity", "path", "bbox", "date", "orientation", "species", "split"]


def not_black(path: Path) -> list[int]:
    """[x, y, w, h] of what wildlife-tools' `crop_black` keeps, which is less the last row and column."""
    y, x, _ = np.nonzero(np.asarray(Image.open(path).convert("RGB")))
    return [int(x.min()), int(y.min()), int(x.max() - x.min()), int(y.max() - y.min())]


def table(name: str, root: Path) -> pd.DataFrame:
    """Their table with our split and the published preparation."""
    from wildlife_datasets import datasets, splits

    rows = getattr(datasets, name)(str(root)).df.reset_index(drop=True)
    train, _ = next(iter(splits.ClosedSetSplit(0.8).split(rows)))
    rows["split"] = np.where(np.isin(np.arange(len(rows)), train), "train", "test")
    known = collections().get(name)
    if known is not None and known.preparation == "crop_black":
        rows["bbox"] = [not_black(root / path) for path in rows["path"]]
    elif known is not None and known.preparation == "full":
        rows = rows.drop(columns="bbox", errors="ignore")
    return rows[[column for column in COLUMNS if column in rows]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="wildlife-datasets' class, SealID for example")
    parser.add_argument("root", type=Path, help="where it was downloaded to")
    given = parser.parse_args()
    to = given.root / "metadata.csv"
    if to.exists():
        parser.error(f"{to} is there already; move it away to have it made anew")
    rows = table(given.name, given.root)
    rows.to_csv(to, index=False)
    print(f"{to}: {len(rows)} photos of {rows['identity'].nunique()} animals")
