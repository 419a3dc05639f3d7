"""Calibration: pure numbers from logits or probabilities.

NLL, Brier score and margins (how far an outcome is from flipping) come back per sample, so that
they can be averaged, bootstrapped and paired.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax, logsumexp
from torch import Tensor

TEMPERATURES = (1 / 20, 20.0)  # where all predictions are correct the best temperature is 0


class Reliability(NamedTuple):
    """A reliability diagram: one value per bin of confidence, from 0 to 1; NaN in empty bins."""

    counts: np.ndarray  # (bins,) samples
    confidence: np.ndarray  # (bins,) mean, in [0, 1]
    accuracy: np.ndarray  # (bins,) in [0, 1]


def log_probabilities(logits: np.ndarray, temperature: float | np.ndarray = 1.0) -> np.ndarray:
    """(N, K) float64 logarithm of the softmax of `logits / temperature`.

    Args:
        temperature: one number, or (N,) one for each sample.
    """
    divisor = np.asarray(temperature, float).reshape(-1, 1)
    return np.asarray(log_softmax(np.asarray(logits, float) / divisor, axis=1))


def log_doubt(logits: np.ndarray) -> np.ndarray:
    """(N,) float64 logarithm of 1 - p, where p is each sample's largest probability.

    It ranks as p does, backwards, and goes on where p is rounded to 1, from a lead of 37 nats on.
    The logits (N, K) have 2 or more classes.

    Example:
        >>> log_doubt(np.array([[0.0, 0.0], [800.0, 0.0], [900.0, 0.0]])).round(3).tolist()
        [-0.693, -800.0, -900.0]
    """
    behind = np.asarray(logits, float)
    behind = behind - behind.max(axis=1, keepdims=True)
    behind[np.arange(len(behind)), behind.argmax(axis=1)] = -np.inf
    return np.asarray(log_expit(logsumexp(behind, axis=1)))


def nll(log_p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) negative log-likelihood in nats, of log-probabilities (N, K) and labels (N,)."""
    return np.asarray(-log_p[np.arange(len(labels)), labels])


def brier(log_p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) Brier score in [0, 2]: squared error summed over all K classes; arguments as for `nll`.

    This is Brier's own definition (Brier 1950); some tools divide it by 2 or by K. With two
    classes it is twice the squared error of the positive class's probability.
    """
    error = np.exp(log_p)
    error[np.arange(len(labels)), labels] -= 1
    return np.asarray((error**2).sum(axis=1))


def bin_numbers(confidence: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each confidence (N,): 0 to `bins` - 1, of equal width, closed above.

    Bin m is (m / bins, (m + 1) / bins] as in Guo et al. 2017, so that 1 belongs to the last one;
    0 belongs to the first.
    """
    edges = np.linspace(0, 1, bins + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, *, bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy, weighted by how full each bin is, in [0, 1].

    Guo et al. 2017, equation 3: equal-width bins on the largest probability, absolute gaps.
    It is biased upwards where samples are few: a perfectly calibrated model scores above 0.

    Args:
        confidence: (N,) the largest probability of each sample.
        correct: (N,) bool.
        bins: 15 in Guo et al.
    """
    gaps = np.bincount(bin_numbers(confidence, bins), correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def reliability(confidence: np.ndarray, correct: np.ndarray, *, bins: int = 15) -> Reliability:
    """Count, mean confidence and accuracy in each bin; arguments as for the calibration error."""
    numbers = bin_numbers(confidence, bins)
    counts = np.bincount(numbers, minlength=bins)
    divisor = np.where(counts, counts, np.nan)
    mean_confidence = np.bincount(numbers, confidence, minlength=bins) / divisor
    accuracy = np.bincount(numbers, np.asarray(correct, float), minlength=bins) / divisor
    return Reliability(counts, mean_confidence, accuracy)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that minimises the mean NLL of these samples (Guo et al. 2017, section 4.2).

    The NLL of logits (N, K) has one minimum, which is searched within :data:`TEMPERATURES`.
    Where every prediction is correct there is none: a very low one results; without samples 1.
    """

    def loss(log_temperature: float) -> float:
        return float(nll(log_probabilities(logits, np.exp(log_temperature)), labels).mean())

    if not len(labels):
        return 1.0
    best = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded")
    return float(np.exp(best.x))


def cross_fitted_temperature(
    logits: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(N,) a temperature for each sample, fitted on that of two random halves that lacks it.

    So no sample's own label decides its temperature.
    """
    first = np.zeros(len(labels), bool)
    first[rng.permutation(len(labels))[: len(labels) // 2]] = True
    temperatures = np.empty(len(labels))
    temperatures[first] = fit_temperature(logits[~first], labels[~first])
    temperatures[~first] = fit_temperature(logits[first], labels[first])
    return temperatures


def margins(logits: Tensor) -> np.ndarray:
    """(N,) float32: the largest of logits (N, K) less the next one; 0 is a tie.

    Rounding, which is another on other hardware, flips the outcomes of the smallest margins only.

    Example:
        >>> import torch
        >>> margins(torch.tensor([[1.0, 4.0, 3.5], [2.0, 2.0, 0.0]])).tolist()
        [0.5, 0.0]
    """
    top = logits.topk(min(2, logits.shape[1]), dim=1).values
    return np.asarray((top[:, 0] - top[:, -1]).float().cpu().numpy())
