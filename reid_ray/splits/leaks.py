"""Find what makes a score wrong: the same photo or encounter on both sides, queries without an
answer.

In: rows with their split and, once decoded, their content hash and near-duplicates. Out: findings,
rows on which the config's `on_leak` was done.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.config.datasets import Action, OnLeak, Split
from reid_ray.datasets import schema
from reid_ray.errors import SplitLeakError
from reid_ray.splits.learnable import learnable
from reid_ray.splits.time_aware import days_of

Kind = Literal[
    "query_is_reference",
    "validation_is_training",
    "near_duplicate",
    "same_encounter",
    "query_without_reference",
    "without_day",
]
Pairs = Sequence[tuple[int, int]]
"""(position of a query, position of a reference or training photo) in the rows."""

EXAMPLES = 5
"""Pairs that a finding shows."""


@dataclass(frozen=True)
class Finding:
    """One kind of fault in one dataset.

    Attributes:
        keys: the photos at fault: queries (or validation photos), in the rows' order.
        text: a sentence for the reader.
        action: what was done about it.
        pairs: examples: a photo at fault and its counterpart on the other side.
        paths: the same by path.
    """

    kind: Kind
    dataset: str
    keys: tuple[str, ...]
    text: str
    action: Action = "drop"
    pairs: tuple[tuple[str, str], ...] = ()
    paths: tuple[tuple[str, str], ...] = ()

    def record(self) -> dict[str, Any]:
        """Plain data for the report."""
        plain = {**asdict(self), "keys": len(self.keys)}
        return plain | {"pairs": [list(p) for p in self.pairs], "paths": [list(p) for p in self.paths]}


_SENTENCES: dict[Kind, str] = {
    "query_is_reference": "queries are the same file as a reference photo",
    "validation_is_training": "validation photos are the same file as a training photo",
    "near_duplicate": "queries are nearly the same picture as a reference photo",
    "same_encounter": "queries were taken in an encounter of a reference photo",
    "query_without_reference": "queries show an animal that has no reference photo",
    "without_day": "photos have no day that can be read and take no part",
}
_ACTION_OF: dict[Kind, str] = {
    "query_is_reference": "same_file",
    "validation_is_training": "same_file",
    "near_duplicate": "near_duplicate",
    "same_encounter": "same_encounter",
    "query_without_reference": "no_reference",
}
_DONE: dict[Action, str] = {
    "drop": "left out",
    "report": "still asked, so figures may be too good",
    "refuse": "refused",
}


def settle_leaks(rows: pd.DataFrame, split: Split, near: Pairs = ()) -> tuple[pd.DataFrame, list[Finding]]:
    """The rows after the config's `on_leak`, and what was found.

    What is dropped leaves the split (`none`); a validation photo goes back to training.

    Args:
        near: near-duplicates; see `reid_ray.splits.near_duplicates`.

    Raises:
        SplitLeakError: lists the findings that are to be refused.
    """
    findings = find_leaks(rows, split, near)
    if refused := [finding.text for finding in findings if finding.action == "refuse"]:
        raise SplitLeakError("; ".join(refused) + "; leave them out, or set split.on_leak to drop or report")
    rows = rows.copy()
    for finding in findings:
        found = rows["key"].isin(finding.keys)
        if finding.action == "report":
            continue
        if finding.kind == "validation_is_training":
            rows.loc[found, "validation"] = False
        else:
            rows.loc[found, "split"] = "none"
    return rows, findings


def find_leaks(rows: pd.DataFrame, split: Split, near: Pairs = ()) -> list[Finding]:
    """All findings by kind and dataset; equal and nearly equal photos are sought across datasets."""
    query, reference = rows["split"].eq("query"), rows["split"].eq("reference")
    findings = []
    if "content" in rows:
        findings += _same_files(rows, split.leak_actions)
    same = rows.get("content", pd.Series("", rows.index)).to_numpy(object)
    # A file that is on both sides as it is has been told already.
    apart = [(q, r) for q, r in near if query.iloc[q] and (same[q] != same[r] or not same[q])]
    findings += _findings(rows, "near_duplicate", split.leak_actions, apart)
    findings += _findings(rows, "same_encounter", split.leak_actions, _same_encounters(rows))
    if not split.opens:
        animals = pd.MultiIndex.from_frame(rows[["dataset", "identity"]])
        alone = np.flatnonzero(query & ~animals.isin(animals[reference.to_numpy()]))
        pairs = [(int(place), -1) for place in alone]
        findings += _findings(rows, "query_without_reference", split.leak_actions, pairs)
    if split.kind in ("time_proportion", "time_cutoff"):
        lost = np.flatnonzero(rows["identity"].ne(schema.UNKNOWN) & np.isnat(days_of(rows)))
        pairs = [(int(place), -1) for place in lost]
        findings += _findings(rows, "without_day", split.leak_actions, pairs)
    return findings


def _same_files(rows: pd.DataFrame, actions: OnLeak) -> list[Finding]:
    """Queries among references and training photos; validation among training photos."""
    validation, training = rows["validation"].to_numpy(bool), learnable(rows)
    query = rows["split"].eq("query").to_numpy()
    other = rows["split"].isin(["reference", "train"]).to_numpy()
    sides: list[tuple[Kind, NDArray[np.bool_], NDArray[np.bool_]]] = [
        ("query_is_reference", query, other),
        ("validation_is_training", validation, training & ~validation),
    ]
    content, findings = rows["content"].to_numpy(object), []
    for kind, one, another in sides:
        pairs = same_file_pairs(content, np.flatnonzero(one), np.flatnonzero(another))
        findings += _findings(rows, kind, actions, pairs)
    return findings


def same_file_pairs(
    content: NDArray[np.object_], asked: NDArray[np.int64], others: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Each of `asked` whose content, which is not "", one of `others` has, with the first such."""
    first = {content[place]: int(place) for place in others[::-1]}
    return [
        (int(place), first[content[place]]) for place in asked if content[place] in first and content[place]
    ]


