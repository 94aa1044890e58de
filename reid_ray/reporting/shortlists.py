"""Show what shortlists of different lengths cost in accuracy. In: methods. Out: a table, a figure."""

import re
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from reid_ray.evaluation.intervals import wilson
from reid_ray.reporting.pooled import Method
from reid_ray.reporting.svg import MUTED, SERIES, WIDE_PX, legend, new_figure, style, to_svg
from reid_ray.reporting.text import shorten, visible

_POINT = re.compile(r"shortlist/(?P<dataset>[^/]+)/among_(?P<size>\d+)")
COLUMNS = (
    "method",
    "dataset",
    "by",
    "candidates",
    "among",
    "top1",
    "top1_low",
    "top1_high",
    "queries",
    "used",
)


def shortlist_curves(methods: Sequence[Method]) -> pd.DataFrame:
    """A row per method behind a shortlist, dataset and length measured, shortest first.

    Columns: `by` (what it goes by), `candidates` (its length), `among` (share of queries whose
        animal is on it: no method behind it can be better), `top1` with its interval over animals,
        `queries`, `used` (whether the leaderboard's answers are of this length).
    """
    rows = []
    for method in methods:
        for result in method.results:
            for name, among in result.metrics.items():
                point = _POINT.fullmatch(name)
                if point is None:
                    continue
                dataset, size = point["dataset"], int(point["size"])
                top1 = result.metrics[f"shortlist/{dataset}/top1_{size}"]
                queries = int(result.metrics[f"test/{dataset}/queries"])
                ends = [
                    result.metrics.get(f"shortlist/{dataset}/top1_{end}_{size}") for end in ("low", "high")
                ]
                # Studies of an earlier version did not keep them.
                plain = wilson(round(top1 * queries), queries)
                low, high = (
                    one if one is not None else other for one, other in zip(ends, plain, strict=True)
                )
                rows.append(
                    (
                        method.name,
                        dataset,
                        str(result.params.get("shortlist", "")),
                        size,
                        among,
                        top1,
                        low,
                        high,
                        queries,
                        size == result.params.get("candidates"),
                    )
                )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    order = {name: place for place, name in enumerate(dict.fromkeys(table["method"]))}
    place = table["method"].map(order)
    return (
        table.assign(_place=place)
        .sort_values(["_place", "dataset", "candidates"], kind="stable")
        .drop(columns="_place")
        .reset_index(drop=True)
    )


def curves_figure(
    table: pd.DataFrame, *, name: str = "shortlists", width_px: float = WIDE_PX, most: int = 6
) -> str:
    """Top-1 (solid) and the share with the animal on the list (dashed) over the length, a panel per
    dataset; "" for an empty table.
    """
    datasets = list(dict.fromkeys(table["dataset"]))[:most]
    methods = list(dict.fromkeys(table["method"]))[: len(SERIES)]
    if not datasets:
        return ""
    legend_px, panel_px = 24 + 20 * (len(methods) + 1), 260
    height = panel_px * len(datasets) + legend_px
    with style():
        figure = new_figure(width_px, height)
        for number, dataset in enumerate(datasets):
            bottom = 1 - (panel_px * (number + 1) - 48) / height
            left, right = 42 / width_px, 12 / width_px
            axes = figure.add_axes((left, bottom, 1 - left - right, (panel_px - 82) / height))
            _panel(axes, table[table["dataset"] == dataset], methods)
            axes.set_title(f"{visible(str(dataset))}: query photos (%)", color=MUTED, pad=9, parse_math=False)
        _legend(axes, methods, chars=int((width_px - 95) / 7))
        title = "Accuracy behind shortlists of different lengths"
        return to_svg(figure, name=name, title=title)


def _panel(axes: Axes, table: pd.DataFrame, methods: Sequence[str]) -> None:
    for number, method in enumerate(methods):
        part = table[table["method"] == method]
        sizes, colour = part["candidates"].to_numpy(float), SERIES[number]
        axes.plot(sizes, 100 * part["among"], color=colour, ls=(0, (3, 2)), lw=1.4)
        axes.plot(sizes, 100 * part["top1"], color=colour, marker="o", ms=4.5)
        low, high = (100 * part[side].to_numpy(float) for side in ("top1_low", "top1_high"))
        axes.fill_between(sizes, low, high, color=colour, alpha=0.12, lw=0)
    longest = float(table["candidates"].max())
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000) if tick <= longest]
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set(ylim=(0, 101), xlim=(0.95, max(longest, 2) * 1.05))
    axes.set_xticks(ticks, [f"{tick}" for tick in ticks])
    axes.set_xlabel("References matched per query photo")


def _legend(axes: Axes, methods: Sequence[str], *, chars: int) -> None:
    handles = [
        axes.plot([], [], color=SERIES[number], marker="o", ms=4.5, label=shorten(method, chars))[0]
        for number, method in enumerate(methods)
    ]
    label = "dashed: the animal is on the list at all"
    handles += axes.plot([], [], color=MUTED, ls=(0, (3, 2)), lw=1.4, label=label)
    legend(axes, handles, down=0.28)
