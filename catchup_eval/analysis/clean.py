"""How often is the network right on clean images, and does it know when it is not?

One row per number, without a condition; `unit` says the unit:

- `accuracy`: top-1 in percent, Wilson interval
- `top5`: top-5 accuracy in percent, Wilson interval; only where there are more than 5 classes
- `chance`: accuracy of guessing, 100 / K, in percent
- `nll`: negative log-likelihood in nats, bootstrap over images
- `brier`: squared error summed over all classes (Brier 1950), 0 to 2; bootstrap over images
- `ece`: expected calibration error in percent, equal-width bins (Guo et al. 2017)
- `ece_after_temperature`: the same, after temperature scaling
- `aurc`: area under risk over coverage in percent (Geifman et al. 2019): the error among the surest
  images, averaged over all shares of them; confidence as trained, ranked by `log_doubt`, so that
  no two images tie because their confidence is rounded to 1; bootstrap over images. In a random
  order, `aurc_chance`, it is the error of all: a network that is right more often has a lower one
- `temperature`: what the logits are divided by; geometric mean over the images. Above 1: the
  network was over-confident, below 1: under-confident, which is usual after mixed-label training

The temperature is two-fold cross-fitted on the test part: two random halves, each scaled by the
temperature that fits the other one, so that no image is judged by a temperature that saw its label.
It needs no other data, and it is not fitted on training images, where a network is over-confident.

The calibration error is biased upwards where images are few, and a resampled one is biased again;
its interval is therefore the reflected ("basic") bootstrap, cut at 0 and never short of the value
itself. In 500 simulated sets of 500 images with true errors of 0, 2.5 and 4.0 % it covered them in
69, 82 and 92 %, the plain percentile interval in 0, 80 and 81 %: read it as a rough one.

Where all images contribute the same (all right, and sure of it) a bootstrap sees no spread: the
interval is then that of :func:`catchup_eval.statistics.at_edge`; `nll`, which is not bounded, has
none. One image has no interval.

Common columns: `metric`, `value`, `unit`, `n` images, `low` and `high` (95 % interval),
`protocol`. Samples, each (N,): `index`, `label`, `prediction`, `correct`, `nll`, `brier`,
`confidence`, `log_doubt` (the logarithm of 1 less it), `confidence_after_temperature`,
`temperature`, `margin` (the largest logit less the
next: how far the prediction is from another one); and `bins` (1,).
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from catchup_eval.metrics import calibration, selective
from catchup_eval.question import Headline
from catchup_eval.report import figures
from catchup_eval.report.curves import by_model, mean_value
from catchup_eval.results import RANGES, Result, Rows
from catchup_eval.settings import Count, validate_settings
from catchup_eval.statistics import (
    Interval,
    bootstrap,
    over_seeds,
    reflected,
    score_limits,
)
from catchup_eval.subject import Subject
from catchup_eval.verification.margins import margins

TITLE = "Clean accuracy and calibration"
QUESTION = "How often is the network right on clean images, and does it know when it is not?"
READING = (
    "On the diagonal, confidence equals accuracy; below it the network is over-confident, above it "
    "under-confident. Temperature scaling takes away a mere difference in scale, which training "
    "with mixed labels brings by itself. Bins with fewer than 10 images are counted, not drawn. "
    "The last picture has the error where only the surest images are answered: lower is better."
)
SOURCE = "Guo et al. 2017, On Calibration of Modern Neural Networks; Geifman et al. 2019 (AURC)"
NEEDS = frozenset({"test"})
VERSION = 3
HEADLINES = (
    Headline("accuracy", "accuracy", "higher", outcomes=("correct",), chance="chance"),
    Headline("nll", "NLL", "lower", outcomes=("nll",), scale=1.0),
    Headline("ece_after_temperature", "ECE after temperature", "lower"),
)
PANELS = {"confidence": "as trained", "confidence_after_temperature": "after temperature"}
DRAWN = 10  # images that a bin must hold to be drawn: below, its accuracy says nothing
COVERED = np.linspace(0.02, 1, 99)  # shares of the images; below, a few decide
FEW = 3  # models up to which intervals are drawn


@validate_settings()
def measure(subject: Subject, *, bins: Count = 15) -> Result:
    """The rows and samples described above.

    Args:
        bins: of the calibration error; Guo et al. take 15.
    """
    outputs = subject.outputs("test")
    logits, labels = outputs.logits.double().numpy(), outputs.labels.numpy()
    temperature = calibration.cross_fitted_temperature(
        logits, labels, subject.generator("clean", "temperature halves")
    )
    log_p = calibration.log_probabilities(logits)
    scaled = calibration.log_probabilities(logits, temperature)
    samples = {
        "index": outputs.index.numpy(),
        "label": labels,
        "prediction": logits.argmax(1),
        "correct": outputs.correct,
        "nll": calibration.nll(log_p, labels),
        "brier": calibration.brier(log_p, labels),
        "confidence": np.exp(log_p.max(1)),
        "log_doubt": calibration.log_doubt(logits),
        "confidence_after_temperature": np.exp(scaled.max(1)),
        "temperature": temperature,
        "margin": margins(outputs.logits),
        "bins": np.array([bins]),
    }
    return Result(_rows(logits, samples).frame(), samples)


def _rows(logits: np.ndarray, samples: dict[str, np.ndarray]) -> Rows:
    rows = Rows(f"clean@{VERSION}")
    n, classes = logits.shape
    rows.rate("accuracy", samples["correct"])
    if classes > 5:
        top = np.argpartition(-logits, 5, axis=1)[:, :5]
        rows.rate("top5", (top == samples["label"][:, None]).any(1))
    rows.add("chance", 100 / classes, unit="%", n=n)
    for score, unit in (("nll", "nats"), ("brier", "squared error")):
        rows.mean(score, samples[score], unit=unit)
    _calibration_rows(rows, samples)
    _selective_rows(rows, samples)
    return rows


def _calibration_rows(rows: Rows, samples: dict[str, np.ndarray]) -> None:
    correct, bins = samples["correct"], int(samples["bins"][0])
    for confidence in PANELS:
        metric = confidence.replace("confidence", "ece")
        value = calibration.expected_calibration_error(samples[confidence], correct, bins=bins)
        interval = _reflected(samples[confidence], correct, bins, value)
        rows.add(metric, 100 * value, unit="%", n=len(correct), interval=interval)
    temperature = float(np.exp(np.log(samples["temperature"]).mean()))
    rows.add("temperature", temperature, unit="divisor", n=len(correct))


def _selective_rows(rows: Rows, samples: dict[str, np.ndarray]) -> None:
    errors = selective.ranked_errors(-samples["log_doubt"], samples["correct"])

    def resampled(chosen: np.ndarray) -> float:
        return 100 * selective.area(errors, np.bincount(chosen, minlength=n))

    n, value = len(errors), 100 * selective.area(errors)
    low, high = bootstrap(resampled, n, bounds=RANGES["%"])
    interval = Interval(min(low, value), max(high, value))
    rows.add("aurc", value, unit="%", n=n, interval=interval)
    rows.add("aurc_chance", 100 * errors.mean(), unit="%", n=n)


def _reflected(confidence: np.ndarray, correct: np.ndarray, bins: int, value: float) -> Interval:
    """Basic bootstrap of the calibration error in percent: resampling adds to it, so reflect."""

    def resampled(chosen: np.ndarray) -> float:
        return float(np.abs(np.bincount(numbers[chosen], gaps[chosen])).sum()) / len(chosen)

    numbers = calibration.bin_numbers(confidence, bins)
    gaps = correct - confidence
    low, high = reflected(resampled, len(gaps), value)
    return Interval(100 * low, 100 * high)


def plot(result: Result) -> dict[str, Figure]:
    """Reliability before and after temperature scaling, and risk over coverage."""
    models = by_model(result)
    with figures.style():
        return {"reliability": _reliability(models), "selective": _selective(models)}


def _reliability(models: dict[str, list[Result]]) -> Figure:
    """Both diagrams, with the share of images below."""
    fig = figures.figure(figures.PAGE, 3.2 + 0.16 * len(models))
    grid = fig.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3, 1))
    for (top, strip), (confidence, title) in zip(grid.T, PANELS.items(), strict=True):
        _panel(top, strip, models, confidence)
        top.set_title(title)
    grid[0, 0].set_ylabel("accuracy (%)")
    grid[1, 0].set_ylabel("images (%)")
    figures.legend_below(fig, grid[0, 0], columns=1)
    return fig


def _selective(models: dict[str, list[Result]]) -> Figure:
    fig = figures.figure(figures.COLUMN, 2.4 + 0.16 * len(models))
    axes = fig.subplots()
    looks = figures.looks(list(models))
    for name, results in models.items():
        risk = 100 * np.mean([_risk(result) for result in results], axis=0)
        label = f"{figures.drawn(name)}: area {mean_value(results, 'aurc'):.2f} %"
        axes.plot(100 * COVERED, risk, color=looks[name].color, ls=looks[name].dash, label=label)
    axes.set(xlabel="answered, the surest first (%)", ylabel="error among these (%)")
    axes.set(xlim=(0, 101), ylim=(0, None))
    figures.legend_below(fig, axes, columns=1)
    return fig


def _risk(result: Result) -> np.ndarray:
    """The error among the surest images, at the shares `COVERED`."""
    risk = selective.risks(selective.sureness(result.samples), result.samples["correct"])
    return np.asarray(np.interp(COVERED, np.arange(1, len(risk) + 1) / len(risk), risk))


def _panel(top: Axes, strip: Axes, models: dict[str, list[Result]], confidence: str) -> None:
    looks = figures.looks(list(models))
    top.plot([0, 100], [0, 100], color=figures.GREY, linewidth=0.8, zorder=1)
    for name, results in models.items():
        diagrams = [_diagram(result, confidence) for result in results]
        _line(top, diagrams, looks[name], _label(name, results), whiskers=len(models) <= FEW)
        share = np.mean([100 * d.counts / d.counts.sum() for d in diagrams], axis=0)
        edges = np.linspace(0, 100, len(share) + 1)
        strip.stairs(share, edges, color=looks[name].color, linestyle=looks[name].dash)
    top.set(xlim=(-2, 102), ylim=(-3, 103))
    strip.set(yscale="symlog", ylim=(0, 130), yticks=(0, 1, 10, 100), xlabel="confidence (%)")
    strip.set_yticklabels(["0", "1", "10", "100"])
    strip.minorticks_off()


def _label(name: str, results: Sequence[Result]) -> str:
    metrics = ("ece", "ece_after_temperature", "temperature")
    before, after, divisor = (mean_value(results, metric) for metric in metrics)
    name = figures.drawn(name)
    return f"{name}: ECE {before:.1f} %; {after:.1f} % after temperature {divisor:.2f}"


def _diagram(result: Result, confidence: str) -> calibration.Reliability:
    samples = result.samples
    bins = int(samples["bins"][0])
    return calibration.reliability(samples[confidence], samples["correct"], bins=bins)


def _line(
    axes: Axes,
    diagrams: Sequence[calibration.Reliability],
    look: figures.Look,
    label: str,
    *,
    whiskers: bool,
) -> None:
    """One model, the mean over its seeds, in the bins that are full enough in each seed."""
    full = np.min([diagram.counts for diagram in diagrams], axis=0) >= DRAWN
    x = 100 * np.mean([diagram.confidence[full] for diagram in diagrams], axis=0)
    y = 100 * np.mean([diagram.accuracy[full] for diagram in diagrams], axis=0)
    color, marker, dash = look
    axes.plot(x, y, color=color, marker=marker, linestyle=dash, label=label)
    if whiskers:
        low, high = _limits(diagrams, full)
        axes.vlines(x, low, high, color=color, linewidth=0.6)


def _limits(
    diagrams: Sequence[calibration.Reliability], full: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """95 % limits of the accuracy in each of these bins: over seeds, or Wilson's over images."""
    if len(diagrams) > 1:
        values = 100 * np.array([diagram.accuracy[full] for diagram in diagrams])
        low, high = np.array([over_seeds(column) for column in values.T]).reshape(-1, 2).T
    else:
        low, high = 100 * score_limits(diagrams[0].accuracy[full], diagrams[0].counts[full])
    return np.clip(low, 0, 100), np.clip(high, 0, 100)
