"""Preprocessing: from an image of any size to a model's input, before it is normalised.

Datasets of fixed size (CIFAR) need none of it. A checkpoint brings its own, since another crop or
filter moves published accuracies by points.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.metrics import boxes

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image
    from torch import Tensor

FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class Preprocess:
    """How an image of any size becomes a model's input.

    Args:
        size: side of the square it is given, in pixels.
        resize: the image's shorter side before the centre crop; `size` where it is None.
        interpolation: one of :data:`FILTERS`, as Pillow has them (always antialiased).
        squash: bring both sides to `size`, whatever the aspect ratio; nothing is cropped then, so
            boxes keep their whole object.

    Raises:
        UserError: a crop larger than the resized image, or a crop with `squash`.
        UnknownName: no such interpolation.
    """

    size: int
    resize: int | None = None
    interpolation: str = "bilinear"
    squash: bool = False

    def __post_init__(self) -> None:
        if self.interpolation not in FILTERS:
            raise UnknownName("interpolation", self.interpolation, FILTERS)
        if self.size < 1 or (self.resize is not None and (self.squash or self.resize < self.size)):
            raise UserError(
                f"expected a crop of {self.size} pixels from a shorter side of at least as many, "
                f"without squash, got resize {self.resize}"
            )

    def __str__(self) -> str:
        if self.squash:
            return f"squashed to {self.size} x {self.size} ({self.interpolation})"
        shorter = self.resize or self.size
        return f"shorter side {shorter} ({self.interpolation}), centre crop {self.size}"

    @property
    def without_crop(self) -> "Preprocess":
        """The whole image at the same size, so that no box is cut."""
        return Preprocess(self.size, interpolation=self.interpolation, squash=True)

    def pixels(self, image: "Image") -> "Tensor":
        """(3, size, size) uint8 of an image in any mode; as torchvision's presets do it."""
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as F

        side: list[int] = [self.size] * 2 if self.squash else [self.resize or self.size]
        small = F.resize(image.convert("RGB"), side, InterpolationMode(self.interpolation))
        cut: Tensor = F.pil_to_tensor(F.center_crop(small, [self.size, self.size]))
        return cut

    def boxes(self, given: "np.ndarray", image: tuple[int, int]) -> "np.ndarray":
        """(N, 4) boxes in an image (H, W) as they lie in :meth:`pixels`, clipped."""
        if self.squash:
            return boxes.resize_boxes(given, image, (self.size, self.size))
        small = _resize_sides(*image, self.resize or self.size)
        # torchvision's centre crop rounds the corner, half to even.
        top, left = (round((side - self.size) / 2) for side in small)
        moved = boxes.resize_boxes(given, image, small)
        return boxes.crop_boxes(moved, (top, left), (self.size, self.size))


def _resize_sides(height: int, width: int, shorter: int) -> tuple[int, int]:
    """The sides after the shorter one is brought to `shorter`; torchvision cuts the other."""
    if height <= width:
        return shorter, int(shorter * width / height)
    return int(shorter * height / width), shorter
