"""Figures of the clean analysis, from its result alone."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from catchup_eval.metrics import calibration, selective
from catchup_eval.metrics.intervals import score_limits, t_interval
from catchup_eval.plotting import figure, style
from catchup_eval.plotting.curves import Curve, draw, mean_value
from catchup_eval.results.result import Result, group_by_model

PANELS = {"confidence": "as trained", "confidence_after_temperature": "after temperature"}
PLOTTED = 10  # images that a bin must hold to be plotted: with fewer its accuracy is noise
MOST_BINS = 10_000  # of a figure
COVERED = np.linspace(0.02, 1, 99)  # fractions of the images; below, a few decide
FEW = 3  # models up to which intervals are drawn


@style.styled
def plot(result: Result) -> dict[str, Figure]:
    """Reliability before and after temperature scaling, and risk over coverage."""
    models = group_by_model(result)
    return {"reliability": _reliability(models), "selective": _selective(models)}


def _reliability(models: dict[str, list[Result]]) -> Figure:
    """Both diagrams, with the fraction of images below."""
    fig = figure.figure(style.PAGE, 2.9 + 0.16 * min(len(models), 6))
    grid = fig.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3, 1))
    for (top, strip), (confidence, title) in zip(grid.T, PANELS.items(), strict=True):
        _panel(top, strip, models, confidence)
        top.set_title(title)
    points = [line for axes in grid[0] for line in axes.lines if line in figure.intervals]
    ends = [np.concatenate([line.get_xdata(), figure.intervals[line][0]]) for line in points]
    figure.zoom(*grid[0], also=np.concatenate([[100], *ends]).tolist())
    counts = [patch.get_data() for axes in grid[1] for patch in axes.patches]
    low = min(edges[np.flatnonzero(values)[0]] for values, edges, _ in counts)
    grid[0, 0].set_xlim(low - 2, 102)
    grid[0, 0].set_ylabel("accuracy (%)")
    grid[1, 0].set_ylabel("images (%)")
    figure.legend_below(fig, grid[0, 0], columns=1)
    return fig


def _selective(models: dict[str, list[Result]]) -> Figure:
    fig = figure.figure(figure.COLUMN, 2.4 + 0.16 * min(len(models), 6))
    axes = fig.subplots()
    looks = style.plot_styles(list(models))
    for name, results in models.items():
        risk = 100 * np.mean([_risk(result) for result in results], axis=0)
        label = f"{name}: area {mean_value(results, 'aurc'):.2f} %"
        line = Curve(100 * COVERED, risk, *np.full((2, len(risk)), np.nan))
        draw(axes, line, looks[name], dash=looks[name].dash, label=label)
    axes.set(xlabel="most confident images (%)", ylabel="error among these (%)")
    axes.set(xlim=(0, 101), ylim=(0, None))
    figure.legend_below(fig, axes, columns=1)
    return fig


def _risk(result: Result) -> np.ndarray:
    """The error among the most confident images, at the fractions `COVERED`."""
    risk = selective.risks(selective.sureness(result.samples), result.samples["correct"])
    return np.asarray(np.interp(COVERED, np.arange(1, len(risk) + 1) / len(risk), risk))


def _stored_bins(result: Result) -> int:
    """As many as can be drawn; a stored report may be a stranger's."""
    bins = int(result.samples["bins"][0])
    if not 1 <= bins <= MOST_BINS:
        raise ValueError(f"{bins} bins, expected at most {MOST_BINS:,}")
    return bins


def _panel(top: Axes, strip: Axes, models: dict[str, list[Result]], confidence: str) -> None:
    looks = style.plot_styles(list(models))
    top.plot([0, 100], [0, 100], color=style.GREY, linewidth=0.8, zorder=1)
    for name, results in models.items():
        diagrams = [
            calibration.reliability(
                result.samples[confidence],
                result.samples["correct"],
                bins=_stored_bins(result),
            )
            for result in results
        ]
        _draw_diagram(top, diagrams, looks[name], _label(name, results), len(models) <= FEW)
        fractions = np.mean([100 * d.counts / d.counts.sum() for d in diagrams], axis=0)
        edges = np.linspace(0, 100, len(fractions) + 1)
        strip.stairs(fractions, edges, color=looks[name].color, linestyle=looks[name].dash)
    strip.set(yscale="symlog", ylim=(0, 130), yticks=(0, 1, 10, 100), xlabel="confidence (%)")
    strip.set_yticklabels(["0", "1", "10", "100"])
    strip.minorticks_off()


def _label(name: str, results: Sequence[Result]) -> str:
    metrics = ("ece", "ece_after_temperature", "temperature")
    before, after, divisor = (mean_value(results, metric) for metric in metrics)
    return f"{name}: ECE {before:.1f} %; {after:.1f} % after temperature {divisor:.2f}"


def _draw_diagram(
    axes: Axes,
    diagrams: Sequence[calibration.Reliability],
    look: style.PlotStyle,
    label: str,
    with_limits: bool,
) -> None:
    """One model, the mean over its seeds, in the bins that are full enough in each seed.

    The 95 % limits of the accuracy are over seeds or, of one, Wilson's over images.
    """
    full = np.min([diagram.counts for diagram in diagrams], axis=0) >= PLOTTED
    x = 100 * np.mean([diagram.confidence[full] for diagram in diagrams], axis=0)
    accuracies = 100 * np.array([diagram.accuracy[full] for diagram in diagrams])
    if len(diagrams) > 1:
        low, high = np.array([t_interval(column) for column in accuracies.T]).reshape(-1, 2).T
    else:
        low, high = 100 * score_limits(diagrams[0].accuracy[full], diagrams[0].counts[full])
    line = Curve(x, accuracies.mean(0), low.clip(0, 100), high.clip(0, 100))
    draw(axes, line, look, dash=look.dash, shade=0, marker=look.marker, label=label)
    if with_limits:
        axes.vlines(x, line.low, line.high, color=look.color, linewidth=0.6)
