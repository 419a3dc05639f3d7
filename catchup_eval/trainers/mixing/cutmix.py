"""CutMix: a box of the partner pasted into the image (Yun et al. 2019)."""

from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.trainers.base import Criterion, Method, StatelessMethod
from catchup_eval.trainers.mixing.shared.boxes import Box, cutmix_box
from catchup_eval.trainers.mixing.shared.criteria import batch_loss
from catchup_eval.trainers.mixing.shared.pairs import (
    check_alpha,
    check_fraction,
    draw_pairs,
    pair_loss,
)


def cutmix_paste(images: Tensor, partner: Tensor, box: Box) -> Tensor:
    """A copy of `images` (N, C, H, W) with the box of each one's `partner` (N,) pasted in place."""
    window = (slice(None), slice(None), slice(box.top, box.bottom), slice(box.left, box.right))
    mixed = images.clone()
    mixed[window] = images[window][partner]
    return mixed


def cutmix(
    model: nn.Module,
    *,
    criterion: Criterion = cross_entropy,
    alpha: float = 1.0,
    probability: float = 1.0,
) -> Method:
    """A box of one image pasted into another, labels weighted by area (Yun et al. 2019).

    One box for the whole batch, as in the reference code; the label's weight is the share of the
    area that the image really keeps. Draws, in this order: whether to cut; then the weight, the
    partners, the box's row, its column.

    Args:
        model: any network (N, 3, H, W) -> (N, K).
        criterion: mean loss of logits (N, K) and labels (N,).
        alpha: the box leaves a share from Beta(alpha, alpha) before it is clipped; 1.0 is the
            paper's; 0 mixes nothing.
        probability: that a step cuts at all. The paper's commands take 1.0 on ImageNet, as Catch-up
            Mix does at its input, and 0.5 on CIFAR.

    Raises:
        UserError: a negative `alpha`, a `probability` outside [0, 1].
    """
    check_alpha(alpha)
    check_fraction("probability", probability)

    def loss(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        if generator.random() >= probability:
            return batch_loss(criterion, model(images), labels)
        pairs = draw_pairs(generator, alpha, images)
        height, width = images.shape[2:]
        row, column = int(generator.integers(height)), int(generator.integers(width))
        box = cutmix_box(height, width, pairs.weight, row, column)
        logits = model(cutmix_paste(images, pairs.partner, box))
        kept = 1 - box.area / (height * width)
        return pair_loss(criterion, logits, labels, pairs._replace(weight=kept))

    return StatelessMethod(loss)
