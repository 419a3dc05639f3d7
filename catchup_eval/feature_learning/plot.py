"""Figures of simulated trainings, from results by method and seed."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from catchup_eval.metrics.intervals import t_interval
from catchup_eval.plotting import figure, style
from catchup_eval.plotting.curves import Curve, band_alpha, draw
from catchup_eval.plotting.style import PlotStyle
from catchup_eval.results.result import Result
from catchup_eval.results.summary import SEEDS

Methods = Mapping[str, Sequence[Result]]  # the results of each method, one for each seed

NAMES = {
    "erm": "ERM",
    "cutout": "Cutout",
    "cutmix": "CutMix",
    "catchup": "Catch-up Mix",
    "catchup_inside": "Catch-up, features only",
    "random_channel": "RandomChannelMix",
}


def display_name(method: str) -> str:
    """A method as figures call it."""
    return NAMES.get(method, method)


def method_styles(methods: Methods) -> dict[str, PlotStyle]:
    """The styles of these methods, the same in the figures of all simulations."""
    styles = style.plot_styles([*NAMES, *methods])
    return {method: styles[method]._replace(name=display_name(method)) for method in methods}


def kinds_of(methods: Methods) -> list[str]:
    """The kinds of features, the common one first."""
    return list(next(iter(methods.values()))[0].rows("output")["feature"])


def trajectories(methods: Methods) -> Figure:
    """Output on each kind of feature over the training; bands from the lowest seed to the highest.

    A grey line marks the output where CutMix's loss is lowest.
    """
    kinds = kinds_of(methods)
    fig = figure.figure(style.PAGE, 2.3 + 0.16 * (len(methods) // 4))
    panels = fig.subplots(1, len(kinds), squeeze=False)[0]
    for k, (axes, kind) in enumerate(zip(panels, kinds, strict=True)):
        _trajectory(axes, methods, k)
        axes.set(title=kind, xlabel="iteration", xscale="log")
    panels[0].set_ylabel("output on the feature")
    figure.legend_below(fig, panels[0], columns=4)
    return fig


def _trajectory(axes: Axes, methods: Methods, kind: int) -> None:
    optimum = float(next(iter(methods.values()))[0].samples["optimum"][0])
    axes.axhline(optimum, color=style.GREY, linewidth=0.8, label="optimum of CutMix")
    lines = {method: _over_seeds(results, kind) for method, results in methods.items()}
    for method, look in method_styles(methods).items():
        shade = band_alpha(len(methods))
        draw(axes, lines[method], look, dash=look.dash, shade=shade, label=display_name(method))
    low = min(0, *(line.low.min() for line in lines.values()))
    high = max(optimum, *(line.high.max() for line in lines.values()))
    axes.set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low))


def _over_seeds(results: Sequence[Result], kind: int) -> Curve:
    outputs = np.stack([result.samples["outputs"][:, kind] for result in results])
    return Curve(results[0].samples["iterations"], outputs.mean(0), outputs.min(0), outputs.max(0))


def accuracies(methods: Methods) -> Figure:
    """Test accuracy on each kind of feature, and on all; intervals over seeds."""
    fig = figure.figure(figure.COLUMN, height_of_dots(methods, 1 + len(kinds_of(methods))))
    axes = fig.subplots()
    draw_dots(axes, methods, "accuracy", last="whole_accuracy")
    axes.axvline(50, color=style.GREY, linewidth=0.8)
    axes.set(xlabel="accuracy on new points (%); 50 is guessing", xlim=(45, 102))
    add_legend(fig, methods)
    return fig


def add_legend(fig: Figure, methods: Methods) -> None:
    """A legend under the figure, in lines of up to three."""
    figure.names_below(fig, method_styles(methods), columns=3)


def height_of_dots(methods: Methods, rows: int) -> float:
    """Inches of a figure with so many rows in which no marks overlap."""
    return 0.75 + 0.16 * -(-len(methods) // 3) + rows * max(0.3, 0.085 * len(methods))


def draw_dots(axes: Axes, methods: Methods, metric: str, *, last: str = "") -> None:
    """A row for each kind of feature, in it a mark for each method, with an interval over seeds.

    Args:
        last: a metric without a feature, for a row below the others.
    """
    kinds = kinds_of(methods)
    step = min(0.22, 0.75 / len(methods))
    for i, (method, look) in enumerate(method_styles(methods).items()):
        values = [[r.value(metric, feature=kind) for r in methods[method]] for kind in kinds]
        if last:
            values.append([result.value(last) for result in methods[method]])
        down = np.arange(len(values)) + step * (i - (len(methods) - 1) / 2)
        axes.plot(np.mean(values, axis=1), down, look.marker, color=look.color)
        if len(methods[method]) >= SEEDS:
            low, high = np.array([t_interval(row) for row in values]).T
            axes.hlines(down, low.clip(0), high.clip(0, 100), color=look.color, linewidth=0.7)
    labels = [*kinds, *(["all"] if last else [])]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