def _same_encounters(rows: pd.DataFrame) -> list[tuple[int, int]]:
    """Each query with the first reference of its encounter.

    An encounter is what the column `encounter` says, within a dataset; where it says nothing, all
    photos of one animal on one day.
    """
    encounters = encounters_of(rows)
    reference = np.flatnonzero(rows["split"].eq("reference"))
    first = {int(encounters[place]): int(place) for place in reference[::-1]}
    return [
        (int(place), first[int(encounters[place])])
        for place in np.flatnonzero(rows["split"].eq("query"))
        if encounters[place] >= 0 and int(encounters[place]) in first
    ]


def encounters_of(rows: pd.DataFrame) -> NDArray[np.int64]:
    """A number per row, equal within an encounter; -1 where nothing tells."""
    named = rows["encounter"].astype(str) if "encounter" in rows else pd.Series("", rows.index)
    days = pd.Series(days_of(rows), rows.index)
    dated = days.notna() & rows["identity"].ne(schema.UNKNOWN)
    by_day = "day\0" + rows["identity"].astype(str) + "\0" + days.astype(str)
    names = ("encounter\0" + named).where(named.ne("") & named.ne("nan"), by_day.where(dated))
    full = rows["dataset"].astype(str) + "\0" + names
    return pd.factorize(full.where(names.notna()))[0].astype(np.int64)


def _findings(
    rows: pd.DataFrame, kind: Kind, actions: OnLeak, pairs: Iterable[tuple[int, int]]
) -> list[Finding]:
    """One finding per dataset of the photos at fault; a pair's second is -1 where it has none."""
    action: Action = getattr(actions, _ACTION_OF[kind]) if kind in _ACTION_OF else "drop"
    counterpart: dict[int, int] = {}
    for place, other in pairs:
        counterpart.setdefault(place, other)
    at_fault = np.array(sorted(counterpart), np.int64)
    datasets = rows["dataset"].to_numpy(object)[at_fault]
    return [
        _finding(rows, kind, action, [(int(p), counterpart[int(p)]) for p in at_fault[datasets == d]])
        for d in pd.unique(pd.Series(datasets, dtype=object))
    ]


def _finding(rows: pd.DataFrame, kind: Kind, action: Action, pairs: Pairs) -> Finding:
    """What is wrong with the first photos of `pairs`, all of one dataset."""
    keys = [str(key) for key in rows["key"]]
    names = (rows["dataset"].astype(str) + "/" + rows["identity"].astype(str)).to_numpy(object)
    dataset = str(rows["dataset"].iloc[pairs[0][0]])
    shown = [(keys[place], keys[other]) for place, other in pairs if other >= 0]
    first, other = pairs[0]
    paths = [_path(rows, place) for place in (first, other) if place >= 0]
    example = " and ".join(paths)
    renamed = sum(names[place] != names[other] for place, other in pairs if other >= 0)
    # One picture under two names is no leak but a wrong name, on one side or the other.
    odd = f", {renamed} of them under another name" if renamed and kind != "same_encounter" else ""
    done = _DONE[action]
    if kind == "query_without_reference" and action == "report":
        done = "still asked, as unknown individuals"
    text = f"{dataset}: {len(pairs)} {_SENTENCES[kind]}{odd}, for example {example} ({done})"
    named = tuple(keys[place] for place, _ in pairs)
    return Finding(kind, dataset, named, text, action, tuple(shown[:EXAMPLES]), _paths_of(rows, pairs))


def _paths_of(rows: pd.DataFrame, pairs: Pairs) -> tuple[tuple[str, str], ...]:
    shown = [(place, other) for place, other in pairs if other >= 0][:EXAMPLES]
    return tuple((_path(rows, place), _path(rows, other)) for place, other in shown)


def _path(rows: pd.DataFrame, place: int) -> str:
    """What people can find: the photo's path, with its dataset where there are several."""
    path = str(rows["path"].iloc[place]) if "path" in rows else str(rows["key"].iloc[place])
    return f"{rows['dataset'].iloc[place]}/{path}" if rows["dataset"].nunique() > 1 else path
