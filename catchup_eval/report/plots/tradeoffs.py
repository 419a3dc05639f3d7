"""The trade-off plot: what a group wins in one rate, does it lose in another?"""

from collections.abc import Mapping, Sequence
from math import ceil
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from catchup_eval.plotting import figure, style
from catchup_eval.plotting.style import PlotStyle
from catchup_eval.report.summary import label
from catchup_eval.results.comparison import pareto
from catchup_eval.results.summary import PERCENT, SummaryRow

WIDE = 26  # letters of a label beside an axis


def tradeoff_plot(lines: Sequence[SummaryRow], looks: Mapping[str, PlotStyle]) -> Figure | None:
    """The first question's rate against every other question's; right and up is better.

    Crosses are 95 % intervals; the dotted line joins the groups that no other one beats in both.
    None where there are not two rates.
    """
    rates = [line for line in lines if line.primary and line.unit == PERCENT]
    if len(rates) < 2:
        return None
    others = rates[1:]
    columns = min(3, len(others))
    rows = ceil(len(others) / columns)
    with style.figure_style():
        width = figure.COLUMN if columns == 1 else style.PAGE
        fig = figure.figure(width, 2.2 * rows + 0.3)
        grid = list(fig.subplots(rows, columns, squeeze=False).flat)
        for axes, other in zip(grid, others):
            _panel(axes, rates[0], other, looks)
        for axes in grid[len(others) :]:
            axes.set_axis_off()
        figure.names_below(fig, looks)
        return fig


def _panel(axes: Axes, across: SummaryRow, up: SummaryRow, looks: Mapping[str, PlotStyle]) -> None:
    points = _points(across, up)
    front = pareto({name: (across.sign * x, up.sign * y) for name, (x, y) in points.items()})
    line = np.array([points[name] for name in front]).reshape(-1, 2)
    axes.plot(*line.T, color=style.GREY, linestyle=":", linewidth=0.9)
    for group, (x, y) in points.items():
        color, marker, _ = looks[group]
        axes.plot(across.readings[group].interval, [y, y], color=color, linewidth=0.7)
        axes.plot([x, x], up.readings[group].interval, color=color, linewidth=0.7)
        axes.plot(x, y, color=color, marker=marker, linestyle="none")
    axes.set(xlabel=label(across), ylabel=fill(label(up), WIDE))
    axes.set_title(up.title, fontsize=7)
    axes.xaxis.set_inverted(across.sign < 0)
    axes.yaxis.set_inverted(up.sign < 0)


def _points(across: SummaryRow, up: SummaryRow) -> dict[str, tuple[float, float]]:
    both = [group for group in across.readings if group in up.readings]
    points = {group: (across.readings[group].mean, up.readings[group].mean) for group in both}
    return {group: point for group, point in points.items() if np.isfinite(point).all()}
