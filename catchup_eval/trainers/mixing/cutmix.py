"""CutMix: a box of the partner pasted into the image (Yun et al. 2019)."""

from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.settings import Fraction, NonNegative, validate_settings
from catchup_eval.trainers.base import Criterion, Method, StatelessMethod
from catchup_eval.trainers.mixing.shared.boxes import Box, draw_box
from catchup_eval.trainers.mixing.shared.criteria import batch_loss
from catchup_eval.trainers.mixing.shared.pairs import Pairs, draw_pairs, pair_loss


def cutmix_paste(images: Tensor, partner: Tensor, box: Box) -> Tensor:
    """A copy of `images` (N, C, H, W) with the box of each one's `partner` (N,) pasted in place."""
    mixed = images.clone()
    mixed[box.window] = images[box.window][partner]
    return mixed


@validate_settings()
def cutmix(
    model: nn.Module,
    *,
    criterion: Criterion = cross_entropy,
    alpha: NonNegative = 1.0,
    probability: Fraction = 1.0,
) -> Method:
    """A box of one image pasted into another, labels weighted by area (Yun et al. 2019).

    One box for the whole batch, as in the reference code; the label's weight is the fraction of the
    area of the image that remains. Draws, in this order: whether to cut; then the weight, the
    partners, the box's row, its column.

    Args:
        alpha: the box leaves a fraction from Beta(alpha, alpha) before it is clipped; 1.0 is the
            paper's; 0 mixes nothing.
        probability: that a step cuts at all. The paper's commands take 1.0 on ImageNet, as Catch-up
            Mix does at its input, and 0.5 on CIFAR.
    """

    def loss(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        if generator.random() >= probability:
            return batch_loss(criterion, model(images), labels)
        weight, partner = draw_pairs(generator, alpha, images)
        box = draw_box(generator, images, weight)
        logits = model(cutmix_paste(images, partner, box))
        area_left = 1 - box.area / images[0, 0].numel()
        return pair_loss(criterion, logits, labels, Pairs(area_left, partner))

    return StatelessMethod(loss)
