"""Lorenz curve and Gini coefficient of fractions that add up to 1 in each row (one sample)."""

import torch
from torch import Tensor
from torch.nn import functional as F


def sorted_fractions(magnitudes: Tensor) -> Tensor:
    """(N, D) float64: each magnitude (N, D) as a fraction of its row's total, ascending.

    None is negative. A row of zeros counts as evenly spread.
    """
    values = magnitudes.double()
    values = torch.where(values.any(1, keepdim=True), values, 1.0)
    return (values / values.sum(1, keepdim=True)).sort(1).values


def lorenz(ascending: Tensor) -> Tensor:
    """(N, D + 1) Lorenz curves of :func:`sorted_fractions`: what the 0, 1, ..., D smallest hold."""
    return F.pad(ascending.cumsum(1), (1, 0))


def gini(ascending: Tensor) -> Tensor:
    """(N,) Gini coefficients, twice the area between diagonal and Lorenz curve.

    0 where all are equal, 1 - 1/D where one holds all.
    """
    curve = lorenz(ascending)
    return 1 - (curve[:, 1:] + curve[:, :-1]).mean(1)


def min_dims_for_fraction(ascending: Tensor, fraction: float) -> Tensor:
    """(N,) how many of the largest dimensions of each row together hold this fraction."""
    held = ascending.flip(1).cumsum(1)
    return (held < fraction - 1e-9).sum(1) + 1  # the margin is for rounding
