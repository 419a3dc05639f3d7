"""ShakeDrop: residual branches multiplied by noise, another in the backward pass."""

import torch
from torch import Tensor, nn

from catchup_eval.core.settings import validate_settings
from catchup_eval.trainers.regularizers.base import BelowOne, Noise, Regularizer
from catchup_eval.trainers.regularizers.branches import noisy_branches


def shake(features: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
    """`forward * features`, whose gradient is `backward` instead of `forward`.

    Args:
        features: (N, C, H, W).
        forward, backward: (N, 1, 1, 1).
    """
    passed = backward * features
    return passed + ((forward * features).detach() - passed.detach())


def shakedrop_noise(probability: float) -> Noise:
    """For the whole batch: with this probability each image's branch is shaken, else left alone.

    Draws, in this order: whether to shake; alpha from U(-1, 1) and beta from U(0, 1), each (N,).
    """

    def noise(features: Tensor, source: torch.Generator, _progress: float) -> Tensor:
        uniform = torch.rand(1 + 2 * len(features), generator=source, device=source.device)
        whether, rest = uniform[0] < probability, uniform[1:].view(2, -1, 1, 1, 1)
        forward, backward = (
            torch.where(whether, factor, 1.0).to(features.device, features.dtype)
            for factor in (2 * rest[0] - 1, rest[1])
        )
        return shake(features, forward, backward)

    return noise


@validate_settings()
def shakedrop(model: nn.Module, *, drop: BelowOne = 0.5) -> Regularizer:
    """Residual branches shaken, the last ones most often (Yamada et al. 2019).

    A shaken branch is multiplied by alpha from U(-1, 1) and its gradient by beta from U(0, 1),
    drawn for each image; whether a branch is shaken is drawn for the whole batch, as in
    owruby/shake-drop_pytorch. In evaluation, where alpha is 0 on average, a branch counts by the
    probability of not being shaken. The authors' code has networks whose branches end with a batch
    norm (PyramidNet); a branch that ends with a convolution is shaken behind it.

    Args:
        model: a network with residual blocks.
        drop: the probability at the last block; it rises linearly from the first. 0.5 is the
            paper's.

    Raises:
        UserError: a network without such blocks.
    """
    return Regularizer(layers=noisy_branches(model, drop, shakedrop_noise))
