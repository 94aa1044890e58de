"""Draw box plots of hyper-parameters, a point per setting. In: methods. Out: SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from reid_ray.reporting.pooled import TRAINED, Method, chance_of
from reid_ray.reporting.svg import FAMILY_COLOURS, INK, MUTED, PAPER, new_figure, style, to_svg
from reid_ray.reporting.tables import HYPER_PARAMETERS, setting_top1, shown
from reid_ray.reporting.text import shorten, visible

_WIDTH_PX = 720.0
_LABELS_PX = 250.0
_ROW_PX = 34.0
_HEADING_PX = 30.0


@dataclass(frozen=True)
class Row:
    """One box: a label, the top-1 of its settings, and how many of them did not finish."""

    label: str
    family: str
    points: tuple[float, ...]
    failed: int


@dataclass(frozen=True)
class Group:
    """Boxes under one heading."""

    heading: str
    rows: tuple[Row, ...]


def backbone_by_loss(methods: Sequence[Method], *, name: str = "backbones") -> str:
    """Top-1 of all settings per backbone and loss, as the paper's ablation shows it."""
    trials = [m for m in methods if m.is_trial]
    groups = []
    for backbone in dict.fromkeys(m.params.get("backbone") for m in trials):
        mine = [m for m in trials if m.params.get("backbone") == backbone]
        rows = [_row(family, family, [m for m in mine if m.family == family]) for family in TRAINED]
        groups.append(Group(str(backbone), tuple(row for row in rows if row.points or row.failed)))
    return _draw(groups, methods, name, "Top-1 of all settings, per backbone and loss")


def hyper_parameters(methods: Sequence[Method], family: str, *, name: str) -> str:
    """Top-1 of a loss's settings per value of each hyper-parameter that was varied."""
    trials = [m for m in methods if m.is_trial and m.family == family]
    groups = []
    for parameter in HYPER_PARAMETERS:
        values = {m.params[parameter] for m in trials if parameter in m.params}
        ordered = sorted(values, key=lambda value: (isinstance(value, str), value))
        rows = [
            _row(shown(value), family, [m for m in trials if m.params.get(parameter) == value])
            for value in ordered
        ]
        if len(rows) > 1:
            groups.append(Group(parameter.replace("lr", "learning rate"), tuple(rows)))
    return _draw(groups, methods, name, f"Top-1 of {family} settings, per hyper-parameter")


def _row(label: str, family: str, having: Sequence[Method]) -> Row:
    points = [point for point in map(setting_top1, having) if point is not None]
    stopped = sum(method.stopped for method in having)
    return Row(label, family, tuple(points), len(having) - len(points) - stopped)


def _draw(groups: Sequence[Group], methods: Sequence[Method], name: str, title: str) -> str:
    """Horizontal boxes: long names read best on the left; the best setting of all is ringed."""
    if not any(row.points for group in groups for row in group.rows):
        return ""
    boxes = sum(len(group.rows) for group in groups)
    body = _ROW_PX * boxes + _HEADING_PX * len(groups)
    height = body + 58
    with style():
        figure = new_figure(_WIDTH_PX, height)
        left = _LABELS_PX / _WIDTH_PX
        axes = figure.add_axes((left, 46 / height, 0.985 - left, body / height))
        best = max(point for group in groups for row in group.rows for point in row.points)
        y = 0.0
        for group in groups:
            _label(axes, y + _HEADING_PX / 2, shorten(group.heading, 38), heading=True)
            y += _HEADING_PX
            for row in group.rows:
                _box(axes, y + _ROW_PX / 2, row, best)
                y += _ROW_PX
        guess = chance_of(methods, "seen")
        if guess is not None:
            axes.axvline(100 * guess, color=MUTED, lw=1.2, ls=(0, (4, 3)), zorder=1)
        axes.set(xlim=(0, 100), ylim=(body, 0), yticks=[])
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("Top-1 on seen species (%), median over datasets")
        return to_svg(figure, name=name, title=visible(title))


def _label(axes: Axes, y: float, text: str, *, heading: bool = False) -> None:
    axes.annotate(
        text, (0, y), xytext=(-_LABELS_PX + 2 if heading else -14, 0), xycoords=("axes fraction",
        "data"), textcoords="offset points", ha="left" if heading else "right", va="center",
        color=INK if heading else MUTED, fontweight="bold" if heading else "normal",
        parse_math=False, annotation_clip=False,
    )  # fmt: skip


def _box(axes: Axes, y: float, row: Row, best: float) -> None:
    colour = FAMILY_COLOURS[row.family]
    failed = f" ({row.failed} failed)" if row.failed else ""
    _label(axes, y, shorten(row.label, 32 - len(failed)) + failed)
    points = 100 * np.array(row.points)
    if points.size:
        axes.boxplot(
            points, positions=[y], orientation="horizontal", widths=18, showfliers=False,
            whis=(0, 100), manage_ticks=False, patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.18, "edgecolor": "none"},
            whiskerprops={"color": colour, "lw": 1.2}, showcaps=False,
            medianprops={"color": colour, "lw": 2.6, "solid_capstyle": "butt"},
        )  # fmt: skip
        spread = np.linspace(-5, 5, points.size) if points.size > 1 else np.zeros(1)
        axes.plot(
            points, y + spread[np.argsort(np.argsort(points * 7919 % 13))], "o", ms=5,
            color=colour, mec=PAPER, mew=0.7, zorder=3,
        )  # fmt: skip
        if max(row.points) == best:
            axes.plot(100 * best, y, "o", ms=13, mfc="none", mec=INK, mew=1.4, zorder=4)
