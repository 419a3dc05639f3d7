"""Figures, their sizes and their legends."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from catchup_eval.plotting.style import GREY, SIX, PlotStyle, escape_label

COLUMN = 3.25  # inches: one column of a two-column paper

LETTERS = 18  # of a legend, to an inch
OTHERS = "{} others"


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
            [each[i] for i in _other_positions(each, gray[1:])] for each in (handles, labels)
        )
    if labels:
        fig.legend(handles, labels, loc="outside lower center", ncols=columns)


def _is_gray(line: Line2D) -> bool:
    return line.get_color() == GREY


def _other_positions(items: Sequence[object], places: Sequence[int]) -> list[int]:
    return [i for i in range(len(items)) if i not in places]


def names_below(fig: Figure, looks: Mapping[str, PlotStyle]) -> None:
    """A legend under the figure that says which colour and marker is whose; grey ones together."""
    gray = [name for name, look in looks.items() if look.color == GREY]
    told = {escape_label(name): look for name, look in looks.items() if name not in gray}
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
