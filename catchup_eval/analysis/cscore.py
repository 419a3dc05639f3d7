"""Do the misclassified images have low C-scores?

The C-score of an image is the expected accuracy on it of networks that were trained without it
(Jiang et al. 2021; :mod:`catchup_eval.datasets.cscores`): low for an irregular image. One row
per number:

- `wrong_mean`, `wrong_q1`, `wrong_q2`, `wrong_q3`: mean and quartiles of the C-scores of the
  misclassified images; bootstrap over these images. Absent where there are none, without an
  interval where there is one
- `all_mean`, `all_q1`, `all_q2`, `all_q3`: of all images, the value for mistakes that
  do not depend on the C-score
- `error`: misclassified images, in percent, Wilson interval
- `accuracy`: within each `fifth` of the images, from 1, the lowest C-scores, to 5, in percent,
  Wilson interval
- `wrong_share`: how many of the misclassified images are in this `fifth`, in percent, likewise

Quartiles interpolate linearly between neighbours. Images of one score are in one fifth, so that
where many have the same score the fifths differ in size, and one may be empty: it has no rows.

The mean is a sum over all images divided by the number of mistakes. For paired tests it is
linearised (the delta method): a correct image contributes the mean itself, a mistake what it moves
it by. So networks are compared on all images, although they miss different ones. That needs many
mistakes; with fewer than 30, networks are not tested. (Of 400 simulated pairs of equal networks
with about 14 mistakes each in 500 images, 8.5 % differed at the level of 5 %; with about 36
mistakes, 5.0 %.)

Common columns: `fifth`, then `metric`, `value`, `unit`, `n` images, `low` and `high` (95 %
interval), `protocol`. Samples, each (N,): `index`, `cscore`, `correct`, `fifth` and, with 30
mistakes or more, `wrong_mean`, the linearised contributions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy import stats

from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.core.settings import validate_settings
from catchup_eval.metrics.intervals import bootstrap
from catchup_eval.plotting import figure, style
from catchup_eval.plotting.curves import band_alpha, curve, draw, mean_value
from catchup_eval.results.headline import Headline
from catchup_eval.results.result import Result, Rows, group_by_model

TITLE = "C-scores of the mistakes"
DESCRIPTION = "Do the misclassified images have low C-scores?"
INTERPRETATION = (
    "A low mean: mostly images of low C-score are misclassified; one equal to the mean of all "
    "images: the others are as often. Read it with the accuracy: a network with fewer mistakes "
    "usually misclassifies hard images. On the right, the further a line is above the grey one of "
    "all images, the more of the mistakes have low C-scores."
)
REFERENCE = (
    "Oh and Yun 2024, Provable Benefit of Cutout and CutMix for Feature Learning; C-scores of "
    "Jiang et al. 2021, Characterizing Structural Regularities of Labeled Data"
)
NEEDS = frozenset({"test", "cscores"})
VERSION = 1
COST = 0.3
HEADLINES = (
    Headline(
        "wrong_mean",
        "mean C-score of the mistakes",
        "lower",
        outcomes=("wrong_mean",),
        scale=1.0,
        chance="all_mean",
    ),
)
FIFTHS = 5
TESTED = 30  # mistakes from which on their mean is linear enough to be tested
QUARTILES = {"q1": 0.25, "q2": 0.5, "q3": 0.75}
SCORE = "C-score"  # the unit


@validate_settings()
def measure(context: EvaluationContext) -> Result:
    """The rows and samples described above."""
    split, outputs = context.data.split("cscores"), context.outputs("test")
    assert split.cscores is not None
    scores, correct = split.cscores.numpy(), outputs.correct
    samples = {
        "index": outputs.index.numpy(),
        "cscore": scores,
        "correct": correct,
        "fifth": fifths(scores),
    }
    mistakes, rows = ~correct, Rows(f"cscore@{VERSION}")
    if mistakes.sum() >= TESTED:
        samples["wrong_mean"] = contributions(scores, mistakes)
    if mistakes.any():
        _add_mistakes(rows, scores[mistakes])
    rows.add("all_mean", scores.mean(), unit=SCORE, n=len(scores))
    for name, level in QUARTILES.items():
        rows.add(f"all_{name}", np.quantile(scores, level), unit=SCORE, n=len(scores))
    rows.rate("error", mistakes)
    for fifth in np.unique(samples["fifth"]):
        members = samples["fifth"] == fifth
        rows.rate("accuracy", correct[members], fifth=int(fifth))
        if mistakes.any():
            rows.rate("wrong_share", members[mistakes], fifth=int(fifth))
    return Result(rows.frame(), samples)


def fifths(scores: np.ndarray) -> np.ndarray:
    """(N,) the fifth of each of the scores (N,), from 1, the lowest; equal scores in one fifth."""
    middle = (stats.rankdata(scores) - 0.5) / len(scores)
    return np.asarray(np.ceil(FIFTHS * middle).astype(int))


def contributions(scores: np.ndarray, mistakes: np.ndarray) -> np.ndarray:
    """(N,) whose mean is that of the scores (N,) of the mistakes (N,), linearised as above.

    Example:
        >>> mistakes = np.array([True, True, False])
        >>> contributions(np.array([0.2, 0.4, 0.9]), mistakes).round(2).tolist()
        [0.15, 0.45, 0.3]
    """
    mean = scores[mistakes].mean()
    return np.asarray(mean + mistakes * (scores - mean) / mistakes.mean())


def _add_mistakes(rows: Rows, scores: np.ndarray) -> None:
    rows.mean("wrong_mean", scores, unit=SCORE)
    for name, level in QUARTILES.items():

        def quantile(chosen: np.ndarray, level: float = level) -> np.ndarray:
            return np.asarray(np.quantile(scores[chosen], level, axis=1))

        value, interval = float(np.quantile(scores, level)), bootstrap(quantile, len(scores))
        rows.add(f"wrong_{name}", value, unit=SCORE, n=len(scores), interval=interval)


@style.styled
def plot(result: Result) -> dict[str, Figure]:
    """Accuracy by fifth of the C-scores, and the distribution of the mistakes' C-scores."""
    models = group_by_model(result)
    abreast = figure.abreast(2, 2.6)
    fig = figure.figure(style.PAGE, 2.4 * (3 - abreast) + 0.16 * len(models))
    accuracy, distribution = fig.subplots(3 - abreast, abreast)
    samples = next(iter(models.values()))[0].samples
    label = f"all images: mean {samples['cscore'].mean():.3f}"
    distribution.ecdf(samples["cscore"], color=style.GREY, label=label)
    for name, look in style.plot_styles(list(models)).items():
        results = models[name]
        line, pale = curve(results, "accuracy", "fifth"), band_alpha(len(models))
        draw(accuracy, line, look, dash=look.dash, shade=pale, marker=look.marker)
        _plot_mistakes(distribution, results, look, _label(name, results))
    _name_axes(accuracy, distribution, samples)
    figure.zoom(accuracy)
    figure.legend_below(fig, distribution, columns=2 if len(models) > 2 else 1)
    return {"cscore": fig}


