"""The losses of ERM, Cutout and CutMix in expectation over all they draw, and their gradients.

The network's output is a sum over patches, so that of a point with patches cut or exchanged is a
sum of outputs on single patches: `outputs` (S, n, P) for S seeds. Cutout's expectation is then a
sum over few terms for each point. CutMix's is one over pairs of points and subsets of patches; of
these, the pair (i, j) with subset S is the pair (j, i) with the rest of the patches, so that half
is enough.

All losses are logistic with soft labels: softplus(z) - t z, with t the share of label +1. Which
distributions the paper takes is from memory of it.
"""

from collections.abc import Iterator
from itertools import combinations
from math import comb
from typing import NamedTuple, Protocol

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.functional import softplus

from catchup_eval.core.errors import UserError


class PatchLoss(Protocol):
    """A loss of the outputs on patches (S, n, P) and of the labels (S, n), 1 for +1 and 0 for -1.

    Attributes:
        value: (S,).
        gradient: (S, n, P), of the value with respect to the outputs.
    """

    def value(self, outputs: Tensor, positive: Tensor) -> Tensor:
        """(S,): the expected loss."""
        ...

    def gradient(self, outputs: Tensor, positive: Tensor) -> Tensor:
        """(S, n, P): its derivative with respect to the outputs."""
        ...


def logistic(logits: Tensor, target: Tensor) -> Tensor:
    """The logistic loss with soft labels.

    Args:
        target: the share of label +1, 0 to 1.
    """
    return softplus(logits) - target * logits


class Cutout:
    """Each point without a random set of `cut` patches, all sets alike; ERM where it is 0.

    Args:
        patches: P.
        cut: patches that are set to zero.

    Raises:
        UserError: nothing would be left.
    """

    def __init__(self, patches: int, cut: int):
        if not 0 <= cut < patches:
            raise UserError(f"expected to cut from 0 to {patches - 1} patches, got {cut}")
        self._kept = _masks(patches, patches - cut)

    def value(self, outputs: Tensor, positive: Tensor) -> Tensor:
        """(S,): the expected loss."""
        logits = outputs @ self._kept.to(outputs).T
        return logistic(logits, positive[..., None]).mean((-1, -2))

    def gradient(self, outputs: Tensor, positive: Tensor) -> Tensor:
        """(S, n, P): its derivative with respect to the outputs."""
        kept = self._kept.to(outputs)
        surplus = torch.sigmoid(outputs @ kept.T) - positive[..., None]
        return surplus @ kept / surplus[0].numel()


class CutMix:
    """All pairs of points, with a subset of patches from the first and the others from the second.

    Its size is uniform from 0 to P, then all subsets of the size are alike; labels weigh as the
    patches do.

    Args:
        patches: P. The cost doubles with each.
    """

    def __init__(self, patches: int):
        subsets = torch.cat([_masks(patches, size) for size in range(1, patches)])
        self._first = subsets[subsets[:, 0] == 1]  # (M, P): one of each subset and its complement
        self._share = self._first.mean(1, keepdim=True)
        sizes = self._first.sum(1, dtype=torch.int).tolist()
        weights = [2 / ((patches + 1) * comb(patches, size)) for size in sizes]
        self._weight = torch.tensor(weights, dtype=torch.double)[:, None]
        self._whole = 2 / (patches + 1)  # the weight of points as they are

    def value(self, outputs: Tensor, positive: Tensor) -> Tensor:
        """(S,): the expected loss."""
        total = self._whole * logistic(outputs.sum(-1), positive).mean(-1)
        parts = zip(self._pairs(outputs), self._share.tolist(), self._weight.tolist(), strict=True)
        for logits, (share,), (weight,) in parts:
            targets = share * positive[:, :, None] + (1 - share) * positive[:, None, :]
            total = total + weight * logistic(logits, targets).mean((-1, -2))
        return total

    def gradient(self, outputs: Tensor, positive: Tensor) -> Tensor:
        """(S, n, P): its derivative with respect to the outputs."""
        means = [(p.mean(2), p.mean(1)) for p in map(torch.sigmoid_, self._pairs(outputs))]
        of_first, of_second = (torch.stack(column, 1) for column in zip(*means, strict=True))
        first, share, weight = (x.to(outputs) for x in (self._first, self._share, self._weight))
        own, other = positive[:, None], positive.mean(-1)[:, None, None]
        as_first = weight * (of_first - share * own - (1 - share) * other)
        as_second = weight * (of_second - (1 - share) * own - share * other)
        whole = self._whole * (torch.sigmoid(outputs.sum(-1)) - positive)
        gradient = as_first.mT @ first + as_second.mT @ (1 - first) + whole[..., None]
        return gradient / outputs.shape[1]

    def _pairs(self, outputs: Tensor) -> Iterator[Tensor]:
        """(S, n, n) for each subset: the network's output on each pair."""
        first = self._first.to(outputs) @ outputs.mT
        second = outputs.sum(-1)[:, None] - first
        for subset in range(len(self._first)):
            yield first[:, subset, :, None] + second[:, subset, None]


def _masks(patches: int, size: int) -> Tensor:
    """(M, P): ones at each subset of this size."""
    subsets = list(combinations(range(patches), size))
    masks = torch.zeros(len(subsets), patches, dtype=torch.double)
    for mask, subset in zip(masks, subsets, strict=True):
        mask[list(subset)] = 1
    return masks


class Optimum(NamedTuple):
    """Where CutMix's expected loss is lowest."""

    positive: float  # the output on every patch of points with label +1
    negative: float  # minus the output on every patch of the others
    loss: float


def cutmix_optimum(patches: int, positive: float = 0.5) -> Optimum:
    """The lowest value that CutMix's expected loss can take, whatever the network.

    The loss is convex in the outputs and does not change when points of a label, or patches, are
    exchanged; so the outputs may be taken as two numbers, one for each label.

    Args:
        patches: P. With 2, larger outputs are always better.
        positive: the share of points with label +1.

    Raises:
        UserError: fewer than 3 patches.

    Example:
        >>> best = cutmix_optimum(3)
        >>> round(best.positive, 4), round(best.loss, 6)
        (1.3954, 0.182933)
    """
    if patches < 3:
        raise UserError(f"expected 3 patches or more, got {patches}: CutMix has no optimum there")
    taken = np.arange(patches + 1)[:, None, None]
    shares = np.array([positive, 1 - positive])
    labels = np.array([1.0, 0.0])
    first = taken / patches
    targets = first * labels[:, None] + (1 - first) * labels

    def loss(outputs: np.ndarray) -> float:
        on_patch = outputs * [1, -1]
        logits = taken * on_patch[:, None] + (patches - taken) * on_patch
        losses = np.logaddexp(0, logits) - targets * logits
        return float(np.einsum("sij,i,j->", losses, shares, shares) / (patches + 1))

    best = minimize(loss, np.ones(2), tol=1e-10, method="Nelder-Mead")
    return Optimum(float(best.x[0]), float(best.x[1]), float(best.fun))
