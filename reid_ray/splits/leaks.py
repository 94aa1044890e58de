"""Find what makes a score wrong: files on both sides of the split, queries without an answer.

In: rows with their split and, once decoded, their content hash. Out: findings, rows without them.
"""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from reid_ray.errors import SplitLeakError

Kind = Literal["query_is_reference", "validation_is_training", "query_without_reference"]


@dataclass(frozen=True)
class Finding:
    """One kind of fault in one dataset.

    Attributes:
        keys: the photos to leave out of queries (or of validation), in the rows' order.
        text: a sentence for the reader.
    """

    kind: Kind
    dataset: str
    keys: tuple[str, ...]
    text: str


_SENTENCES: dict[Kind, str] = {
    "query_is_reference": "queries are the same file as a reference photo",
    "validation_is_training": "validation photos are the same file as a training photo",
    "query_without_reference": "queries show an animal that has no reference photo",
}


def find_leaks(rows: pd.DataFrame) -> list[Finding]:
    """All findings by kind and dataset; equal files are sought across datasets, by `content`."""
    query, reference = rows["split"].eq("query"), rows["split"].eq("reference")
    findings = []
    if "content" in rows:
        known = rows["content"].ne("")
        same = query & known & rows["content"].isin(rows.loc[reference, "content"])
        findings += _by_dataset(rows[same], "query_is_reference")
        validation = rows["validation"].astype(bool)
        training = reference & ~validation & rows["domain"].eq("seen")
        same = validation & known & rows["content"].isin(rows.loc[training, "content"])
        findings += _by_dataset(rows[same], "validation_is_training")
    animals = pd.MultiIndex.from_frame(rows[["dataset", "identity"]])
    alone = query & ~animals.isin(animals[reference.to_numpy()])
    return findings + _by_dataset(rows[alone], "query_without_reference")


def drop_leaks(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[Finding]]:
    """The rows with leaking queries out of the split (`none`) and leaking validation photos back in
    training, and what was found."""
    findings = find_leaks(rows)
    rows = rows.copy()
    for finding in findings:
        found = rows["key"].isin(finding.keys)
        if finding.kind == "validation_is_training":
            rows.loc[found, "validation"] = False
        else:
            rows.loc[found, "split"] = "none"
    return rows, findings


def refuse_leaks(rows: pd.DataFrame) -> None:
    """Stop on any finding.

    Raises:
        SplitLeakError: lists the findings.
    """
    if findings := find_leaks(rows):
        raise SplitLeakError("; ".join(finding.text for finding in findings) + "; leave them out")


def _by_dataset(rows: pd.DataFrame, kind: Kind) -> list[Finding]:
    findings = []
    for dataset, part in rows.groupby("dataset", sort=False):
        keys = tuple(part["key"])
        text = f"{dataset}: {len(keys)} {_SENTENCES[kind]}, for example {keys[0]}"
        findings.append(Finding(kind, str(dataset), keys, text))
    return findings
