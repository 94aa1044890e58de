"""Draw box plots, a point per setting or per collection. In: methods, or groups of points. Out: SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from reid_ray.reporting.pooled import TRAINED, Method, chance_of
from reid_ray.reporting.svg import FAMILY_COLOURS, INK, MUTED, PAPER, WIDE_PX, new_figure, style, to_svg
from reid_ray.reporting.tables import HYPER_PARAMETERS, setting_top1, shown
from reid_ray.reporting.text import shorten, visible

_ROW_PX = 34.0
_HEADING_PX = 30.0
FEWEST = 5
"""Values that a box stands for, at least; fewer are shown as what they are, dots."""
_ON_SEEN = "Top-1 on seen species (%)"


@dataclass(frozen=True)
class Row:
    """One box: a label, the top-1 of its settings, and how many of them did not finish."""

    label: str
    family: str
    points: tuple[float, ...]
    failed: int = 0


@dataclass(frozen=True)
class Group:
    """Boxes under one heading."""

    heading: str
    rows: tuple[Row, ...]


def backbone_by_loss(methods: Sequence[Method], *, name: str = "backbones", width_px: float = WIDE_PX) -> str:
    """Top-1 of all settings per backbone and loss, as the paper's ablation shows it."""
    trials = [m for m in methods if m.is_trial]
    groups = []
    for backbone in dict.fromkeys(m.params.get("backbone") for m in trials):
        mine = [m for m in trials if m.params.get("backbone") == backbone]
        rows = [_row(family, family, [m for m in mine if m.family == family]) for family in TRAINED]
        groups.append(Group(str(backbone), tuple(row for row in rows if row.points or row.failed)))
    title = "Top-1 of all settings, per backbone and loss"
    return draw(groups, name=name, title=title, width_px=width_px, guess=chance_of(methods, "seen"))


def hyper_parameters(methods: Sequence[Method], family: str, *, name: str, width_px: float = WIDE_PX) -> str:
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
    title = f"Top-1 of {family} settings, per hyper-parameter"
    return draw(groups, name=name, title=title, width_px=width_px, guess=chance_of(methods, "seen"))


def _row(label: str, family: str, having: Sequence[Method]) -> Row:
    points = [point for point in map(setting_top1, having) if point is not None]
    stopped = sum(method.stopped for method in having)
    return Row(label, family, tuple(points), len(having) - len(points) - stopped)


def draw(
    groups: Sequence[Group],
    *,
    name: str,
    title: str,
    width_px: float,
    guess: float | None = None,
    about: str = _ON_SEEN,
    ringed: bool = True,
) -> str:
    """Horizontal boxes: long names read best on the left.

    Args:
        guess: where the line of guessing stands; None: nowhere.
        about: what the points are, in per cent.
        ringed: whether the highest point of all is the best, and marked.
    """
    if not any(row.points for group in groups for row in group.rows):
        return ""
    boxes = sum(len(group.rows) for group in groups)
    body = _ROW_PX * boxes + _HEADING_PX * sum(bool(group.heading) for group in groups)
    height = body + 58
    with style():
        figure = new_figure(width_px, height)
        labels_px = min(270.0, 0.42 * width_px)
        left = labels_px / width_px
        axes = figure.add_axes((left, 46 / height, 1 - 14 / width_px - left, body / height))
        highest = max(point for group in groups for row in group.rows for point in row.points)
        best = highest if ringed else None
        y = 0.0
        for group in groups:
            if group.heading:
                _heading(axes, y + _HEADING_PX / 2, shorten(group.heading, 38), labels_px)
                y += _HEADING_PX
            for row in group.rows:
                _box(axes, y + _ROW_PX / 2, row, best, labels_px)
                y += _ROW_PX
        if guess is not None:
            axes.axvline(100 * guess, color=MUTED, lw=1.2, ls=(0, (4, 3)), zorder=1)
        axes.set(xlim=(0, 100), ylim=(body, 0), yticks=[])
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(about)
        return to_svg(figure, name=name, title=visible(title))


def _heading(axes: Axes, y: float, text: str, labels_px: float) -> None:
    axes.annotate(
        text,
        (0, y),
        xytext=(2 - labels_px, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="left",
        va="center",
        color=INK,
        fontweight="bold",
        parse_math=False,
        annotation_clip=False,
        zorder=3,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.5},
    )


def _label(axes: Axes, y: float, row: Row, labels_px: float) -> None:
    """The row's name on the left, and what failed: beside it, or below where there is no room."""
    most = int((labels_px - 16) / 7)
    failed = f"({row.failed} failed)" if row.failed else ""
    text = f"{shorten(row.label, most)}\n{failed}"
    if len(row.label) + 1 + len(failed) <= most:
        text = f"{row.label} {failed}"
    axes.annotate(
        shorten(row.label, most) if not failed else text,
        (0, y),
        xytext=(-12, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="center",
        color=MUTED,
        parse_math=False,
        annotation_clip=False,
        linespacing=1.1,
    )


def _box(axes: Axes, y: float, row: Row, best: float | None, labels_px: float) -> None:
    colour = FAMILY_COLOURS[row.family]
    _label(axes, y, row, labels_px)
    points = 100 * np.array(row.points)
    if points.size >= FEWEST:
        axes.boxplot(
            points,
            positions=[y],
            orientation="horizontal",
            widths=18,
            showfliers=False,
            whis=(0, 100),
            manage_ticks=False,
            patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.18, "edgecolor": "none"},
            whiskerprops={"color": colour, "lw": 1.2},
            showcaps=False,
            medianprops={"color": colour, "lw": 2.6, "solid_capstyle": "butt"},
        )
    if points.size:
        spread = np.linspace(-5, 5, points.size) if points.size > 1 else np.zeros(1)
        places = y + spread[np.argsort(np.argsort(points * 7919 % 13))]
        axes.plot(points, places, "o", ms=5, color=colour, mec=PAPER, mew=0.7, zorder=3, clip_on=False)
        if best is not None and max(row.points) == best:
            axes.plot(
                100 * best,
                places[np.argmax(points)],
                "o",
                ms=13,
                mfc="none",
                mec=INK,
                mew=1.4,
                zorder=4,
                clip_on=False,
            )
