"""Draw a study's figures, shares as percent. In: methods and tables. Out: SVG elements."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from reid_ray.evaluation.metrics import cmc, identity_accuracy
from reid_ray.reporting.pooled import Method
from reid_ray.reporting.svg import (
    FAMILY_COLOURS,
    LINE,
    MUTED,
    PAPER,
    SERIES,
    WIDE_PX,
    legend,
    new_figure,
    style,
    to_svg,
)
from reid_ray.reporting.text import percent, shorten, visible

EACH_ANIMAL = 200
"""Up to so many animals of a collection have a bar each: 10 000 of them were a page of 5 MB."""
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.8)), (0, (6, 2, 1.5, 2)))
_DOMAIN_OFFSET = {"seen": 0.07, "unseen": 0.28}
_GUESS_DASHES = {"seen": (0, (3, 2)), "unseen": (0, (1, 2))}


def forest(table: pd.DataFrame, *, name: str = "forest", width_px: float = WIDE_PX, most: int = 24) -> str:
    """Dots with intervals, a row per method of a `leaderboard`: filled seen, hollow unseen.

    The name stands above its interval, so that long names need no column of their own. With more
    than `most` finished methods, all baselines and the best trials are shown.
    """
    shown, guess = _forest_rows(table, most)
    domains = [d for d in ("seen", "unseen") if f"{d}_top1" in table]
    handles = _forest_legend(domains, guess is not None)
    columns = min(len(handles), int(width_px / 165))
    above = 8 + 18 * -(-len(handles) // columns)
    height = 54 * max(len(shown), 1) + 40 + above
    with style():
        figure = new_figure(width_px, height)
        axes = figure.add_axes((8 / width_px, 40 / height, 1 - 22 / width_px, 1 - (40 + above) / height))
        for place, (_, row) in enumerate(shown.iterrows()):
            _forest_row(axes, place, row, domains, chars=int(width_px / 8))
        for domain in domains:
            if guess is None:
                break
            # Beside the domain's own dots: a line from top to bottom would cross the names.
            middle = np.arange(len(shown)) + _dot_offset(domain, domains)
            axes.vlines(
                np.full(len(shown), 100 * guess[f"{domain}_top1"]),
                middle - 0.12,
                middle + 0.12,
                color=MUTED,
                lw=1.2,
                ls=_GUESS_DASHES[domain],
                zorder=1,
            )
        axes.set(xlim=(0, 100), ylim=(len(shown) - 0.42, -0.6), yticks=[])
        axes.set_xlabel("Queries answered rightly, top-1 (%)")
        axes.grid(axis="y", visible=False)
        axes.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=columns,
            borderaxespad=0,
            handletextpad=0.4,
            columnspacing=1.6,
            labelcolor=MUTED,
            borderpad=0.2,
        )
        return to_svg(figure, name=name, title="Top-1 accuracy of each method with 95 % intervals")


def _forest_rows(table: pd.DataFrame, most: int) -> tuple[pd.DataFrame, pd.Series | None]:
    finished = table[table["status"] == "finished"]
    guesses = finished[finished["family"] == "chance"]
    others = finished[finished["family"] != "chance"]
    if len(others) > most:
        trial = others["val_top1"].notna() & ~others["chosen"]
        kept = pd.Series(~trial.to_numpy(), index=others.index)
        spare = max(0, most - int(kept.sum()))
        kept[others.index[trial.to_numpy()][:spare]] = True
        others = others[kept]
    return others, guesses.iloc[0] if len(guesses) else None


def _forest_row(axes: Axes, place: int, row: pd.Series, domains: Sequence[str], *, chars: int) -> None:
    colour = FAMILY_COLOURS[row["family"]]
    mark = " (chosen)" if row["chosen"] else ""
    name = shorten(row["method"], chars - len(mark)) + mark
    axes.text(
        0.4,
        place - 0.27,
        name,
        va="center",
        ha="left",
        fontweight="bold" if row["chosen"] else "normal",
        parse_math=False,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.5},
    )
    for domain in domains:
        top1 = row[f"{domain}_top1"]
        if pd.isna(top1):
            continue
        low, high = row[f"{domain}_top1_low"], row[f"{domain}_top1_high"]
        y = place + _dot_offset(domain, domains)
        axes.plot([100 * low, 100 * high], [y, y], color=colour, lw=2, alpha=0.55, zorder=2)
        axes.plot(
            100 * top1,
            y,
            "o",
            ms=7.5,
            mec=colour,
            mew=1.8,
            zorder=3,
            mfc=colour if domain == "seen" else PAPER,
        )


def _dot_offset(domain: str, domains: Sequence[str]) -> float:
    """How far below the middle of a method's row its dot stands."""
    return _DOMAIN_OFFSET[domain] if len(domains) > 1 else 0.12


