"""The figures of :mod:`catchup_eval.analysis.landscape`, from its results alone."""

import re
from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from catchup_eval.analysis.landscape.hessian import CONVERGED, Density, gaussian_density
from catchup_eval.core.rng import generator
from catchup_eval.metrics.intervals import t_interval
from catchup_eval.plotting import figure, style
from catchup_eval.plotting.curves import Curve, band_alpha, draw, mean_value
from catchup_eval.results.result import Result, group_by_model

Models = dict[str, list[Result]]
Limits = tuple[np.ndarray, np.ndarray, np.ndarray]  # value, low, high, each (P,)
# Eigenvalues that differ by less, relative to the first of them, are near-equal: Lanczos ends at a
# residual as large.
CLUSTER = 0.01
SETTLED = f"the eigenvalues have converged: residuals of at most {100 * CONVERGED:g} %"
PLANE = (
    f"the plane is unique: the second and third eigenvalue differ by {100 * CLUSTER:g} % or more"
)
AXES = f"the axes are unique: the first two eigenvalues differ by {100 * CLUSTER:g} % or more"
PARTS = {"test": "test", "train": "training"}  # by what a protocol calls them
NOTES = {  # text of the figure where a check fails
    SETTLED: "eigenvalues not converged",
    PLANE: "one of many planes",
    AXES: "axes arbitrary within the plane",
}


@style.styled
def plot(result: Result) -> dict[str, Figure]:
    """Contours and cuts, the same as a surface, and the eigenvalue density where measured."""
    models = group_by_model(result)
    figures = {"landscape": _contours(models), "surface": _surfaces(models)}
    dense = {name: rs for name, rs in models.items() if "nodes" in rs[0].samples}
    return figures | ({"density": _densities(dense, list(models))} if dense else {})


def _title(name: str, results: Sequence[Result]) -> str:
    return name + (" (first seed)" if len(results) > 1 else "")


def _caption(fig: Figure, models: Models) -> None:
    """Of which images the loss is, above the figure."""
    rows = [result.rows("loss_rise") for results in models.values() for result in results]
    parts = dict.fromkeys(re.split("[-@]", str(name))[-2] for r in rows for name in r["protocol"])
    fig.suptitle(f"loss on {' and '.join(PARTS[part] for part in parts)} images", fontsize=8)


def _levels(models: Models) -> np.ndarray:
    """1, 2, 5, 10 ... around the losses of all models; at most four decades, from the top."""
    surfaces = [results[0].samples["surface"] for results in models.values()]
    low, high = (float(edge([edge(s) for s in surfaces])) for edge in (np.min, np.max))
    steps = np.array([digit * 10.0**power for power in range(-9, 10) for digit in (1, 2, 5)])
    below = np.searchsorted(steps, max(low, high / 1e4), "right") - 1
    return steps[below : np.searchsorted(steps, high) + 1]


