"""Co-Mixup's images: groups of the batch, each mixed cell by cell (Kim et al. 2021)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from catchup_eval.trainers.mixing.comixup.labels import Balance, co_labels
from catchup_eval.trainers.mixing.shared.saliency import block_shares

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
    sizes = [groups for groups in ((full, part), (1, rest)) if all(groups)]
    return [_draw(generator, alpha, *size, blocks**2) for size in sizes]


def _draw(generator: Generator, alpha: float, groups: int, images: int, cells: int) -> MosaicDraw:
    prior = generator.dirichlet(np.full(images, alpha), groups)
    start = generator.integers(images, size=(groups, images, cells))
    return MosaicDraw(torch.from_numpy(prior).float(), torch.from_numpy(start))


@torch.no_grad()
def mosaics(
    images: Tensor, saliency: Tensor, draws: Sequence[MosaicDraw], settings: MosaicSettings
) -> MosaicBatch:
    """Mix the images (N, C, H, H) by their saliency (N, H, H), in the groups that are drawn."""
    every = torch.arange(len(images), device=images.device)
    batches = zip(torch.split(every, [draw.prior.numel() for draw in draws]), draws)
    parts = [
        _mix_group(images[rows], saliency[rows], rows, draw, settings) for rows, draw in batches
    ]
    most = max(part.weights.shape[1] for part in parts)
    padded = [
        part._replace(
            sources=_pad_columns(part.sources, most), weights=_pad_columns(part.weights, most)
        )
        for part in parts
    ]
    return MosaicBatch(*(torch.cat(part) for part in zip(*padded)))


def _mix_group(
    images: Tensor, saliency: Tensor, rows: Tensor, draw: MosaicDraw, settings: MosaicSettings
) -> MosaicBatch:
    draw = MosaicDraw(*(part.to(images.device, non_blocking=True) for part in draw))
    size = draw.prior.shape[1]
    near = likeness(_group(saliency, draw), settings.omega)
    salient = _group(block_shares(saliency, settings.blocks), draw)
    prior = settings.eta / settings.blocks**2 * (draw.prior + EPSILON).log()
    shares = co_labels(-salient - prior[..., None, None], near, draw.start, settings.balance)
    sources = _group(rows, draw)[:, None].expand(-1, size, -1)
    mixed = assemble(_group(images, draw), shares, settings.blocks)
    return MosaicBatch(*(part.flatten(0, 1) for part in (mixed, sources, shares.mean(2))))


def _group(values: Tensor, draw: MosaicDraw) -> Tensor:
    """(G, m, ...): `values` (G * m, ...) group by group."""
    return values.view(*draw.prior.shape, *values.shape[1:])


def _pad_columns(values: Tensor, columns: int) -> Tensor:
    return pad(values, (0, columns - values.shape[1]))


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


def assemble(images: Tensor, shares: Tensor, blocks: int) -> Tensor:
    """(G, m, C, H, H): images (G, m, C, H, H) put together by shares (G, m, n * n, m).

    A cell is one image's, or the mean of two.
    """
    groups, size, channels, side, _ = images.shape
    cells = images.view(groups, size, channels, blocks, side // blocks, blocks, side // blocks)
    cells = cells.permute(0, 1, 3, 5, 2, 4, 6).flatten(2, 3)  # (G, m, n * n, C, pixels, pixels)
    share, source = shares.topk(min(2, size))
    one = source[..., 0]
    other = torch.where(share[..., -1] > 0, source[..., -1], one)
    group = torch.arange(groups, device=images.device).view(-1, 1, 1)
    place = torch.arange(blocks**2, device=images.device)
    mixed = (cells[group, one, place] + cells[group, other, place]) / 2
    grid = mixed.view(groups, size, blocks, blocks, *mixed.shape[3:])
    return grid.permute(0, 1, 4, 2, 5, 3, 6).reshape(images.shape)
