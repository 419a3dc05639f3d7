"""The figures of :mod:`catchup_eval.analysis.ood`, from its results alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from catchup_eval.metrics import detection
from catchup_eval.plotting import figure, style
from catchup_eval.plotting.curves import Curve, draw, mean_value
from catchup_eval.results.result import Result, group_by_model

OUT_DASH = (0.0, (3.0, 1.5))
CUTOFF: dict[str, Any] = {"color": style.GREY, "linewidth": 2.5, "alpha": 0.6}


def name_suffix(out: str) -> str:
    """What names of samples and figures of one OOD dataset end in; nothing for "out"."""
    return "" if out == "out" else f"_{out}"


def _label(out: str) -> str:
    """What figures call an OOD dataset."""
    return "OOD" if out == "out" else out


@style.styled
def plot(result: Result) -> dict[str, Figure]:
    """For each OOD dataset: histograms of confidence, ROC and precision-recall curves of `msp`."""
    models = group_by_model(result)
    names = [name for name in result.frame["out"].dropna().unique() if _is_set(result, name)]
    return {figure_name(name): _figure(models, name) for name in names}


def figure_name(out: str) -> str:
    """The name of the figure of an OOD dataset, which is a file's, too."""
    return f"detection{name_suffix(out)}".replace("/", "-")


def _is_set(result: Result, name: str) -> bool:
    """Whether this is one OOD dataset, and no mean over several."""
    return any(key.endswith(f"score_out{name_suffix(name)}") for key in result.samples)


def _figure(models: dict[str, list[Result]], out: str) -> Figure:
    columns = min(len(models), figure.abreast(3 if len(models) <= 6 else 6, 1.0))
    lines = -(-len(models) // columns)
    heights = (0.7 + 1.0 * lines, 2.2 + 0.16 * min(len(models), 6))
    fig = figure.figure(style.PAGE, sum(heights))
    grid = fig.add_gridspec(2, 1, height_ratios=heights)
    upper, lower = fig.add_subfigure(grid[0]), fig.add_subfigure(grid[1])
    looks = style.plot_styles(list(models))
    panels = upper.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (name, results) in zip(panels, models.items(), strict=False):
        _histogram(axes, results, out, looks[name])
        axes.set_title(name + (f" ({len(results)} seeds pooled)" if len(results) > 1 else ""))
    for axes in panels[len(models) :]:
        axes.set_axis_off()
    fig.suptitle(f"{_label(out)} images are the positive class", fontsize=8)
    upper.supxlabel("confidence: largest softmax probability", fontsize=8)
    upper.supylabel("images (%)", fontsize=8)
    handles = [
        Line2D([], [], color="black", label="test"),
        Line2D([], [], color="black", linestyle=OUT_DASH, label=_label(out)),
        Line2D([], [], **CUTOFF, label=f"95 % of {_label(out)} lies left of it"),
    ]
    upper.legend(handles=handles, loc="outside upper center", ncols=3)
    _curves(lower.subplots(1, 2), models, out)
    figure.legend_below(fig, lower.axes[0], columns=1)
    return fig


def _scores(result: Result, out: str) -> tuple[np.ndarray, np.ndarray]:
    return result.samples["score_in"], result.samples[f"score_out{name_suffix(out)}"]


def _histogram(axes: Axes, results: Sequence[Result], out: str, look: style.PlotStyle) -> None:
    """Outlines, and the confidence below which 95 % of the OOD images lie."""
    pairs = [_scores(result, out) for result in results]
    id_scores, ood_scores = (np.concatenate(side) for side in zip(*pairs, strict=True))
    version = int(str(results[0].frame["protocol"].iloc[0]).rpartition("@")[2])

    def confidence(scores: np.ndarray) -> np.ndarray:
        """From log(1 - p); before version 3 of the protocol scores were -p."""
        return np.asarray(-np.expm1(scores) if version >= 3 else -scores)

    for scores, dash in ((id_scores, "-"), (ood_scores, OUT_DASH)):
        counts, edges = np.histogram(confidence(scores), 25, (0, 1))
        axes.stairs(100 * counts / len(scores), edges, color=look.color, linestyle=dash)
    curve = detection.sweep(id_scores, ood_scores)
    cutoff = confidence(curve.thresholds[detection.cutoff(curve)])
    axes.axvline(float(cutoff), **CUTOFF, zorder=1)
    axes.set(yscale="symlog", ylim=(0, 130), yticks=(0, 1, 10, 100))
    axes.set_yticklabels(["0", "1", "10", "100"])
    axes.minorticks_off()


def _curves(pair: Sequence[Axes], models: dict[str, list[Result]], out: str) -> None:
    roc, precision = pair
    _chance_lines(roc, precision, models, out)
    looks = style.plot_styles(list(models))
    for name, results in models.items():
        look = looks[name]
        sweeps = [detection.sweep(*_scores(result, out)) for result in results]
        recalls = _mean([(s.false_positive_rate, s.recall) for s in sweeps], start=0.0)
        precisions = _mean([(s.recall, s.precision) for s in sweeps])
        auroc, fpr95 = (
            mean_value(results, metric, out=out, score="msp") for metric in ("auroc", "fpr95_out")
        )
        label = f"{name}: AUROC {auroc:.1f} %, FPR95 {fpr95:.1f} %"
        for axes, line in ((roc, recalls), (precision, precisions)):
            draw(axes, line, look, dash=look.dash, label=label)
        roc.plot(fpr95, 95, look.marker, color=look.color, clip_on=False)
    several = max(map(len, models.values())) > 1
    roc.set_title("ROC, marks are FPR95")
    precision.set_title("precision and recall" + "; range over seeds" * several)
    recall = f"{_label(out)} found: recall (%)"
    roc.set(xlabel="test flagged: false alarms (%)", ylabel=recall, ylim=(-3, 103))
    precision.set(
        xlabel=recall, ylabel=f"{_label(out)} among flagged: precision (%)", ylim=(-3, 103)
    )


def _chance_lines(roc: Axes, precision: Axes, models: dict[str, list[Result]], out: str) -> None:
    """Diagonal, and the fraction of OOD images, which differs where protocols do."""
    dotted: dict[str, Any] = {"color": style.GREY, "linestyle": ":", "linewidth": 1}
    roc.plot([0, 100], [0, 100], **dotted)
    roc.annotate("dotted: chance", (100, 1), ha="right")
    levels = [mean_value(r, "aupr_out_chance", out=out, score="msp") for r in models.values()]
    for level in levels:
        precision.plot([0, 100], [level, level], **dotted)
    named = ", ".join(dict.fromkeys(f"{level:.1f} %" for level in levels))
    precision.annotate(f"dotted: chance, {named}", (0, 1))


def _mean(pairs: Sequence[tuple[np.ndarray, np.ndarray]], start: float | None = None) -> Curve:
    """The mean and the range over seeds of curves given by their points, in percent.

    Args:
        start: y at x = 0; that of the first point where not given.
    """
    grid = np.linspace(0, 1, 401)
    lines = [np.interp(grid, x, y, left=y[0] if start is None else None) for x, y in pairs]
    if start is not None:
        grid, lines = np.append(0, grid), [np.append(start, line) for line in lines]
    values = 100 * np.array(lines)
    return Curve(100 * grid, values.mean(0), values.min(0), values.max(0))
