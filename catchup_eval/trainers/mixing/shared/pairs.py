"""Pairs of images: who is mixed with whom, with which weight, and the loss of the mixture."""

from typing import NamedTuple

import torch
from numpy.random import Generator
from torch import Tensor

from catchup_eval.trainers.base import Criterion
from catchup_eval.trainers.mixing.shared.criteria import batch_loss


class Pairs(NamedTuple):
    """A batch (the sources), each image with its partner (the target)."""

    weight: float  # lambda: what the source keeps; the partner has the rest
    partner: Tensor  # (N,) int64, a permutation: image i is mixed with image partner[i]


def draw_weight(generator: Generator, alpha: float) -> float:
    """From Beta(alpha, alpha). Like the reference codes, `alpha` 0 draws nothing and takes 1."""
    return float(generator.beta(alpha, alpha)) if alpha > 0 else 1.0


def draw_pairs(generator: Generator, alpha: float, images: Tensor) -> Pairs:
    """One weight for the batch (:func:`draw_weight`), then a random permutation of the batch.

    An image may be its own partner, as in the reference codes.
    """
    weight = draw_weight(generator, alpha)
    partner = torch.from_numpy(generator.permutation(len(images)))
    return Pairs(weight, partner.to(images.device, non_blocking=True))


def weighted_mean(values: Tensor, pairs: Pairs) -> Tensor:
    """`weight * values + (1 - weight) * values of the partners`, (N, ...); Zhang et al. 2018."""
    return pairs.weight * values + (1 - pairs.weight) * values[pairs.partner]


def pair_loss(criterion: Criterion, logits: Tensor, labels: Tensor, pairs: Pairs) -> Tensor:
    """The loss for both labels (N,), by weight: for cross-entropy, that of mixed labels."""
    own, other = (batch_loss(criterion, logits, each) for each in (labels, labels[pairs.partner]))
    return pairs.weight * own + (1 - pairs.weight) * other
