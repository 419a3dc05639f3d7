"""Figures of the corruption analysis, from its result alone."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from catchup_eval.analysis.corruption.registry import (
    BENCHMARKS,
    CORRUPTIONS,
    find_benchmark,
)
from catchup_eval.metrics.intervals import t_interval
from catchup_eval.plotting import figure, style
from catchup_eval.results.result import Result, group_by_model

FEW = 4  # models up to which intervals are drawn
MANY = 6  # models from which on their heat maps are one, without severities
ABREAST = 3  # heat maps beside each other
ROW = 0.2  # inches
MEAN = "mean"
MEANS = [find_benchmark([name]).metric for name in BENCHMARKS]


@style.styled
def plot(result: Result) -> dict[str, Figure]:
    """Errors of all models by type, the first one's heat map, and differences to the first."""
    models = group_by_model(result)
    tables = {name: _table(results) for name, results in models.items()}
    pictures = {"corruption": _overview(models, tables), "severities": _severities(tables)}
    if len(models) > 1:
        pictures["difference"] = _differences(tables)
    return pictures


def _overview(models: Mapping[str, Sequence[Result]], tables: Mapping[str, pd.DataFrame]) -> Figure:
    places = _places(next(iter(tables.values())).index)
    lines = -(-len(models) // 3)
    fig = figure.figure(style.PAGE, 0.55 + 0.16 * (1 + max(places.values())) + 0.17 * lines)
    _dots(fig.subplots(), models, places)
    if len(models) > 1:
        figure.names_below(fig, style.plot_styles(list(models)))
    return fig


def _severities(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """The first model's error under each type at each severity."""
    first, *others = tables
    places = _places(tables[first].index)
    fig = figure.figure(figure.COLUMN, _height(places))
    axes = fig.subplots()
    colors = ScalarMappable(Normalize(0, 100), style.SEQUENTIAL)
    _heat(axes, tables[first], places, colors, "{:.1f}")
    axes.set_title(f"error (%) of {first}" if others else "error (%)")
    return fig


def _differences(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """The first model's heat map less each other one's: above zero are fewer errors."""
    first, *others = tables
    gaps = {name: tables[first] - tables[name] for name in others}
    places = _places(tables[first].index)
    if len(others) > MANY:
        gaps = {"mean over severities": pd.DataFrame({n: gap[MEAN] for n, gap in gaps.items()})}
    limit = max(1.0, *(float(gap.abs().to_numpy().max()) for gap in gaps.values()))
    abreast = min(figure.abreast(ABREAST), len(gaps))
    lines = -(-len(gaps) // abreast)
    width = style.PAGE if len(others) > 1 else figure.COLUMN
    fig = figure.figure(width, 0.2 + lines * (_height(places) + 0.1))
    grid = fig.subplots(lines, abreast, sharey=True, squeeze=False).flat
    colors = ScalarMappable(Normalize(-limit, limit), mpl.colormaps[style.DIVERGING])
    for (name, gap), axes in zip(gaps.items(), grid):
        _heat(axes, gap, places, colors, "{:+.1f}")
        axes.set_title(name)
    for axes in list(grid):  # places left over
        axes.remove()
    title = f"improvement over {first}, in points\n(above zero: fewer errors)"
    fig.suptitle(title, fontsize=8)
    return fig


def _table(results: Sequence[Result]) -> pd.DataFrame:
    """Error in percent, mean over seeds: types x severities, with the means at the margins."""
    rows = pd.concat([result.rows("error") for result in results])
    table = rows.pivot_table(index="corruption", columns="severity", values="value")
    order = dict.fromkeys([*CORRUPTIONS, *table.index])
    table = table.reindex([name for name in order if name in table.index])
    table.columns = table.columns.astype(int).astype(str)
    table[MEAN] = table.mean(axis="columns")
    table.loc[MEAN] = table.mean()
    return table


def _places(names: Sequence[str] | pd.Index) -> dict[str, float]:
    """The height of each row: families are separated, the mean more so."""
    places: dict[str, float] = {}
    down, before = 0.0, ""
    for name in names:
        family = CORRUPTIONS[name].family if name in CORRUPTIONS else str(name == MEAN)
        down += 0 if not places else 1 if family == before else 1.35
        places[name], before = down, family
    return places


def _height(places: Mapping[str, float]) -> float:
    return 0.75 + ROW * (1 + max(places.values()))


def _dots(axes: Axes, models: Mapping[str, Sequence[Result]], places: Mapping[str, float]) -> None:
    step = min(0.22, 0.75 / len(models))  # models are a little below each other
    shifts = step * (np.arange(len(models)) - (len(models) - 1) / 2)
    rows = np.array(list(places.values()))
    points = np.array([[_point(results, row) for row in places] for results in models.values()])
    for values, row in zip(points[..., 0].T, rows, strict=True):
        axes.plot(values, row + shifts, color=style.GREY, linewidth=0.8, zorder=1)
    looks = style.plot_styles(list(models)).values()
    for look, (values, low, high), shift in zip(looks, points.swapaxes(1, 2), shifts, strict=True):
        axes.plot(values, rows + shift, look.marker, color=look.color, label=look.name)
        if len(models) <= FEW:
            low, high = low.clip(0), high.clip(0, 100)
            axes.hlines(rows + shift, low, high, color=look.color, linewidth=0.7)
    _label_rows(axes, places)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("error (%), mean over severities")


def _label_rows(axes: Axes, places: Mapping[str, float]) -> None:
    axes.set_yticks(list(places.values()), [name.replace("_", " ") for name in places])
    axes.set_ylim(max(places.values()) + 0.6, -0.6)


def _point(results: Sequence[Result], row: str) -> tuple[float, ...]:
    """Value, low, high; of one seed its own interval, of several their mean and Student's."""
    condition = {} if row == MEAN else {"corruption": row}
    means = (metric for metric in MEANS if len(results[0].rows(metric)))
    metric = "corruption_error" if condition else next(means)
    rows = pd.concat([result.rows(metric, **condition) for result in results])
    if len(rows) == 1:
        return tuple(rows[["value", "low", "high"]].iloc[0])
    return (float(rows["value"].mean()), *t_interval(rows["value"].tolist()))


def _heat(
    axes: Axes, table: pd.DataFrame, places: Mapping[str, float], colors: ScalarMappable, text: str
) -> None:
    figure.cells[axes] = figure.table_cells(table.to_numpy(float), table.columns, table.index)
    across = [i + 0.2 * (name == MEAN) for i, name in enumerate(table.columns)]  # apart
    for row, down in places.items():
        for value, x in zip(table.loc[row].to_numpy(float), across, strict=True):
            color = colors.to_rgba(value)
            axes.add_patch(Rectangle((x - 0.5, down - 0.5), 1, 1, color=color, linewidth=0))
            ink = "white" if np.dot(color[:3], (0.299, 0.587, 0.114)) < 0.5 else "black"
            label = text.format(value)
            axes.text(
                x, down, label, ha="center", va="center", color=ink, fontsize=6.5, in_layout=False
            )
    axes.set_xticks(across, table.columns)
    _label_rows(axes, places)
    axes.set_xlim(-0.5, across[-1] + 0.5)
    if MEAN in table.columns:
        axes.set_xlabel("severity")
    else:
        axes.tick_params(axis="x", rotation=90)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
