"""Top-1 of these weights, and what is printed as calibration error.

From each image's confidence and outcome, as `clean` stores them. Hendrycks et al.
(natural-adv-examples) print the root of the mean squared gap over bins of 100 images in the order
of confidence; their loop leaves out the last bin, that is the most confident 100 to 199 images.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from catchup_eval.analysis import conventions
from catchup_eval.analysis.conventions import Compute, Convention, ConventionFamily, ConventionValue
from catchup_eval.core.errors import Missing
from catchup_eval.metrics.calibration import expected_calibration_error
from catchup_eval.metrics.intervals import Interval, reflected
from catchup_eval.metrics.selective import sureness
from catchup_eval.results.result import Result

Error = Callable[[np.ndarray, np.ndarray], float]  # (confidence (N,), correct (N,)) -> 0 to 1
BIN = 100  # images, in natural-adv-examples
RESAMPLES = 300


def equal_mass_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, *, bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over bins of equally many images, in [0, 1].

    Example:
        >>> confidence, correct = np.array([0.5, 0.5, 1.0, 1.0]), np.array([0, 1, 1, 0])
        >>> equal_mass_calibration_error(confidence, correct, bins=2)
        0.25
    """
    gaps = (correct - confidence)[np.argsort(confidence, kind="stable")]
    return float(sum(abs(part.sum()) for part in np.array_split(gaps, bins)) / len(gaps))


def rms_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, *, whole: bool = True
) -> float:
    """Root of the mean squared gap over bins of 100 images; the last takes what is left.

    Args:
        whole: False leaves the last bin out, as natural-adv-examples does.

    Raises:
        Missing: fewer images than two bins.
    """
    count = len(confidence) // BIN
    if count < 2:
        raise Missing(f"{2 * BIN} images; {len(confidence)} are stored")
    gaps = (correct - confidence)[np.argsort(confidence, kind="stable")]
    parts = np.split(gaps, BIN * np.arange(1, count))
    counted = parts if whole else parts[:-1]
    return float(np.sqrt(sum(len(part) * part.mean() ** 2 for part in counted) / len(gaps)))


def _from_samples(error: Error, confidence: str = "confidence") -> Compute:
    def compute(result: Result) -> ConventionValue:
        order = np.argsort(sureness(result.samples), kind="stable")
        confidences = np.asarray(result.samples[confidence], float)[order]
        correct = np.asarray(result.samples["correct"], float)[order]

        def resampled(chosen: np.ndarray) -> np.ndarray:
            rows = np.sort(chosen)  # so that equal confidences stay in their order
            return np.array([error(confidences[row], correct[row]) for row in rows])

        value = error(confidences, correct)
        low, high = reflected(resampled, len(correct), value, resamples=RESAMPLES)
        return ConventionValue(100 * value, Interval(100 * low, 100 * high), len(correct))

    return compute


def _binned(bins: int, metric: str = "ece", confidence: str = "confidence") -> Compute:
    """From the frame where it was measured with so many bins, else from the samples."""
    stored = conventions.row(metric, "the analysis clean")
    fresh = _from_samples(partial(expected_calibration_error, bins=bins), confidence)
    return lambda result: (stored if int(result.samples["bins"][0]) == bins else fresh)(result)


_ECE = (
    (
        "15 bins of equal width",
        "Guo et al. 2017 and most that follow it",
        "mean gap between confidence and accuracy, weighted by how full each bin is",
        _binned(15),
    ),
    (
        "10 bins of equal width",
        "OpenMixup's number of bins; its own code sorts them wrongly",
        "the same with 10 bins",
        _binned(10),
    ),
    (
        "15 bins equally full",
        "adaptive calibration error, torch-uncertainty",
        "the same with bins of equally many images",
        _from_samples(equal_mass_calibration_error),
    ),
    (
        "15 bins of equal width, after temperature",
        "Guo et al. 2017",
        "each half of the images scaled by the temperature that fits the other half",
        _binned(15, "ece_after_temperature", "confidence_after_temperature"),
    ),
    (
        "RMS, bins of 100 images",
        "Hendrycks et al. 2019, AugMix",
        "root of the mean squared gap over bins of 100 images, by confidence",
        _from_samples(rms_calibration_error),
    ),
    (
        "RMS, bins of 100 images, without the last",
        "natural-adv-examples and pytorch-ood 0.2 as their code runs",
        "the same without the bin of the most confident images",
        _from_samples(partial(rms_calibration_error, whole=False)),
    ),
)
ECE = ConventionFamily(
    "ECE",
    tuple(Convention(name, who, how, "clean", of, "lower") for name, who, how, of in _ECE),
    also=("calibration error",),
)
TOP1 = ConventionFamily(
    "top1",
    conventions.accuracy_and_error(
        "these weights",
        ("most tables", "Catch-up Mix, Tables 1 and 2"),
        "the weights that were given",
        "clean",
        conventions.row("accuracy", "the analysis clean", sample="correct"),
    ),
    also=("accuracy", "error", "top-1 error", "top-1 accuracy"),
)
CONVENTIONS: conventions.Conventions = (TOP1, ECE)
