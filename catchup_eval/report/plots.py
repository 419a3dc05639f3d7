"""Figures of a comparison: differences, ranks, trade-offs, agreement, examples."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import ceil
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from catchup_eval.metrics.significance import Difference
from catchup_eval.plotting import figure, style
from catchup_eval.plotting.style import PlotStyle, escape_label
from catchup_eval.report import formatting
from catchup_eval.report.summary import label
from catchup_eval.results.agreement import Agreement
from catchup_eval.results.comparison import LEVEL, PairwiseComparison, Ranking, pareto
from catchup_eval.results.summary import PERCENT, SummaryRow

Styles = Mapping[str, PlotStyle]
Gain = tuple[PairwiseComparison, Difference]

ROW, GAP = 0.17, 0.08  # inches: one interval or rank; the space above a metric
LONG = 1.5  # times the usual interval, from where an interval is cut
HEAD, WRAP, FEW_METRICS = 1.6, 20, 7  # inches above the map, letters of its headings, upright ones

FRAME = 0.6  # inches of a panel of ranks beside its rows
BRACKET, STEP = 1.03, 0.06  # of a panel's width: where brackets start, and how far they are apart
BRACKETS = 6  # at most beside a panel; with more, the intervals alone
TICKS = 12

AXIS_WRAP = 26  # letters of a label beside an axis

CELL = 0.45  # inches
FEW_GROUPS = 12  # up to which each kappa is written

ABREAST, SIDE, TITLE = 6, 1.05, 0.3  # images in a row, inches of one, and of the text above it
SHORT = 16  # letters of a name above an image


def difference_plot(
    comparisons: Sequence[PairwiseComparison], reference: str, styles: Styles
) -> Figure:
    """Differences to the reference, one row each, with signs such that right is better.

    Rates are in points; everything else, in a panel of its own, in percent of the reference's
    value. Filled diamonds are significant by Holm's p, open circles are not; an interval that
    extends beyond the panel ends in a caret.
    """
    gains = [(one, _relative_gain(one, reference)) for one in comparisons]
    drawable = [(one, gain) for one, gain in gains if np.isfinite(gain.value)]
    panels = [
        panel
        for rate in (True, False)
        if (panel := [pair for pair in drawable if (pair[0].line.unit == PERCENT) is rate])
    ]
    heights = [_height(panel) for panel in panels]
    with style.figure_style():
        fig = figure.figure(style.PAGE, sum(heights) + 0.5 * len(panels) + 0.3)
        grid = fig.subplots(max(1, len(panels)), 1, squeeze=False, height_ratios=heights or None)
        for axes, panel in zip(grid[:, 0], panels):
            _draw_differences(axes, panel, reference, styles)
        _difference_legend(fig, comparisons, styles)
        return fig


def difference_map(comparisons: Sequence[PairwiseComparison]) -> Figure:
    """The same for many groups: one row each, one column a metric, the gain written and coloured.

    Gains are in the metric's unit; the colour is their fraction of the column's largest one.
    """
    groups = list(dict.fromkeys(one.group for one in comparisons))
    columns = {id(one.line): one.line for one in comparisons}
    cells = {(groups.index(c.group), list(columns).index(id(c.line))): c for c in comparisons}
    gains = np.full((len(groups), len(columns)), np.nan)
    for place, one in cells.items():
        gains[place] = one.gain.value
    with style.figure_style():
        fig = figure.figure(style.PAGE, ROW * len(groups) + HEAD)
        axes = fig.subplots()
        largest = np.nanmax(np.abs(gains), axis=0, initial=1e-12)
        axes.imshow(gains / largest, cmap=style.DIVERGING, vmin=-1.6, vmax=1.6, aspect="auto")
        for (row, column), one in cells.items():
            text = formatting.format_signed(one.gain.value, one.line.unit)
            weight = "bold" if one.significant else "normal"
            axes.text(column, row, text, size=6.5, ha="center", va="center", weight=weight)
        names = [fill(f"{line.title}: {label(line)}", WRAP) for line in columns.values()]
        axes.set_xticks(range(len(columns)), names, size=6.5)
        axes.set_yticks(range(len(groups)), map(escape_label, groups))
        axes.xaxis.tick_top()
        axes.tick_params(axis="x", rotation=90 if len(columns) > FEW_METRICS else 0)
        _strip_axes(axes)
        return fig


def _strip_axes(axes: Axes) -> None:
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _relative_gain(comparison: PairwiseComparison, reference: str) -> Difference:
    """The gain in points, or in percent of the reference's value; NaN where that is zero."""
    if comparison.line.unit == PERCENT:
        return comparison.gain
    base = abs(comparison.line.readings[reference].mean)
    scale = 100 / base if base else np.nan
    value, low, high, p = comparison.gain
    return Difference(scale * value, scale * low, scale * high, p)


