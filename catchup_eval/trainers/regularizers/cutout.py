"""Cutout: a square of each image painted over."""

import torch
from numpy.random import Generator
from torch import Tensor, nn

from catchup_eval.core.errors import UserError
from catchup_eval.core.settings import Count, validate_settings
from catchup_eval.models.classifier import Classifier
from catchup_eval.trainers.base import unwrap_compiled
from catchup_eval.trainers.regularizers.base import Regularizer


def fill_squares(
    images: Tensor, rows: Tensor, columns: Tensor, length: int, colour: Tensor
) -> Tensor:
    """A copy of `images` (N, C, H, W) with a square of this side in `colour`, clipped to the image.

    Args:
        rows, columns: (N,) int64, each square's centre; it begins `length // 2` before and ends as
            far behind, so that an odd length loses a pixel, as in the reference code.
        colour: (1, C, 1, 1).
    """
    height, width = images.shape[2:]
    tall = _in_square(height, rows, length)[:, None, :, None]
    wide = _in_square(width, columns, length)[:, None, None, :]
    return torch.where(tall & wide, colour.to(images.dtype), images)


def _in_square(side: int, centre: Tensor, length: int) -> Tensor:
    """(N, side) bool."""
    place, begin = torch.arange(side, device=centre.device), centre[:, None] - length // 2
    return (place >= begin) & (place < begin + length // 2 * 2)


@validate_settings()
def cutout(model: nn.Module, *, length: Count = 8) -> Regularizer:
    """A square of each training image in the mean colour (DeVries and Taylor 2017).

    The reference (uoguelph-mlrg/Cutout) writes zeros after normalising; here that is the model's
    own mean. The centre is uniform over the image, so that the square may exceed the image.
    Before any mixing. Draws the rows, then the columns, of the batch.

    Args:
        model: a :class:`~catchup_eval.models.classifier.Classifier`, whose mean it takes.
        length: the side in pixels; 8 is the paper's for CIFAR-100, 16 for CIFAR-10 (and said to be
            the CutMix paper's).

    Raises:
        UserError: a network without normalisation of its own.
    """
    inner = unwrap_compiled(model)
    if not isinstance(inner, Classifier):
        raise UserError(
            "Cutout paints in the mean colour: give it catchup_eval.wrap(net, mean=...), got a "
            f"{type(inner).__name__}"
        )

    def paint(images: Tensor, generator: Generator) -> Tensor:
        rows, columns = (
            torch.from_numpy(generator.integers(side, size=len(images))).to(
                images.device, non_blocking=True
            )
            for side in images.shape[2:]
        )
        return fill_squares(images, rows, columns, length, inner.normalize.mean)

    return Regularizer(images=paint)
