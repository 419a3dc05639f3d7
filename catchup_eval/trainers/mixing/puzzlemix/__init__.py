"""PuzzleMix: salient blocks of two images, each moved to its visible place (Kim et al. 2020)."""

from collections.abc import Sequence
from math import isqrt
from typing import Annotated, NamedTuple

import torch
from numpy.random import Generator
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.errors import UserError
from catchup_eval.core.settings import Count, Fraction, NonNegative, Positive, validate_settings
from catchup_eval.trainers.base import Criterion, Method, StatelessMethod
from catchup_eval.trainers.mixing.baseline import baseline
from catchup_eval.trainers.mixing.puzzlemix.energy import Smoothness, puzzle_energy
from catchup_eval.trainers.mixing.puzzlemix.labels import lowest_labels
from catchup_eval.trainers.mixing.shared.criteria import Weights, weighted_loss
from catchup_eval.trainers.mixing.shared.pairs import Pairs, draw_pairs
from catchup_eval.trainers.mixing.shared.saliency import block_fractions, clean_pass


class Transport(NamedTuple):
    """How blocks are moved."""

    t_size: int = 4  # pixels: side of the cells that are moved; -1: the mask's blocks
    t_eps: float = 0.8  # price of distance

    def cell(self, block: int) -> int:
        """The side of the cells, for blocks of this side."""
        return block if self.t_size == -1 else min(self.t_size, block)


def puzzle_mask(
    images: Tensor, saliency: Tensor, pairs: Pairs, blocks: int, smoothness: Smoothness
) -> Tensor:
    """(N, n, n): what each image keeps of each of its n = `blocks` squared blocks: 0, 1/2 or 1.

    Args:
        images: (N, C, H, H) in [0, 1].
        saliency: (N, H, H).
        pairs: with whom each is mixed, and the weight that the prior is about.
    """
    fractions = block_fractions(saliency, blocks)
    energy = puzzle_energy(images, fractions, pairs.partner, pairs.weight, smoothness)
    return 1 - lowest_labels(energy).to(images.dtype) / 2


def puzzle_mix(
    images: Tensor, saliency: Tensor, partner: Tensor, mask: Tensor, transport: Transport | None
) -> Tensor:
    """(N, C, H, H): of each image what `mask` (N, n, n) keeps, of its `partner` (N,) the rest."""
    own, other = images, images[partner]
    if transport is not None:
        own = transport_blocks(images, saliency, mask, transport)
        other = transport_blocks(other, saliency[partner], 1 - mask, transport)
    weight = upsample_mask(mask, images.shape[-1])[:, None]
    return weight * own + (1 - weight) * other


def transport_blocks(
    images: Tensor, saliency: Tensor, mask: Tensor, transport: Transport
) -> Tensor:
    """`images` (N, C, H, H) with salient cells moved to where `mask` (N, n, n) is above 0.

    Elsewhere the result is arbitrary: the mask does not show it.
    """
    side = images.shape[-1]
    cells = side // transport.cell(side // mask.shape[-1])
    visible = upsample_mask(mask, cells) > 0
    plan = transport_plan(visible, block_fractions(saliency, cells), price=transport.t_eps)
    return move_blocks(images, plan)


def upsample_mask(mask: Tensor, side: int) -> Tensor:
    """(..., side, side): every value of `mask` (..., n, n) repeated; `side` is a multiple of n."""
    times = side // mask.shape[-1]
    return mask.repeat_interleave(times, -2).repeat_interleave(times, -1)


@torch.no_grad()
def transport_plan(visible: Tensor, fractions: Tensor, *, price: float) -> Tensor:
    """(N, P) int64: the block that comes to each place, P where none does; no block comes twice.

    An auction in `n` rounds. In each, every block bids for the place that costs it least: `price`
    times the squared distance (in units of the grid's side less one), less its saliency where the
    place is visible. In each place the cheapest bid wins (of equal ones the first); a loser's cost
    for that place rises by 1. The last round counts.

    A place that is visible is always filled, for its own block bids for it in the first round, and
    a bid that wins is repeated. In the reference code places also stay empty because absent bids
    count as bids of 0; that concerns only places that are not visible, so the image is the same.

    Args:
        visible: (N, n, n) bool, the places where the mask is above 0; P = n^2, n above 1.
        fractions: (N, n, n) saliency of each block.
        price: of distance, above 0.
    """
    blocks = visible.shape[-1]
    fractions, visible = fractions.flatten(1), visible.flatten(1)
    line = torch.arange(blocks, device=fractions.device, dtype=fractions.dtype)
    places = torch.cartesian_prod(line, line)
    distances = (places[:, None] - places).square().sum(-1) / (blocks - 1) ** 2
    cost = price * distances - fractions[:, :, None] * visible[:, None, :]
    number = torch.arange(blocks**2, device=fractions.device).expand(fractions.shape)
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
    unclaimed = torch.full_like(number, number.shape[1])
    candidate = torch.where(bid == lowest.gather(1, wish), number, unclaimed)
    return unclaimed.scatter_reduce(1, wish, candidate, "amin")


