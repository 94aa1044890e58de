"""Name the collections that leak, with examples. In: the study's record. Out: the report's tables.

A study that was made before leaks were recorded has none to show.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

_KINDS = {
    "query_is_reference": "same file as a reference",
    "validation_is_training": "validation photo, same file as a training photo",
    "near_duplicate": "nearly the same picture as a reference",
    "same_encounter": "same encounter as a reference",
    "query_without_reference": "animal without a reference",
    "without_day": "no day that can be read",
}
_DONE = {"drop": "left out", "report": "still asked"}


def leak_contents(study: Mapping[str, Any]) -> dict[str, Any]:
    """What the page prints: `leaks`, a row per collection and kind, `leaks_sought`, `background`."""
    leaks = [
        {
            "dataset": leak["dataset"],
            "kind": _KINDS.get(leak["kind"], leak["kind"]),
            "photos": leak["keys"],
            "done": _DONE.get(leak["action"], leak["action"]),
            "pairs": leak["pairs"],
            "paths": leak.get("paths") or leak["pairs"],
        }
        for leak in study.get("leaks") or ()
    ]
    return {
        "leaks": leaks,
        "leaks_sought": "leaks" in study,
        "background": list(study.get("background") or ()),
    }


def leaks_csv(study: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """By file name; nothing where nothing was found or measured."""
    contents = leak_contents(study)
    tables: dict[str, pd.DataFrame] = {}
    if contents["leaks"]:
        tables["leaks.csv"] = pd.DataFrame(
            [
                leak
                | {name: "; ".join(" = ".join(pair) for pair in leak[name]) for name in ("pairs", "paths")}
                for leak in contents["leaks"]
            ]
        )
    if contents["background"]:
        tables["background.csv"] = pd.DataFrame(contents["background"])
    return tables
