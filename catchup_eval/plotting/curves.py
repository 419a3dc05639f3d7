"""One model's curve, over its seeds or its samples, from a result that may hold several models."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from catchup_eval.metrics.intervals import Interval
from catchup_eval.plotting import figure
from catchup_eval.plotting.style import GREY, PlotStyle
from catchup_eval.results.result import Result
from catchup_eval.results.summary import seeds_interval

Band = Callable[[Sequence[float]], Interval]
T_BAND: Band = partial(seeds_interval, unit="")  # Student's 95 %; none below three seeds


class Curve(NamedTuple):
    """Values along a condition; `low` and `high` are NaN where there is no interval."""

    x: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def extent(values: Sequence[float]) -> Interval:
    """The range of the values: for axes on which an interval would reach below zero."""
    return Interval(min(values), max(values))


def curve(
    results: Sequence[Result], metric: str, along: str, *, band: Band = T_BAND, **condition: str
) -> Curve:
    """`metric` along a numeric condition.

    Args:
        results: of one model. One: its own values and intervals. Several: the mean over these
            seeds with a band over them.
        along: the column of the condition.
        band: of the seeds' values.
    """
    rows = pd.concat([result.rows(metric, **condition) for result in results])
    if len(results) == 1:
        rows = rows.sort_values(along)
        return Curve(*(rows[name].to_numpy(float) for name in (along, "value", "low", "high")))
    points = [(x, group["value"].to_numpy(float)) for x, group in rows.groupby(along)]
    columns = [(float(x), values.mean(), *band(values)) for x, values in points]  # type: ignore[arg-type]
    return Curve(*np.array(columns, float).reshape(-1, 4).T)


def mean_value(results: Sequence[Result], metric: str, **condition: float | str) -> float:
    """The mean over seeds of the one value of `metric` under this condition."""
    return float(np.mean([result.value(metric, **condition) for result in results]))


def band_alpha(models: int) -> float:
    """Opacity of an interval's band; lower where those of several models overlap."""
    return 0.15 if models <= 2 else 0.08


def draw(
    axes: Axes, line: Curve, look: PlotStyle, *, dash: Any = "-", shade: float = 0.15, **style: Any
) -> None:
    """A line with its interval as a pale band; the band never stretches the axes.

    Args:
        dash: of the line; pass `look.dash` where it distinguishes models.
        style: further arguments of :meth:`matplotlib.axes.Axes.plot`.
    """
    above = 1.9 if look.color == GREY else 2  # of the many in grey
    shown = {"color": look.color, "linestyle": dash, "linewidth": look.width, "zorder": above}
    shown |= style
    (drawn,) = axes.plot(line.x, line.value, **shown)
    figure.owners[drawn] = look
    if np.isfinite(line.low).any():
        figure.intervals[drawn] = (line.low, line.high)
    limits = axes.dataLim.frozen()
    if shade and look.color != GREY:
        axes.fill_between(line.x, line.low, line.high, color=look.color, alpha=shade, linewidth=0)
        axes.dataLim.set(limits)
