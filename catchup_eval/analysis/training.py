"""Did the training end, did it overfit, and how much does the choice of epoch matter?

Read from the run's history; no image is used. Columns: `epoch` (from 1; where a number belongs
to one), then `metric`, `value`, `unit`, `n`, `low` and `high` (none here: one run has no interval,
and the figure's bands are the range over seeds) and `protocol`. Of the whole run, with `n` the
epochs behind the number:

- `last_top1`: top-1 in percent after the last epoch, whose weights all other analyses evaluate
- `best_top1`: the highest of all epochs, in percent, and its first `epoch`; it was chosen on the
  images it is measured on, so it is too good
- `median_of_last_10_top1`: median over the last 10 epochs (all, where there are fewer), in percent;
  over those of them that have a top-1, where it was not measured after each

Of each epoch, with `n` = 1, where the history has it:

- `train_loss`: mean over the epoch's training batches, in nats, as the method computes it (on mixed
  labels, where labels are mixed)
- `validation_loss`: mean cross-entropy of the held-out images, in nats
- `top1`: accuracy on the held-out images, in percent
- `seconds`: duration of the epoch's training
- `learning_rate`: of the optimiser, a rate
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from catchup_eval.analysis import conventions
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.core.errors import Missing
from catchup_eval.core.settings import validate_settings
from catchup_eval.plotting import figure
from catchup_eval.plotting.curves import band_alpha, curve, draw, extent, mean_value
from catchup_eval.plotting.style import (
    GREY,
    PAGE,
    PlotStyle,
    plot_styles,
    styled,
)
from catchup_eval.results.headline import Headline
from catchup_eval.results.result import Result, Rows, group_by_model

TITLE = "Training"
DESCRIPTION = "Did training converge, did it overfit, and how much does the choice of epoch matter?"
INTERPRETATION = (
    "The weights of the last epoch (filled mark) are evaluated in all other analyses. The best "
    "epoch (star) was selected on the images it is measured on; if it is far above the median "
    "of the last ten (bar), tables of best epochs are optimistic. Training losses of methods that "
    "mix labels cannot be compared with those of others."
)
REFERENCE = "the run's own history"
NEEDS = frozenset({"history"})
SEVERAL_LABELS = True  # it evaluates no image
VERSION = 1
COST = 0.1
HEADLINES: tuple[Headline, ...] = ()  # the clean accuracy is of the same weights
TAIL = 10  # epochs of the median, as in the mixup papers' tables
UNITS = {
    "train_loss": "nats",
    "validation_loss": "nats",
    "top1": "%",
    "seconds": "s",
    "learning_rate": "rate",
}
MARKED = ("last_top1", "best_top1", "median_of_last_10_top1")
EPOCHS = {
    "last epoch": ("last_top1", "this toolkit, which chooses no epoch"),
    "best epoch": ("best_top1", "CutMix, Manifold Mixup, AlignMixup; chosen on the test images"),
    "median of the last 10": ("median_of_last_10_top1", "PuzzleMix, Co-Mixup, OpenMixup"),
}
DASHED = (0, (4, 1.5))
BAR: dict[str, Any] = {"linewidth": 3, "alpha": 0.5, "solid_capstyle": "butt"}
LAST: dict[str, Any] = {"markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.5}
STAR: dict[str, Any] = {"marker": "*", "markersize": 9}


@validate_settings()
def measure(context: EvaluationContext) -> Result:
    """The rows described above.

    Raises:
        Missing: there is no history, or it has no epoch with a top-1.
    """
    history = context.history
    if history is None or "top1" not in history or history["top1"].isna().all():
        raise Missing("a training history with top-1")
    rows = Rows("history@1")
    _add_summary(rows, history.dropna(subset=["top1"]))
    for metric in (name for name in UNITS if name in history):
        for epoch, value in history[["epoch", metric]].dropna().itertuples(index=False):
            rows.add(metric, value, unit=UNITS[metric], n=1, epoch=float(epoch))
    return Result(rows.frame())


def _add_summary(rows: Rows, history: pd.DataFrame) -> None:
    epochs, top1 = (history[name].to_numpy(float) for name in ("epoch", "top1"))
    n, best = len(top1), int(top1.argmax())
    rows.add("last_top1", top1[-1], unit="%", n=1, epoch=epochs[-1])
    rows.add("best_top1", top1[best], unit="%", n=n, epoch=epochs[best])
    tail = top1[epochs > epochs[-1] - TAIL]
    rows.add("median_of_last_10_top1", float(np.median(tail)), unit="%", n=len(tail))


def _top1_conventions() -> Iterator[conventions.Convention]:
    how = "from the training's history; n counts epochs"
    for name, (metric, used_by) in EPOCHS.items():
        of = conventions.row(metric, "a training history with top-1")
        yield from conventions.accuracy_and_error(name, (used_by, used_by), how, "training", of)


CONVENTIONS: conventions.Conventions = (
    conventions.ConventionFamily("top1", tuple(_top1_conventions())),
)


@styled
def plot(result: Result) -> dict[str, Figure]:
    """Loss and accuracy over the epochs, bands over seeds; best, last and median of ten marked."""
    models = group_by_model(result)
    abreast = figure.abreast(2, 2.6)
    fig = figure.figure(PAGE, 2.4 * (3 - abreast) + 0.16 * (min(len(models), 6) // 2))
    losses, accuracy = fig.subplots(3 - abreast, abreast)
    for name, look in plot_styles(list(models)).items():
        _plot_losses(losses, models[name], look, band_alpha(len(models)))
        _plot_accuracy(accuracy, models[name], look, band_alpha(len(models)), name)
    losses.set(ylabel="loss (nats)", yscale="log")
    figure.power_ticks(losses.yaxis)
    accuracy.set(ylabel="top-1 (%)")
    for axes in (losses, accuracy):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend_below(fig, accuracy, columns=2)
    _add_keys(losses, accuracy)
    return {"curves": fig}


def _plot_losses(axes: Axes, results: Sequence[Result], look: PlotStyle, pale: float) -> None:
    for metric, dash in (("train_loss", "-"), ("validation_loss", DASHED)):
        line = curve(results, metric, "epoch", band=extent)
        if len(line.x):
            draw(axes, line, look, dash=dash, shade=pale)


def _plot_accuracy(
    axes: Axes, results: Sequence[Result], look: PlotStyle, pale: float, name: str
) -> None:
    line = curve(results, "top1", "epoch", band=extent)
    last, best, median = (mean_value(results, metric) for metric in MARKED)
    label = f"{name}: last {last:.1f}, best {best:.1f}, median {median:.1f}"
    draw(axes, line, look, dash=look.dash, shade=pale, label=label)
    peak = np.mean([result.rows("best_top1")["epoch"].iloc[0] for result in results])
    tail = line.x[line.x > line.x[-1] - TAIL]
    axes.plot(tail[[0, -1]], [median, median], color=look.color, **BAR)
    axes.plot(peak, best, color=look.color, **STAR)
    axes.plot(tail[-1], last, color=look.color, marker=look.marker, **LAST)


def _add_keys(losses: Axes, accuracy: Axes) -> None:
    """What dashes and marks mean, in grey, where the curves are not."""
    kinds: list[tuple[str, Any]] = [("training", "-"), ("validation", DASHED)]
    lines = [Line2D([], [], color=GREY, linestyle=dash, label=label) for label, dash in kinds]
    losses.legend(handles=lines, loc="lower left")
    marks: dict[str, dict[str, Any]] = {
        "last epoch": {"linestyle": "", "marker": "o", **LAST},
        "best epoch": {"linestyle": "", **STAR},
        "median of the last 10": BAR,
    }
    handles = [Line2D([], [], color=GREY, **style, label=label) for label, style in marks.items()]
    accuracy.legend(handles=handles, loc="lower right")
