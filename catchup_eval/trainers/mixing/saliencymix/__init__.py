"""SaliencyMix: CutMix with the box where an image is most salient (Uddin et al. 2021)."""

from typing import NamedTuple

import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.trainers.base import Criterion, Method, StatelessMethod
from catchup_eval.trainers.mixing.saliencymix.saliency import most_salient
from catchup_eval.trainers.mixing.shared.boxes import Box, cutmix_box
from catchup_eval.trainers.mixing.shared.criteria import Weights, batch_loss, weighted_loss
from catchup_eval.trainers.mixing.shared.pairs import check_alpha, check_fraction, draw_pairs


class Boxes(NamedTuple):
    """Rectangles of pixels known only to the device, each entry (B,), as in `Box`."""

    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor


def boxes_around(row: Tensor, column: Tensor, box: Box, height: int, width: int) -> Boxes:
    """CutMix's box of the image's middle moved to other centres (B,), clipped to the image.

    Args:
        box: centred at `height // 2`, `width // 2`, where nothing of it is clipped.
    """
    down, along = row - height // 2, column - width // 2
    return Boxes(
        (box.top + down).clamp_min(0),
        (box.bottom + down).clamp_max(height),
        (box.left + along).clamp_min(0),
        (box.right + along).clamp_max(width),
    )


def box_mask(boxes: Boxes, height: int, width: int) -> Tensor:
    """(B, 1, H, W) bool: the pixels in each box."""
    rows = torch.arange(height, device=boxes.top.device)[:, None]
    columns = torch.arange(width, device=boxes.top.device)
    top, bottom, left, right = (edge[:, None, None, None] for edge in boxes)
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def saliencymix(
    model: nn.Module,
    *,
    criterion: Criterion = cross_entropy,
    alpha: float = 1.0,
    probability: float = 1.0,
    per_image: bool = False,
) -> Method:
    """A partner's box, where it is most salient, pasted in place (Uddin et al. 2021).

    As the reference code (SaliencyMix/SaliencyMix) has it: one box for the whole batch, CutMix's
    in size, centred at the largest value of the fine-grained saliency of one image, the first
    image's partner. Labels are weighted by the share of the area that the image really keeps.

    One thing differs. The reference hands OpenCV the normalised floating-point image, but OpenCV's
    code takes every image for 8-bit: it reads the bytes of the numbers as pixels (its map and those
    bytes correlate by 0.99999; measured with OpenCV 5.0), and the box falls almost anywhere. Here
    the map is that of the 8-bit image, as the paper describes it. The reference also hands over
    red for blue, which here have their true weights.

    Draws, in this order: whether to cut; then the weight, the partners. On the device nothing is
    drawn and nothing read back.

    Args:
        model: any network (N, 3, H, W) -> (N, K).
        criterion: mean loss of logits (N, K) and labels (N,); with `per_image` of each sample alone
            (:func:`~catchup_eval.trainers.mixing.shared.criteria.sample_losses`).
        alpha: the box leaves a share from Beta(alpha, alpha) before it is clipped; 1.0 is the
            paper's; 0 mixes nothing.
        probability: that a step cuts at all. The reference takes 1.0 on ImageNet, 0.5 on CIFAR.
        per_image: each image has a box of its own, where its own partner is most salient. Not the
            reference's; users report lower accuracy.

    Raises:
        UserError: a negative `alpha`, a `probability` outside [0, 1].
    """
    check_alpha(alpha)
    check_fraction("probability", probability)

    def loss(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        if generator.random() >= probability:
            return batch_loss(criterion, model(images), labels)
        weight, partner = draw_pairs(generator, alpha, images)
        height, width = images.shape[2:]
        sought = partner if per_image else partner[:1]
        middle = cutmix_box(height, width, weight, height // 2, width // 2)
        mask = box_mask(
            boxes_around(*most_salient(images[sought]), middle, height, width), height, width
        )
        logits = model(torch.where(mask, images[partner], images))
        kept = 1 - mask.float().mean((1, 2, 3))
        if per_image:
            weights = Weights(kept, 1 - kept)
            return weighted_loss(criterion, logits, labels, partner, weights)
        share = kept.squeeze(0)
        own, other = (batch_loss(criterion, logits, each) for each in (labels, labels[partner]))
        return share * own + (1 - share) * other

    return StatelessMethod(loss)
