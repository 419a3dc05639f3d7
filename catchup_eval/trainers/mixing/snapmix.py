"""SnapMix: a resized box, labels weighted by class activation (Huang et al. 2021)."""

import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import cross_entropy

from catchup_eval.core.errors import UserError
from catchup_eval.core.settings import Fraction, NonNegative, validate_settings
from catchup_eval.models.classifier import Classifier
from catchup_eval.trainers.base import (
    Criterion,
    Method,
    StatelessMethod,
    unwrap_compiled,
)
from catchup_eval.trainers.mixing.shared.boxes import Box, draw_box
from catchup_eval.trainers.mixing.shared.criteria import Weights, batch_loss, weighted_loss
from catchup_eval.trainers.mixing.shared.features import expect_no_class_token
from catchup_eval.trainers.mixing.shared.pairs import draw_pairs, draw_weight


def semantic_percent_map(maps: Tensor, rows: Tensor, height: int, width: int) -> Tensor:
    """(N, H, W): each pixel's fraction of the class activation, summing to one in each image.

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
    mixed = images.clone()
    mixed[target.window] = F.interpolate(
        images[source.window][partner], target.size, mode="bilinear", align_corners=True
    )
    return mixed


def snapmix_weights(
    activation: Tensor, labels: Tensor, partner: Tensor, target: Box, source: Box
) -> Weights:
    """What the labels weigh: the activation left in the image, and that of what was pasted.

    Where both labels are the same, each weighs the sum of the two, so that the class counts twice:
    as in the reference code. A weight that is NaN becomes the target box's: 1 - area, area.

    Args:
        activation: (N, H, W), :func:`semantic_percent_map`.
        labels, partner: (N,).
    """
    total = activation.sum((1, 2)) + 1e-8
    left = 1 - activation[target.window].sum((1, 2)) / total
    pasted = (activation[source.window].sum((1, 2)) / total)[partner]
    same, area = labels == labels[partner], target.area / activation[0].numel()
    return Weights(
        torch.where(same, left + pasted, left).nan_to_num(1 - area),
        torch.where(same, pasted + left, pasted).nan_to_num(area),
    )


@validate_settings()
def snapmix(
    model: nn.Module,
    *,
    criterion: Criterion = cross_entropy,
    alpha: NonNegative = 5.0,
    probability: Fraction = 1.0,
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
        criterion: applied to each sample alone
            (:func:`~catchup_eval.trainers.mixing.shared.criteria.sample_losses`).
        alpha: the two boxes leave fractions from Beta(alpha, alpha) before they are clipped; 5.0 is
            the reference's for pretrained networks, and 1.0 its default; 0 mixes nothing.
        probability: that a step mixes at all; the reference takes 0.5 for training from scratch.
        norms_see_twice: the pass for the activation is made in the model's own mode, so that the
            running statistics of batch norms take in the clean batch as well as the mixed one: the
            reference. False restores the buffers after that pass.
    """
    classifier = unwrap_compiled(model)
    if not isinstance(classifier, Classifier):
        raise UserError(
            "SnapMix needs the network's head and what it pools: give it catchup_eval.wrap(net, "
            "stages=[...]), and head and pool where they are not found; got a "
            f"{type(classifier).__name__}"
        )
    expect_no_class_token(classifier, "SnapMix")

    def loss(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        if generator.random() >= probability:
            return batch_loss(criterion, model(images), labels)
        weight, partner = draw_pairs(generator, alpha, images)
        source_weight = draw_weight(generator, alpha)
        target = draw_box(generator, images, weight)
        source = draw_box(generator, images, source_weight)
        if not (target.area and source.area):
            return batch_loss(criterion, model(images), labels)
        activation = _semantic_maps(classifier, images, labels, norms_see_twice)
        weights = snapmix_weights(activation, labels, partner, target, source)
        logits = model(paste_resized(images, partner, target, source))
        return weighted_loss(criterion, logits, labels, partner, weights)

    return StatelessMethod(loss)


@torch.no_grad()
def _semantic_maps(
    model: Classifier, images: Tensor, labels: Tensor, norms_see_twice: bool
) -> Tensor:
    before = [] if norms_see_twice else [buffer.clone() for buffer in model.buffers()]
    maps = model.trace(images).maps
    torch.clear_autocast_cache()  # weights that were cast here would get no gradient
    for buffer, value in zip(model.buffers(), before):
        buffer.copy_(value)
    rows = model.head.weight[labels]
    shape = None if maps is None else tuple(maps.shape)
    if maps is not None and maps.ndim > 2:
        maps = model.last_map(maps)
    if maps is None or maps.ndim != 4 or maps.shape[1] != rows.shape[1]:
        raise UserError(
            f"SnapMix needs a pooled map (N, {rows.shape[1]}, h, w) before the head, got "
            f"{shape or 'none'}"
        )
    return semantic_percent_map(maps, rows, *images.shape[2:])