def _height(panel: Sequence[Gain]) -> float:
    metrics = len({id(one.line) for one, _ in panel})
    analyses = len({one.line.analysis for one, _ in panel})
    return ROW * (len(panel) + analyses) + GAP * (metrics + analyses) + ROW


def _draw_differences(axes: Axes, panel: Sequence[Gain], reference: str, styles: Styles) -> None:
    limit = _limit([gain for _, gain in panel])
    y = 0.0
    for _, analysis in groupby(panel, key=lambda pair: pair[0].line.analysis):
        rows = list(analysis)
        y += GAP + ROW
        _write_name(axes, y, rows[0][0].line.title, weight="bold")
        for _, block in groupby(rows, key=lambda pair: id(pair[0].line)):
            y = _draw_metric(axes, y + GAP, list(block), limit, styles)
    name = escape_label(reference)
    unit = "points" if panel[0][0].line.unit == PERCENT else f"% of {name}'s value"
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set(xlim=(-limit, limit), ylim=(y + ROW, 0), yticks=[])
    axes.set_xlabel(f"difference to {name} ({unit}); right is better")
    axes.spines["left"].set_visible(False)


def _limit(gains: Sequence[Difference]) -> float:
    """How far the panel goes: all values, and all intervals but a few that are far longer."""
    values = max(abs(gain.value) for gain in gains)
    reaches = [max(abs(g.low), abs(g.high)) for g in gains if np.isfinite(g.low + g.high)]
    usual = LONG * float(np.quantile(reaches, 0.8)) if reaches else 0.0
    return 1.08 * max(values, min(usual, max(reaches, default=0.0))) or 1.0


def _draw_metric(
    axes: Axes, y: float, block: Sequence[Gain], limit: float, styles: Styles
) -> float:
    """The rows of one metric below `y`; returns the position of the last one."""
    _write_name(axes, y + ROW * (len(block) + 1) / 2, label(block[0][0].line))
    where = axes.get_yaxis_transform()
    for one, gain in block:
        y += ROW
        color = styles[one.group].color
        _draw_interval(axes, y, gain, limit, color)
        axes.plot(gain.value, y, color=color, **_marker(one.significant))
        text = formatting.format_difference(one.gain, one.line.unit)
        weight = "bold" if one.significant else "normal"
        axes.text(1.02, y, text, transform=where, size=6.5, va="center", color=color, weight=weight)
    return y


def _write_name(axes: Axes, y: float, text: str, weight: str = "normal") -> None:
    where = axes.get_yaxis_transform()
    axes.text(-0.02, y, text, transform=where, ha="right", va="center", size=7, weight=weight)


def _draw_interval(axes: Axes, y: float, gain: Difference, limit: float, color: str) -> None:
    if not np.isfinite(gain.low + gain.high):
        return
    low, high = np.clip([gain.low, gain.high], -limit, limit)
    axes.plot([low, high], [y, y], color=color, linewidth=1.1)
    if gain.low < -limit:
        axes.plot(low, y, marker=4, color=color, clip_on=False)  # a caret to the left
    if gain.high > limit:
        axes.plot(high, y, marker=5, color=color, clip_on=False)


