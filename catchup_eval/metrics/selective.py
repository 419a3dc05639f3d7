"""Selective prediction: the risk of answering only where the network is confident."""

from collections.abc import Mapping

import numpy as np


def sureness(samples: Mapping[str, np.ndarray]) -> np.ndarray:
    """(N,) what ranks the images of `clean`, the most confident highest.

    Results before clean@3 have no `log_doubt`: of them it is the confidence, with its ties at 1.
    """
    return np.asarray(-samples["log_doubt"] if "log_doubt" in samples else samples["confidence"])


def risks(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """(N,): the error among the k most confident samples, for k = 1 to N.

    Equal confidences are averaged over all orders: each such sample counts as their mean.
    """
    errors = errors_by_confidence(confidence, correct)
    return np.asarray(errors.cumsum() / np.arange(1, len(errors) + 1))


def errors_by_confidence(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """(N,): each sample's error, 0 or 1, by falling confidence (N,); of equal ones, their mean."""
    _, block, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    mean = np.bincount(block, ~np.asarray(correct, bool)) / sizes
    return np.asarray(np.repeat(mean, sizes))


def area(errors: np.ndarray, times: np.ndarray | None = None) -> float:
    """Area under risk over coverage (AURC; Geifman et al. 2019): the mean of all risks, 0 to 1.

    The error of all is what a random order gives.

    Args:
        errors: (N,) as :func:`errors_by_confidence` has them.
        times: (N,) how often each sample is there, for a bootstrap.
    """
    times = np.ones(len(errors)) if times is None else times
    drawn = times.nonzero()[0]
    counts = times.take(drawn)
    covered = counts.cumsum()
    risk = (errors.take(drawn) * counts).cumsum()
    risk /= covered
    risk *= counts
    return float(risk.sum() / covered[-1])
