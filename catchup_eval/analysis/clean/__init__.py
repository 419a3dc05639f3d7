"""How accurate and how well calibrated is the network on clean images?

One row per number, without a condition:

- `accuracy`: top-1 in percent, Wilson interval
- `top5`: top-5 accuracy in percent, Wilson interval; only where there are more than 5 classes
- `chance`: accuracy of guessing, 100 / K, in percent (times the mean number of correct classes)
- `nll`: negative log-likelihood in nats, bootstrap over images
- `brier`: squared error summed over all classes (Brier 1950), 0 to 2; bootstrap over images
- `ece`: expected calibration error in percent, equal-width bins (Guo et al. 2017)
- `ece_after_temperature`: the same, after temperature scaling
- `aurc`: area under risk over coverage in percent (Geifman et al. 2019): the error among the most
  confident images, averaged over all fractions of them; confidence as trained, ranked by
  `log_doubt`, so that no two images tie because their confidence is rounded to 1; bootstrap over
  images. In a random order, `aurc_chance`, it is the error of all: a network that is correct more
  often has a lower one
- `temperature`: divisor of the logits; geometric mean over the images. Above 1: the
  network was over-confident, below 1: under-confident, which is usual after mixed-label training

The temperature is two-fold cross-fitted on the test split: each of two random halves is scaled by
the temperature that fits the other one, so that no image's own label decides its temperature. It
needs no other data, and not the training images, where a network is over-confident.

The calibration error is biased upwards where images are few, and a resampled one is biased again;
its interval is therefore the reflected ("basic") bootstrap, cut at 0 and never short of the value
itself. In 500 simulated sets of 500 images with true errors of 0, 2.5 and 4.0 % it covered them in
69, 82 and 92 %, the plain percentile interval in 0, 80 and 81 %: read it as a rough one.

Where all images contribute the same (all correct, and confident) a bootstrap has no spread: the
interval is then that of :func:`catchup_eval.metrics.intervals.at_edge`; `nll`, which is not
bounded, has none. One image has no interval.

Where a dataset has several correct classes for an image, accuracies count any of them (as the
authors of ImageNet-ReaL and ObjectNet do); NLL, Brier score and temperature go by its label, which
is one of them.

Common columns: `metric`, `value`, `unit`, `n` images, `low` and `high` (95 % interval),
`protocol`. Samples, each (N,): `index`, `label`, `prediction`, `correct`, `nll`, `brier`,
`confidence`, `log_doubt` (the logarithm of 1 less it), `confidence_after_temperature`,
`temperature`, `margin` (the largest logit less the next: how far the prediction is from another
one); `accepted` (N, M), where images have several correct classes: -1 fills the rows; `bins` (1,).
"""

from collections.abc import Iterator

import numpy as np

from catchup_eval.analysis.base import PerSample, Recheck
from catchup_eval.analysis.clean.conventions import CONVENTIONS as CONVENTIONS
from catchup_eval.analysis.clean.figures import PANELS
from catchup_eval.analysis.clean.figures import plot as plot
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.core.settings import Few, validate_settings
from catchup_eval.metrics import calibration, selective
from catchup_eval.metrics.calibration import margins
from catchup_eval.metrics.intervals import Interval, bootstrap, reflected
from catchup_eval.results.headline import Condition, Headline, RowLink
from catchup_eval.results.result import RANGES, Result, Rows

TITLE = "Clean accuracy and calibration"
DESCRIPTION = "How accurate and how well calibrated is the network on clean images?"
INTERPRETATION = (
    "On the diagonal, confidence equals accuracy; below it the network is over-confident, above it "
    "under-confident. Temperature scaling removes a mere difference in scale, which training "
    "with mixed labels causes by itself. Bins with fewer than 10 images are counted, not plotted. "
    "The second figure has the error among the most confident images alone: lower is better."
)
REFERENCE = "Guo et al. 2017, On Calibration of Modern Neural Networks; Geifman et al. 2019 (AURC)"
NEEDS = frozenset({"test"})
VERSION = 3
COST = 1
HEADLINES = (
    Headline("accuracy", "accuracy", "higher", outcomes=("correct",), chance="chance"),
    Headline("nll", "NLL", "lower", outcomes=("nll",), scale=1.0),
    Headline("ece_after_temperature", "ECE after temperature", "lower"),
)
PER_SAMPLE: PerSample = {
    "test": (
        *("label", "prediction", "correct", "nll", "brier", "confidence", "log_doubt", "margin"),
        "accepted",
    ),
}
RECHECK = Recheck()
SEVERAL_LABELS = True


