"""The ways to train that are compared, each as a loss at the input, inside the network, or both."""

from typing import NamedTuple

import torch
from torch import Tensor

from catchup_eval.analysis.feature_learning.channel_mixing import (
    ChannelMixing,
    Draws,
    at_random,
    relative_influence,
)
from catchup_eval.analysis.feature_learning.data_model import Points
from catchup_eval.analysis.feature_learning.expected_losses import CutMix, Cutout, PatchLoss
from catchup_eval.errors import UserError


class Method(NamedTuple):
    """What a step goes down on: the mean of what there is.

    The mean of both is what a layer that is drawn uniformly for each step comes to.
    """

    at_input: PatchLoss | None = None
    inside: ChannelMixing | None = None

    def value(self, parts: Tensor, points: Points, draws: Draws | None) -> Tensor:
        """(S,): the loss, from the filters' parts of the output on each vector (S, C, V)."""
        losses = []
        if self.at_input:
            outputs = points.at_patches(parts.sum(1, keepdim=True))[:, 0]
            losses.append(self.at_input.value(outputs, points.positive))
        if self.inside and draws:
            maps = points.at_patches(parts)
            losses.append(self.inside.value(maps, points.positive, draws))
        return torch.stack(losses).mean(0)

    def gradient(self, parts: Tensor, points: Points, draws: Draws | None) -> Tensor:
        """(S, C, V) or (S, 1, V): the derivative of the loss with respect to the parts."""
        gradients = []
        if self.at_input:
            outputs = points.at_patches(parts.sum(1, keepdim=True))[:, 0]
            gradient = self.at_input.gradient(outputs, points.positive)
            gradients.append(points.at_vectors(gradient[:, None]))
        if self.inside and draws:
            maps = points.at_patches(parts)
            gradients.append(points.at_vectors(self.inside.gradient(maps, points.positive, draws)))
        return sum(gradients[1:], gradients[0]) / len(gradients)


PATCH_METHODS = ("erm", "cutout", "cutmix")
CHANNEL_METHODS = ("catchup", "catchup_inside", "random_channel")


def patch_methods(patches: int, cut: int) -> dict[str, Method]:
    """The three of Oh and Yun (2024).

    Args:
        patches: P.
        cut: patches that Cutout sets to zero, 1 or more and fewer than half.

    Raises:
        UserError: another number to cut.
    """
    if not 1 <= cut < patches / 2:
        raise UserError(f"expected to cut 1 or more, and fewer than half of {patches}, got {cut}")
    return {
        "erm": Method(at_input=Cutout(patches, 0)),
        "cutout": Method(at_input=Cutout(patches, cut)),
        "cutmix": Method(at_input=CutMix(patches)),
    }


def channel_methods(patches: int) -> dict[str, Method]:
    """Catch-up Mix with CutMix at the input, as it is; its inside alone; the control of that."""
    catchup, control = ChannelMixing(relative_influence), ChannelMixing(at_random)
    return {
        "catchup": Method(at_input=CutMix(patches), inside=catchup),
        "catchup_inside": Method(inside=catchup),
        "random_channel": Method(inside=control),
    }