def _grid(models: Models) -> tuple[int, int, float]:
    """Lines and columns of a panel for each model, and a panel's inches."""
    most = figure.abreast(3 if len(models) <= 6 else 4, 1.5)
    columns = min(len(models), most)
    return -(-len(models) // columns), columns, figure.available() / most


def _contours(models: Models) -> Figure:
    lines, columns, side = _grid(models)
    heights = (0.1 + 0.96 * side * lines, 2.0 + 0.16 * min(len(models), 6))
    fig = figure.figure(style.PAGE, sum(heights))
    _caption(fig, models)
    grid = fig.add_gridspec(2, 1, height_ratios=heights)
    upper, lower = fig.add_subfigure(grid[0]), fig.add_subfigure(grid[1])
    panels = upper.subplots(lines, columns, squeeze=False)
    levels = _levels(models)
    for axes, (name, results) in zip(panels.ravel(), models.items(), strict=False):
        filled = _contour(axes, results[0], levels)
        axes.set(title=_title(name, results), xlabel="step along v2", ylabel="step along v1")
        axes.label_outer()
    for axes in panels.ravel()[len(models) :]:
        axes.set_axis_off()
    beside = panels[0, -1].inset_axes((1.06, 0, 0.06, 1))
    bar = fig.colorbar(filled, beside, label="loss (nats)", ticks=levels, format="%g")
    bar.ax.minorticks_off()
    _cuts(lower.subplots(1, 3, sharey=True), models)
    figure.legend_below(fig, lower.axes[0], columns=1)
    return fig


def _contour(axes: Axes, result: Result, levels: np.ndarray) -> QuadContourSet:
    axis, surface = result.samples["axis"], result.samples["surface"]
    figure.cells[axes] = figure.table_cells(surface, axis, axis)
    surface = np.clip(surface, levels[0], levels[-1])
    filled = axes.contourf(axis, axis, surface, levels, norm=LogNorm(), cmap=style.SEQUENTIAL)
    axes.contour(axis, axis, surface, levels, colors="black", linewidths=0.4)
    centre = result.value("loss")
    outline = [withStroke(linewidth=2, foreground="black")]
    axes.plot(0, 0, "+", color="white", markersize=7, path_effects=outline)
    text = axes.annotate(f"{centre:.2g}", (0, 0), (0, 6), textcoords="offset points")
    text.set(color="white", ha="center", path_effects=outline)
    axes.set_aspect("equal")
    axes.grid(visible=False)
    return filled


def _cuts(panels: Sequence[Axes], models: Models) -> None:
    """Mean loss along v1, along v2 and along the filter-normalised directions."""
    looks = style.plot_styles(list(models))
    several = max(map(len, models.values())) > 1
    pale = band_alpha(len(models))
    for number, axes in enumerate(panels):
        for name, results in models.items():
            axis = results[0].samples["axis" if number < 2 else "filter_axis"]
            line = Curve(axis, *_cut_curve(results, number))
            label = _label(name, results)
            draw(axes, line, looks[name], dash=looks[name].dash, shade=pale, label=label)
        axes.set(xlabel=f"step along v{number + 1}", yscale="log")
        figure.power_ticks(axes.yaxis)
    panels[0].set_ylabel("loss (nats)")
    first = next(iter(models.values()))[0].samples
    batches = len(np.unique(first["batch"]))
    units = "images" if batches == 1 else f"{batches} batches"
    bands = "mean, range over seeds" if several else f"bands: 95 % over {units}"
    lines = len(first["filter_cuts"])
    wide = int(figure.LETTERS * figure.available() / 3)
    panels[0].set_title(fill(bands, wide), loc="left")
    title = bands if several else f"range over {lines} directions"
    panels[2].set_title(fill(title, wide), loc="left")
    panels[2].set_xlabel(fill("filter-normalised step", wide))


def _cut_curve(results: Sequence[Result], number: int) -> Limits:
    """Mean and band of cut 0 or 1, or of the filter-normalised directions (2)."""
    if number == 2:
        means = [result.samples["filter_cuts"] for result in results]
        return _range(means[0] if len(means) == 1 else [lines.mean(0) for lines in means])
    cuts = [result.samples["cuts"][number] for result in results]
    if len(cuts) > 1:
        return _range([cut.mean(1) for cut in cuts])
    batch = results[0].samples["batch"]
    return _over_batches(cuts[0], batch) if batch.max() else _over_images(cuts[0])


def _label(name: str, results: Sequence[Result]) -> str:
    """The numbers, and the failed checks of the plane of any seed."""
    rise, scaled, norm = (
        mean_value(results, metric) for metric in ("loss_rise", "filter_rise", "parameter_norm")
    )
    first, second = (mean_value(results, f"{rank}_eigenvalue") for rank in ("top", "second"))
    checks = pd.concat([result.checks for result in results])
    failed = set(checks["metric"][checks["value"] == 0])
    return (
        f"{name}: mean rise {rise:.3g} nats, filter-normalised {scaled:.3g}; "
        f"eigenvalues {first:.3g} and {second:.3g}; parameter norm {norm:.3g}"
    ) + "".join(f"; {note}" for claim, note in NOTES.items() if claim in failed)


def _over_images(cut: np.ndarray) -> Limits:
    """Mean and bootstrap limits of a cut (P, N)."""
    resamples = generator(0, "cuts").integers(cut.shape[1], size=(1000, cut.shape[1]))
    low, high = np.quantile([row[resamples].mean(1) for row in cut], [0.025, 0.975], axis=1)
    return cut.mean(1), low, high


def _over_batches(cut: np.ndarray, batch: np.ndarray) -> Limits:
    """Mean and limits of a cut (P, N) over its batches: Student's of the logarithm, so above 0."""
    means = np.array([cut[:, batch == number].mean(1) for number in np.unique(batch)])
    mean = means.mean(0)
    limits = np.array([t_interval(list(column)).high for column in means.T])
    reach = np.nan_to_num(limits - mean)  # none where all batches agree: in the middle of the cut
    factor = np.exp(reach / np.maximum(mean, np.finfo(float).tiny))  # the error of log(mean)
    return mean, mean / factor, mean * factor


def _range(curves: Sequence[np.ndarray] | np.ndarray) -> Limits:
    return np.mean(curves, 0), np.min(curves, 0), np.max(curves, 0)


def _surfaces(models: Models) -> Figure:
    lines, columns, side = _grid(models)
    fig = figure.figure(style.PAGE if columns > 1 else figure.COLUMN, side * lines)
    _caption(fig, models)
    top = max(float(results[0].samples["surface"].max()) for results in models.values())
    for place, (name, results) in enumerate(models.items(), 1):
        axes = fig.add_subplot(lines, columns, place, projection="3d")
        _surface(axes, results[0], top)
        axes.set_title(_title(name, results), y=0.95)
    return fig


def _surface(axes: Any, result: Result, top: float) -> None:
    axis, surface = result.samples["axis"], result.samples["surface"]
    figure.cells[axes] = figure.table_cells(surface, axis, axis)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    mesh = {"rstride": 1, "cstride": 1, "linewidth": 0.2, "edgecolor": "black"}
    axes.plot_surface(x, y, surface, cmap=style.SEQUENTIAL, vmin=0, vmax=top, **mesh)
    ticks = 0.8 * axis[[0, len(axis) // 2, -1]]  # the ends would run into each other
    axes.set(zlim=(0, top), xticks=ticks, yticks=ticks)
    axes.tick_params(labelsize=6.5, pad=-3)
    for label, name in (("x", "v1"), ("y", "v2"), ("z", "loss (nats)")):
        getattr(axes, f"set_{label}label")(name, labelpad=-6, fontsize=7)
    axes.set_box_aspect(None, zoom=0.82)


def _densities(models: Models, names: Sequence[str]) -> Figure:
    """Smoothed spectral density of each model's first seed, on a log axis."""
    fig = figure.figure(figure.COLUMN, 2.2 + 0.16 * len(models))
    _caption(fig, models)
    axes = fig.subplots()
    densities = {
        name: Density(*(rs[0].samples[key] for key in Density._fields))
        for name, rs in models.items()
    }
    low = min(density.nodes.min() for density in densities.values())
    high = max(density.nodes.max() for density in densities.values())
    width = (high - low or 1.0) / 100  # a Hessian with one eigenvalue has a bell, too
    at = np.linspace(low - 5 * width, high + 5 * width, 500)
    looks, top = style.plot_styles(names), 0.0
    for name, density in densities.items():
        color, dash = looks[name].color, looks[name].dash
        values = gaussian_density(density, at, width)
        axes.plot(at, values, color=color, linestyle=dash, label=_title(name, models[name]))
        top = max(top, float(values.max()))
    axes.set(xlabel="eigenvalue", ylabel="density", yscale="log", ylim=(1e-8 * top, 3 * top))
    figure.power_ticks(axes.yaxis)
    figure.legend_below(fig, axes, columns=1)
    return fig
