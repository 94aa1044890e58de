"""Any mix of separators, letter case, Unicode forms and stray files is read whole, or each loss is counted.

`INTAKE_EXAMPLES=10000` tries as many collections; by default there are few.
"""

import os
import tempfile
import unicodedata
from pathlib import Path

import pandas as pd
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from reid_ray.config.datasets import Data, Images
from reid_ray.datasets.catalogue import load_rows, root_of
from reid_ray.datasets.intake import close_account
from reid_ray.datasets.understand import understand
from reid_ray.errors import DatasetError

EXAMPLES = int(os.environ.get("INTAKE_EXAMPLES", "60"))
JPEG = b"\xff\xd8\xff\xe0" + bytes(60)

FOLDER = st.sampled_from(
    ["A0", "a0", "Zoé", "Zoe\u0301", "B 1", "C_L", "2020", "#recycle", ".cache", "_trash"]
)
NAME = st.sampled_from(
    [
        *("1.jpg", "1.JPG", "2.jpeg", "ü.png", "x", "y.jfif", "notes.txt", "r.nef", "r.jpg", "v.mp4"),
        *("~$t.xlsx", "odd.qqq"),
    ]
)
FILES = st.sets(st.tuples(st.lists(FOLDER, max_size=3).map(tuple), NAME), min_size=1, max_size=12)
WAYS = (
    lambda path: path,
    lambda path: path.replace("/", "\\"),
    lambda path: f" {path}",
    lambda path: path.swapcase(),
    lambda path: unicodedata.normalize("NFD", path),
    lambda path: unicodedata.normalize("NFC", path),
    lambda path: f"D:\\trip\\{path}",
    lambda path: path.rpartition("/")[2],
    lambda path: f"gone/{path}x",
)


def hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith((".", "~$")) for part in parts)


def binned(folders: tuple[str, ...]) -> bool:
    return any(name in ("#recycle", "_trash") for name in folders)


def form(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def is_photo(name: str) -> bool:
    return name.endswith((".jpg", ".JPG", ".jpeg", ".png", ".jfif")) or name in ("x", "odd.qqq")


@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    tree=FILES, listed=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 8)), max_size=12), data=st.data()
)
def test_every_file_and_every_row_is_used_or_named_as_lost(
    tree: set[tuple[tuple[str, ...], str]], listed: list[tuple[int, int]], data: st.DataObject
) -> None:
    order = sorted(tree)
    paths = ["/".join((*folders, name)) for folders, name in order]
    with tempfile.TemporaryDirectory(prefix="photos") as home:
        root = Path(home)
        for path in paths:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(JPEG)
        names = [WAYS[way](paths[place % len(paths)]) for place, way in listed]
        animals = data.draw(
            st.lists(st.sampled_from(["leo", "mia"]), min_size=len(names), max_size=len(names))
        )
        table = pd.DataFrame({"path": names, "identity": animals, "site": "x"})
        if names:
            table.to_csv(root / "metadata.csv", index=False)
        try:
            found = understand(root)
            data_of = Data(datasets=(found.dataset,), images=Images(max_bad_share=1.0))
            loaded = load_rows(data_of, made=root)
        except DatasetError as told:
            event("refused as a whole")
            said = str(told)
            assert any(part in said for part in (str(root), "none of", "more than one way"))
            return
        event(f"read by {found.dataset.source}")
        shown = [
            (folders, name) for folders, name in order if not hidden((*folders, name)) and not binned(folders)
        ]
        account = close_account(loaded.rows, loaded.quarantine, root_of(found.dataset))
        in_hidden = {row for row in loaded.rows["path"] if row not in {"/".join((*f, n)) for f, n in shown}}
        assert account.files == len(shown) + bool(names) + len(in_hidden)
        parts = (account.used, account.quarantined, len(account.unlisted))
        assert sum(parts) + account.unread.total() + account.others.total() == account.files
        assert account.used == loaded.rows["path"].nunique()
        if found.dataset.source == "table":
            assert len(loaded.rows) + len(loaded.quarantine) == len(table)
            resolved = loaded.intakes[0].paths
            assert resolved is not None
            assert set(resolved.by_name) == set(names)
            used = set(loaded.rows["path"])
            for match in resolved.by_name.values():
                # A lost name is counted as such; a found one is a row.
                assert (match.path in used) == (match.how in ("exact", "spelling", "name"))
            seen = ["/".join((*folders, name)) for folders, name in shown]
            forms = [form(path) for path in seen]
            for place, way in listed:
                path = paths[place % len(paths)]
                as_it_is = way < 3 or (way < 6 and forms.count(form(path)) == 1)
                if path in seen and as_it_is:
                    assert path in used
        else:
            photos = ["/".join((*folders, name)) for folders, name in shown if is_photo(name)]
            assert set(loaded.rows["path"]) == set(photos)
            for told in found.reasons:
                if "metadata.csv" in told:
                    assert told.startswith("not used: metadata.csv, because ")
            assert not names or any("metadata.csv" in told for told in found.reasons)
