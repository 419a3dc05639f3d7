"""Figures of a comparison: the summary, the trade-offs, overall ranks, agreement, examples."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import ceil
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from catchup_eval.plotting import figure, style
from catchup_eval.plotting.style import PlotStyle
from catchup_eval.report import formatting
from catchup_eval.report.summary import label
from catchup_eval.results.agreement import Agreement
from catchup_eval.results.comparison import LEVEL, OverallRanking, PairwiseComparison, pareto
from catchup_eval.results.summary import PERCENT, SummaryRow

Styles = Mapping[str, PlotStyle]

ROW, MARK, MOST = 0.24, 0.085, 0.36  # inches: a row of the summary figure, of a mark, of many
LONG = 1.5  # times the usual interval, from where an interval is cut
SHARP = 6  # models up to which each has its own interval

CELL = 0.45  # inches
FEW_GROUPS = 12  # up to which each kappa is written

ABREAST, SIDE, TITLE = 6, 1.05, 0.3  # images in a row, inches of one, and of the text above it
SHORT = 16  # letters of a name above an image


class Cost(NamedTuple):
    """What is good if it is small, beside the accuracy: its name with unit, and each group's."""

    name: str
    values: Mapping[str, float]


def summary_plot(
    comparisons: Sequence[PairwiseComparison], reference: str, styles: Styles, width: float
) -> Figure:
    """The improvement over the reference in the first metric of each analysis.

    Rates are in points on one axis, each other number has a small axis in its own unit. Right is
    better. Marks are filled where Holm's p is below the level, open where not; an interval that
    extends beyond the axis ends in a caret.
    """
    shown = [one for one in comparisons if np.isfinite(one.gain.value)]
    lines = [list(rows) for _, rows in groupby(shown, key=lambda one: id(one.line))]
    rates = [rows for rows in lines if rows[0].line.unit == PERCENT]
    panels = [*([rates] if rates else []), *([rows] for rows in lines if rows not in rates)]
    marks = max((len(rows) for rows in lines), default=1)
    row = max(ROW if width > 4 else 0.3, 0.1 + min(MARK * marks, MOST))
    heights = [row * len(panel) + 0.42 for panel in panels]
    fig = figure.figure(width, sum(heights) + 0.2 * ceil((marks + 2) / (4 if width > 4 else 2)))
    grid = fig.subplots(max(1, len(panels)), 1, squeeze=False, height_ratios=heights or None)
    for axes, panel in zip(grid[:, 0], panels):
        _draw_improvements(axes, panel, styles, narrow=width < 4)
    if not panels:
        grid[0, 0].set_axis_off()
    elif rates:
        over = f" over {styles[reference].name}" if width > 4 else ""
        grid[0, 0].set_xlabel(f"improvement{over} (points); right is better")
    _summary_legend(fig, shown, styles)
    return fig


def _draw_improvements(
    axes: Axes, panel: Sequence[Sequence[PairwiseComparison]], styles: Styles, *, narrow: bool
) -> None:
    limit = _limit([one for rows in panel for one in rows])
    room = limit * (1.25 if narrow else 1.1)  # for the numbers beside intervals
    names = []
    for y, rows in enumerate(panel):
        step = 0.76 / max(len(rows), 1)
        for place, one in enumerate(rows):
            down = y + step * (place - (len(rows) - 1) / 2)
            look = styles[one.group]
            bar = len(rows) <= SHARP or look.color != style.GREY
            _draw_improvement(axes, one, down, limit, look, bar)
        line = rows[0].line
        short = label(line) if line.unit != PERCENT else line.headline.label
        names.append(fill(line.title, 20) if narrow else f"{line.title}: {short}")
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set(xlim=(-room, room), ylim=(len(panel) - 0.5, -0.5))
    axes.set_yticks(range(len(panel)), names, fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    if panel[0][0].line.unit != PERCENT:
        axes.set_xlabel(panel[0][0].line.unit, fontsize=7, labelpad=1)


def _draw_improvement(
    axes: Axes, one: PairwiseComparison, y: float, limit: float, look: PlotStyle, bar: bool
) -> None:
    value, low, high, _ = one.gain
    above = 3 if look.color == style.GREY else 4
    if bar and np.isfinite(low + high):
        ends = np.clip([low, high], -limit, limit)
        axes.plot(ends, [y, y], color=look.color, linewidth=look.width, zorder=above)
        for beyond, end, caret in ((low < -limit, -limit, 4), (high > limit, limit, 5)):
            if beyond:
                axes.plot(end, y, marker=caret, color=look.color, clip_on=False)
    mark = _mark(look.color, significant=one.significant)
    (drawn,) = axes.plot(value, y, marker=look.marker, color=look.color, zorder=above + 2, **mark)
    figure.owners[drawn] = look
    figure.intervals[drawn] = (np.array([low]), np.array([high]))
    if bar and one.significant:
        text = formatting.format_signed(value, one.line.unit)
        far = high if value > 0 else low
        end = float(np.clip(far if np.isfinite(far) else value, -limit, limit))
        side: Any = {"ha": "left" if value > 0 else "right", "textcoords": "offset points"}
        axes.annotate(text, (end, y), (4 if value > 0 else -4, 0), **side, va="center",
                      fontsize=6.5, fontweight="bold", color=look.color)  # fmt: skip


def _mark(color: str, *, significant: bool) -> dict[str, Any]:
    return {"linestyle": "none", "markerfacecolor": color if significant else "white"}


def _limit(comparisons: Sequence[PairwiseComparison]) -> float:
    """How far the axis goes: all values, and all intervals but a few that are far longer."""
    gains = [one.gain for one in comparisons]
    values = max(abs(gain.value) for gain in gains)
    reaches = [max(abs(g.low), abs(g.high)) for g in gains if np.isfinite(g.low + g.high)]
    usual = LONG * float(np.quantile(reaches, 0.8)) if reaches else 0.0
    return 1.08 * max(values, min(usual, max(reaches, default=0.0))) or 1.0


def _summary_legend(fig: Figure, comparisons: Sequence[PairwiseComparison], styles: Styles) -> None:
    looks = [styles[group] for group in dict.fromkeys(one.group for one in comparisons)]
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle="none", label=look.name)
        for look in looks
    ]
    color = looks[0].color if len(looks) == 1 else "#555555"
    for significant, text in (
        (True, f"filled: Holm p < {LEVEL}"),
        (False, "open: not significant"),
    ):
        mark = _mark(color, significant=significant)
        handles.append(Line2D([], [], color=color, marker="o", label=text, **mark))
    columns = min(len(handles), 5 if fig.get_figwidth() > 4 else 2)
    fig.legend(handles=handles, loc="outside lower center", ncols=columns)


