"""Fine-grained saliency: how far each pixel stands out from its surroundings, at six scales.

Montabone and Soto 2010, as OpenCV's `StaticSaliencyFineGrained` computes it on 8-bit images, in
tensor operations on a whole batch at once.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

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
    highest = torch.maximum(_argmax(on), _argmax(off)).clamp_min(1)
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
    height, width = grey.shape[1:]
    integral = F.pad(grey.cumsum(1).cumsum(2), (1, 0, 1, 0))
    top, bottom = _edges(height, radius, grey.device)
    left, right = _edges(width, radius, grey.device)
    above, below = integral[:, top], integral[:, bottom]
    # OpenCV's order, since single precision rounds what passes 2 ** 24.
    total = below[:, :, right] + above[:, :, left] - below[:, :, left] - above[:, :, right]
    count = (bottom - top)[:, None] * (right - left)
    return (total - grey) / (count - 1).clamp_min(1)


def _edges(side: int, radius: int, device: torch.device) -> tuple[Tensor, Tensor]:
    place = torch.arange(side, device=device) + 1
    return (place - radius).clamp_min(0), (place + radius).clamp_max(side)


def _normalize(sums: Tensor) -> Tensor:
    """(N, H, W) int64: the share of each map's largest value, in 1/255 and cut.

    The share is rounded to single precision, its product with 255 is not, hence whole numbers.
    """
    share = sums / _argmax(sums).clamp_min(1)
    return 255 * (share * 2**35).long() // 2**35


def _argmax(maps: Tensor) -> Tensor:
    return maps.amax((1, 2), keepdim=True)
