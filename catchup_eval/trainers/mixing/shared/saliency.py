"""Where the loss of a clean batch looks: the gradient at its pixels (Kim et al. 2020)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from catchup_eval.core.errors import UserError
from catchup_eval.models.modes import eval_mode, freeze_parameters
from catchup_eval.trainers.base import Criterion
from catchup_eval.trainers.mixing.shared.criteria import batch_loss


class CleanPass(NamedTuple):
    """One forward and backward pass of the batch as it is."""

    saliency: Tensor  # (N, H, W), of each pixel
    loss: Tensor  # (), what to add to the loss of the mixture


def clean_pass(
    model: nn.Module, criterion: Criterion, images: Tensor, labels: Tensor, weight: float
) -> CleanPass:
    """The saliency of `images` (N, C, H, W), and `weight` times their loss.

    With `weight` 0 the model is in evaluation mode and the parameters are left out of the backward
    pass. Otherwise every submodule stays in its mode, and the added loss has the clean loss's value
    and gradient, but no graph behind it: the same backward pass gave both. The parameters' `.grad`
    is restored.

    Raises:
        UserError: a loss that does not depend on the pixels.
    """
    pixels = images.detach().requires_grad_()
    if weight == 0:
        with eval_mode(model), freeze_parameters(model):
            loss = batch_loss(criterion, model(pixels), labels)
            # Not `autograd.grad`, which checkpointing with `use_reentrant=True` refuses.
            loss.backward()  # type: ignore[no-untyped-call]
        return CleanPass(_saliency_of(pixels), torch.zeros_like(loss.detach()))
    loss = weight * batch_loss(criterion, model(pixels), labels)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = [parameter.grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        slopes = [(p, p.grad) for p in parameters if p.grad is not None]
    finally:
        for parameter, gradient in zip(parameters, before):
            parameter.grad = gradient
    value = loss.detach()
    for parameter, slope in slopes:  # a term of value 0, whose gradient is the slope
        rise = (parameter * slope).sum()
        value = value + (rise - rise.detach())
    return CleanPass(_saliency_of(pixels), value)


def _saliency_of(pixels: Tensor) -> Tensor:
    if pixels.grad is None:
        raise UserError("expected a loss that depends on the pixels, it does not")
    return root_mean_square(pixels.grad)


def root_mean_square(gradient: Tensor) -> Tensor:
    """(N, H, W): `sqrt(mean of squares)` over the channels of `gradient` (N, C, H, W)."""
    return gradient.square().mean(1).sqrt()


def block_fractions(saliency: Tensor, blocks: int) -> Tensor:
    """(N, n, n): each block's fraction of the saliency (N, H, W) of its image, n = `blocks`.

    All are 0 where an image has no saliency at all; the reference code divides by that 0.
    """
    side = saliency.shape[-1] // blocks
    mean = avg_pool2d(saliency[:, None], side)[:, 0]
    return mean / mean.sum((1, 2), keepdim=True).clamp_min(torch.finfo(mean.dtype).tiny)