def _marker(significant: bool) -> dict[str, Any]:
    face = {} if significant else {"markerfacecolor": "white"}
    return {"marker": "D" if significant else "o", "markersize": 4.5, "linestyle": "none", **face}


def _difference_legend(
    fig: Figure, comparisons: Sequence[PairwiseComparison], styles: Styles
) -> None:
    groups = list(dict.fromkeys(one.group for one in comparisons))
    handles = [
        Line2D([], [], color=styles[group].color, label=escape_label(group)) for group in groups
    ]
    color = styles[groups[0]].color if len(groups) == 1 else style.GREY
    for significant, text in ((True, f"Holm p < {LEVEL}"), (False, "not significant")):
        handles.append(Line2D([], [], color=color, label=text, **_marker(significant)))
    fig.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 5))


def ranking_plot(rankings: Sequence[Ranking], styles: Styles) -> Figure:
    """For each metric the groups from best to worst, with rank intervals and tie brackets."""
    columns = min(2, len(rankings))
    rows = ceil(len(rankings) / columns)
    most = max(len(ranking.ranks) for ranking in rankings)
    with style.figure_style():
        width = style.PAGE if columns == 2 else figure.COLUMN
        fig = figure.figure(width, rows * (FRAME + ROW * most) + 0.1)
        grid = list(fig.subplots(rows, columns, squeeze=False).T.flat)
        for axes, ranking in zip(grid, rankings):
            _draw_ranks(axes, ranking, styles)
        for axes in grid[len(rankings) :]:
            axes.set_axis_off()
        return fig


def _draw_ranks(axes: Axes, ranking: Ranking, styles: Styles) -> None:
    ranks = ranking.ranks
    for y, rank in enumerate(ranks):
        color, marker, _ = styles[rank.group]
        axes.plot([rank.best, rank.worst], [y, y], color=color, linewidth=1.1)
        axes.plot(rank.place, y, color=color, marker=marker, linestyle="none")
    for number, tie in enumerate(ranking.ties if len(ranking.ties) <= BRACKETS else ()):
        _draw_bracket(axes, [rank.group for rank in ranks], tie, BRACKET + STEP * number)
    axes.set_yticks(range(len(ranks)), [escape_label(rank.group) for rank in ranks])
    axes.set(ylim=(len(ranks) - 0.5, -0.5), xlim=(0.7, len(ranks) + 0.3))
    axes.set_xticks(range(1, len(ranks) + 1, ceil(len(ranks) / TICKS)))
    axes.set_xlabel("rank (1 is best)", fontsize=7)
    axes.set_title(f"{ranking.line.title}\n{label(ranking.line)}", loc="left", fontsize=7)


def _draw_bracket(axes: Axes, order: Sequence[str], tie: Sequence[str], x: float) -> None:
    top, bottom = order.index(tie[0]) - 0.25, order.index(tie[-1]) + 0.25
    where: Any = {"transform": axes.get_yaxis_transform(), "clip_on": False}
    corners = [x - 0.015, x, x, x - 0.015], [top, top, bottom, bottom]
    axes.plot(*corners, color="black", linewidth=0.7, **where)
    axes.text(x + 0.01, (top + bottom) / 2, "tie", size=6.5, va="center", rotation=90, **where)


def tradeoff_plot(lines: Sequence[SummaryRow], styles: Styles) -> Figure | None:
    """The first analysis' rate against every other one's; top right is better.

    Crosses are 95 % intervals; the dotted line joins the Pareto front. None below two rates.
    """
    rates = [line for line in lines if line.primary and line.unit == PERCENT]
    if len(rates) < 2:
        return None
    first, *others = rates
    columns = min(3, len(others))
    rows = ceil(len(others) / columns)
    with style.figure_style():
        width = figure.COLUMN if columns == 1 else style.PAGE
        fig = figure.figure(width, 2.2 * rows + 0.3)
        grid = list(fig.subplots(rows, columns, squeeze=False).flat)
        for axes, other in zip(grid, others):
            _draw_tradeoff(axes, first, other, styles)
        for axes in grid[len(others) :]:
            axes.set_axis_off()
        figure.names_below(fig, styles)
        return fig


