"""The paper's comparisons over collections, as on its slides. In: methods. Out: SVG, tables.

A point is a setting's top-1 on one collection of a seen species.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from reid_ray.config.collections import collections
from reid_ray.reporting.boxes import Group, Row, draw
from reid_ray.reporting.per_setting import per_dataset
from reid_ray.reporting.pooled import TRAINED, Method
from reid_ray.reporting.svg import WIDE_PX
from reid_ray.reporting.tables import shown
from reid_ray.runs.methods import Family

_COMPARED = ("untrained", "local features", "pretrained")
_MOST_COLLECTIONS = 30
_OWN = ("top1", "top1_low", "top1_high")
PUBLISHED = tuple(f"MegaDescriptor-{model}" for model in ("T-224", "S-224", "B-224", "L-224", "L-384"))


def seen_collections(methods: Sequence[Method]) -> list[str]:
    """Those that any method answered, in the order of the study."""
    return list(dict.fromkeys(name for method in methods for name in per_dataset(method).index))


def per_collection(methods: Sequence[Method], *, name: str, width_px: float = WIDE_PX) -> str:
    """Backbone and loss on each collection by itself, a point per setting."""
    trials = [method for method in methods if method.is_trial]
    groups = []
    for dataset in seen_collections(trials)[:_MOST_COLLECTIONS]:
        rows = []
        for backbone in dict.fromkeys(m.params.get("backbone") for m in trials):
            for family in TRAINED:
                arm = [m for m in trials if m.params.get("backbone") == backbone and m.family == family]
                points = [top1[dataset] for m in arm if dataset in (top1 := per_dataset(m)).index]
                if points:
                    rows.append(Row(f"{backbone}, {family}", family, tuple(points)))
        groups.append(Group(dataset, tuple(rows)))
    title = "Top-1 of all settings on each collection, per backbone and loss"
    return draw(groups, name=name, title=title, width_px=width_px, about="Top-1 (%)")


def combinations(methods: Sequence[Method], family: Family, *, name: str, width_px: float = WIDE_PX) -> str:
    """Every setting of a loss, a box over collections each, per backbone, best median first."""
    arm = [method for method in methods if method.is_trial and method.family == family]
    groups = []
    for backbone in dict.fromkeys(method.params.get("backbone") for method in arm):
        mine = [method for method in arm if method.params.get("backbone") == backbone]
        rows = [Row(_setting(one), family, tuple(top1)) for one in mine if len(top1 := per_dataset(one))]
        rows.sort(key=lambda row: -float(np.median(row.points)))
        groups.append(Group(str(backbone), tuple(rows)))
    title = f"Top-1 of every {family} setting over collections"
    return draw(groups, name=name, title=title, width_px=width_px, about="Top-1 on a collection (%)")


def _setting(method: Method) -> str:
    """What tells a setting from others of its backbone and loss."""
    names = {"margin": "m", "scale": "s", "mining": "", "lr": "lr"}
    parts = [
        f"{short}={shown(method.params[name])}" if short else shown(method.params[name])
        for name, short in names.items()
        if name in method.params
    ]
    return " ".join(parts)


def sensitivity(methods: Sequence[Method], *, name: str, width_px: float = WIDE_PX) -> str:
    """How far an arm's settings lie apart on a collection: best less worst, a point per collection."""
    rows = [
        Row(f"{backbone}, {family}", family, spreads) for backbone, family, _, spreads in _spreads(methods)
    ]
    title = "How much settings matter, per backbone and loss"
    about = "Best less worst top-1 (points)"
    groups = [Group("", tuple(rows))]
    return draw(groups, name=name, title=title, width_px=width_px, about=about, ringed=False)


def sensitivity_table(methods: Sequence[Method]) -> pd.DataFrame:
    """A row per arm: over collections, the median of the spread of its settings; shares in 0..1."""
    rows = [
        (backbone, family, settings, float(np.median(spreads)))
        for backbone, family, settings, spreads in _spreads(methods)
    ]
    return pd.DataFrame(rows, columns=["backbone", "family", "settings", "median"])


def _spreads(methods: Sequence[Method]) -> list[tuple[str, Family, int, tuple[float, ...]]]:
    """Backbone, loss, number of settings, and on each collection the best less the worst of them."""
    trials = [method for method in methods if method.is_trial]
    rows = []
    for backbone in dict.fromkeys(method.params.get("backbone") for method in trials):
        for family in TRAINED:
            arm = [m for m in trials if m.params.get("backbone") == backbone and m.family == family]
            table = pd.DataFrame([per_dataset(method) for method in arm])
            if len(table) > 1:
                spreads = tuple(float(one) for one in (table.max() - table.min()).dropna())
                rows.append((str(backbone), family, len(table), spreads))
    return rows


def compared(methods: Sequence[Method], *, name: str, width_px: float = WIDE_PX) -> str:
    """Pretrained models, local features and the selected trial, a point per collection, best first."""
    listed = [m for m in methods if m.chosen or (not m.is_trial and m.family in _COMPARED)]
    rows = [Row(m.name, m.family, tuple(top1)) for m in listed if len(top1 := per_dataset(m))]
    rows.sort(key=lambda row: -float(np.median(row.points)))
    title = "Pretrained models and local features over collections"
    about = "Top-1 on a collection (%)"
    return draw([Group("", tuple(rows))], name=name, title=title, width_px=width_px, about=about)


def published_table(methods: Sequence[Method]) -> pd.DataFrame:
    """A row per published collection of the study and method that stands for itself: its top-1 with interval
    beside MegaDescriptor's published figures; shares in 0..1.
    """
    known = collections()
    listed = [m for m in methods if m.chosen or (not m.is_trial and m.family in _COMPARED)]
    rows = []
    for dataset in (name for name in seen_collections(listed) if name in known):
        theirs = {f"MegaDescriptor-{model}": top1 / 100 for model, top1 in known[dataset].published.items()}
        for method in listed:
            section = f"test/{dataset}"
            if f"{section}/top1" not in method.figures:
                continue
            own = {name: method.figures.get(f"{section}/{name}") for name in _OWN}
            rows.append({"dataset": dataset, "method": method.name, "family": method.family, **own, **theirs})
    return pd.DataFrame(rows)