def _forest_legend(domains: Sequence[str], guess: bool) -> list[Line2D]:
    handles = []
    for domain in domains:
        fill = MUTED if domain == "seen" else PAPER
        handles.append(
            Line2D([], [], ls="", marker="o", ms=7.5, mec=MUTED, mew=1.8, mfc=fill, label=f"{domain} species")
        )
        if guess:
            label = f"guessing, {domain}"
            handles.append(Line2D([], [], color=MUTED, lw=1.2, ls=_GUESS_DASHES[domain], label=label))
    return handles


def cmc_curves(
    methods: Sequence[Method], *, domain: str, name: str, width_px: float = WIDE_PX, ranks: int = 20
) -> str:
    """Share of queries with the right animal among the first r answers, for up to six methods."""
    with style():
        figure = new_figure(width_px, 330 + 20 * len(methods[:6]))
        axes = _plot_above_legend(figure, 280, 30)
        places = np.arange(1, ranks + 1)
        for number, method in enumerate(methods[:6]):
            if method.predictions is None:
                continue
            part = method.predictions[method.predictions["domain"] == domain]
            axes.plot(
                places,
                100 * cmc(part["first_correct"], places),
                color=SERIES[number],
                ls=_DASHES[number % 4],
                label=shorten(method.name, _legend_chars(width_px)),
            )
        axes.set(xlim=(1, ranks), ylim=(0, 101), xticks=[1, *range(5, ranks + 1, 5)])
        axes.set_xlabel("Ranked photos that a person looks at")
        axes.set_title("Queries whose animal is among them (%)", color=MUTED, pad=10)
        _legend_below(axes)
        title = f"Cumulative match curves on {domain} species"
        return to_svg(figure, name=name, title=title)


def training_curves(
    methods: Sequence[Method], *, name: str = "training", width_px: float = WIDE_PX, most: int = 5
) -> str:
    """Loss and validation top-1 per epoch of the trials that validated best.

    Losses of different kinds have different scales, so each is shown as a share of where it began.
    """
    trials = [m for m in methods if m.is_trial and m.finished and m.records[0].history]
    trials.sort(key=lambda m: -m.figures.get("val/top1", 0.0))
    trials = trials[:most]
    with style():
        stacked = width_px < WIDE_PX
        height = (630 if stacked else 320) + 20 * len(trials)
        figure = new_figure(width_px, height)
        if stacked:
            left, right = _panel(figure, 34, 246), _panel(figure, 344, 246)
        else:
            left, right = figure.subplots(
                1,
                2,
                gridspec_kw={
                    "left": 0.055,
                    "right": 0.985,
                    "wspace": 0.16,
                    "bottom": (height - 280) / height,
                    "top": 1 - 34 / height,
                },
            )
        for number, method in enumerate(trials):
            line: dict[str, Any] = {"color": SERIES[number % 6], "ls": _DASHES[number % 4]}
            history = pd.DataFrame(method.records[0].history)
            label = shorten(method.name, _legend_chars(width_px))
            epochs, loss = _epochs(history, "loss")
            left.plot(epochs, 100 * loss / loss[:1], **line)
            epochs, top1 = _epochs(history, "val/top1")
            right.plot(epochs, 100 * top1, label=label, **line)
        left.set_title("Training loss (% of the first epoch's)", color=MUTED, pad=10)
        right.set_title("Top-1 on validation photos (%)", color=MUTED, pad=10)
        for axes in (left, right):
            axes.set_xlabel("Epoch")
            axes.set_ylim(bottom=0)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        _legend_below(right, left if not stacked else right)
        return to_svg(figure, name=name, title="Training curves of the trials that validated best")


