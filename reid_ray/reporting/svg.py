"""Turn matplotlib figures into small SVG that can stand in a page. In: Figure. Out: one `<svg>`
element.

Colours become CSS variables, so that a page decides them for light and dark; identifiers are unique
per figure; there are no style elements or attributes, so that a strict content policy needs no
exception.
"""

import io
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final
from xml.etree import ElementTree

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, LINE, PAPER = "#1d2730", "#5c6873", "#d5dbe1", "#fefefd"
FAMILY_COLOURS: Final = {
    "ArcFace": "#0b66b0",
    "Triplet": "#c2500a",
    "local features": "#0a7a5a",
    "pretrained": "#8f4a9e",
    "fusion": "#8a6d01",
    "untrained": "#6a737d",
    "chance": "#8b949e",
}
"""Blue, vermilion, green, purple after Okabe and Ito, darkened to be read on white."""
SERIES: Final = ("#0b66b1", "#c2500b", "#0a7a5b", "#8f4a9f", "#8a6d00", "#5c6874")
"""For lines that are not distinguished by family."""
VARIABLES: Final = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    PAPER: "paper",
    **{colour: family.replace(" ", "-").lower() for family, colour in FAMILY_COLOURS.items()},
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES, 1)},
}
"""Colour drawn -> CSS variable `--<name>`; the drawn colour is its value where no page sets one."""

WIDE_PX: Final = 720.0
NARROW_PX: Final = 350.0
"""Each figure is drawn twice, for a screen and for a telephone."""
FONT_PX: Final = 12.0
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "font.size": FONT_PX,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": FONT_PX,
    "axes.titlesize": FONT_PX,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 1.0,
    "axes.axisbelow": True,
    "axes.linewidth": 1.0,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 6,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": FONT_PX,
}
_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_PLAIN = {
    "fill",
    "stroke",
    "stroke-width",
    "stroke-linecap",
    "stroke-linejoin",
    "stroke-dasharray",
    "stroke-dashoffset",
    "fill-opacity",
    "stroke-opacity",
    "opacity",
    "text-anchor",
    "clip-path",
    "font-size",
    "font-weight",
}


def style() -> AbstractContextManager[None]:
    """Draw within this: the report's look, and text that is never read as mathematics."""
    return matplotlib.rc_context(_STYLE)


def new_figure(width_px: float, height_px: float) -> Figure:
    """A figure whose unit is one CSS pixel at its natural size."""
    return Figure(figsize=(width_px / 72, height_px / 72), dpi=72)


def legend(axes: Axes, handles: Sequence[Artist], *, down: float) -> None:
    """A column below the axes, by `down` of their height; names in it are never read as mathematics."""
    made = axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(-0.01, -down),
        borderaxespad=0,
        labelcolor=INK,
        handlelength=2.6,
        labelspacing=0.5,
        borderpad=0,
    )
    for text in made.get_texts():
        text.set_parse_math(False)


def to_svg(figure: Figure, *, name: str, title: str) -> str:
    """The figure as an `<svg>` element, readable to screen readers by its title.

    Args:
        name: unique among figures; begins all identifiers inside.
        title: what the picture shows, in one sentence.
    """
    matplotlib.rcParams["svg.hashsalt"] = name
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(buffer, metadata=nothing)  # type: ignore[no-untyped-call]
    root = ElementTree.fromstring(buffer.getvalue())
    _drop(root, lambda element: element.tag in {f"{_SVG}metadata", f"{_SVG}style"})
    _rename(root, name)
    for element in root.iter():
        _plain_style(element)
        _round(element)
    _flatten(root)
    _drop(root, lambda element: element.tag in {f"{_SVG}g", f"{_SVG}defs"} and not len(element))
    return _serialise(root, name, title)


def _drop(root: ElementTree.Element, unwanted: Callable[[ElementTree.Element], bool]) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if unwanted(child):
                parent.remove(child)


def _rename(root: ElementTree.Element, name: str) -> None:
    """Keep only identifiers that something refers to, numbered and prefixed."""
    used: dict[str, str] = {}
    for element in root.iter():
        for value in element.attrib.values():
            for found in _REFERENCE.findall(value):
                used.setdefault(found, f"fig-{name}-{len(used)}")
        if target := element.get(_HREF):
            used.setdefault(target.removeprefix("#"), f"fig-{name}-{len(used)}")
    for element in root.iter():
        identifier = element.attrib.pop("id", None)
        if identifier in used:
            element.set("id", used[identifier])
        if target := element.attrib.pop(_HREF, None):
            element.set("href", f"#{used[target.removeprefix('#')]}")
        for key, value in element.attrib.items():
            element.set(key, _REFERENCE.sub(lambda found: f"url(#{used[found[1]]})", value))


def _plain_style(element: ElementTree.Element) -> None:
    """Write `style="a: b"` as attributes, colours as variables, fonts as size and weight alone."""
    declared = element.attrib.pop("style", "")
    for part in filter(None, declared.split(";")):
        key, _, value = (text.strip() for text in part.partition(":"))
        if key in _PLAIN:
            element.set(key, value)
    for key in ("fill", "stroke"):
        colour = element.get(key, "")
        if colour in VARIABLES:
            element.set(key, f"var(--{VARIABLES[colour]}, {colour})")
    if element.tag == f"{_SVG}text" and element.get("fill") is None:
        element.set("fill", f"var(--ink, {INK})")


def _round(element: ElementTree.Element) -> None:
    for key in ("d", "x", "y", "transform", "points", "width", "height"):
        if (value := element.get(key)) is not None:
            short = _NUMBER.sub(lambda found: f"{float(found[0]):.2f}", value)
            element.set(key, " ".join(short.split()))
    if element.tag == f"{_SVG}text" and "transform" in element.attrib:
        upright = re.fullmatch(r"rotate\(-?0 .*\)", element.attrib["transform"])
        if upright:
            del element.attrib["transform"]


def _flatten(element: ElementTree.Element) -> None:
    """Lift the children of groups that say nothing themselves."""
    children: list[ElementTree.Element] = []
    for child in element:
        _flatten(child)
        bare = child.tag == f"{_SVG}g" and not child.attrib
        children.extend(list(child) if bare else [child])
    for child in list(element):
        element.remove(child)
    element.extend(children)


def _serialise(root: ElementTree.Element, name: str, title: str) -> str:
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        if element.tag != "text":
            element.text = None
        element.tail = None
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib.clear()
    root.attrib.update(
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width} {height}",
            "width": f"{float(width):g}",
            "height": f"{float(height):g}",
            "role": "img",
            "aria-labelledby": f"fig-{name}-title",
            "stroke-linejoin": "round",
            "font-family": "system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif",
        }
    )
    described = ElementTree.Element("title", {"id": f"fig-{name}-title"})
    described.text = title
    root.insert(0, described)
    return ElementTree.tostring(root, encoding="unicode")
