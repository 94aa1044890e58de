"""Read a collection that is kept as one folder per animal.

In: a root folder. Out: one row per photo (image_id, identity, path), nothing checked yet.
"""

import pandas as pd

from reid_ray.config.datasets import FolderDataset
from reid_ray.datasets import schema
from reid_ray.datasets.roots import Root
from reid_ray.errors import DatasetError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"})
"""Files taken for photos, in any case; what is inside them is decided by their content."""

_OTHERS = frozenset(
    {".heic", ".heif", ".avif", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"}
)
"""Photos as phones and cameras write them, that are not read; often a JPEG lies beside them."""

_SPLITS = frozenset({"train", "val", "valid", "validation", "test", "gallery", "query"})


def read_folder(dataset: FolderDataset, root: Root) -> tuple[pd.DataFrame, list[schema.Fault]]:
    """Photos below each identity's folder; those beside the folders are of unknown animals.

    Returns:
        The rows, and faults for files whose name is no valid text and folders that are not entered.
    """
    rows, faults, unread = [], [], []
    for path in root.files():
        if path.endswith("/"):
            reason = "a folder that is a link, or may not be read, is not entered"
            faults.append((dataset.name, "", path, reason))
        elif not path.isprintable() and _is_broken(path):
            shown = path.encode("utf-8", "backslashreplace").decode()
            faults.append((dataset.name, "", shown, "file name is not valid UTF-8; rename it"))
        elif _suffix(path) in SUFFIXES:
            identity, below, _ = path.partition("/")
            rows.append((schema.id_of_path(path), identity if below else schema.UNKNOWN, path))
        elif _suffix(path) in _OTHERS:
            unread.append(path)
    read = {path.rpartition(".")[0] for *_, path in rows}
    faults += [
        (dataset.name, "", path, f"{_suffix(path)} files are not read; convert it to JPEG")
        for path in unread
        if path.rpartition(".")[0] not in read
    ]
    table = pd.DataFrame(rows, columns=["image_id", "identity", "path"], dtype="str")
    _refuse_split_folders(table["identity"], dataset)
    return table, faults


def _suffix(path: str) -> str:
    name = path.rpartition("/")[2]
    return "." + name.rpartition(".")[2].lower() if "." in name else ""


def _is_broken(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return True
    return False


def _refuse_split_folders(identities: pd.Series, dataset: FolderDataset) -> None:
    """`train/<animal>/photo.jpg` read as one folder per animal would make `train` an animal."""
    found = set(identities.unique()) - {schema.UNKNOWN}
    if found and {name.lower() for name in found} <= _SPLITS:
        raise DatasetError(
            f"{dataset.root}: the folders are {sorted(found)}, parts of a split and not animals; "
            "expected one folder per animal: set root deeper, or use a table with a split column"
        )
