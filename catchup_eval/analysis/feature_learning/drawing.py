"""Pictures of simulated trainings, from results by method and seed."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from catchup_eval.analysis.feature_learning.claims import Claim
from catchup_eval.headlines import SEEDS
from catchup_eval.report import figures
from catchup_eval.report.curves import Curve, draw, shade
from catchup_eval.report.figures import Look
from catchup_eval.results import Result
from catchup_eval.statistics import over_seeds

Methods = Mapping[str, Sequence[Result]]  # the results of each method, one for each seed

NAMES = {
    "erm": "ERM",
    "cutout": "Cutout",
    "cutmix": "CutMix",
    "catchup": "Catch-up Mix",
    "catchup_inside": "Catch-up, inside only",
    "random_channel": "RandomChannelMix",
}


def named(method: str) -> str:
    """A method as figures call it."""
    return NAMES.get(method, figures.drawn(method))


def looks(methods: Methods) -> dict[str, Look]:
    """The looks of these methods, the same in the pictures of all simulations."""
    every = figures.looks([*NAMES, *methods])
    return {method: every[method] for method in methods}


def kinds_of(methods: Methods) -> list[str]:
    """The kinds of features, the common one first."""
    first = next(iter(methods.values()))[0]
    return list(first.rows("output")["feature"])


def trajectories(methods: Methods) -> Figure:
    """Output on each kind of feature over the training; bands from the lowest seed to the highest.

    A grey line marks the output where CutMix's loss is lowest.
    """
    kinds = kinds_of(methods)
    fig = figures.figure(figures.PAGE, 2.3 + 0.16 * (len(methods) // 4))
    panels = fig.subplots(1, len(kinds), squeeze=False)[0]
    for k, (axes, kind) in enumerate(zip(panels, kinds, strict=True)):
        _trajectory(axes, methods, k)
        axes.set(title=kind, xlabel="iteration", xscale="log")
    panels[0].set_ylabel("output on the feature")
    figures.legend_below(fig, panels[0], columns=4)
    return fig


def _trajectory(axes: Axes, methods: Methods, kind: int) -> None:
    optimum = float(next(iter(methods.values()))[0].samples["optimum"][0])
    axes.axhline(optimum, color=figures.GREY, linewidth=0.8, label="optimum of CutMix")
    lines = {method: _over_seeds(results, kind) for method, results in methods.items()}
    for method, look in looks(methods).items():
        pale = shade(len(methods))
        draw(axes, lines[method], look, dash=look.dash, shade=pale, label=named(method))
    low = min(0, *(line.low.min() for line in lines.values()))
    high = max(optimum, *(line.high.max() for line in lines.values()))
    axes.set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low))


def _over_seeds(results: Sequence[Result], kind: int) -> Curve:
    outputs = np.stack([result.samples["outputs"][:, kind] for result in results])
    return Curve(results[0].samples["iterations"], outputs.mean(0), outputs.min(0), outputs.max(0))


def accuracies(methods: Methods) -> Figure:
    """Test accuracy on each kind of feature, and on all; intervals over seeds."""
    fig = figures.figure(figures.COLUMN, height_of_dots(methods, 1 + len(kinds_of(methods))))
    axes = fig.subplots()
    dots(axes, methods, "accuracy", last="whole_accuracy")
    axes.axvline(50, color=figures.GREY, linewidth=0.8)
    axes.set(xlabel="accuracy on new points (%); 50 is guessing", xlim=(45, 102))
    names(fig, methods)
    return fig


def names(fig: Figure, methods: Methods) -> None:
    """A legend under the figure, in lines of up to three."""
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle="none", label=named(method))
        for method, look in looks(methods).items()
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=3)


def height_of_dots(methods: Methods, rows: int) -> float:
    """Inches for so many rows in which no marks lie on each other, and what is around them."""
    return 0.75 + 0.16 * -(-len(methods) // 3) + rows * max(0.3, 0.085 * len(methods))


def dots(axes: Axes, methods: Methods, metric: str, *, last: str = "") -> None:
    """A row for each kind of feature, in it a mark for each method, with an interval over seeds.

    Args:
        last: a metric without a feature, for a row below the others.
    """
    kinds = kinds_of(methods)
    step = min(0.22, 0.75 / len(methods))
    for i, (method, look) in enumerate(looks(methods).items()):
        values = [[r.value(metric, feature=kind) for r in methods[method]] for kind in kinds]
        if last:
            values.append([result.value(last) for result in methods[method]])
        down = np.arange(len(values)) + step * (i - (len(methods) - 1) / 2)
        axes.plot(np.mean(values, axis=1), down, look.marker, color=look.color)
        if len(methods[method]) >= SEEDS:
            low, high = np.array([over_seeds(row) for row in values]).T
            axes.hlines(down, low.clip(0), high.clip(0, 100), color=look.color, linewidth=0.7)
    labels = [*kinds, *(["all"] if last else [])]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def claimed(found: Sequence[Claim]) -> Figure:
    """In how many seeds each claim shows."""
    fig = figures.figure(figures.PAGE, 0.6 + 0.2 * len(found))
    axes = fig.subplots()
    places = range(len(found))
    axes.barh(places, [claim.seeds for claim in found], color="#e6e6e6", height=0.6)
    axes.barh(places, [claim.shown for claim in found], color=figures.FEW[1], height=0.6)
    for place, claim in zip(places, found, strict=True):
        text = f"{claim.shown} of {claim.seeds}"
        axes.text(claim.seeds * 1.01, place, text, va="center", fontsize=7)
    axes.set_yticks(places, [claim.text for claim in found])
    axes.set(xlabel="seeds in which it shows", ylim=(len(found) - 0.5, -0.5))
    axes.set_xlim(0, found[0].seeds * 1.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=False, axis="y")
    return fig
