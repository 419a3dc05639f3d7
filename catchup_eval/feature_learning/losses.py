"""The expected losses of ERM, Cutout and CutMix, and their gradients, for S seeds.

The network's output is a sum over patches, so that of a point with patches cut or exchanged is a
sum of `outputs` (S, n, P) on single patches; `positive` (S, n) is 1 for label +1, else 0. Cutout's
expectation is then a sum over few terms for each point, CutMix's one over pairs of points and
subsets of patches; of these, the pair (i, j) with subset S is the pair (j, i) with the rest of the
patches, so that half is enough. Which distributions the paper takes is from memory of it.
"""

from collections.abc import Iterator
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.functional import softplus

from catchup_eval.core.errors import UserError


def logistic(logits: Tensor, target: Tensor) -> Tensor:
    """softplus(z) - t z, with t the fraction of label +1."""
    return softplus(logits) - target * logits


class Cutout:
    """Each point without a random set of `cut` patches, all equally likely; ERM where it is 0.

    Raises:
        UserError: no patch would be left.
    """

    def __init__(self, patches: int, cut: int):
        if not 0 <= cut < patches:
            raise UserError(f"expected to cut from 0 to {patches - 1} patches, got {cut}")
        self._masks = _masks(patches, patches - cut)

    def value(self, outputs: Tensor, positive: Tensor) -> Tensor:
        """(S,)."""
        logits = outputs @ self._masks.to(outputs).T
        return logistic(logits, positive[..., None]).mean((-1, -2))

    def gradient(self, outputs: Tensor, positive: Tensor) -> Tensor:
        """(S, n, P): of the value with respect to the outputs."""
        masks = self._masks.to(outputs)
        surplus = torch.sigmoid(outputs @ masks.T) - positive[..., None]
        return surplus @ masks / surplus[0].numel()


class CutMix:
    """All pairs of points, with a subset of patches from the first and the others from the second.

    Its size is uniform from 0 to P, then all subsets of the size are equally likely; labels weigh
    as the patches do. The cost doubles with each patch.
    """

    def __init__(self, patches: int):
        subsets = torch.cat([_masks(patches, size) for size in range(1, patches)])
        self._first = subsets[subsets[:, 0] == 1]  # (M, P): one of each subset and its complement
        self._lambda = self._first.mean(1, keepdim=True)
        sizes = self._first.sum(1, dtype=torch.int).tolist()
        weights = [2 / ((patches + 1) * comb(patches, size)) for size in sizes]
        self._weight = torch.tensor(weights, dtype=torch.double)[:, None]
        self._whole = 2 / (patches + 1)  # the weight of points as they are

    def value(self, outputs: Tensor, positive: Tensor) -> Tensor:
        """(S,)."""
        total = self._whole * logistic(outputs.sum(-1), positive).mean(-1)
        subsets = zip(
            self._pairs(outputs), self._lambda.tolist(), self._weight.tolist(), strict=True
        )
        for logits, (lam,), (weight,) in subsets:
            targets = lam * positive[:, :, None] + (1 - lam) * positive[:, None, :]
            total = total + weight * logistic(logits, targets).mean((-1, -2))
        return total

    def gradient(self, outputs: Tensor, positive: Tensor) -> Tensor:
        """(S, n, P): of the value with respect to the outputs."""
        means = [(p.mean(2), p.mean(1)) for p in map(torch.sigmoid_, self._pairs(outputs))]
        of_first, of_second = (torch.stack(column, 1) for column in zip(*means, strict=True))
        first, lam, weight = (x.to(outputs) for x in (self._first, self._lambda, self._weight))
        own, other = positive[:, None], positive.mean(-1)[:, None, None]
        as_first = weight * (of_first - lam * own - (1 - lam) * other)
        as_second = weight * (of_second - (1 - lam) * own - lam * other)
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
    """Outputs at which CutMix's expected loss is lowest, and that loss."""

    positive: float  # the output on every patch of points with label +1
    negative: float  # minus the output on every patch of the others
    loss: float


def cutmix_optimum(patches: int, positive: float = 0.5) -> Optimum:
    """The lowest value that CutMix's expected loss can take, whatever the network.

    The loss is convex in the outputs and does not change when points of a label, or patches, are
    exchanged; so the outputs may be taken as two numbers, one for each label.
    With 2 patches, larger outputs are always better; `positive` is the fraction of label +1.

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
    fractions = np.array([positive, 1 - positive])
    labels = np.array([1.0, 0.0])
    first = taken / patches
    targets = first * labels[:, None] + (1 - first) * labels

    def loss(outputs: np.ndarray) -> float:
        on_patch = outputs * [1, -1]
        logits = taken * on_patch[:, None] + (patches - taken) * on_patch
        losses = np.logaddexp(0, logits) - targets * logits
        return float(np.einsum("sij,i,j->", losses, fractions, fractions) / (patches + 1))

    best = minimize(loss, np.ones(2), tol=1e-10, method="Nelder-Mead")
    return Optimum(float(best.x[0]), float(best.x[1]), float(best.fun))
