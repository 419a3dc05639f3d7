"""DropBlock: squares of feature maps left out at random."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from catchup_eval.core.errors import UserError
from catchup_eval.core.settings import Count, validate_settings
from catchup_eval.models.classifier import Classifier
from catchup_eval.trainers.base import unwrap_compiled
from catchup_eval.trainers.regularizers.base import BelowOne, LayerNoise, NoisyModule, Regularizer


def dropblock_rate(height: int, width: int, block: int, drop: float) -> float:
    """How likely a place is to begin a block, so that about `drop` of the map is left out.

    Equation 1 of the paper; blocks lie within the map and are clipped to its sides.

    Example:
        >>> dropblock_rate(3, 3, 2, 0.4)  # 3.6 of 9 pixels: 0.9 blocks of 4, at 4 places
        0.225
    """
    tall, wide = min(block, height), min(block, width)
    places = (height - tall + 1) * (width - wide + 1)
    return drop / (tall * wide) * (height * width) / places


def block_mask(corners: Tensor, block: tuple[int, int]) -> Tensor:
    """(N, C, H, W): 1 where a block lies.

    Args:
        corners: (N, C, H - tall + 1, W - wide + 1), 1 where a block has its upper left corner.
        block: tall, wide.
    """
    tall, wide = block
    padded = F.pad(corners, (wide - 1, wide - 1, tall - 1, tall - 1))
    return F.max_pool2d(padded, block, 1)


def drop_blocks(
    features: Tensor, source: torch.Generator, *, block: int, drop: float, per_channel: bool
) -> Tensor:
    """`features` (N, C, H, W) without some squares, the rest scaled up by as much as is missing."""
    images, channels, height, width = features.shape
    size = min(block, height), min(block, width)
    shape = (images, channels if per_channel else 1, height - size[0] + 1, width - size[1] + 1)
    uniform = torch.rand(shape, generator=source, device=source.device).to(features.device)
    corners = (uniform < dropblock_rate(height, width, block, drop)).float()
    mask = 1 - block_mask(corners, size)
    scale = mask.numel() / mask.sum().clamp_min(1)
    return features * (mask * scale).to(features.dtype)


@validate_settings()
def dropblock(
    model: nn.Module,
    *,
    drop: BelowOne = 0.1,
    block: Count = 7,
    stages: Count = 2,
    per_channel: bool = True,
    schedule: Literal["linear", "constant"] = "linear",
) -> Regularizer:
    """Squares of the last stages' feature maps left out (Ghiasi et al. 2018).

    Behind every convolution of these stages, those of shortcuts included, as the paper's best
    setting has it; its extra factor of four for the stage before the last is left out. Nothing is
    left of it in evaluation.

    Args:
        model: a :class:`~catchup_eval.models.classifier.Classifier` with stages.
        drop: the fraction of a map that is left out; 0.1 is the paper's (keep_prob 0.9).
        block: the side of a square in pixels of the map, clipped to it; 7 is the paper's, for
            ImageNet. The CutMix paper's CIFAR runs are said to have 4.
        stages: how many of the last; 2 are the paper's.
        per_channel: each channel has squares of its own, which the paper found better; else all
            channels of an image have the same.
        schedule: the fraction rises linearly from 0 over the training (the paper's), or is
            constant.

    Raises:
        UserError: a network without so many stages or with no convolution there.
    """
    inner = unwrap_compiled(model)
    known = inner.stages if isinstance(inner, Classifier) else []
    if stages > len(known):
        raise UserError(
            f"expected stages from 1 to the number that the network names, got {stages!r} of "
            f"{len(known)}; they are named in catchup_eval.wrap(net, stages=[...])"
        )
    modules = [module for stage in known[-stages:] for module in stage.modules()]
    convolutions = [module for module in modules if isinstance(module, nn.Conv2d)]
    if not convolutions:
        raise UserError(f"the last {stages} stages have no convolution to drop blocks behind")

    def noise(features: Tensor, source: torch.Generator, progress: float) -> Tensor:
        now = drop * progress if schedule == "linear" else drop
        return drop_blocks(features, source, block=block, drop=now, per_channel=per_channel)

    places = [NoisyModule(layer, noise) for layer in convolutions]
    return Regularizer(layers=LayerNoise(model, places))