def move_blocks(images: Tensor, plan: Tensor) -> Tensor:
    """A copy of `images` (N, C, H, W) with the blocks of `plan` (N, P) at each place.

    Where no block comes, the last one stays: the mask is to hide it.
    """
    samples, channels, height, width = images.shape
    n = isqrt(plan.shape[1])
    pieces = images.reshape(samples, channels, n, height // n, n, width // n)
    pieces = pieces.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (N, P, C, height / n, width / n)
    row = torch.arange(samples, device=plan.device)[:, None]
    moved = pieces[row, plan.clamp_max(n * n - 1)].view(samples, n, n, *pieces.shape[2:])
    return moved.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)


@validate_settings()
def puzzlemix(
    model: nn.Module,
    *,
    criterion: Criterion = cross_entropy,
    alpha: NonNegative = 1.0,
    blocks: Annotated[Sequence[Annotated[int, Field(ge=2, le=1024)]], Field(min_length=1)] = (
        2,
        4,
        8,
        16,
    ),
    beta: NonNegative = 1.2,
    gamma: Fraction = 0.5,
    eta: NonNegative = 0.2,
    neigh_size: Count = 4,
    transport: bool = True,
    t_size: Annotated[int, Field(ge=-1, le=1024)] = 4,
    t_eps: Positive = 0.8,
    clean_lam: NonNegative = 0.0,
) -> Method:
    """The most salient blocks of two images, puzzled together (Kim et al. 2020).

    Costs one more forward and backward pass, of the clean batch. The label is mixed image by image,
    by the mean of its mask. Steps and constants are those of the reference code
    (snu-mllab/PuzzleMix), which this differs from in three ways. The masks come from a solver of
    our own (:mod:`~catchup_eval.trainers.mixing.puzzlemix.labels`) in place of alpha-beta swaps.
    The loss is cross-entropy, as in the reference code for ImageNet; its main code has binary
    cross-entropy on the softmax, and scales the clean cross-entropy to that by 2 / classes. There
    is no adversarial noise, which is off there by default.
    Draws, in this order: the number of blocks, the weight, the partners.

    Args:
        model: any network (N, 3, H, H) -> (N, K).
        criterion: for the mixture, sample by sample
            (:func:`~catchup_eval.trainers.mixing.shared.criteria.sample_losses`).
        alpha: the prior's weight is from Beta(alpha, alpha); 1.0 is the reference's. 0 mixes
            nothing and takes no saliency. (At a weight of 1 the reference's prior would still
            allow a partner's block that is salient enough.)
        blocks: on a side; drawn uniformly. Each must divide the image's side.
        beta: of labels that differ between neighbours.
        gamma: of colours that differ at the seams, times beta; from 0 to 1.
        eta: of the prior.
        neigh_size: pixels, side of the cells that are compared at seams, no larger than a block;
            where it does not divide a block's side, the largest size that divides both. The
            reference takes 4, for ImageNet 2.
        transport: whether blocks are moved.
        t_size: pixels, side of the cells that are moved, no larger than a block; 4 in the reference
            commands for CIFAR, -1 (a whole block) for Tiny-ImageNet. Takes memory for
            N * (H / t_size)^4 numbers.
        t_eps: price of distance, in saliency.
        clean_lam: weight of the clean batch's loss, whose gradients the saliency pass yields as
            well. 0 in the reference commands for CIFAR: saliency is then taken in evaluation mode;
            1 for Tiny-ImageNet: in training mode, so running statistics move twice in a step.

    Raises:
        UserError: when called, images that are not square, or whose side the blocks do not divide.
    """
    if t_size == 0:
        raise UserError("expected t_size as -1, or 1 pixel or more, got 0")
    if alpha == 0:
        return baseline(model, criterion=criterion)
    smoothness = Smoothness(beta, gamma, eta, neigh_size)
    moving = Transport(t_size, t_eps) if transport else None

    def loss(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        check_side(images, blocks, moving)
        count = blocks[int(generator.integers(len(blocks)))]
        pairs = draw_pairs(generator, alpha, images)
        clean = clean_pass(model, criterion, images, labels, clean_lam)
        mask = puzzle_mask(images, clean.saliency, pairs, count, smoothness)
        mixed = puzzle_mix(images, clean.saliency, pairs.partner, mask, moving)
        own = mask.mean((1, 2))
        logits = model(mixed)
        mixture = weighted_loss(criterion, logits, labels, pairs.partner, Weights(own, 1 - own))
        return clean.loss + mixture

    return StatelessMethod(loss)


def check_side(images: Tensor, blocks: Sequence[int], transport: Transport | None) -> None:
    """Raise `UserError` unless `images` (N, C, H, W) fall into blocks, and these into cells."""
    height, width = images.shape[2:]
    if height != width or any(width % count for count in blocks):
        counts = ", ".join(map(str, blocks))
        raise UserError(
            f"puzzlemix needs square images whose side is a multiple of blocks ({counts}), got "
            f"{height} x {width}; crop them, or choose other blocks"
        )
    sizes = [width // count for count in blocks]
    if transport and any(size % transport.cell(size) for size in sizes):
        raise UserError(
            f"expected t_size to divide blocks of {sizes} pixels, got {transport.t_size}; "
            "-1 moves whole blocks"
        )
