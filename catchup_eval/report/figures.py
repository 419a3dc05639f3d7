"""How every figure looks: sizes, colours, marks, and the few drawings that several share.

Figures are `matplotlib.figure.Figure`, never `pyplot`: no global state, no display needed.
The palettes keep their order in grey print and for colour-blind readers.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

COLUMN = 3.25  # inches: one column of a two-column paper
PAGE = 6.875  # inches: its full width
FEW = ("#000000", "#004488", "#BB5566", "#DDAA33")
SIX = ("#1e1776", "#6e2b43", "#b7191c", "#a157f0", "#0aada4", "#f6ab77")
GREY = "#9a9a9a"
MARKERS = ("o", "s", "D", "^", "v", "P")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 3)), (0, (8, 2)))
SEQUENTIAL, DIVERGING = "cividis", "PuOr"
LETTERS = 18  # of a legend, to an inch
OTHERS = "{} others"
SHORT = 26  # letters of a name in a figure

STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "figure.dpi": 200,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # text stays text: journals ask for it
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "catchup-eval",  # the same picture is the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
}


class Look(NamedTuple):
    """How one model is drawn in every figure of a page."""

    color: str
    marker: str
    dash: object


def style() -> AbstractContextManager[None]:
    """matplotlib's settings for the toolkit's figures; open it around drawing and saving."""
    return mpl.rc_context(STYLE)


def looks(names: Sequence[str]) -> dict[str, Look]:
    """Colour, marker and dash for each name, in order; from the seventh on, grey.

    Example:
        >>> looks(["baseline", "catchup"])["catchup"].color
        '#004488'
    """
    names = list(dict.fromkeys(names))
    palette: tuple[str, ...] = FEW if len(names) <= len(FEW) else SIX
    if len(names) > len(SIX):
        palette = (*FEW[:2], *[GREY] * (len(names) - 2))
    return {
        name: Look(palette[i], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)])
        for i, name in enumerate(names)
    }


def drawn(name: str) -> str:
    """A name as a figure can show it: no formula, not hidden from legends, not too long.

    Example:
        >>> drawn("_a$b$")
        ' _a\\\\$b\\\\$'
    """
    if len(name) > SHORT:
        name = f"{name[: SHORT // 2]}...{name[3 - SHORT // 2 :]}"
    name = name.replace("$", r"\$")
    return f" {name}" if name.startswith("_") else name


def figure(width: float = COLUMN, height: float = 2.4) -> Figure:
    """An empty figure whose parts keep clear of each other."""
    return Figure(figsize=(width, height), layout="constrained")


def legend_below(fig: Figure, axes: Axes, columns: int = 3) -> None:
    """One legend for the whole figure, under it, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    gray = [i for i, one in enumerate(handles) if isinstance(one, Line2D) and _is_gray(one)]
    if len(gray) > len(SIX):
        labels[gray[0]] = OTHERS.format(len(gray))
        handles, labels = (
            [each[i] for i in _without(each, gray[1:])] for each in (handles, labels)
        )
    if labels:
        fig.legend(handles, labels, loc="outside lower center", ncols=columns)


def _is_gray(line: Line2D) -> bool:
    return line.get_color() == GREY


def _without(items: Sequence[object], places: Sequence[int]) -> list[int]:
    return [i for i in range(len(items)) if i not in places]


def names_below(fig: Figure, looks: Mapping[str, Look]) -> None:
    """A legend under the figure that says which colour and marker is whose; grey ones together."""
    gray = [name for name, look in looks.items() if look.color == GREY]
    told = {drawn(name): look for name, look in looks.items() if name not in gray}
    if gray:
        told[OTHERS.format(len(gray))] = looks[gray[0]]._replace(marker="o")
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle="none", label=name)
        for name, look in told.items()
    ]
    letters = max(map(len, told), default=0) + 5  # the widest entry, its marker and the gap
    columns = int(LETTERS * fig.get_figwidth() / letters)
    fig.legend(
        handles=handles, loc="outside lower center", ncols=max(1, min(len(handles), 5, columns))
    )
