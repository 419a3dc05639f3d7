"""Figures, their sizes and their legends."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from catchup_eval.plotting.style import GREY, SIX, PlotStyle, escape_label

COLUMN = 3.25  # inches: one column of a two-column paper
LETTERS = 18  # of a legend, to an inch
OTHERS = "{} others"


def figure(width: float = COLUMN, height: float = 2.4) -> Figure:
    """An empty figure whose parts do not overlap."""
    return Figure(figsize=(width, height), layout="constrained")


def legend_below(fig: Figure, axes: Axes, columns: int = 3) -> None:
    """One legend for the whole figure, under it, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    grey = [
        i for i, line in enumerate(handles) if isinstance(line, Line2D) and line.get_color() == GREY
    ]
    if len(grey) > len(SIX):
        labels[grey[0]] = OTHERS.format(len(grey))
        for i in reversed(grey[1:]):
            del handles[i], labels[i]
    if labels:
        fig.legend(handles, labels, loc="outside lower center", ncols=columns)


def names_below(fig: Figure, looks: Mapping[str, PlotStyle], columns: int = 0) -> None:
    """A legend of colours and markers under the figure; grey ones have one entry in common.

    Args:
        columns: of the legend; 0 for as many as fit, up to five.
    """
    grey = [name for name, look in looks.items() if look.color == GREY]
    entries = {escape_label(name): look for name, look in looks.items() if name not in grey}
    if grey:
        entries[OTHERS.format(len(grey))] = looks[grey[0]]._replace(marker="o")
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle="none", label=name)
        for name, look in entries.items()
    ]
    letters = max(map(len, entries), default=0) + 5  # the widest entry, its marker and the gap
    fit = max(1, min(len(handles), 5, int(LETTERS * fig.get_figwidth() / letters)))
    fig.legend(handles=handles, loc="outside lower center", ncols=columns or fit)
