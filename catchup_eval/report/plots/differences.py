"""The difference plot: every headline against the reference, one row each."""

from collections.abc import Mapping, Sequence
from itertools import groupby
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
from catchup_eval.results.comparison import LEVEL, PairwiseComparison
from catchup_eval.results.summary import PERCENT

ROW, GAP = 0.17, 0.08  # inches: one interval; the air above a headline

HEAD, WIDE, FEW = 1.6, 20, 7  # inches above the map, letters of its headings, upright ones

LONG = 1.5  # times the usual interval, from where an interval is cut
Shown = tuple[PairwiseComparison, Difference]


def difference_plot(
    verdicts: Sequence[PairwiseComparison], reference: str, looks: Mapping[str, PlotStyle]
) -> Figure:
    """Differences to the reference, each row turned so that right is better.

    Rates are in points; everything else, in a panel of its own, in percent of the reference's
    value. Filled diamonds are significant by Holm's p, open circles are not; an interval that
    goes on beyond the panel ends in a caret.
    """
    shown = [(verdict, _relative_gain(verdict, reference)) for verdict in verdicts]
    drawable = [(verdict, gain) for verdict, gain in shown if np.isfinite(gain.value)]
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
            _panel(axes, panel, reference, looks)
        _legend(fig, verdicts, looks)
        return fig


def difference_map(verdicts: Sequence[PairwiseComparison]) -> Figure:
    """The same for many groups: one row each, one column a headline, the gain written and coloured.

    Gains are in the headline's unit; the colour is their share of the column's largest one.
    """
    groups = list(dict.fromkeys(verdict.group for verdict in verdicts))
    columns = {id(verdict.line): verdict.line for verdict in verdicts}
    cells = {(groups.index(v.group), list(columns).index(id(v.line))): v for v in verdicts}
    gains = np.full((len(groups), len(columns)), np.nan)
    for place, verdict in cells.items():
        gains[place] = verdict.gain.value
    with style.figure_style():
        fig = figure.figure(style.PAGE, ROW * len(groups) + HEAD)
        axes = fig.subplots()
        largest = np.nanmax(np.abs(gains), axis=0, initial=1e-12)
        axes.imshow(gains / largest, cmap=style.DIVERGING, vmin=-1.6, vmax=1.6, aspect="auto")
        for (row, column), verdict in cells.items():
            text = formatting.format_signed(verdict.gain.value, verdict.line.unit)
            weight = "bold" if verdict.significant else "normal"
            axes.text(column, row, text, size=6.5, ha="center", va="center", weight=weight)
        names = [fill(f"{line.title}: {label(line)}", WIDE) for line in columns.values()]
        axes.set_xticks(range(len(columns)), names, size=6.5)
        axes.set_yticks(range(len(groups)), map(escape_label, groups))
        _strip_axes(axes, turned=len(columns) > FEW)
        return fig


def _strip_axes(axes: Axes, *, turned: bool) -> None:
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.tick_params(axis="x", rotation=90 if turned else 0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _relative_gain(verdict: PairwiseComparison, reference: str) -> Difference:
    """The gain in points, or in percent of the reference's value; NaN where that is zero."""
    if verdict.line.unit == PERCENT:
        return verdict.gain
    base = abs(verdict.line.readings[reference].mean)
    scale = 100 / base if base else np.nan
    value, low, high, p = verdict.gain
    return Difference(scale * value, scale * low, scale * high, p)


def _height(panel: Sequence[Shown]) -> float:
    headlines = len({id(verdict.line) for verdict, _ in panel})
    questions = len({verdict.line.analysis for verdict, _ in panel})
    return ROW * (len(panel) + questions) + GAP * (headlines + questions) + ROW


def _panel(
    axes: Axes, panel: Sequence[Shown], reference: str, looks: Mapping[str, PlotStyle]
) -> None:
    limit = _limit([gain for _, gain in panel])
    y = 0.0
    for _, question in groupby(panel, key=lambda pair: pair[0].line.analysis):
        rows = list(question)
        y += GAP + ROW
        _name(axes, y, rows[0][0].line.title, weight="bold")
        for _, block in groupby(rows, key=lambda pair: id(pair[0].line)):
            y = _block(axes, y + GAP, list(block), limit, looks)
    unit = (
        "points" if panel[0][0].line.unit == PERCENT else f"% of {escape_label(reference)}'s value"
    )
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set(xlim=(-limit, limit), ylim=(y + ROW, 0), yticks=[])
    axes.set_xlabel(f"difference to {escape_label(reference)} ({unit}); right is better")
    axes.spines["left"].set_visible(False)


def _limit(gains: Sequence[Difference]) -> float:
    """How far the panel goes: all values, and all intervals but a few that are far longer."""
    values = max(abs(gain.value) for gain in gains)
    reaches = [max(abs(g.low), abs(g.high)) for g in gains if np.isfinite(g.low + g.high)]
    usual = LONG * float(np.quantile(reaches, 0.8)) if reaches else 0.0
    return 1.08 * max(values, min(usual, max(reaches, default=0.0))) or 1.0


def _block(
    axes: Axes, y: float, block: Sequence[Shown], limit: float, looks: Mapping[str, PlotStyle]
) -> float:
    _name(axes, y + ROW * (len(block) + 1) / 2, label(block[0][0].line))
    for verdict, gain in block:
        y += ROW
        _interval(axes, y, gain, limit, looks[verdict.group].color)
        _value(axes, y, verdict, gain, looks[verdict.group].color)
    return y


def _name(axes: Axes, y: float, text: str, weight: str = "normal") -> None:
    where = axes.get_yaxis_transform()
    axes.text(-0.02, y, text, transform=where, ha="right", va="center", size=7, weight=weight)


def _interval(axes: Axes, y: float, gain: Difference, limit: float, color: str) -> None:
    if not np.isfinite(gain.low + gain.high):
        return
    low, high = np.clip([gain.low, gain.high], -limit, limit)
    axes.plot([low, high], [y, y], color=color, linewidth=1.1)
    if gain.low < -limit:
        axes.plot(low, y, marker=4, color=color, clip_on=False)  # a caret to the left
    if gain.high > limit:
        axes.plot(high, y, marker=5, color=color, clip_on=False)


def _value(axes: Axes, y: float, verdict: PairwiseComparison, gain: Difference, color: str) -> None:
    axes.plot(gain.value, y, color=color, **_mark(verdict.significant))
    axes.text(
        1.02,
        y,
        formatting.format_difference(verdict.gain, verdict.line.unit),
        transform=axes.get_yaxis_transform(),
        size=6.5,
        va="center",
        color=color,
        weight="bold" if verdict.significant else "normal",
    )


def _mark(significant: bool) -> dict[str, Any]:
    face = {} if significant else {"markerfacecolor": "white"}
    return {"marker": "D" if significant else "o", "markersize": 4.5, "linestyle": "none", **face}


def _legend(
    fig: Figure, verdicts: Sequence[PairwiseComparison], looks: Mapping[str, PlotStyle]
) -> None:
    groups = list(dict.fromkeys(verdict.group for verdict in verdicts))
    handles = [
        Line2D([], [], color=looks[group].color, label=escape_label(group)) for group in groups
    ]
    color = looks[groups[0]].color if len(groups) == 1 else style.GREY
    for significant, text in ((True, f"Holm p < {LEVEL}"), (False, "not significant")):
        handles.append(Line2D([], [], color=color, label=text, **_mark(significant)))
    fig.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 5))
