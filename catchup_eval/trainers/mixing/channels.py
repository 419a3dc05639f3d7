"""Mixtures that take each channel of a feature map from one image or from the other."""

from collections.abc import Callable
from math import floor
from typing import Literal, get_args

import torch
from numpy.random import Generator
from torch import Tensor

from catchup_eval.errors import UnknownName
from catchup_eval.trainers.mixing.features import Mix
from catchup_eval.trainers.mixing.pairs import Pairs

LabelRatio = Literal["sampled", "mask"]
Mask = Callable[[Tensor, Pairs, Generator], Tensor]  # features (N, C, H, W), ... -> (N, C) bool


def kept_channels(weight: float, channels: int) -> int:
    """How many channels the source keeps, floor(weight * channels): a number of the host."""
    return floor(weight * channels)


def keep_lowest(scores: Tensor, weight: float) -> Tensor:
    """(N, C) bool: true at the floor(weight * C) lowest of each row of `scores` (N, C).

    Of equal scores the first channel counts as the lower one, on every device.
    """
    channels = scores.shape[1]
    order = torch.argsort(scores, dim=1, stable=True)
    kept = torch.arange(channels, device=scores.device) < kept_channels(weight, channels)
    return torch.zeros_like(order, dtype=torch.bool).scatter(1, order, kept.expand_as(order))


def take_channels(features: Tensor, partner: Tensor, mask: Tensor) -> Tensor:
    """Channels of `features` (N, C, H, W) where `mask` (N, C) is true, else the partner's (N,)."""
    return torch.where(mask[:, :, None, None], features, features[partner])


def mix_channels(mask: Mask, label_ratio: LabelRatio) -> Mix:
    """Mix feature maps channel by channel.

    Args:
        mask: which channels each image keeps.
        label_ratio: the label's weight: "sampled", lambda as drawn; "mask", the share of the
            channels that is kept, which is smaller by less than 1 / C.

    Raises:
        UnknownName: another `label_ratio`.
    """
    if label_ratio not in get_args(LabelRatio):
        raise UnknownName("label ratio", str(label_ratio), get_args(LabelRatio))

    def mix(features: Tensor, drawn: Pairs, generator: Generator) -> tuple[Tensor, Pairs]:
        mixed = take_channels(features, drawn.partner, mask(features, drawn, generator))
        if label_ratio == "sampled":
            return mixed, drawn
        channels = features.shape[1]
        return mixed, drawn._replace(weight=kept_channels(drawn.weight, channels) / channels)

    return mix
