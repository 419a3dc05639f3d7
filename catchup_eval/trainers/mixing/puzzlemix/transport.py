"""Moving the blocks of an image to where a mask shows them (Kim et al. 2020)."""

from math import isqrt
from typing import NamedTuple

import torch
from torch import Tensor

from catchup_eval.trainers.mixing.shared.saliency import block_shares


class Transport(NamedTuple):
    """How blocks are moved."""

    t_size: int = 4  # pixels: side of the cells that are moved; -1: the mask's blocks
    t_eps: float = 0.8  # price of distance

    def cell(self, block: int) -> int:
        """The side of the cells, for blocks of this side."""
        return block if self.t_size == -1 else min(self.t_size, block)


def transport_blocks(images: Tensor, saliency: Tensor, mask: Tensor, how: Transport) -> Tensor:
    """`images` (N, C, H, H) with salient cells moved to where `mask` (N, n, n) is above 0.

    Elsewhere the result is arbitrary: the mask does not show it.
    """
    side = images.shape[-1]
    cells = side // how.cell(side // mask.shape[-1])
    shown = upsample_mask(mask, cells) > 0
    plan = transport_plan(shown, block_shares(saliency, cells), price=how.t_eps)
    return move_blocks(images, plan)


def upsample_mask(mask: Tensor, side: int) -> Tensor:
    """(..., side, side): every value of `mask` (..., n, n) repeated; `side` is a multiple of n."""
    times = side // mask.shape[-1]
    return mask.repeat_interleave(times, -2).repeat_interleave(times, -1)


def block_distances(blocks: int, like: Tensor) -> Tensor:
    """(P, P), P = blocks^2: squared distances on the grid, in units of its side less one."""
    place = torch.arange(blocks, device=like.device, dtype=like.dtype)
    places = torch.cartesian_prod(place, place)
    steps = places[:, None] - places
    return steps.square().sum(-1) / (blocks - 1) ** 2


@torch.no_grad()
def transport_plan(shown: Tensor, share: Tensor, *, price: float) -> Tensor:
    """(N, P) int64: the block that comes to each place, P where none does; no block comes twice.

    An auction in `n` rounds. In each, every block bids for the place that costs it least: `price`
    times the squared distance, less its saliency where the place is shown. In each place the
    cheapest bid wins (of equal ones the first); a loser's cost for that place rises by 1. The last
    round counts.

    A place that is shown is always filled, for its own block bids for it in the first round, and
    a bid that wins is repeated. In the reference code places also stay empty because absent bids
    count as bids of 0; that concerns only places that are not shown, so what is seen is the same.

    Args:
        shown: (N, n, n) bool, the places where the mask is above 0; P = n^2, n above 1.
        share: (N, n, n) saliency of each block.
        price: of distance, above 0.
    """
    blocks = shown.shape[-1]
    share, shown = share.flatten(1), shown.flatten(1)
    cost = price * block_distances(blocks, share) - share[:, :, None] * shown[:, None, :]
    number = torch.arange(blocks**2, device=share.device).expand(share.shape)
    winner = number
    for _ in range(blocks):
        low, wish = cost.min(2)
        winner = _winners(low, wish, number)
        lost = winner.gather(1, wish) != number
        cost.scatter_add_(2, wish[:, :, None], lost[:, :, None].to(cost.dtype))
    return winner


def _winners(bid: Tensor, wish: Tensor, number: Tensor) -> Tensor:
    """(N, P): for each place the `number` of the lowest bid whose `wish` it is; P without any."""
    lowest = torch.full_like(bid, torch.inf).scatter_reduce(1, wish, bid, "amin")
    nobody = torch.full_like(number, number.shape[1])
    runner = torch.where(bid == lowest.gather(1, wish), number, nobody)
    return nobody.scatter_reduce(1, wish, runner, "amin")


def move_blocks(images: Tensor, plan: Tensor) -> Tensor:
    """A copy of `images` (N, C, H, W) with the blocks of `plan` (N, P) at each place.

    Where no block comes, the last one stands: it is for the mask not to show it.
    """
    samples, channels, height, width = images.shape
    n = isqrt(plan.shape[1])
    pieces = images.reshape(samples, channels, n, height // n, n, width // n)
    pieces = pieces.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (N, P, C, height / n, width / n)
    row = torch.arange(samples, device=plan.device)[:, None]
    moved = pieces[row, plan.clamp_max(n * n - 1)].view(samples, n, n, *pieces.shape[2:])
    return moved.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)
