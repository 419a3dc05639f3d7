"""The loss of each sample by itself, for methods that weigh samples differently."""

from typing import NamedTuple

import torch
from torch import Tensor

from catchup_eval.trainers.mixing.method import Criterion


class Weights(NamedTuple):
    """What the two labels of each sample weigh; the two need not sum to one."""

    own: Tensor  # (N,)
    other: Tensor  # (N,)


def sample_losses(criterion: Criterion, logits: Tensor, labels: Tensor) -> Tensor:
    """(N,): what `criterion` gives for each sample as a batch of one.

    For cross-entropy this is `reduction="none"`. A criterion of your own must be one that
    `torch.vmap` can run; class weights fall out, because a mean over one sample divides by them.

    Args:
        criterion: mean loss of logits (N, K) and labels (N,).
        logits: (N, K).
        labels: (N,).
    """

    def alone(logit: Tensor, label: Tensor) -> Tensor:
        return criterion(logit[None], label[None])

    return torch.vmap(alone)(logits, labels)


def weighted_loss(
    criterion: Criterion, logits: Tensor, labels: Tensor, partner: Tensor, weights: Weights
) -> Tensor:
    """Mean over the batch of each sample's loss for its own label and for its partner's (N,)."""
    own = sample_losses(criterion, logits, labels)
    other = sample_losses(criterion, logits, labels[partner])
    return (weights.own * own + weights.other * other).mean()
