"""Say what made the results: code, libraries, machine, data, settings."""

from collections.abc import Mapping
from typing import Any

import yaml

from reid_ray.reporting import tables
from reid_ray.reporting.sections.section import Section, Subject


def _contents(subject: Subject) -> dict[str, Any]:
    config = subject.record.study.get("config")
    return {
        "facts": _facts(subject.record.study.get("provenance") or {}),
        "config": yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100),
    }


def _facts(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs to print; nested maps become `name value` lists."""
    facts = []
    for name, value in provenance.items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{key} {tables.shown(item)}" for key, item in value.items())
        elif isinstance(value, list | tuple):
            text = ", ".join(map(str, value))
        else:
            text = tables.shown(value)
        facts.append((name.replace("_", " "), text or "\u2013"))
    return facts


SECTION = Section("provenance", "Provenance", _contents, folded=True)