def values_plot(lines: Sequence[SummaryRow], group: str, width: float) -> Figure:
    """One model: the first metric of each analysis that is a rate, with its interval and chance."""
    rates = [line for line in lines if line.primary and line.unit == PERCENT]
    fig = figure.figure(width, 0.5 + ROW * max(1, len(rates)))
    axes = fig.subplots()
    look = style.plot_styles([group])[group]
    for y, line in enumerate(rates):
        one = line.readings[group]
        axes.plot(one.interval, [y, y], color=look.color, linewidth=1)
        axes.plot(one.mean, y, "o", color=look.color, label=line.title)
        if np.isfinite(one.chance):
            axes.plot([one.chance] * 2, [y - 0.35, y + 0.35], color=style.GREY, linewidth=1.5)
    arrows = {"higher": "higher is better", "lower": "lower is better"}
    names = [f"{one.title}: {one.headline.label}\n({arrows[one.headline.better]})" for one in rates]
    axes.set_yticks(range(len(rates)), names, fontsize=6.5)
    axes.set(xlim=(-2, 102), ylim=(len(rates) - 0.5, -0.5), xlabel="%; grey ticks are chance")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return fig


def decision_plot(lines: Sequence[SummaryRow], costs: Sequence[Cost], styles: Styles) -> Figure:
    """The first rate against the others that follow, and against each cost; top right is better.

    Crosses are 95 % intervals; the dotted line joins the Pareto front.
    """
    first, *others = [line for line in lines if line.primary and line.unit == PERCENT]
    panels: list[SummaryRow | Cost] = [*others[: max(1, 4 - len(costs))], *costs]
    columns = figure.abreast(len(panels), 1.5)
    rows = ceil(len(panels) / columns)
    wide = figure.COLUMN if columns == 1 else min(style.PAGE, 0.4 + 1.65 * columns)
    fig = figure.figure(wide, 1.75 * rows + 0.2 * ceil(len(styles) / 5))
    grid = list(fig.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for axes, across in zip(grid, panels):
        _draw_tradeoff(axes, across, first, styles)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[::columns]:
        axes.set_ylabel(label(first))
    figure.names_below(fig, styles)
    return fig


def _draw_tradeoff(axes: Axes, across: SummaryRow | Cost, up: SummaryRow, styles: Styles) -> None:
    if isinstance(across, SummaryRow):
        name, sign = label(across), across.sign
        xs = {group: (one.mean, *one.interval) for group, one in across.readings.items()}
    else:
        name, sign = across.name, -1
        xs = {group: (value, np.nan, np.nan) for group, value in across.values.items()}
    points = {
        group: (xs[group][0], up.readings[group].mean) for group in up.readings if group in xs
    }
    points = {group: point for group, point in points.items() if np.isfinite(point).all()}
    front = pareto({group: (sign * x, up.sign * y) for group, (x, y) in points.items()})
    line = np.array([points[group] for group in front]).reshape(-1, 2)
    axes.plot(*line.T, color="#555555", linestyle=":", linewidth=0.9, label="Pareto front")
    for group, (x, y) in points.items():
        look = styles[group]
        above = 3 if look.color == style.GREY else 4
        bar: dict[str, Any] = {
            "color": look.color,
            "linewidth": 0.6,
            "alpha": 0.5,
            "zorder": above - 1,
        }
        axes.plot(xs[group][1:], [y, y], **bar)
        axes.plot([x, x], up.readings[group].interval, **bar)
        (drawn,) = axes.plot(x, y, look.marker, color=look.color, zorder=above, linestyle="none")
        figure.owners[drawn] = look
    axes.set_xlabel(fill(name, 24), fontsize=7)
    axes.xaxis.set_inverted(sign < 0)
    axes.yaxis.set_inverted(up.sign < 0)


def rank_plot(ranking: OverallRanking, styles: Styles) -> Figure:
    """Mean ranks from best to worst, with intervals and brackets around ties."""
    ranks = ranking.ranks
    fig = figure.figure(figure.COLUMN, 0.45 + 0.19 * len(ranks))
    axes = fig.subplots()
    for y, one in enumerate(ranks):
        look = styles[one.group]
        axes.plot([one.low, one.high], [y, y], color=look.color, linewidth=look.width)
        (drawn,) = axes.plot(one.mean, y, look.marker, color=look.color)
        figure.owners[drawn] = look
        figure.intervals[drawn] = (np.array([one.low]), np.array([one.high]))
    order = [one.group for one in ranks]
    for number, tie in enumerate(ranking.ties):
        top, bottom = order.index(tie[0]) - 0.25, order.index(tie[-1]) + 0.25
        x = 1.03 + 0.035 * number
        where: Any = {"transform": axes.get_yaxis_transform(), "clip_on": False}
        axes.plot([x - 0.012, x, x, x - 0.012], [top, top, bottom, bottom], color="black",
                  linewidth=0.7, **where)  # fmt: skip
    axes.set_yticks(range(len(ranks)), [styles[group].name for group in order])
    axes.set(ylim=(len(ranks) - 0.5, -0.5), xlim=(0.8, len(ranks) + 0.2))
    axes.set_xlabel(f"mean rank over {ranking.analyses} analyses (1 is best)")
    axes.grid(visible=False, axis="y")
    return fig


def agreement_plot(agreement: Agreement, styles: Styles) -> Figure:
    """Cohen's kappa between the groups, lower triangle; the diagonal holds a group's own seeds."""
    groups, kappa = [styles[group].name for group in agreement.groups], agreement.kappa
    first = 0 if np.isfinite(np.diag(kappa)).any() else 1  # without seeds the diagonal is empty
    columns = groups[: len(groups) - first]
    values = np.where(np.tri(len(groups), dtype=bool), kappa, np.nan)[first:, : len(columns)]
    few = len(columns) <= FEW_GROUPS
    side = CELL * len(columns)
    fig = figure.figure(min(style.PAGE, 1.6 + side), min(style.PAGE, 0.9 + side))
    axes = fig.subplots()
    lowest = min(0.0, float(np.nanmin(values)))
    image = axes.imshow(values, cmap=style.SEQUENTIAL, vmin=lowest, vmax=1)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if not few:
        fig.colorbar(image, ax=axes, shrink=0.5, label="kappa")
    for (row, column), value in np.ndenumerate(values):
        if few and np.isfinite(value):
            ink = _ink(np.asarray(image.to_rgba(value)))
            axes.text(column, row, f"{value:.2f}", color=ink, size=7, ha="center", va="center")
    turn = {"rotation": 30, "ha": "right"} if few else {"rotation": 90}
    axes.set_xticks(range(len(columns)), columns, **turn)
    axes.set_yticks(range(len(columns)), groups[first:])
    return fig


def _ink(paper: np.ndarray) -> str:
    red, green, blue = paper[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def example_plot(
    correct: Mapping[int, str], images: Mapping[int, np.ndarray], styles: Styles
) -> Figure:
    """Images (C, H, W), each with the one model that is correct and the sample's number above."""
    rows, columns = ceil(len(images) / ABREAST), min(ABREAST, len(images))
    fig = figure.figure(columns * SIDE + 0.2, rows * (SIDE + TITLE))
    grid = list(fig.subplots(rows, columns, squeeze=False).flat)
    for axes, (number, image) in zip(grid, images.items()):
        name = styles[correct[number]].name
        short = name if len(name) <= SHORT else f"{name[: SHORT - 3]}..."
        pixels = image.transpose(1, 2, 0)
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(f"{short}\n{number}", fontsize=6.5)
    for axes in grid:
        axes.set_axis_off()
    return fig
