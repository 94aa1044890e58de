"""Draw a study's figures, shares as percent. In: methods and tables. Out: SVG elements."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from reid_ray.evaluation.metrics import cmc, identity_accuracy
from reid_ray.reporting.pooled import Method
from reid_ray.reporting.svg import (
    FAMILY_COLOURS,
    INK,
    LINE,
    MUTED,
    PAPER,
    SERIES,
    new_figure,
    style,
    to_svg,
)
from reid_ray.reporting.text import percent, shorten, visible

WIDTH_PX = 720.0
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.8)), (0, (6, 2, 1.5, 2)))
_DOMAIN_OFFSET = {"seen": 0.07, "unseen": 0.28}


def forest(table: pd.DataFrame, *, name: str = "forest", most: int = 24) -> str:
    """Dots with intervals, a row per method of a `leaderboard`: filled seen, hollow unseen.

    The name stands above its interval, so that long names need no column of their own. With more
    than `most` finished methods, all baselines and the best trials are shown.
    """
    shown, guess = _forest_rows(table, most)
    height = 54 * max(len(shown), 1) + 66
    with style():
        figure = new_figure(WIDTH_PX, height)
        axes = figure.add_axes((0.02, 40 / height, 0.96, 1 - 66 / height))
        domains = [d for d in ("seen", "unseen") if f"{d}_top1" in table]
        for place, (_, row) in enumerate(shown.iterrows()):
            _forest_row(axes, place, row, domains)
        for domain in domains:
            if guess is None:
                break
            dashes = (0, (4, 3)) if domain == "seen" else (0, (1, 2))
            axes.axvline(100 * guess[f"{domain}_top1"], color=MUTED, lw=1.2, ls=dashes, zorder=1)
        axes.set(xlim=(0, 100), ylim=(len(shown) - 0.42, -0.6), yticks=[])
        axes.set_xlabel("Queries answered rightly, top-1 (%)")
        axes.grid(axis="y", visible=False)
        axes.legend(
            handles=_forest_legend(domains, guess is not None), loc="lower left",
            bbox_to_anchor=(0, 1.0), ncols=5, borderaxespad=0, handletextpad=0.4,
            columnspacing=1.6, labelcolor=MUTED, borderpad=0.2,
        )  # fmt: skip
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


def _forest_row(axes: Axes, place: int, row: pd.Series, domains: Sequence[str]) -> None:
    colour = FAMILY_COLOURS[row["family"]]
    axes.text(
        0.4, place - 0.27, shorten(row["method"], 70), va="center", ha="left",
        fontweight="bold" if row["chosen"] else "normal", parse_math=False,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip
    if row["chosen"]:
        axes.text(99.6, place - 0.27, "chosen trial", va="center", ha="right", color=MUTED)
    for domain in domains:
        top1 = row[f"{domain}_top1"]
        if pd.isna(top1):
            continue
        low, high = row[f"{domain}_top1_low"], row[f"{domain}_top1_high"]
        y = place + (_DOMAIN_OFFSET[domain] if len(domains) > 1 else 0.12)
        axes.plot([100 * low, 100 * high], [y, y], color=colour, lw=2, alpha=0.55, zorder=2)
        axes.plot(
            100 * top1, y, "o", ms=7.5, mec=colour, mew=1.8, zorder=3,
            mfc=colour if domain == "seen" else PAPER,
        )  # fmt: skip


def _forest_legend(domains: Sequence[str], guess: bool) -> list[Line2D]:
    handles = []
    for domain in domains:
        fill, dashes = (MUTED, (0, (4, 3))) if domain == "seen" else (PAPER, (0, (1, 2)))
        handles.append(
            Line2D([], [], ls="", marker="o", ms=7.5, mec=MUTED, mew=1.8, mfc=fill,
                   label=f"{domain} species")
        )  # fmt: skip
        if guess:
            label = f"guessing, {domain}"
            handles.append(Line2D([], [], color=MUTED, lw=1.2, ls=dashes, label=label))
    return handles


def cmc_curves(methods: Sequence[Method], *, domain: str, name: str, ranks: int = 20) -> str:
    """Share of queries with the right animal among the first r answers, for up to six methods."""
    with style():
        figure = new_figure(WIDTH_PX, 330 + 20 * len(methods[:6]))
        axes = _plot_above_legend(figure, 280, 30)
        places = np.arange(1, ranks + 1)
        for number, method in enumerate(methods[:6]):
            if method.predictions is None:
                continue
            part = method.predictions[method.predictions["domain"] == domain]
            axes.plot(
                places, 100 * cmc(part["first_correct"], places), color=SERIES[number],
                ls=_DASHES[number % 4], label=shorten(method.name, 80),
            )  # fmt: skip
        axes.set(xlim=(1, ranks), ylim=(0, 101), xticks=[1, *range(5, ranks + 1, 5)])
        axes.set_xlabel("Ranked photos that a person looks at")
        axes.set_title("Queries whose animal is among them (%)", color=MUTED, pad=10)
        _legend_below(axes)
        title = f"Cumulative match curves on {domain} species"
        return to_svg(figure, name=name, title=title)


def training_curves(methods: Sequence[Method], *, name: str = "training", most: int = 5) -> str:
    """Loss and validation top-1 per epoch of the trials that validated best."""
    trials = [m for m in methods if m.is_trial and m.finished and m.records[0].history]
    trials.sort(key=lambda m: -m.figures.get("val/top1", 0.0))
    trials = trials[:most]
    with style():
        height = 320 + 20 * len(trials)
        figure = new_figure(WIDTH_PX, height)
        box = {"bottom": (height - 280) / height, "top": 1 - 34 / height}
        left, right = figure.subplots(
            1, 2, gridspec_kw={"left": 0.055, "right": 0.985, "wspace": 0.16, **box}
        )
        for number, method in enumerate(trials):
            line = {"color": SERIES[number % 6], "ls": _DASHES[number % 4]}
            history = pd.DataFrame(method.records[0].history)
            label = shorten(method.name, 80)
            left.plot(*_epochs(history, "loss"), label=label, **line)
            epochs, top1 = _epochs(history, "val/top1")
            right.plot(epochs, 100 * top1, **line)
        left.set_title("Training loss", color=MUTED, pad=10)
        right.set_title("Top-1 on validation photos (%)", color=MUTED, pad=10)
        for axes in (left, right):
            axes.set_xlabel("Epoch")
            axes.set_ylim(bottom=0)
            axes.xaxis.get_major_locator().set_params(integer=True)
        _legend_below(left)
        return to_svg(figure, name=name, title="Training curves of the trials that validated best")


def _epochs(history: pd.DataFrame, column: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Epochs at which a column was measured, and its values."""
    if column not in history or "epoch" not in history:
        return np.empty(0), np.empty(0)
    known = history[["epoch", column]].dropna()
    return known["epoch"].to_numpy(float), known[column].to_numpy(float)


