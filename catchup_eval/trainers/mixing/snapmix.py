"""SnapMix: a resized box, labels weighted by class activation (Huang et al. 2021)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import cross_entropy

from catchup_eval.core.errors import UserError
from catchup_eval.models.classifier import Classifier
from catchup_eval.trainers.base import Criterion, Method, StatelessMethod
from catchup_eval.trainers.mixing.shared.boxes import Box, cutmix_box
from catchup_eval.trainers.mixing.shared.criteria import Weights, batch_loss, weighted_loss
from catchup_eval.trainers.mixing.shared.pairs import check_alpha, check_fraction, draw_pairs


def semantic_percent_map(maps: Tensor, rows: Tensor, height: int, width: int) -> Tensor:
    """(N, H, W): each pixel's share of the class activation, summing to one in each image.

    The reference adds the head's bias, which subtracting the smallest value takes out again. A map
    that is the same everywhere gives NaN.

    Args:
        maps: (N, D, h, w), what the head pools; negative values count as zero.
        rows: (N, D), the head's weights for each image's class.
    """
    activation = (maps.float().relu() * rows.float()[:, :, None, None]).sum(1, keepdim=True)
    size = (height, width)
    large = F.interpolate(activation, size, mode="bilinear", align_corners=False)[:, 0]
    above = large - large.amin((1, 2), keepdim=True)
    return above / above.sum((1, 2), keepdim=True)


def paste_resized(images: Tensor, partner: Tensor, target: Box, source: Box) -> Tensor:
    """A copy of `images` (N, C, H, W), its box filled with the partner's (N,), stretched to fit."""
    size = (target.bottom - target.top, target.right - target.left)
    cut = images[:, :, source.top : source.bottom, source.left : source.right][partner]
    mixed = images.clone()
    mixed[:, :, target.top : target.bottom, target.left : target.right] = F.interpolate(
        cut, size, mode="bilinear", align_corners=True
    )
    return mixed


def snapmix_weights(
    shares: Tensor, labels: Tensor, partner: Tensor, target: Box, source: Box
) -> Weights:
    """What the labels weigh: the share that is left of the image, the share that was pasted.

    Where both labels are the same, each weighs the sum of the two, so that the class counts twice:
    the reference code's way. A weight that is NaN becomes the target box's: 1 - area, area.

    Args:
        shares: (N, H, W), :func:`semantic_percent_map`.
        labels, partner: (N,).
    """
    total = shares.sum((1, 2)) + 1e-8
    left = 1 - _mass_in_box(shares, target) / total
    pasted = (_mass_in_box(shares, source) / total)[partner]
    same, area = labels == labels[partner], target.area / shares[0].numel()
    return Weights(
        torch.where(same, left + pasted, left).nan_to_num(1 - area),
        torch.where(same, pasted + left, pasted).nan_to_num(area),
    )


def _mass_in_box(shares: Tensor, box: Box) -> Tensor:
    return shares[:, box.top : box.bottom, box.left : box.right].sum((1, 2))


def snapmix(
    model: nn.Module,
    *,
    criterion: Criterion = cross_entropy,
    alpha: float = 5.0,
    probability: float = 1.0,
    norms_see_twice: bool = True,
) -> Method:
    """A partner's box, resized into another, labels weighted by activation (Huang et al. 2021).

    Two boxes of CutMix's kind for the whole batch: the target in the image, the source in the
    partner. How much of its own class's activation an image loses and its partner's box brings is
    read from a forward pass of the clean batch without gradients, as in the reference code
    (Shaoli-Huang/SnapMix). Where either box is empty the batch stays clean, and that pass is left
    out, which the reference makes also then.

    Draws, in this order: whether to mix; then the target's weight, the partners, the source's
    weight, the target's row and column, the source's row and column.

    Args:
        model: a :class:`~catchup_eval.models.classifier.Classifier` whose head pools one map.
        criterion: mean loss of logits (N, K) and labels (N,), asked about each sample alone
            (:func:`~catchup_eval.trainers.mixing.shared.criteria.sample_losses`).
        alpha: the two boxes leave shares from Beta(alpha, alpha) before they are clipped; 5.0 is
            the reference's for pretrained networks, and 1.0 its default; 0 mixes nothing.
        probability: that a step mixes at all; the reference takes 0.5 for training from scratch.
        norms_see_twice: the pass for the activation is made in the model's own mode, so that the
            running statistics of batch norms take in the clean batch as well as the mixed one: the
            reference's way. False gives the buffers back as they were after that pass.

    Raises:
        UserError: a network that is no classifier with a pooled map and a linear head, a negative
            `alpha`, a `probability` outside [0, 1].
    """
    check_alpha(alpha)
    check_fraction("probability", probability)
    classifier = _classifier(model)

    def loss(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        if generator.random() >= probability:
            return batch_loss(criterion, model(images), labels)
        pairs = draw_pairs(generator, alpha, images)
        weight = generator.beta(alpha, alpha) if alpha > 0 else 1.0
        target, source = (_box(generator, images, each) for each in (pairs.weight, weight))
        if not (target.area and source.area):
            return batch_loss(criterion, model(images), labels)
        shares = _semantic_maps(classifier, images, labels, norms_see_twice)
        weights = snapmix_weights(shares, labels, pairs.partner, target, source)
        logits = model(paste_resized(images, pairs.partner, target, source))
        return weighted_loss(criterion, logits, labels, pairs.partner, weights)

    return StatelessMethod(loss)


def _classifier(model: nn.Module) -> Classifier:
    inner = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    if isinstance(inner, Classifier):
        return inner
    raise UserError(
        "SnapMix needs the network's head and what it pools: give it catchup_eval.wrap(net, "
        f"stages=[...]), and head and pool where they are not found; got a {type(inner).__name__}"
    )


def _box(generator: Generator, images: Tensor, weight: float) -> Box:
    height, width = images.shape[2:]
    row, column = int(generator.integers(height)), int(generator.integers(width))
    return cutmix_box(height, width, weight, row, column)


@torch.no_grad()
def _semantic_maps(
    model: Classifier, images: Tensor, labels: Tensor, norms_see_twice: bool
) -> Tensor:
    with _preserve_buffers(model, not norms_see_twice):
        maps = model.trace(images).maps
    rows = model.head.weight[labels]
    if maps is None or maps.ndim != 4 or maps.shape[1] != rows.shape[1]:
        came = "none" if maps is None else tuple(maps.shape)
        raise UserError(
            f"SnapMix needs a pooled map (N, {rows.shape[1]}, h, w) before the head, got {came}"
        )
    return semantic_percent_map(maps, rows, *images.shape[2:])


@contextmanager
def _preserve_buffers(model: nn.Module, kept: bool) -> Iterator[None]:
    before = [buffer.clone() for buffer in model.buffers()] if kept else []
    yield
    for buffer, value in zip(model.buffers(), before):
        buffer.copy_(value)
