"""Are the images that it gets wrong the irregular ones?

The C-score of an image is the expected accuracy on it of networks that were trained without it
(Jiang et al. 2021; :mod:`catchup_eval.datasets.cscores`): low for an irregular image. One row
per number; `unit` says the unit:

- `wrong_mean`, `wrong_q1`, `wrong_q2`, `wrong_q3`: mean and quartiles of the C-scores of the images
  that the network gets wrong; bootstrap over these images. Absent where it gets none wrong, without
  an interval where it is one
- `all_mean`, `all_q1`, `all_q2`, `all_q3`: of all images. It is what a network would come to whose
  mistakes have nothing to do with regularity
- `error`: share of the images that it gets wrong, in percent, Wilson interval
- `accuracy`: within each `fifth` of the images, from 1, the least regular, to 5, in percent, Wilson
  interval
- `wrong_share`: how many of the wrong images are in this `fifth`, in percent, Wilson interval

Quartiles interpolate linearly between neighbours. Images of one score stand in one fifth, so that
where many share a score the fifths differ in size, and one may be empty: it has no rows.

The mean is a sum over all images divided by how many are wrong. For paired tests it is linearised
(the delta method): an image that is right contributes the mean itself, a wrong one what it moves
it by. The networks' means are then compared on all images, although they miss different ones.
That needs many mistakes; with fewer than 30, networks are not tested. (Of 400 simulated pairs of
equal networks with about 14 mistakes each in 500 images, 8.5 % differed at the level of 5 %; with
about 36 mistakes, 5.0 %.)

Common columns: `fifth`, then `metric`, `value`, `unit`, `n` images, `low` and `high` (95 %
interval), `protocol`. Samples, each (N,): `index`, `cscore`, `correct`, `fifth` and, where 30
images or more are wrong, `wrong_mean`, the linearised contributions.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy import stats

from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.core.settings import validate_settings
from catchup_eval.metrics.intervals import Interval, bootstrap
from catchup_eval.plotting import figure, style
from catchup_eval.plotting.curves import band_alpha, curve, draw, mean_value
from catchup_eval.results.headline import Headline
from catchup_eval.results.result import Result, Rows, group_by_model

TITLE = "C-scores of the mistakes"
DESCRIPTION = "Are the images that it gets wrong the irregular ones?"
INTERPRETATION = (
    "A low mean says that mostly irregular images are missed, one like that of all images that "
    "regular ones are missed as often. Read it with the accuracy: a network with fewer mistakes "
    "usually keeps the hard ones. On the right, the further a line stands above the grey one of "
    "all images, the more of the mistakes are irregular images."
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
def measure(subject: EvaluationContext) -> Result:
    """The rows and samples described above."""
    part, outputs = subject.data.split("cscores"), subject.outputs("test")
    assert part.cscores is not None
    scores, correct = part.cscores.numpy(), outputs.correct
    samples = {
        "index": outputs.index.numpy(),
        "cscore": scores,
        "correct": correct,
        "fifth": fifths(scores),
    }
    if (~correct).sum() >= TESTED:
        samples["wrong_mean"] = contributions(scores, ~correct)
    return Result(_rows(samples).frame(), samples)


def fifths(scores: np.ndarray) -> np.ndarray:
    """In which fifth each of the scores (N,) is, from 1, the lowest; equal ones stand together.

    Example:
        >>> fifths(np.array([0.9, 0.1, 0.5, 0.7, 0.3])).tolist()
        [5, 1, 3, 4, 2]
    """
    middle = (stats.rankdata(scores) - 0.5) / len(scores)
    return np.asarray(np.ceil(FIFTHS * middle).astype(int))


def contributions(scores: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """(N,) whose mean is that of the scores (N,) where wrong (N,), linearised as said above.

    Example:
        >>> wrong = np.array([True, True, False])
        >>> contributions(np.array([0.2, 0.4, 0.9]), wrong).round(2).tolist()
        [0.15, 0.45, 0.3]
    """
    mean = scores[wrong].mean()
    return np.asarray(mean + wrong * (scores - mean) / wrong.mean())


def _rows(samples: dict[str, np.ndarray]) -> Rows:
    rows = Rows(f"cscore@{VERSION}")
    scores, wrong = samples["cscore"], ~samples["correct"]
    if wrong.any():
        _mistakes(rows, scores[wrong])
    rows.add("all_mean", scores.mean(), unit=SCORE, n=len(scores))
    for name, share in QUARTILES.items():
        rows.add(f"all_{name}", np.quantile(scores, share), unit=SCORE, n=len(scores))
    rows.rate("error", wrong)
    for fifth in np.unique(samples["fifth"]):
        inside = samples["fifth"] == fifth
        rows.rate("accuracy", ~wrong[inside], fifth=int(fifth))
        if wrong.any():
            rows.rate("wrong_share", inside[wrong], fifth=int(fifth))
    return rows


def _mistakes(rows: Rows, missed: np.ndarray) -> None:
    rows.mean("wrong_mean", missed, unit=SCORE)
    for name, share in QUARTILES.items():
        value, limits = float(np.quantile(missed, share)), _quantile_interval(missed, share)
        rows.add(f"wrong_{name}", value, unit=SCORE, n=len(missed), interval=limits)


def _quantile_interval(values: np.ndarray, share: float) -> Interval:
    def resampled(chosen: np.ndarray) -> float:
        return float(np.quantile(values[chosen], share))

    return bootstrap(resampled, len(values))


def plot(result: Result) -> dict[str, Figure]:
    """Accuracy by fifth of regularity, and the distribution of the mistakes' C-scores."""
    with style.figure_style():
        models = group_by_model(result)
        fig = figure.figure(style.PAGE, 2.5 + 0.16 * len(models))
        accuracy, distribution = fig.subplots(1, 2)
        _all_images(distribution, next(iter(models.values()))[0])
        for name, look in style.plot_styles(list(models)).items():
            results = models[name]
            line, pale = curve(results, "accuracy", "fifth"), band_alpha(len(models))
            draw(accuracy, line, look, dash=look.dash, shade=pale, marker=look.marker)
            _mistakes_of(distribution, results, look, _label(name, results))
        _name_axes(accuracy, distribution, next(iter(models.values()))[0])
        figure.legend_below(fig, distribution, columns=2 if len(models) > 2 else 1)
        return {"cscore": fig}


