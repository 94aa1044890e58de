"""Read a collection that is kept as one folder per animal.

In: a root folder. Out: one row per photo (identity, path), nothing checked yet.
"""

import pandas as pd

from reid_ray.config.datasets import FolderDataset
from reid_ray.datasets import schema
from reid_ray.datasets.kinds import kind_of, suffix_of
from reid_ray.datasets.roots import Root
from reid_ray.errors import DatasetError

_SPLITS = frozenset({"train", "val", "valid", "validation", "test", "gallery", "query"})


def read_folder(dataset: FolderDataset, root: Root) -> tuple[pd.DataFrame, list[schema.Fault]]:
    """Photos below each identity's folder; those that lie higher are of unknown animals.

    Returns:
        The rows, and faults for files whose name is no valid text, folders that are not entered, and
        photos in a format that is not read, unless a photo of the same name lies beside.
    """
    found = root.inventory()
    reason = "a folder that is a link, or may not be read, is not entered"
    faults = [(dataset.name, "", _shown(path) + "/", reason) for path in found.closed]
    rows, unread = [], []
    for path in dataset.only or found.files:
        if not path.isprintable() and _is_broken(path):
            faults.append((dataset.name, "", _shown(path), "file name is not valid UTF-8; rename it"))
            continue
        kind = "photo" if dataset.only else kind_of(path, root.head)
        if kind == "photo":
            rows.append((animal_of(path, dataset.level), path))
        elif kind == "unread":
            unread.append(path)
    faults += [
        (dataset.name, "", path, f"{suffix_of(path)} files are not read; convert it to JPEG")
        for path in alone(unread, [path for _, path in rows])
    ]
    table = pd.DataFrame(rows, columns=["identity", "path"], dtype="str")
    _refuse_split_folders(table["identity"], dataset)
    return table, faults


def alone(unread: list[str], photos: list[str]) -> list[str]:
    """Those of the unread photos beside which no photo of the same name lies."""
    read = {path.rpartition(".")[0] for path in photos}
    return [path for path in unread if path.rpartition(".")[0] not in read]


def animal_of(path: str, level: int) -> str:
    """The name of the folder on this level; `UNKNOWN` for a photo that lies higher."""
    folders = path.split("/")[:-1]
    return folders[level - 1] if len(folders) >= level else schema.UNKNOWN


def _shown(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode()


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
            "expected one folder per animal: set root deeper, or level: 2, or use a table with a split column"
        )
