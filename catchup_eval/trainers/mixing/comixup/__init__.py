"""Co-Mixup: mixtures of the salient cells of several images (Kim et al. 2021)."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, pad

from catchup_eval.core.errors import UserError
from catchup_eval.core.settings import Count, Fraction, NonNegative, validate_settings
from catchup_eval.trainers.base import Criterion, Method, StatelessMethod
from catchup_eval.trainers.mixing.baseline import baseline
from catchup_eval.trainers.mixing.comixup.labels import Balance, co_labels
from catchup_eval.trainers.mixing.comixup.potts import WIDEST
from catchup_eval.trainers.mixing.shared.criteria import sample_losses
from catchup_eval.trainers.mixing.shared.saliency import block_fractions, clean_pass

WINDOW = 8  # pixels: an image is most salient in the window of this side where it is in the mean
EPSILON = 1e-8  # of the reference code, inside the logarithm of the prior


class MosaicDraw(NamedTuple):
    """What is random about G groups of m images."""

    prior: Tensor  # (G, m), float32; each group's sums to one
    start: Tensor  # (G, m, n * n), int64, of which image each cell is at first


class MosaicSettings(NamedTuple):
    """How a group is mixed; the weights are per cell, as in the reference code."""

    blocks: int = 4  # n, on a side
    eta: float = 0.05  # of the prior
    omega: float = 0.001  # of other images, in how much one counts
    balance: Balance = Balance()


class MosaicBatch(NamedTuple):
    """Mixed images, and of what."""

    images: Tensor  # (N, C, H, H)
    sources: Tensor  # (N, m) int64, rows of the batch; repeated with weight 0 where a group is less
    weights: Tensor  # (N, m), of the sources; they sum to one


def draw_groups(
    generator: Generator, alpha: float, images: int, part: int, blocks: int
) -> list[MosaicDraw]:
    """What is random about full groups of `part` images, then about those that are left."""
    full, rest = divmod(images, part)
    draws = []
    for groups, size in ((full, part), (1, rest)):
        if groups and size:
            prior = generator.dirichlet(np.full(size, alpha), groups)
            start = generator.integers(size, size=(groups, size, blocks**2))
            draws.append(MosaicDraw(torch.from_numpy(prior).float(), torch.from_numpy(start)))
    return draws


@torch.no_grad()
def mosaics(
    images: Tensor, saliency: Tensor, draws: Sequence[MosaicDraw], settings: MosaicSettings
) -> MosaicBatch:
    """Mix the images (N, C, H, H) by their saliency (N, H, H), in the groups that are drawn."""
    every = torch.arange(len(images), device=images.device)
    batches = zip(torch.split(every, [draw.prior.numel() for draw in draws]), draws)
    groups = [
        _mix_group(images[rows], saliency[rows], rows, draw, settings) for rows, draw in batches
    ]
    most = max(group.weights.shape[1] for group in groups)
    padded = [
        (mixed, *(pad(values, (0, most - values.shape[1])) for values in (sources, weights)))
        for mixed, sources, weights in groups
    ]
    return MosaicBatch(*(torch.cat(values) for values in zip(*padded)))


def _mix_group(
    images: Tensor, saliency: Tensor, rows: Tensor, draw: MosaicDraw, settings: MosaicSettings
) -> MosaicBatch:
    prior, start = (values.to(images.device, non_blocking=True) for values in draw)

    def group(values: Tensor) -> Tensor:
        """(G, m, ...): `values` (G * m, ...) group by group."""
        return values.view(*prior.shape, *values.shape[1:])

    near = likeness(group(saliency), settings.omega)
    salient = group(block_fractions(saliency, settings.blocks))
    bonus = settings.eta / settings.blocks**2 * (prior + EPSILON).log()
    fractions = co_labels(-salient - bonus[..., None, None], near, start, settings.balance)
    sources = group(rows)[:, None].expand(-1, prior.shape[1], -1)
    mixed = assemble(group(images), fractions, settings.blocks)
    return MosaicBatch(*(values.flatten(0, 1) for values in (mixed, sources, fractions.mean(2))))


def likeness(saliency: Tensor, omega: float) -> Tensor:
    """(G, m, m): how much each image of a group counts as each other, from saliency (G, m, H, H).

    The identity, and with weight `omega` how far apart they are most salient, in city blocks; that
    matrix is scaled to a sum of m.
    """
    images = saliency.shape[1]
    window = avg_pool2d(saliency, WINDOW, 1)
    place = window.flatten(2).argmax(2)
    row, column = place // window.shape[3], place % window.shape[3]
    apart = _pairwise_distance(row) + _pairwise_distance(column)
    scale = images / apart.sum((1, 2), keepdim=True).clamp_min(1)
    return (1 - omega) * torch.eye(images, device=saliency.device) + omega * scale * apart


def _pairwise_distance(at: Tensor) -> Tensor:
    return (at[:, :, None] - at[:, None]).abs()


def assemble(images: Tensor, fractions: Tensor, blocks: int) -> Tensor:
    """(G, m, C, H, H): images (G, m, C, H, H) put together by fractions (G, m, n * n, m).

    A cell is one image's, or the mean of two.
    """
    groups, size, channels, side, _ = images.shape
    cells = images.view(groups, size, channels, blocks, side // blocks, blocks, side // blocks)
    cells = cells.permute(0, 1, 3, 5, 2, 4, 6).flatten(2, 3)  # (G, m, n * n, C, pixels, pixels)
    fraction, source = fractions.topk(min(2, size))
    one = source[..., 0]
    other = torch.where(fraction[..., -1] > 0, source[..., -1], one)
    group = torch.arange(groups, device=images.device).view(-1, 1, 1)
    place = torch.arange(blocks**2, device=images.device)
    mixed = (cells[group, one, place] + cells[group, other, place]) / 2
    grid = mixed.view(groups, size, blocks, blocks, *mixed.shape[3:])
    return grid.permute(0, 1, 4, 2, 5, 3, 6).reshape(images.shape)


@validate_settings()
def comixup(
    model: nn.Module,
    *,
    criterion: Criterion = cross_entropy,
    alpha: NonNegative = 2.0,
    part: Count = 20,
    blocks: Annotated[int, Field(ge=1, le=WIDEST)] = 4,
    beta: NonNegative = 0.32,
    gamma: NonNegative = 1.0,
    eta: NonNegative = 0.05,
    tau: NonNegative = 0.83,
    omega: Fraction = 0.001,
    turns: Count = 4,
    clean_lam: NonNegative = 1.0,
) -> Method:
    """The salient cells of many images in one, for a group jointly (Kim et al. 2021).

    Costs one more forward and backward pass, of the clean batch. A label weighs what its fraction
    of the cells is. Steps and constants are those of the reference code (snu-mllab/Co-Mixup), which
    this differs from in three ways. The cells are chosen by a solver of our own
    (:mod:`~catchup_eval.trainers.mixing.comixup.potts`) in place of alpha-beta swaps. A batch of
    any size will do; there all must be full. The loss is cross-entropy; there it is binary
    cross-entropy on the softmax, and the clean cross-entropy is scaled to that by 2 / classes.
    Draws, for the full groups, then for the images that are left: the prior, the first cells.

    Args:
        model: any network (N, 3, H, H) -> (N, K).
        criterion: for the mixture, sample by sample
            (:func:`~catchup_eval.trainers.mixing.shared.criteria.sample_losses`).
        alpha: a group's prior is from Dirichlet(alpha, ..., alpha); 2.0 is the reference's. 0 mixes
            nothing and takes no saliency.
        part: images in a group, which follow each other in the batch; the last may have fewer.
        blocks: cells on a side, 1 to 4; they must divide the image's side.
        beta: of neighbours from different images.
        gamma: of cells of an image that other mixtures of the group show as well.
        eta: of the prior.
        tau: fraction of a mixture up to which it costs nothing that others show an image; 0.83 is
            the reference command's, 0.81 to 0.84 its advice.
        omega: from 0 to 1, how much an image counts as others that are salient elsewhere.
        turns: visits to each mixture at most; the reference names 3 to save time.
        clean_lam: weight of the clean batch's loss, whose gradients the saliency pass yields as
            well. 1 in the reference commands: saliency is then taken in training mode, so running
            statistics move twice in a step; 0: in evaluation mode.

    Raises:
        UserError: when called, images that are not square, whose side the blocks do not divide, or
            smaller than 8 pixels.
    """
    if alpha == 0:
        return baseline(model, criterion=criterion)
    settings = MosaicSettings(blocks, eta, omega, Balance(beta, gamma, tau, turns))

    def loss(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        height, width = images.shape[2:]
        if height != width or width % blocks or width < WINDOW:
            raise UserError(
                f"comixup needs square images of {WINDOW} pixels or more, whose side is a multiple "
                f"of blocks ({blocks}), got {height} x {width}; crop them, or choose other blocks"
            )
        draws = draw_groups(generator, alpha, len(images), part, blocks)
        clean = clean_pass(model, criterion, images, labels, clean_lam)
        mixed = mosaics(images, clean.saliency, draws, settings)
        return clean.loss + mosaic_loss(criterion, model(mixed.images), labels, mixed)

    return StatelessMethod(loss)


def mosaic_loss(criterion: Criterion, logits: Tensor, labels: Tensor, mixed: MosaicBatch) -> Tensor:
    """Mean over the batch of each mixture's loss for the labels (N,) of its sources, weighted."""
    losses = sample_losses(criterion, logits, labels, mixed.sources.T)
    return (losses * mixed.weights.T).sum(0).mean()
