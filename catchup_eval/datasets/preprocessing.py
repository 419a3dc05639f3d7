"""Preprocessing: from an image of any size to a model's input, before it is normalised.

Datasets of fixed size (CIFAR) need none of it. A checkpoint brings its own, since another crop or
filter moves published accuracies by points.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.metrics import boxes

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class Preprocess:
    """How an image of any size becomes a model's input.

    Args:
        size: side of the square it is given, in pixels.
        resize: the image's shorter side before the centre crop; `size` where it is None.
        interpolation: one of :data:`FILTERS` (always antialiased).
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

    def pixels(self, image: "Image | Tensor") -> "Tensor":
        """(3, size, size) uint8 of an image in any mode, or (3, H, W) uint8.

        As torchvision's presets do it on tensors: bilinear and bicubic in integers of 16 bits,
        the same on every processor. On 500 photographs bilinear was within two grey levels of
        Pillow's, whose weights have 22 bits; bicubic too, but for one value in a million (seven).
        """
        from torch import Tensor
        from torchvision.transforms.functional import pil_to_tensor

        rgb = image if isinstance(image, Tensor) else pil_to_tensor(image.convert("RGB"))
        sides = self._sides(*rgb.shape[1:])
        top, left = self._corner(sides)
        small = _resize(rgb, sides, self.interpolation)
        return small[:, top : top + self.size, left : left + self.size]

    def boxes(self, given: np.ndarray, image: tuple[int, int]) -> np.ndarray:
        """(N, 4) boxes in an image (H, W) as they lie in :meth:`pixels`, clipped."""
        sides = self._sides(*image)
        moved = boxes.resize_boxes(given, image, sides)
        return boxes.crop_boxes(moved, self._corner(sides), (self.size, self.size))

    def _sides(self, height: int, width: int) -> tuple[int, int]:
        """Of the image before the centre crop; torchvision cuts the longer one to an integer."""
        if self.squash:
            return self.size, self.size
        shorter = self.resize or self.size
        if height <= width:
            return shorter, int(shorter * width / height)
        return int(shorter * height / width), shorter

    def _corner(self, sides: tuple[int, int]) -> tuple[int, int]:
        """Top and left of the centre crop, rounded as torchvision does, half to even."""
        top, left = (round((side - self.size) / 2) for side in sides)
        return top, left


def _resize(image: "Tensor", sides: tuple[int, int], interpolation: str) -> "Tensor":
    """(3, H, W) uint8 brought to these sides, antialiased."""
    import torch
    from PIL import Image
    from torch.nn.functional import interpolate

    if image.shape[1:] == sides:
        return image
    if interpolation in ("bilinear", "bicubic"):
        return interpolate(image[None], sides, mode=interpolation, antialias=True)[0]
    filters = Image.Resampling[interpolation.upper()]
    small = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(sides[::-1], filters)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)