def identity_bars(method: Method, *, name: str = "animals", most: int = 8) -> str:
    """Top-1 of each animal, worst to best, a panel per dataset; dots on the floor are at 0 %."""
    if method.predictions is None:
        return ""
    table = identity_accuracy(method.predictions).sort_values(["top1", "queries"], kind="stable")
    datasets = list(dict.fromkeys(method.predictions["dataset"]))[:most]
    with style():
        height = 190 * len(datasets)
        figure = new_figure(WIDTH_PX, height)
        for number, dataset in enumerate(datasets):
            top = 1 - (190 * number + 34) / height
            axes = figure.add_axes((0.055, top - 96 / height, 0.93, 96 / height))
            _identity_panel(axes, table[table["dataset"] == dataset], FAMILY_COLOURS[method.family])
            animals = int((table["dataset"] == dataset).sum())
            mean = percent(table.loc[table["dataset"] == dataset, "top1"].mean())
            axes.set_title(f"{visible(dataset)}: {animals} animals, on average {mean} %", pad=9)
        title = f"Accuracy per animal of {visible(method.name)}"
        return to_svg(figure, name=name, title=title)


def _identity_panel(axes: Axes, table: pd.DataFrame, colour: str) -> None:
    places, top1 = np.arange(len(table)), 100 * table["top1"].to_numpy(float)
    size = 6 if len(table) <= 80 else 3
    above = top1 > 0
    axes.vlines(
        places[above], 0, top1[above], color=colour, lw=2.5 if len(table) <= 80 else 1, alpha=0.45
    )
    axes.plot(places, top1, "o", color=colour, ms=size, mec=colour, clip_on=False)
    axes.set(ylim=(0, 100), yticks=[0, 50, 100], xlim=(-0.7, len(table) - 0.3), xticks=[])
    axes.grid(axis="x", visible=False)
    if len(table) <= 30:
        labels = [shorten(str(identity), 11) for identity in table["identity"]]
        axes.set_xticks(places, labels, rotation=40, ha="right", rotation_mode="anchor")
        for label in axes.get_xticklabels():
            label.set(parse_math=False, fontsize=10.5, color=MUTED)


def _plot_above_legend(figure: Figure, plot_px: float, top_px: float) -> Axes:
    """Axes that end `plot_px` below the top; what is below them is for the legend."""
    height = figure.get_figheight() * 72
    bottom = 1 - plot_px / height
    return figure.add_axes((0.055, bottom, 0.93, 1 - top_px / height - bottom))


def _legend_below(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        legend = axes.legend(
            loc="upper left", bbox_to_anchor=(-0.01, -0.17), borderaxespad=0, labelcolor=INK,
            handlelength=2.6, labelspacing=0.5, borderpad=0,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)
    axes.spines["bottom"].set_color(LINE)
