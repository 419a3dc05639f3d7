"""SaliencyMix: CutMix with the box where an image is most salient (Uddin et al. 2021).

The saliency is the fine-grained one of Montabone and Soto 2010: how far each pixel differs from
its surroundings, at six scales, as OpenCV's `StaticSaliencyFineGrained` computes it on 8-bit
images, in tensor operations on a whole batch at once.
"""

import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import cross_entropy

from catchup_eval.core.settings import Fraction, NonNegative, validate_settings
from catchup_eval.trainers.base import Criterion, Method, StatelessMethod
from catchup_eval.trainers.mixing.shared.boxes import Box, cutmix_box
from catchup_eval.trainers.mixing.shared.criteria import Weights, batch_loss, weighted_loss
from catchup_eval.trainers.mixing.shared.pairs import Pairs, draw_pairs, pair_loss

RADII = (12, 24, 48, 28, 56, 112)  # a surround has twice as many pixels on each side
GREY = (9798, 19235, 3735)  # OpenCV's weights of red, green, blue, in 1/32768


@torch.no_grad()
def fine_grained_saliency(images: Tensor) -> Tensor:
    """(N, H, W) int64 in 0 to 255: the map of each image (N, 3, H, W) in [0, 1].

    On-centre (brighter than the surround) and off-centre (darker) differences are summed over the
    scales, each of the two sums scaled to 255, however faint, and their sum once more; each result
    is cut to an integer. That last sum may pass 255, and then it wraps around as OpenCV's does.
    Equal to OpenCV, pixel for pixel, on images of up to 2 ** 24 / 255 pixels (256 x 256); beyond,
    OpenCV's own sums in single precision are not exact.
    """
    grey = _blur(_blur(_grey(images)))
    contrasts = torch.stack([grey - _surround(grey, radius) for radius in RADII])
    on = _normalize(contrasts.clamp_min(0).floor().sum(0))
    off = _normalize((-contrasts).clamp_min(0).floor().sum(0))
    highest = torch.maximum(_largest(on), _largest(off)).clamp_min(1)
    return 255 * (on + off) // highest % 256


def most_salient(images: Tensor) -> tuple[Tensor, Tensor]:
    """Row (N,) and column (N,) of the largest value of each map; of equal ones the first."""
    width = images.shape[3]
    place = fine_grained_saliency(images).flatten(1).argmax(1)
    return place // width, place % width


def _grey(images: Tensor) -> Tensor:
    """(N, H, W) whole numbers from 0 to 255, in single precision."""
    red, green, blue = (images.float() * 255).round().long().unbind(1)
    weighted = GREY[0] * red + GREY[1] * green + GREY[2] * blue
    return ((weighted + 2**14) // 2**15).float()


def _blur(grey: Tensor) -> Tensor:
    """By (1, 2, 1) / 4 along both axes, the image mirrored at its edges, halves rounded up."""
    padded = F.pad(grey[:, None], (1, 1, 1, 1), mode="reflect")[:, 0]
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    both = rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]
    return ((both + 8) / 16).floor()


def _surround(grey: Tensor, radius: int) -> Tensor:
    """(N, H, W): the mean around each pixel, itself left out.

    A window reaches from `radius - 1` pixels before to `radius` behind, less what the image lacks.
    """
    integral = F.pad(grey.cumsum(1).cumsum(2), (1, 0, 1, 0))
    (top, bottom), (left, right) = (_edges(side, radius, grey.device) for side in grey.shape[1:])
    above, below = integral[:, top], integral[:, bottom]
    # OpenCV's order, since single precision rounds what passes 2 ** 24.
    total = below[:, :, right] + above[:, :, left] - below[:, :, left] - above[:, :, right]
    count = (bottom - top)[:, None] * (right - left)
    return (total - grey) / (count - 1).clamp_min(1)


def _edges(side: int, radius: int, device: torch.device) -> tuple[Tensor, Tensor]:
    place = torch.arange(side, device=device) + 1
    return (place - radius).clamp_min(0), (place + radius).clamp_max(side)


def _normalize(sums: Tensor) -> Tensor:
    """(N, H, W) int64: each map in 1/255 of its largest value, cut.

    The ratio is rounded to single precision, its product with 255 is not, hence whole numbers.
    """
    ratio = sums / _largest(sums).clamp_min(1)
    return 255 * (ratio * 2**35).long() // 2**35


def _largest(maps: Tensor) -> Tensor:
    return maps.amax((1, 2), keepdim=True)


def box_mask(row: Tensor, column: Tensor, box: Box, height: int, width: int) -> Tensor:
    """(B, 1, H, W) bool: the pixels of a box moved to other centres (B,), clipped to the image.

    Args:
        box: CutMix's, centred at `height // 2`, `width // 2`, where nothing of it is clipped.
    """
    down, along = row - height // 2, column - width // 2
    rows = torch.arange(height, device=row.device)[:, None] - down[:, None, None, None]
    columns = torch.arange(width, device=row.device) - along[:, None, None, None]
    inside_rows = (rows >= box.top) & (rows < box.bottom)
    return inside_rows & (columns >= box.left) & (columns < box.right)


@validate_settings()
def saliencymix(
    model: nn.Module,
    *,
    criterion: Criterion = cross_entropy,
    alpha: NonNegative = 1.0,
    probability: Fraction = 1.0,
    per_image: bool = False,
) -> Method:
    """A partner's box, where it is most salient, pasted in place (Uddin et al. 2021).

    As the reference code (SaliencyMix/SaliencyMix) has it: one box for the whole batch, CutMix's
    in size, centred at the largest value of the fine-grained saliency of one image, the first
    image's partner. Labels are weighted by the fraction of the area that the image really keeps.

    One thing differs. The reference hands OpenCV the normalised floating-point image, but OpenCV's
    code takes every image for 8-bit: it reads the bytes of the numbers as pixels (its map and those
    bytes correlate by 0.99999; measured with OpenCV 5.0), and the box falls almost anywhere. Here
    the map is that of the 8-bit image, as the paper describes it. The reference also hands over
    red for blue, which here have their true weights.

    Draws, in this order: whether to cut; then the weight, the partners. On the device nothing is
    drawn and nothing read back.

    Args:
        criterion: with `per_image` of each sample alone
            (:func:`~catchup_eval.trainers.mixing.shared.criteria.sample_losses`).
        alpha: the box leaves a fraction from Beta(alpha, alpha) before it is clipped; 1.0 is the
            paper's; 0 mixes nothing.
        probability: that a step cuts at all. The reference takes 1.0 on ImageNet, 0.5 on CIFAR.
        per_image: each image has a box of its own, where its own partner is most salient. Not the
            reference's; users report lower accuracy.
    """

    def loss(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        if generator.random() >= probability:
            return batch_loss(criterion, model(images), labels)
        weight, partner = draw_pairs(generator, alpha, images)
        height, width = images.shape[2:]
        sources = partner if per_image else partner[:1]
        middle = cutmix_box(height, width, weight, height // 2, width // 2)
        mask = box_mask(*most_salient(images[sources]), middle, height, width)
        logits = model(torch.where(mask, images[partner], images))
        area_left = 1 - mask.float().mean((1, 2, 3))
        if per_image:
            weights = Weights(area_left, 1 - area_left)
            return weighted_loss(criterion, logits, labels, partner, weights)
        pairs = Pairs(area_left.squeeze(0), partner)  # type: ignore[arg-type]  # on the device
        return pair_loss(criterion, logits, labels, pairs)

    return StatelessMethod(loss)
