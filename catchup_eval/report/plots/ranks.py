"""The ranking plot: who is before whom, as far as that can be told."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from catchup_eval.plotting import figure, style
from catchup_eval.plotting.style import PlotStyle, escape_label
from catchup_eval.report.summary import label
from catchup_eval.results.comparison import Ranking

ROW, FRAME = 0.17, 0.6  # inches: one group; the rest of a panel

BRACKET, STEP = 1.03, 0.06  # of a panel's width: where brackets start, and how far they are apart

MOST = 6  # brackets beside a panel; where there are more, the intervals tell
TICKS = 12


def ranking_plot(rankings: Sequence[Ranking], looks: Mapping[str, PlotStyle]) -> Figure:
    """For each question the groups from best to worst, with rank intervals and tie brackets."""
    columns = min(2, len(rankings))
    rows = ceil(len(rankings) / columns)
    most = max(len(ranking.ranks) for ranking in rankings)
    with style.figure_style():
        width = style.PAGE if columns == 2 else figure.COLUMN
        fig = figure.figure(width, rows * (FRAME + ROW * most) + 0.1)
        grid = list(fig.subplots(rows, columns, squeeze=False).T.flat)
        for axes, ranking in zip(grid, rankings):
            _panel(axes, ranking, looks)
        for axes in grid[len(rankings) :]:
            axes.set_axis_off()
        return fig


def _panel(axes: Axes, ranking: Ranking, looks: Mapping[str, PlotStyle]) -> None:
    ranks = ranking.ranks
    for y, rank in enumerate(ranks):
        color, marker, _ = looks[rank.group]
        axes.plot([rank.best, rank.worst], [y, y], color=color, linewidth=1.1)
        axes.plot(rank.place, y, color=color, marker=marker, linestyle="none")
    for number, tie in enumerate(ranking.ties if len(ranking.ties) <= MOST else ()):
        _bracket(axes, [rank.group for rank in ranks], tie, BRACKET + STEP * number)
    axes.set_yticks(range(len(ranks)), [escape_label(rank.group) for rank in ranks])
    axes.set(ylim=(len(ranks) - 0.5, -0.5), xlim=(0.7, len(ranks) + 0.3))
    axes.set_xticks(range(1, len(ranks) + 1, ceil(len(ranks) / TICKS)))
    axes.set_xlabel("rank (1 is best)", fontsize=7)
    axes.set_title(f"{ranking.line.title}\n{label(ranking.line)}", loc="left", fontsize=7)


def _bracket(axes: Axes, order: Sequence[str], tie: Sequence[str], x: float) -> None:
    top, bottom = order.index(tie[0]) - 0.25, order.index(tie[-1]) + 0.25
    where: Any = {"transform": axes.get_yaxis_transform(), "clip_on": False}
    corners = [x - 0.015, x, x, x - 0.015], [top, top, bottom, bottom]
    axes.plot(*corners, color="black", linewidth=0.7, **where)
    axes.text(x + 0.01, (top + bottom) / 2, "tie", size=6.5, va="center", rotation=90, **where)
