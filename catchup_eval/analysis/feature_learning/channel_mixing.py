"""Catch-up Mix and RandomChannelMix in the two-layer network: a filter is a channel.

The feature map of filter c is phi(<w_c, x_p>) over the patches p. A point takes some filters' maps
from itself and the others' from a partner, and labels weigh by the drawn lambda, as in Kang et al.
(2024), section 2.2 and Algorithm 1. One step draws one partner for each point and one lambda for
all; there is no closed form of the expectation, because the chosen filters change with the weights.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from catchup_eval.analysis.feature_learning.expected_losses import logistic


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


def at_random(_maps: Tensor, draws: Draws) -> Tensor:
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
        logits, targets, _ = self._mixed(maps, positive, draws)
        return logistic(logits, targets).mean(-1)

    def gradient(self, maps: Tensor, positive: Tensor, draws: Draws) -> Tensor:
        """(S, C, n, P): its derivative with respect to the maps; alike on all patches."""
        logits, targets, kept = self._mixed(maps, positive, draws)
        surplus = ((torch.sigmoid(logits) - targets) / logits.shape[-1])[:, None]
        given_away = torch.where(kept, 0.0, surplus)
        back = draws.partner.argsort(dim=-1)
        gradient = torch.where(kept, surplus, 0.0) + _take(given_away, back)
        return gradient[..., None].expand_as(maps)

    def _mixed(self, maps: Tensor, positive: Tensor, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
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
