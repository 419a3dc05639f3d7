"""Agreement of two classifiers beyond chance."""

import numpy as np


def cohen_kappa(a: np.ndarray, b: np.ndarray) -> float:
    """Cohen's kappa of two predictions (N,): 1 agree, 0 no more than by chance (Cohen 1960).

    1 where both give one and the same class throughout.

    Example:
        >>> cohen_kappa(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]))
        0.5
    """
    observed = float(np.mean(a == b))
    expected = sum(float(np.mean(a == k)) * float(np.mean(b == k)) for k in np.union1d(a, b))
    return 1.0 if expected == 1 else (observed - expected) / (1 - expected)