def _label(name: str, results: Sequence[Result]) -> str:
    if not all(len(result.rows("wrong_mean")) for result in results):
        return f"{name}: no mistakes"
    mean, error = (mean_value(results, metric) for metric in ("wrong_mean", "error"))
    return f"{name}: mean {mean:.3f}, error {error:.1f} %"


def _plot_mistakes(
    axes: Axes, results: Sequence[Result], look: style.PlotStyle, label: str
) -> None:
    """The scores of the mistakes of all seeds of one model, together."""
    mistakes = [result.samples["cscore"][~result.samples["correct"]] for result in results]
    scores = np.concatenate(mistakes)
    line: dict[str, Any] = {"color": look.color, "linestyle": look.dash, "label": label}
    if len(scores):
        axes.ecdf(scores, **line)
    else:
        axes.plot([], [], **line)


def _name_axes(accuracy: Axes, distribution: Axes, samples: Mapping[str, np.ndarray]) -> None:
    numbers = np.unique(samples["fifth"])
    means = [samples["cscore"][samples["fifth"] == n].mean() for n in numbers]
    accuracy.set_xticks(numbers, [f"{n}\n{mean:.2f}" for n, mean in zip(numbers, means)])
    accuracy.set(xlabel="fifth of the images by C-score; its mean", ylabel="accuracy (%)")
    distribution.set(xlabel="C-score", ylabel="images up to this score (%)", ylim=(0, 1.02))
    distribution.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
