"""What is printed as calibration error: 15 or 10 bins, of equal width or equally full, or RMS.

From each image's confidence and outcome, as `clean` stores them. Hendrycks et al.
(natural-adv-examples) print the root of the mean squared gap over bins of 100 images in the order
of confidence; their loop leaves out the last bin, that is the surest 100 to 199 images.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from catchup_eval.errors import Missing
from catchup_eval.lens.convention import Compute, Convention, Family, Number, row
from catchup_eval.metrics.calibration import expected_calibration_error
from catchup_eval.metrics.selective import sureness
from catchup_eval.results import Result
from catchup_eval.statistics import Interval, reflected

Error = Callable[[np.ndarray, np.ndarray], float]  # (confidence (N,), correct (N,)) -> 0 to 1
BIN = 100  # images, in natural-adv-examples
RESAMPLES = 300


def equally_full(confidence: np.ndarray, correct: np.ndarray, *, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over bins of equally many images, in [0, 1].

    Example:
        >>> equally_full(np.array([0.5, 0.5, 1.0, 1.0]), np.array([0, 1, 1, 0]), bins=2)
        0.25
    """
    gaps = (correct - confidence)[np.argsort(confidence, kind="stable")]
    parts = np.array_split(gaps, bins)
    return float(sum(abs(part.sum()) for part in parts) / len(gaps))


def root_mean_square(confidence: np.ndarray, correct: np.ndarray, *, whole: bool = True) -> float:
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


def _of(error: Error, confidence: str = "confidence") -> Compute:
    def of(result: Result) -> Number:
        order = np.argsort(sureness(result.samples), kind="stable")
        sure = np.asarray(result.samples[confidence], float)[order]
        right = np.asarray(result.samples["correct"], float)[order]
        value = error(sure, right)
        return Number(100 * value, _interval(error, sure, right, value), len(right))

    return of


def _interval(error: Error, sure: np.ndarray, right: np.ndarray, value: float) -> Interval:
    """Basic bootstrap in percent: resampling adds to such an error, so reflect."""

    def resampled(chosen: np.ndarray) -> float:
        rows = np.sort(chosen)  # so that equal confidences stay in the order of `sureness`
        return error(sure[rows], right[rows])

    low, high = reflected(resampled, len(sure), value, resamples=RESAMPLES)
    return Interval(100 * low, 100 * high)


def _expected(bins: int, metric: str = "ece", confidence: str = "confidence") -> Compute:
    """From the frame where it was measured with so many bins, else from the samples."""
    stored = row(metric, "the question clean")
    fresh = _of(partial(expected_calibration_error, bins=bins), confidence)
    return lambda result: (stored if int(result.samples["bins"][0]) == bins else fresh)(result)


def _convention(name: str, used_by: str, how: str, of: Compute) -> Convention:
    return Convention(name, used_by, how, "clean", of, "lower")


_SCALED = "confidence_after_temperature"
ECE = Family(
    "ECE",
    (
        _convention(
            "15 bins of equal width",
            "Guo et al. 2017 and most that follow it",
            "mean gap between confidence and accuracy, weighted by how full each bin is",
            _expected(15),
        ),
        _convention(
            "10 bins of equal width",
            "OpenMixup's number of bins; its own code sorts them wrongly",
            "the same with 10 bins",
            _expected(10),
        ),
        _convention(
            "15 bins equally full",
            "adaptive calibration error, torch-uncertainty",
            "the same with bins of equally many images",
            _of(equally_full),
        ),
        _convention(
            "15 bins of equal width, after temperature",
            "Guo et al. 2017",
            "each half of the images scaled by the temperature that fits the other half",
            _expected(15, "ece_after_temperature", _SCALED),
        ),
        _convention(
            "RMS, bins of 100 images",
            "Hendrycks et al. 2019, AugMix",
            "root of the mean squared gap over bins of 100 images, by confidence",
            _of(root_mean_square),
        ),
        _convention(
            "RMS, bins of 100 images, without the last",
            "natural-adv-examples and pytorch-ood 0.2 as their code runs",
            "the same without the bin of the surest images",
            _of(partial(root_mean_square, whole=False)),
        ),
    ),
    also=("calibration error",),
)
