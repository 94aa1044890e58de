"""Synthetic animals as people keep them: a folder of photos each."""

import shutil
from pathlib import Path

import pandas as pd

from reid_ray.config.datasets import SyntheticDataset
from reid_ray.datasets.synthetic import make_synthetic


def folder_per_animal(folder: Path, synthetic: SyntheticDataset) -> Path:
    """Draw the photos, and copy each into its animal's folder in `folder`, which is returned."""
    made = make_synthetic(folder.with_name(f"{folder.name}-made"), synthetic)
    for row in pd.read_csv(made / "metadata.csv", dtype=str).itertuples():
        target = folder / str(row.identity) / Path(str(row.path)).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made / str(row.path), target)
    return folder
