"""The ways to train that are compared: a loss at the input, inside the network, or both.

Catch-up Mix and RandomChannelMix mix inside: in the two-layer network a filter is a channel. The
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
from catchup_eval.feature_learning.losses import CutMix, Cutout, PatchLoss, logistic
from catchup_eval.feature_learning.model import Points


class Draws(NamedTuple):
    """What one step draws, for S seeds."""

    partner: Tensor  # (S, n): a permutation of the points
    weight: Tensor  # (S,): lambda
    noise: Tensor  # (S, C, n): what random channels are ranked by


def draw_step(
    generators: Sequence[Generator], points: int, filters: int, alpha: float, like: Tensor
) -> Draws:
    """One step's draws, a generator for each seed.

    Args:
        alpha: lambda is from Beta(alpha, alpha); 0 keeps every channel.
        like: has the device and the type of the numbers.
    """
    partner = np.stack([g.permutation(points) for g in generators])
    weight = np.array([g.beta(alpha, alpha) if alpha else 1.0 for g in generators])
    noise = np.stack([g.random((filters, points)) for g in generators])
    numbers = (torch.from_numpy(array).to(like) for array in (weight, noise))
    return Draws(torch.from_numpy(partner).to(like.device), *numbers)


Scores = Callable[[Tensor, Draws], Tensor]  # maps (S, C, n, P), draws -> (S, C, n)


def relative_influence(maps: Tensor, draws: Draws) -> Tensor:
    """(S, C, n): each filter's share of its point's influence, less its share in the partner.

    Influence is the L2 norm over the patches; equations 4 and 5 of Kang et al. (2024).
    """
    influence: Tensor = torch.linalg.vector_norm(maps, dim=-1)
    total = influence.sum(1, keepdim=True)
    share: Tensor = influence / total.clamp_min(torch.finfo(maps.dtype).tiny)
    return share - _take(share, draws.partner)


def random_scores(_maps: Tensor, draws: Draws) -> Tensor:
    """(S, C, n): noise, for the control (Kang et al. 2024, B.2)."""
    return draws.noise


class ChannelMixing(NamedTuple):
    """Each point keeps the floor(lambda C) filters of the lowest scores, and takes the others.

    Maps are the filters' parts in the network's output, (S, C, n, P). The mask is a constant: no
    gradient passes through the scores.
    """

    scores: Scores

    def value(self, maps: Tensor, positive: Tensor, draws: Draws) -> Tensor:
        """(S,): the loss of this step."""
        logits, targets, _ = self._mix(maps, positive, draws)
        return logistic(logits, targets).mean(-1)

    def gradient(self, maps: Tensor, positive: Tensor, draws: Draws) -> Tensor:
        """(S, C, n, P): its derivative with respect to the maps; alike on all patches."""
        logits, targets, kept = self._mix(maps, positive, draws)
        surplus = ((torch.sigmoid(logits) - targets) / logits.shape[-1])[:, None]
        given_away = torch.where(kept, 0.0, surplus)
        back = draws.partner.argsort(dim=-1)
        gradient = torch.where(kept, surplus, 0.0) + _take(given_away, back)
        return gradient[..., None].expand_as(maps)

    def _mix(self, maps: Tensor, positive: Tensor, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (S, n), soft labels (S, n), and which filters each point keeps (S, C, n)."""
        kept = keep_lowest(self.scores(maps.detach(), draws), draws.weight)
        parts = maps.sum(-1)
        logits = torch.where(kept, parts, _take(parts, draws.partner)).sum(1)
        weight = draws.weight[:, None]
        targets = weight * positive + (1 - weight) * positive.gather(-1, draws.partner)
        return logits, targets, kept


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
    """What a step goes down on: the mean of what there is.

    The mean of both is what a layer that is drawn uniformly for each step comes to.
    """

    at_input: PatchLoss | None = None
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
            gradient = self.at_input.gradient(outputs, points.positive)
            gradients.append(points.sum_over_patches(gradient[:, None]))
        if self.inside and draws:
            maps = points.to_patches(parts)
            gradients.append(
                points.sum_over_patches(self.inside.gradient(maps, points.positive, draws))
            )
        return sum(gradients[1:], gradients[0]) / len(gradients)


PATCH_METHODS = ("erm", "cutout", "cutmix")
CHANNEL_METHODS = ("catchup", "catchup_inside", "random_channel")


def patch_methods(patches: int, cut: int) -> dict[str, SimulatedMethod]:
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
        "erm": SimulatedMethod(at_input=Cutout(patches, 0)),
        "cutout": SimulatedMethod(at_input=Cutout(patches, cut)),
        "cutmix": SimulatedMethod(at_input=CutMix(patches)),
    }


def channel_methods(patches: int) -> dict[str, SimulatedMethod]:
    """Catch-up Mix with CutMix at the input, as it is; its inside alone; the control of that."""
    catchup, control = ChannelMixing(relative_influence), ChannelMixing(random_scores)
    return {
        "catchup": SimulatedMethod(at_input=CutMix(patches), inside=catchup),
        "catchup_inside": SimulatedMethod(inside=catchup),
        "random_channel": SimulatedMethod(inside=control),
    }
