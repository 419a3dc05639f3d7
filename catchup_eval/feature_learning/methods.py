"""The methods that are compared: a loss at the input, within the network, or both.

Catch-up Mix and RandomChannelMix mix channels: in the two-layer network a filter is a channel. The
feature map of filter c is phi(<w_c, x_p>) over the patches p. A point takes some filters' maps from
itself and the others' from a partner, and labels weigh by the drawn lambda, as in Kang et al.
(2024), section 2.2 and Algorithm 1. One step draws one partner for each point and one lambda for
all; there is no closed form of the expectation, because the chosen filters change with the weights.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from catchup_eval.core.errors import UserError
from catchup_eval.feature_learning.losses import CutMix, Cutout, logistic
from catchup_eval.feature_learning.model import Points

PATCH_METHODS = ("erm", "cutout", "cutmix")
CHANNEL_METHODS = ("catchup", "catchup_inside", "random_channel")


class Draws(NamedTuple):
    """The random numbers of one step, for S seeds."""

    partner: Tensor  # (S, n): a permutation of the points
    weight: Tensor  # (S,): lambda
    noise: Tensor  # (S, C, n): ranks random channels


def draw_step(
    rngs: Sequence[Generator], points: int, filters: int, alpha: float, like: Tensor
) -> Draws:
    """The random numbers of one step, from one generator for each seed.

    Args:
        alpha: lambda is from Beta(alpha, alpha); 0 keeps every channel.
        like: has the device and the type of the numbers.
    """
    partner = np.stack([rng.permutation(points) for rng in rngs])
    weight = np.array([rng.beta(alpha, alpha) if alpha else 1.0 for rng in rngs])
    noise = np.stack([rng.random((filters, points)) for rng in rngs])
    numbers = (torch.from_numpy(array).to(like) for array in (weight, noise))
    return Draws(torch.from_numpy(partner).to(like.device), *numbers)


def relative_influence(maps: Tensor, draws: Draws) -> Tensor:
    """(S, C, n): each filter's fraction of its point's influence, less that of the partner's.

    Influence is the L2 norm of the maps (S, C, n, P) over the patches; equations 4 and 5 of Kang
    et al. (2024).
    """
    influence: Tensor = torch.linalg.vector_norm(maps, dim=-1)
    total = influence.sum(1, keepdim=True)
    fraction: Tensor = influence / total.clamp_min(torch.finfo(maps.dtype).tiny)
    return fraction - _take(fraction, draws.partner)


def random_scores(_maps: Tensor, draws: Draws) -> Tensor:
    """(S, C, n): noise, for the control (Kang et al. 2024, B.2)."""
    return draws.noise


class ChannelMixing(NamedTuple):
    """Each point keeps the floor(lambda C) filters of the lowest scores, and takes the others.

    Maps are the filters' parts in the network's output, (S, C, n, P). The mask is a constant: no
    gradient passes through the scores (S, C, n), a function of the maps and the draws.
    """

    scores: Callable[[Tensor, Draws], Tensor]

    def value(self, maps: Tensor, positive: Tensor, draws: Draws) -> Tensor:
        """(S,): the loss of this step."""
        logits, targets, _ = self._mix(maps, positive, draws)
        return logistic(logits, targets).mean(-1)

    def gradient(self, maps: Tensor, positive: Tensor, draws: Draws) -> Tensor:
        """(S, C, n, P): its derivative with respect to the maps; equal on all patches."""
        logits, targets, mask = self._mix(maps, positive, draws)
        surplus = ((torch.sigmoid(logits) - targets) / logits.shape[-1])[:, None]
        given_away = torch.where(mask, 0.0, surplus)
        back = draws.partner.argsort(dim=-1)
        gradient = torch.where(mask, surplus, 0.0) + _take(given_away, back)
        return gradient[..., None].expand_as(maps)

    def _mix(self, maps: Tensor, positive: Tensor, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (S, n), soft labels (S, n), and which filters each point keeps (S, C, n)."""
        mask = keep_lowest(self.scores(maps.detach(), draws), draws.weight)
        parts = maps.sum(-1)
        logits = torch.where(mask, parts, _take(parts, draws.partner)).sum(1)
        weight = draws.weight[:, None]
        targets = weight * positive + (1 - weight) * positive.gather(-1, draws.partner)
        return logits, targets, mask


def keep_lowest(scores: Tensor, weight: Tensor) -> Tensor:
    """(S, C, n) bool: true at the floor(weight C) lowest scores (S, C, n) of each point.

    Of equal ones the first filter counts as the lower one.
    """
    ranks = scores.argsort(dim=1, stable=True).argsort(dim=1)
    return ranks < (weight * scores.shape[1]).floor()[:, None, None]


def _take(values: Tensor, points: Tensor) -> Tensor:
    """The values (S, C, n) of other points (S, n)."""
    return values.gather(-1, points[:, None].expand(-1, values.shape[1], -1))


class SimulatedMethod(NamedTuple):
    """The mean of a loss at the input and one within the network, or the one that is given.

    The mean of both is the expectation of a layer that is drawn uniformly for each step.
    """

    at_input: Cutout | CutMix | None = None
    inside: ChannelMixing | None = None

    def value(self, parts: Tensor, points: Points, draws: Draws | None) -> Tensor:
        """(S,): the loss, from the filters' parts of the output on each vector (S, C, V)."""
        losses = []
        if self.at_input:
            outputs = points.to_patches(parts.sum(1, keepdim=True))[:, 0]
            losses.append(self.at_input.value(outputs, points.positive))
        if self.inside and draws:
            maps = points.to_patches(parts)
            losses.append(self.inside.value(maps, points.positive, draws))
        return torch.stack(losses).mean(0)

    def gradient(self, parts: Tensor, points: Points, draws: Draws | None) -> Tensor:
        """(S, C, V) or (S, 1, V): the derivative of the loss with respect to the parts."""
        gradients = []
        if self.at_input:
            outputs = points.to_patches(parts.sum(1, keepdim=True))[:, 0]
            gradients.append(self.at_input.gradient(outputs, points.positive)[:, None])
        if self.inside and draws:
            maps = points.to_patches(parts)
            gradients.append(self.inside.gradient(maps, points.positive, draws))
        first, *rest = map(points.sum_over_patches, gradients)
        return sum(rest, first) / len(gradients)


def patch_methods(patches: int, cut: int) -> dict[str, SimulatedMethod]:
    """The three of Oh and Yun (2024).

    Raises:
        UserError: Cutout would cut no patch, or half of them or more.
    """
    if not 1 <= cut < patches / 2:
        raise UserError(f"expected to cut 1 or more, and fewer than half of {patches}, got {cut}")
    return {
        "erm": SimulatedMethod(Cutout(patches, 0)),
        "cutout": SimulatedMethod(Cutout(patches, cut)),
        "cutmix": SimulatedMethod(CutMix(patches)),
    }


def channel_methods(patches: int) -> dict[str, SimulatedMethod]:
    """Catch-up Mix with CutMix at the input; without it; the control of the latter."""
    catchup, control = ChannelMixing(relative_influence), ChannelMixing(random_scores)
    return {
        "catchup": SimulatedMethod(CutMix(patches), catchup),
        "catchup_inside": SimulatedMethod(inside=catchup),
        "random_channel": SimulatedMethod(inside=control),
    }
