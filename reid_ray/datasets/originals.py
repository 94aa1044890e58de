"""Know originals that were read before, so that they are not read at every start.

In: a photo's address, box and stamp (size and time of its last change). Out: the hash of its content, as it
was when it was last read. A file whose stamp is another, or so young that a change might not show, is read.
"""

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.errors import StorageError
from reid_ray.runs import files

SETTLED_NS = 5 * 10**9
"""File systems and object stores tell the time of a change by seconds, at worst; a file that was written just
now may be written once more without a new stamp."""
_KEY, _STAMP, _CONTENT = "S32", "S64", "S32"


@dataclass(frozen=True)
class Originals:
    """What is known, as arrays that processes can share; sorted by address.

    Attributes:
        addresses: bytes [n], see `address_of`.
        stamps: bytes [n].
        contents: bytes [n], hex digits of the content's hash.
    """

    addresses: NDArray[np.bytes_]
    stamps: NDArray[np.bytes_]
    contents: NDArray[np.bytes_]

    @classmethod
    def read(cls, path: Path) -> "Originals":
        """From a file that `remember` wrote; none where there is no such file, or a damaged one."""
        try:
            table = files.read_table(path)
            order = np.argsort(table["address"].to_numpy(_KEY), kind="stable")
            columns = (("address", _KEY), ("stamp", _STAMP), ("content", _CONTENT))
            return cls(*(table[name].to_numpy(kind)[order] for name, kind in columns))
        except (StorageError, OSError, ValueError, KeyError, UnicodeError):
            return NONE

    def content(self, address: str, stamp: str) -> str | None:
        """The content's hash, if the file has not changed since."""
        at = int(np.searchsorted(self.addresses, np.array(address, _KEY)))
        if at == len(self.addresses) or self.addresses[at] != address.encode():
            return None
        return self.contents[at].decode() if stamp and self.stamps[at] == stamp.encode() else None


NONE = Originals(np.zeros(0, _KEY), np.zeros(0, _STAMP), np.zeros(0, _CONTENT))


def address_of(root: str, path: str, box: Sequence[float] | None) -> str:
    """32 hex digits of where a photo is and what of it is wanted."""
    sides = [] if box is None else [float(side) for side in box]
    return hashlib.blake2b(f"{root}\0{path}\0{sides}".encode("utf-8", "replace"), digest_size=16).hexdigest()


def settled(stamp: str) -> bool:
    """Whether a later change would give another stamp."""
    changed = stamp.rpartition(":")[2]
    return bool(changed) and int(changed) < time.time_ns() - SETTLED_NS


def remember(path: Path, known: Originals, found: Iterable[tuple[str, str, str]]) -> None:
    """Keep what is known now; `found`: (address, stamp, content) of files that were read."""
    new = pd.DataFrame(found, columns=["address", "stamp", "content"])
    if not len(new):
        return
    old = pd.DataFrame(
        {
            name: part.astype(str)
            for name, part in (
                ("address", known.addresses),
                ("stamp", known.stamps),
                ("content", known.contents),
            )
        }
    )
    table = pd.concat([old, new]).drop_duplicates("address", keep="last")
    files.write_table(path, table.sort_values("address", ignore_index=True))