def _epochs(history: pd.DataFrame, column: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Epochs at which a column was measured, and its values."""
    if column not in history or "epoch" not in history:
        return np.empty(0), np.empty(0)
    known = history[["epoch", column]].dropna()
    return known["epoch"].to_numpy(float), known[column].to_numpy(float)


def identity_bars(method: Method, *, name: str = "animals", width_px: float = WIDE_PX, most: int = 8) -> str:
    """Top-1 of each animal, worst to best, a panel per dataset; dots on the floor are at 0 %. Of more than
    `EACH_ANIMAL` animals, how many have which top-1.
    """
    if method.predictions is None:
        return ""
    table = identity_accuracy(method.predictions).sort_values(["top1", "queries"], kind="stable")
    datasets = list(dict.fromkeys(method.predictions["dataset"]))[:most]
    with style():
        height = 190 * len(datasets)
        figure = new_figure(width_px, height)
        for number, dataset in enumerate(datasets):
            axes = _panel(figure, 190 * number + 34, 96)
            of_dataset = table[table["dataset"] == dataset]
            colour = FAMILY_COLOURS[method.family]
            if len(of_dataset) > EACH_ANIMAL:
                _binned_panel(axes, of_dataset, colour)
            else:
                _identity_panel(axes, of_dataset, colour, named=len(of_dataset) <= width_px / 24)
            animals = int((table["dataset"] == dataset).sum())
            mean = percent(table.loc[table["dataset"] == dataset, "top1"].mean())
            axes.set_title(f"{visible(dataset)}: {animals} animals, on average {mean} %", pad=9)
        title = f"Accuracy per animal of {visible(method.name)}"
        return to_svg(figure, name=name, title=title)


def _binned_panel(axes: Axes, table: pd.DataFrame, colour: str) -> None:
    """Animals by their top-1, in steps of 5 %."""
    axes.hist(100 * table["top1"], bins=list(range(0, 101, 5)), color=colour, alpha=0.6, rwidth=0.88)
    axes.set(xlim=(-1, 101), xticks=range(0, 101, 25), xlabel="top-1 of an animal, %")
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.grid(axis="x", visible=False)


def _identity_panel(axes: Axes, table: pd.DataFrame, colour: str, *, named: bool) -> None:
    places, top1 = np.arange(len(table)), 100 * table["top1"].to_numpy(float)
    size = 6 if len(table) <= 80 else 3
    above = top1 > 0
    axes.vlines(places[above], 0, top1[above], color=colour, lw=2.5 if len(table) <= 80 else 1, alpha=0.45)
    axes.plot(places, top1, "o", color=colour, ms=size, mec=colour, clip_on=False)
    axes.set(ylim=(0, 100), yticks=[0, 50, 100], xlim=(-0.7, len(table) - 0.3), xticks=[])
    axes.grid(axis="x", visible=False)
    if named:
        labels = [shorten(str(identity), 11) for identity in table["identity"]]
        axes.set_xticks(places, labels, rotation=40, ha="right", rotation_mode="anchor")
        for label in axes.get_xticklabels():
            label.set(parse_math=False, fontsize=10.5, color=MUTED)


def _plot_above_legend(figure: Figure, plot_px: float, top_px: float) -> Axes:
    """Axes that end `plot_px` below the top; what is below them is for the legend."""
    return _panel(figure, top_px, plot_px - top_px)


def _panel(figure: Figure, top_px: float, height_px: float) -> Axes:
    """Axes across the figure, with room for numbers on the left."""
    width, height = (72 * inches for inches in figure.get_size_inches())
    left = 40 / width
    bottom = 1 - (top_px + height_px) / height
    return figure.add_axes((left, bottom, 1 - left - 11 / width, height_px / height))


def _legend_chars(width_px: float) -> int:
    """So many letters of a name fit beside the line of a legend."""
    return int((width_px - 95) / 7)


def _legend_below(axes: Axes, below: Axes | None = None) -> None:
    """What the lines of `axes` are, written below it or another plot."""
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        legend(below or axes, handles, down=0.17)
    axes.spines["bottom"].set_color(LINE)
