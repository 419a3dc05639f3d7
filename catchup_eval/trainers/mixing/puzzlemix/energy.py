"""The cost of a PuzzleMix mask: lost saliency, uneven seams, and distance from the drawn weight.

Kim et al. 2020, with the constants of the reference code (snu-mllab/PuzzleMix).
"""

from math import gcd, log
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from catchup_eval.trainers.mixing.puzzlemix.labels import GridEnergy

EPSILON = 1e-8  # of the reference code, inside the logarithm of the prior


class Smoothness(NamedTuple):
    """Terms that keep a mask smooth, and near the drawn weight."""

    beta: float = 1.2  # of labels that differ
    gamma: float = 0.5  # of pixels that differ across a seam, times beta
    eta: float = 0.2  # of the prior
    neigh_size: int = 4  # pixels: side of the cells whose mean colours meet at a seam


def puzzle_energy(
    images: Tensor,
    fractions: Tensor,
    partner: Tensor,
    weight: float,
    settings: Smoothness = Smoothness(),  # noqa: B008  immutable
) -> GridEnergy:
    """The energy of the labels 0 (own block), 1 (half of each) and 2 (the partner's block).

    A block costs the saliency that its label loses, and eta / n^2 times -log of the Binomial(2)
    probability of the label under `weight`. Two neighbours cost beta / (16 n) for labels that
    differ, and gamma times that for the colours that meet at the seam between them, which depend on
    who owns either side. The reference code rounds all costs down to 1 / (1000 n^2); here they are
    exact.

    Args:
        images: (N, C, H, H) in [0, 1].
        fractions: (N, n, n) saliency of the blocks, each image's summing to one.
        partner: (N,) with whom each is mixed.
        weight: lambda, of the image itself.
        settings: gamma is from 0 to 1, so that every weight between neighbours is positive.
    """
    blocks = fractions.shape[-1]
    smooth = settings.beta / blocks / 16
    seam = smooth * settings.gamma / 2  # half of it to either side
    cells = avg_pool2d(images, gcd(settings.neigh_size, images.shape[-1] // blocks))
    own = seam_contrasts(cells, cells, blocks)
    mixed = seam_contrasts(cells, cells[partner], blocks)  # own before the seam, partner's after
    other, turned = own[partner], seam_contrasts(cells[partner], cells, blocks)
    keep = fractions[partner] + seam * _sum_over_sides(own + mixed, own + turned)
    give = fractions + seam * _sum_over_sides(other + turned, other + mixed)
    unary = torch.stack([keep, (keep + give) / 2, give], 1)
    chances = weight**2, 2 * weight * (1 - weight), (1 - weight) ** 2  # of 0, 1, 2 partner's halves
    prior = unary.new_tensor([-log(chance + EPSILON) for chance in chances])
    prior = prior * (settings.eta / blocks**2)
    twist = seam * (mixed + turned - own - other)
    smoothness = smooth * _interior_mask(blocks, fractions) + twist
    return GridEnergy(unary + prior.view(-1, 1, 1), smoothness)


def seam_contrasts(before: Tensor, after: Tensor, blocks: int) -> Tensor:
    """(N, 2, n, n): how far the cells of `before` are from those of `after` across each seam.

    The mean absolute difference over channels and the length of the seam, of each block in `before`
    to the next one in `after`: the one below, and the one to the right; 0 where there is none.

    Args:
        before, after: (N, C, G, G), G a multiple of n = `blocks`.
    """
    down = _seam_below(before, after, blocks)
    right = _seam_below(before.mT, after.mT, blocks).mT
    return torch.stack([down, right], 1) * _interior_mask(blocks, before)


def _seam_below(before: Tensor, after: Tensor, blocks: int) -> Tensor:
    """(N, n, n): each block's last row of cells against the first row of the block below."""
    cells = before.shape[-1] // blocks
    last, first = before[:, :, cells - 1 :: cells], after[:, :, ::cells].roll(-1, 2)
    gaps = (last - first).abs().mean(1)
    return gaps.reshape(len(gaps), blocks, blocks, cells).mean(3)


def _interior_mask(blocks: int, like: Tensor) -> Tensor:
    """(2, n, n): 1 where a step down, or to the right, stays on the grid, else 0."""
    last = torch.arange(blocks, device=like.device) == blocks - 1
    grid = last.expand(blocks, blocks)
    return (~torch.stack([grid.mT, grid])).to(like.dtype)


def _sum_over_sides(before: Tensor, after: Tensor) -> Tensor:
    """(N, n, n): costs of seams (N, 2, n, n), summed at the blocks before and after each."""
    down, right = after.unbind(1)
    return before.sum(1) + down.roll(1, 1) + right.roll(1, 2)