@validate_settings()
def measure(context: EvaluationContext, *, bins: Few = 15) -> Result:
    """The rows and samples described above.

    Args:
        bins: of the calibration error; Guo et al. take 15.
    """
    outputs = context.outputs("test")
    logits, labels = outputs.logits.double().numpy(), outputs.labels.numpy()
    temperature = calibration.cross_fitted_temperature(
        logits, labels, context.generator("clean", "temperature halves")
    )
    log_p = calibration.log_probabilities(logits)
    scaled = calibration.log_probabilities(logits, temperature)
    samples = {
        "index": outputs.index.numpy(),
        "label": labels,
        **({} if outputs.accepted is None else {"accepted": outputs.accepted.numpy()}),
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
    return Result(_rows(logits, samples, outputs.truth.numpy()).frame(), samples)


def row_links(result: Result) -> Iterator[RowLink]:
    """Rows beyond the headlines, and the samples that each is the mean of."""
    yield RowLink("brier", {}, result.samples["brier"], 1.0)
    truth = result.samples.get("accepted", result.samples["label"][:, None])
    yield RowLink("accuracy", {}, (result.samples["prediction"][:, None] == truth).any(1))


def conditions(result: Result) -> Iterator[Condition]:
    """The images as they are."""
    correct, prediction = result.samples["correct"], result.samples["prediction"]
    yield Condition("clean", correct, prediction[:, None], changed=False)


def _rows(logits: np.ndarray, samples: dict[str, np.ndarray], truth: np.ndarray) -> Rows:
    rows = Rows(f"clean@{VERSION}")
    n, classes = logits.shape
    rows.rate("accuracy", samples["correct"])
    if classes > 5:
        top = np.argpartition(-logits, 5, axis=1)[:, :5]
        rows.rate("top5", (top[:, :, None] == truth[:, None]).any((1, 2)))
    rows.add("chance", 100 * float((truth >= 0).sum(1).mean()) / classes, unit="%", n=n)
    for score, unit in (("nll", "nats"), ("brier", "squared error")):
        rows.mean(score, samples[score], unit=unit)
    for confidence in PANELS:
        _add_calibration_error(rows, samples, confidence)
    temperature = float(np.exp(np.log(samples["temperature"]).mean()))
    rows.add("temperature", temperature, unit="divisor", n=n)
    _add_aurc(rows, samples)
    return rows


def _add_calibration_error(rows: Rows, samples: dict[str, np.ndarray], confidence: str) -> None:
    correct, bins = samples["correct"], int(samples["bins"][0])
    numbers = calibration.bin_numbers(samples[confidence], bins)
    gaps = correct - samples[confidence]

    def resampled(chosen: np.ndarray) -> np.ndarray:
        cells = numbers.take(chosen)
        cells += bins * np.arange(len(chosen))[:, None]
        sums = np.bincount(cells.ravel(), gaps.take(chosen).ravel(), minlength=bins * len(chosen))
        return np.asarray(np.abs(sums).reshape(-1, bins).sum(1) / chosen.shape[1])

    value = calibration.expected_calibration_error(samples[confidence], correct, bins=bins)
    low, high = reflected(resampled, len(gaps), value)
    interval = Interval(100 * low, 100 * high)
    metric = confidence.replace("confidence", "ece")
    rows.add(metric, 100 * value, unit="%", n=len(gaps), interval=interval)


def _add_aurc(rows: Rows, samples: dict[str, np.ndarray]) -> None:
    errors = selective.errors_by_confidence(-samples["log_doubt"], samples["correct"])

    def resampled(chosen: np.ndarray) -> np.ndarray:
        return np.array([100 * selective.area(errors, np.bincount(c, minlength=n)) for c in chosen])

    n, value = len(errors), 100 * selective.area(errors)
    low, high = bootstrap(resampled, n, bounds=RANGES["%"])
    interval = Interval(min(low, value), max(high, value))
    rows.add("aurc", value, unit="%", n=n, interval=interval)
    rows.add("aurc_chance", 100 * errors.mean(), unit="%", n=n)