def _label(name: str, results: Sequence[Result]) -> str:
    missing = [result for result in results if not len(result.rows("wrong_mean"))]
    if missing:
        return f"{style.escape_label(name)}: nothing wrong"
    mean = mean_value(results, "wrong_mean")
    return (
        f"{style.escape_label(name)}: mean {mean:.3f}, error {mean_value(results, 'error'):.1f} %"
    )


def _all_images(axes: Axes, result: Result) -> None:
    scores = result.samples["cscore"]
    label = f"all images: mean {scores.mean():.3f}"
    axes.ecdf(scores, color=style.GREY, label=label)


def _mistakes_of(axes: Axes, results: Sequence[Result], look: style.PlotStyle, label: str) -> None:
    """The scores of what the seeds of one model miss, together."""
    missed = [result.samples["cscore"][~result.samples["correct"]] for result in results]
    scores = np.concatenate(missed)
    if len(scores):
        axes.ecdf(scores, color=look.color, linestyle=look.dash, label=label)
    else:
        axes.plot([], [], color=look.color, linestyle=look.dash, label=label)


def _name_axes(accuracy: Axes, distribution: Axes, result: Result) -> None:
    numbers = np.unique(result.samples["fifth"])
    means = [result.samples["cscore"][result.samples["fifth"] == n].mean() for n in numbers]
    accuracy.set_xticks(numbers, [f"{n}\n{mean:.2f}" for n, mean in zip(numbers, means)])
    accuracy.set(xlabel="fifth of the images by C-score; its mean", ylabel="accuracy (%)")
    accuracy.set(ylim=(-3, 103))
    distribution.set(xlabel="C-score", ylabel="images up to this score (%)", ylim=(0, 1.02))
    distribution.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
