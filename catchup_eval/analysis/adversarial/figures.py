"""The figure of :mod:`catchup_eval.analysis.adversarial`, from its results alone."""

from collections.abc import Mapping
from itertools import cycle
from textwrap import wrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from catchup_eval.analysis.adversarial.masking import MASKED, NEAR, SIGNS
from catchup_eval.plotting import figure
from catchup_eval.plotting.curves import Curve, band_alpha, curve, draw
from catchup_eval.plotting.style import GREY, PlotStyle, plot_styles, styled
from catchup_eval.results.result import Result, group_by_model

PAPER = 4  # epsilon of the paper, in 1/255
WIDTH = 46  # characters of the warning that fit one column
DASHED = (0, (4, 1.5))
MARKERS = ("*", "X", "P", "h")  # of the libraries' attacks
DODGE = 0.12  # in 1/255, between the points of two models, so that none hides the other's


@styled
def plot(result: Result) -> dict[str, Figure]:
    """Accuracy over epsilon, FGSM solid and PGD dashed, with a line at the paper's epsilon."""
    models = group_by_model(result)
    warning = _warning(models)
    others = _library_markers(result)
    rows = -(-(min(len(models), 6) + 2 + len(others)) // 3)
    fig = figure.figure(figure.COLUMN, 2.4 + 0.16 * (rows + warning.count("\n")))
    axes = fig.subplots()
    axes.axvline(PAPER, color=GREY, linewidth=0.8, zorder=1)
    looks = plot_styles(list(models))
    for number, (name, results) in enumerate(models.items()):
        _draw_lines(axes, results, looks[name], name, band_alpha(len(models)))
        shift = DODGE * (number - (len(models) - 1) / 2)
        for attack, marker in others.items():
            _draw_points(axes, results, looks[name], attack, marker, shift)
    for attack, dash in (("fgsm", "-"), ("pgd", DASHED)):
        if len(result.rows("accuracy", attack=attack)):
            axes.plot([], [], color=GREY, linestyle=dash, label=attack.upper())
    for attack, marker in others.items():
        axes.plot([], [], color=GREY, linestyle="none", marker=marker, label=attack)
    axes.set(xlabel="epsilon (1/255)", ylabel="accuracy (%)")
    figure.zoom(axes)
    if warning:
        fig.suptitle(warning, fontsize=7, fontweight="bold", x=0.02, ha="left")
    figure.legend_below(fig, axes)
    return {"accuracy": fig}


def _library_markers(result: Result) -> dict[str, str]:
    """The markers of the libraries' attacks that have a radius, by name."""
    rows = result.rows("accuracy").dropna(subset="epsilon")
    own = ("fgsm", "pgd", "fgm-l2")  # l_2 has radii of its own, which the axis does not show
    names = [name for name in rows["attack"].unique() if not name.startswith(own)]
    return dict(zip(names, cycle(MARKERS)))


def _draw_lines(
    axes: Axes, results: list[Result], look: PlotStyle, name: str, alpha: float
) -> None:
    fgsm, pgd = (curve(results, "accuracy", "epsilon", attack=attack) for attack in ("fgsm", "pgd"))
    draw(axes, fgsm, look, shade=alpha, marker=look.marker, label=name)
    clean = Curve(*(values[fgsm.x == 0] for values in fgsm))
    line = Curve(*(np.concatenate(pair) for pair in zip(clean, pgd, strict=True)))
    measured = list(range(len(clean.x), len(line.x)))
    style = {"marker": look.marker, "markerfacecolor": "white", "markevery": measured}
    draw(axes, line, look, dash=DASHED, shade=alpha, **style)


def _draw_points(
    axes: Axes, results: list[Result], look: PlotStyle, attack: str, marker: str, shift: float
) -> None:
    x, value, low, high = curve(results, "accuracy", "epsilon", attack=attack)
    limits = (value - low, high - value)
    bars = axes.errorbar(x + shift, value, limits, color=look.color, ls="none", marker=marker)
    figure.owners[bars.lines[0]] = look
    bars.lines[0].set(markersize=6, markeredgecolor="white", markeredgewidth=0.4)


def _warning(models: Mapping[str, list[Result]]) -> str:
    """Which accuracies are no measure of robustness, and why; empty where none is suspect."""
    lines: list[str] = []
    masked = False
    for name, results in models.items():
        signs = _signs(results)
        masked |= MASKED in signs.values()
        for sign, cause in signs.items():
            why = "" if cause == MASKED else f" ({cause})"
            lines += wrap(f"{name}: {sign}{why}", WIDTH)
    end = "Gradients may be masked: trust the lowest." if masked else "Trust the lowest."
    return "\n".join([*lines, end] if lines else [])


def _signs(results: list[Result]) -> dict[str, str]:
    """Signs of an attack that finds too little, with the likeliest cause, over a model's seeds."""
    checks = pd.concat([result.checks for result in results])
    failed = checks[checks["value"] == 0]
    causes = dict(zip(failed["metric"], failed.get("cause", failed["metric"])))
    signs = {words: causes[claim] for claim, words in SIGNS.items() if claim in causes}
    if NEAR in causes:
        gaps = curve(results, "masking_gap", "epsilon")
        epsilon, gap = gaps.x[gaps.value.argmax()], gaps.value.max()
        cause = signs.pop(SIGNS[NEAR])
        signs[f"FGSM {gap:.0f} points above PGD ({epsilon:g}/255)"] = cause
    return signs