def _draw_tradeoff(axes: Axes, across: SummaryRow, up: SummaryRow, styles: Styles) -> None:
    both = [group for group in across.readings if group in up.readings]
    means = {group: (across.readings[group].mean, up.readings[group].mean) for group in both}
    points = {group: point for group, point in means.items() if np.isfinite(point).all()}
    front = pareto({name: (across.sign * x, up.sign * y) for name, (x, y) in points.items()})
    line = np.array([points[name] for name in front]).reshape(-1, 2)
    axes.plot(*line.T, color=style.GREY, linestyle=":", linewidth=0.9)
    for group, (x, y) in points.items():
        color, marker, _ = styles[group]
        axes.plot(across.readings[group].interval, [y, y], color=color, linewidth=0.7)
        axes.plot([x, x], up.readings[group].interval, color=color, linewidth=0.7)
        axes.plot(x, y, color=color, marker=marker, linestyle="none")
    axes.set(xlabel=label(across), ylabel=fill(label(up), AXIS_WRAP))
    axes.set_title(up.title, fontsize=7)
    axes.xaxis.set_inverted(across.sign < 0)
    axes.yaxis.set_inverted(up.sign < 0)


def agreement_plot(agreement: Agreement) -> Figure:
    """Cohen's kappa between the groups, lower triangle; the diagonal holds a group's own seeds."""
    groups, kappa = agreement.groups, agreement.kappa
    first = 0 if np.isfinite(np.diag(kappa)).any() else 1  # without seeds the diagonal is empty
    columns = groups[: len(groups) - first]
    values = np.where(np.tri(len(groups), dtype=bool), kappa, np.nan)[first:, : len(columns)]
    few = len(columns) <= FEW_GROUPS
    with style.figure_style():
        side = CELL * len(columns)
        fig = figure.figure(min(style.PAGE, 1.6 + side), min(style.PAGE, 0.9 + side))
        axes = fig.subplots()
        lowest = min(0.0, float(np.nanmin(values)))
        image = axes.imshow(values, cmap=style.SEQUENTIAL, vmin=lowest, vmax=1)
        _strip_axes(axes)
        if not few:
            fig.colorbar(image, ax=axes, shrink=0.5, label="kappa")
        for (row, column), value in np.ndenumerate(values):
            if few and np.isfinite(value):
                ink = _ink(np.asarray(image.to_rgba(value)))
                axes.text(column, row, f"{value:.2f}", color=ink, size=7, ha="center", va="center")
        turn = {"rotation": 30, "ha": "right"} if few else {"rotation": 90}
        axes.set_xticks(range(len(columns)), map(escape_label, columns), **turn)
        axes.set_yticks(range(len(columns)), map(escape_label, groups[first:]))
        return fig


def _ink(paper: np.ndarray) -> str:
    red, green, blue = paper[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def example_plot(correct: Mapping[int, str], images: Mapping[int, np.ndarray]) -> Figure:
    """Images (C, H, W), each with the one model that is correct and the sample's number above."""
    rows, columns = ceil(len(images) / ABREAST), min(ABREAST, len(images))
    with style.figure_style():
        fig = figure.figure(columns * SIDE + 0.2, rows * (SIDE + TITLE))
        grid = list(fig.subplots(rows, columns, squeeze=False).flat)
        for axes, (number, image) in zip(grid, images.items()):
            name = correct[number]
            short = name if len(name) <= SHORT else f"{name[: SHORT - 3]}..."
            pixels = image.transpose(1, 2, 0)
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_title(f"{escape_label(short)}\n{number}", fontsize=6.5)
        for axes in grid:
            axes.set_axis_off()
        return fig
