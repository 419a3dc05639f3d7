"""Stochastic depth: residual branches left out at random."""

from functools import partial

import torch
from torch import Tensor, nn

from catchup_eval.core.settings import validate_settings
from catchup_eval.trainers.regularizers.base import BelowOne, Noise, Regularizer
from catchup_eval.trainers.regularizers.branches import noisy_branches


def drop_branch(probability: float, *, per_image: bool = False) -> Noise:
    """With this probability the branch is zero, for the whole batch or for each image by itself."""

    def noise(features: Tensor, source: torch.Generator, _progress: float) -> Tensor:
        shape = (len(features) if per_image else 1, 1, 1, 1)
        present = torch.rand(shape, generator=source, device=source.device) >= probability
        return features * present.to(features.device, features.dtype)

    return noise


@validate_settings()
def stochastic_depth(
    model: nn.Module, *, drop: BelowOne = 0.5, per_image: bool = False
) -> Regularizer:
    """Residual branches left out, the last ones most often (Huang et al. 2016).

    In evaluation a branch counts by the probability of being there, as in the paper (others divide
    by it in training instead). A branch that is left out is computed all the same, since which one
    it is stays on the device: nothing is saved, and its batch norms go on counting.

    Args:
        model: a network with residual blocks.
        drop: the probability at the last block; it rises linearly from the first. 0.5 is the
            paper's. What the tables of the mixup papers have used is not confirmed.
        per_image: drawn for each image instead of once for the batch, as in the paper.

    Raises:
        UserError: a network without such blocks.
    """
    return Regularizer(
        layers=noisy_branches(model, drop, partial(drop_branch, per_image=per_image))
    )
