"""How unevenly something is spread over the dimensions of a vector: Lorenz curve and Gini.

Each row is one sample; what is spread are shares that add up to 1.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def sorted_fractions(magnitudes: Tensor) -> Tensor:
    """Each dimension's part of its row's total, ascending, in float64 (N, D).

    Args:
        magnitudes: (N, D), none negative. A row of zeros counts as evenly spread.
    """
    values = magnitudes.double()
    values = torch.where(values.any(1, keepdim=True), values, 1.0)
    return (values / values.sum(1, keepdim=True)).sort(1).values


def lorenz(ascending: Tensor) -> Tensor:
    """Lorenz curve of each row (N, D + 1): what its 0, 1, ..., D smallest dimensions hold.

    Args:
        ascending: (N, D) as :func:`sorted_fractions` gives them.
    """
    return F.pad(ascending.cumsum(1), (1, 0))


def gini(ascending: Tensor) -> Tensor:
    """Gini coefficient of each row (N,): 0 where all are equal, 1 - 1/D where one holds all.

    Twice the area between the diagonal and the Lorenz curve.

    Example:
        >>> gini(sorted_fractions(torch.tensor([[1.0, 1.0], [0.0, 5.0]]))).tolist()
        [0.0, 0.5]
    """
    curve = lorenz(ascending)
    return 1 - (curve[:, 1:] + curve[:, :-1]).mean(1)


def min_dims_for_fraction(ascending: Tensor, share: float) -> Tensor:
    """How many of the largest dimensions of each row together hold this share (N,).

    Example:
        >>> min_dims_for_fraction(sorted_fractions(torch.tensor([[8.0, 1.0, 1.0]])), 0.9).tolist()
        [2]
    """
    held = ascending.flip(1).cumsum(1)
    return (held < share - 1e-9).sum(1) + 1  # the margin is for rounding
