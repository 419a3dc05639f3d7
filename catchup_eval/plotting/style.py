"""How every figure looks: sizes, colours, markers.

Figures are `matplotlib.figure.Figure`, never `pyplot`: no global state, no display needed.
The palettes keep their order in grey print and for colour-blind readers.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import matplotlib as mpl

PAGE = 6.875  # inches: its full width
FEW = ("#000000", "#004488", "#BB5566", "#DDAA33")
SIX = ("#1e1776", "#6e2b43", "#b7191c", "#a157f0", "#0aada4", "#f6ab77")
GREY = "#9a9a9a"
MARKERS = ("o", "s", "D", "^", "v", "P")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 3)), (0, (8, 2)))
SEQUENTIAL, DIVERGING = "cividis", "PuOr"
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
    "pdf.fonttype": 42,  # text stays text: journals require it
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


class PlotStyle(NamedTuple):
    """How one model is drawn in every figure of a page."""

    color: str
    marker: str
    dash: object


def figure_style() -> AbstractContextManager[None]:
    """matplotlib's settings for all figures; a context around drawing and saving."""
    return mpl.rc_context(STYLE)


def plot_styles(names: Sequence[str]) -> dict[str, PlotStyle]:
    """Colour, marker and dash for each name, in order; from the seventh on, grey.

    Example:
        >>> plot_styles(["baseline", "catchup"])["catchup"].color
        '#004488'
    """
    names = list(dict.fromkeys(names))
    palette: tuple[str, ...] = FEW if len(names) <= len(FEW) else SIX
    if len(names) > len(SIX):
        palette = (*FEW[:2], *[GREY] * (len(names) - 2))
    return {
        name: PlotStyle(palette[i], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)])
        for i, name in enumerate(names)
    }


def escape_label(name: str) -> str:
    """A name for a figure: no formula, not hidden from legends, shortened.

    Example:
        >>> escape_label("_a$b$")
        ' _a\\\\$b\\\\$'
    """
    if len(name) > SHORT:
        name = f"{name[: SHORT // 2]}...{name[3 - SHORT // 2 :]}"
    name = name.replace("$", r"\$")
    return f" {name}" if name.startswith("_") else name
