"""Read settings under the names they had in the version before. In: a parsed YAML file. Out: today's names.

The old names are read in this version alone: a config that uses one gets a line that names the new one.
"""

from collections.abc import Iterator
from typing import Any

from reid_ray.errors import ConfigError

KEYS = {
    "tuning_lookups": "leave_one_out_queries",
    "lookups": "leave_one_out_queries",
    "new_animals": "unknown_individuals",
    "unknown_as_new": "ask_unknown",
    "winner_workers": "confirmation_workers",
}
"""Old key -> new key, wherever it stands."""

VALUES = {
    ("source", "herd"): "synthetic",
    ("by", "winner"): "selected_trial",
    ("parts", "winner"): "selected_trial",
    ("settings", "winner"): "selected_trial",
    ("without", "aside"): "quarantine",
}
"""(Key, old value) -> new value; of a list each item counts."""


def modern(raw: Any, *, where: str) -> tuple[Any, list[str]]:
    """`raw` with today's names, and a sentence for each old name found; `raw` itself stays as it is.

    Raises:
        ConfigError: one map has a setting under both names.
    """
    notes = dict.fromkeys(_notes(raw, where))
    return _renamed(raw, where), list(notes)


def _renamed(raw: Any, where: str) -> Any:
    if isinstance(raw, list | tuple):
        return [_renamed(item, where) for item in raw]
    if not isinstance(raw, dict):
        return raw
    for old, new in KEYS.items():
        if old in raw and new in raw:
            raise ConfigError(f"{where}: found {old} and {new}, which are the same setting; remove {old}")
    return {KEYS.get(key, key): _value(KEYS.get(key, key), item, where) for key, item in raw.items()}


def _value(key: Any, value: Any, where: str) -> Any:
    if isinstance(value, list | tuple):
        return [_value(key, item, where) for item in value]
    return VALUES.get((key, value), value) if isinstance(value, str) else _renamed(value, where)


def _notes(raw: Any, where: str) -> Iterator[str]:
    """In the order in which they are found."""
    if isinstance(raw, list | tuple):
        for item in raw:
            yield from _notes(item, where)
    elif isinstance(raw, dict):
        for key, value in raw.items():
            if key in KEYS:
                yield _note(where, key, KEYS[key])
            for one in value if isinstance(value, list | tuple) else (value,):
                if isinstance(one, str) and (key, one) in VALUES:
                    yield _note(where, f"{key}: {one}", f"{key}: {VALUES[key, one]}")
            yield from _notes(value, where)


def _note(where: str, old: str, new: str) -> str:
    return f"{where}: '{old}' is now '{new}'; the old name is read in this version only"
