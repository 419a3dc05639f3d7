"""Random crops, flips, colours and resized windows of a whole batch at once; others one by one.

Windows have random area and shape and are brought to one size: torchvision's `RandomResizedCrop`,
with Pillow's antialiased filters as matrices. A resized window is `rows @ image @ columns.T`, with
weights of its own for each image.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import reduce
from math import log
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import numpy as np
import torch
from numpy.random import Generator
from pydantic import Field, field_validator, model_validator
from torch import Tensor
from torch.nn import functional as F

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.foreign import foreign_code
from catchup_eval.core.readers import load_user_function, names_code
from catchup_eval.core.rng import fork_global_rng
from catchup_eval.core.settings import Fraction, Pair, PositiveFraction, Settings, Several
from catchup_eval.core.toml import brief
from catchup_eval.models.zoo import check_options

# Eigenvectors (columns) and values of the covariance of ImageNet's colours in [0, 1]: the figures
# of facebook/fb.resnet.torch, which clovaai/CutMix-PyTorch has too.
PRINCIPAL_COLOURS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)
PRINCIPAL_VALUES = (0.2175, 0.0188, 0.0045)
GREY = (0.299, 0.587, 0.114)  # of red, green and blue
TRIES = 10  # torchvision's, of windows that are larger than the image, before it takes the middle

Fill = Literal["zeros", "reflect"]
PixelCount = Annotated[int, Field(ge=0, le=1024)]
Ratio = Annotated[float, Field(ge=0.01, le=100)]


class ResizedCrop(Settings):
    """A window of random area and shape, brought to one size: torchvision's `RandomResizedCrop`.

    Attributes:
        scale: the window's fraction of the image's area, from and to.
        ratio: its width by its height, from and to.
        interpolation: antialiased, as Pillow has it.
    """

    scale: Pair[PositiveFraction] = (0.08, 1.0)
    ratio: Pair[Ratio] = (3 / 4, 4 / 3)
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    @field_validator("scale", "ratio")
    @classmethod
    def _check_increasing(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if limits[0] > limits[1]:
            raise ValueError(f"expected from and to in this order, got {[*limits]}")
        return limits


class Augmentation(Settings):
    """How every training image is changed at random.

    Attributes:
        padding: pixels added on each side before a crop; 0 leaves the image whole.
        fill: what they are: black, or the image mirrored.
        size: side of the crop, which the network is given; 0: the image's own size.
        resized_crop: instead of a crop of that size, a window that is brought to it.
        flip: left and right exchanged, for half of the images.
        jitter: brightness, contrast and saturation, each times a factor between 1 - jitter and
            1 + jitter.
        lighting: standard deviation of a shift along ImageNet's principal colours (Krizhevsky et
            al. 2012), in units of their own.
        transforms: after crop and flip, each image goes through these: tables with the `name` of a
            class of torchvision.transforms.v2, or `FILE.py:NAME` of a function that makes a
            transform, and its arguments.
    """

    padding: PixelCount = 0
    fill: Fill = "zeros"
    size: PixelCount = 0
    resized_crop: ResizedCrop | None = None
    flip: bool = False
    jitter: Fraction = 0.0
    lighting: Annotated[float, Field(ge=0, le=1000)] = 0.0
    transforms: Several[dict[str, Any]] = ()

    @field_validator("transforms")
    @classmethod
    def _check_names(cls, transforms: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for each in transforms:
            if not isinstance(each.get("name"), str):
                raise ValueError(
                    "expected augmentation.transforms as tables with a name and its arguments, as "
                    f'in {{name = "RandAugment", magnitude = 9}}, got {brief(each)}'
                )
            try:
                json.dumps(each)
            except (TypeError, ValueError, RecursionError):
                raise ValueError(
                    f"expected the arguments of {each['name']} as plain values, which a recipe can "
                    f"hold, got {brief(each)}"
                ) from None
        return transforms

    @model_validator(mode="after")
    def _check_single_crop(self) -> Self:
        if self.padding and self.resized_crop:
            raise ValueError("expected either augmentation.padding or resized_crop, got both")
        return self


Transform = Callable[[Tensor], Tensor]  # (C, H, W) -> (C, H, W), in bytes or in [0, 1]


def build_transform(settings: Mapping[str, Any]) -> Transform:
    """A transform of one image, as a table of :class:`Augmentation` says.

    Raises:
        UnknownName: no transform of this name, or no such argument.
        BadFile, UserError: it cannot be made of these arguments.
    """
    name, own = settings["name"], {key: settings[key] for key in settings if key != "name"}
    if names_code(name):
        root, expected = Path(name.rpartition(":")[0]), "a transform, which can be called,"
        make = load_user_function(name, expected, cast(type, Callable))
    else:
        from torchvision.transforms import v2  # here, since it takes a second

        root = Path(v2.__file__).parent
        words = {"interpolation": _of(v2.InterpolationMode), "policy": _of(v2.AutoAugmentPolicy)}
        entries = {each: getattr(v2, each) for each in dir(v2)}
        known = [each for each, entry in entries.items() if _is_a(entry, v2.Transform)]
        if name not in known:
            raise UnknownName("transform", name, [*known, "FILE.py:NAME"])
        make = getattr(v2, name)
        own |= {key: words[key](own[key]) for key in words if isinstance(own.get(key), str)}
    check_options(name, make, own)
    with foreign_code(f"the transform {name}", root):
        transform = make(**own)

    def apply(image: Tensor) -> Tensor:
        with foreign_code(f"the transform {name}", root):
            return transform(image)  # type: ignore[no-any-return]

    return apply


def _of(kind: type[Enum]) -> Callable[[str], Enum]:
    """By its value, as TOML spells what torchvision has a class of names for."""

    def find(word: str) -> Enum:
        known = {str(each.value): each for each in kind}
        if word not in known:
            raise UnknownName(kind.__name__, word, known)
        return known[word]

    return find


def _is_a(entry: Any, kind: type) -> bool:
    return isinstance(entry, type) and issubclass(entry, kind)


def apply_transforms(images: Tensor, transforms: Sequence[Transform], rng: Generator) -> Tensor:
    """Each image of a batch (N, C, H, W) through all of them, one after the other.

    What they draw from the global generators follows from `rng`, and these are restored. They must
    remember nothing from one image to the next.

    Raises:
        UserError: what comes out are no images of one size, in bytes or in [0, 1].
    """
    if not transforms:
        return images
    with fork_global_rng(rng):
        done = [reduce(lambda image, change: change(image), transforms, one) for one in images]
    shapes = {tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__ for one in done}
    if len(shapes) > 1 or not isinstance(done[0], Tensor) or done[0].shape[:-2] != (3,):
        found = ", ".join(sorted(map(str, shapes)))
        raise UserError(f"expected images (3, H, W) of one size from the transforms, got {found}")
    changed = torch.stack(done)
    low, high = (0, 0) if changed.dtype == torch.uint8 else map(float, changed.aminmax())
    if not 0 <= low <= high <= 1:
        raise UserError(
            "expected bytes or numbers in [0, 1] from the transforms, got "
            f"{low:.3g} to {high:.3g}; the network normalises by itself"
        )
    return changed


def augment(images: Tensor, settings: Augmentation, rng: Generator) -> Tensor:
    """A new batch (N, C, H, W), each image cropped and flipped by the settings.

    Bytes stay bytes. Draws, in this order: the crops, the flips; nothing for what is switched off.

    Raises:
        UserError: a crop larger than the image with its padding, or too few pixels to mirror.
    """
    if settings.resized_crop is not None:
        height, width = images.shape[2:]
        windows = draw_windows(rng, len(images), height, width, settings.resized_crop)
        side = settings.size or height
        images = resize_windows(images, windows, side, settings.resized_crop.interpolation)
    elif settings.padding or settings.size:
        corners = rng.integers(_crop_ranges(images, settings), size=(len(images), 2))
        images = crop(
            images, _to_device(images, corners), settings.padding, settings.fill, settings.size
        )
    if settings.flip:
        images = flip(images, _to_device(images, rng.random(len(images)) < 0.5))
    return images


def _to_device(images: Tensor, drawn: np.ndarray) -> Tensor:
    return torch.from_numpy(drawn).to(images.device, non_blocking=True)


def _crop_ranges(images: Tensor, settings: Augmentation) -> list[int]:
    """From how many rows and columns a crop may begin."""
    sides = [side + 2 * settings.padding for side in images.shape[2:]]
    if settings.size > min(sides):
        raise UserError(
            f"expected augmentation.size up to the image's side, got {settings.size} for "
            f"{'x'.join(map(str, images.shape[2:]))} pixels with a padding of {settings.padding}"
        )
    return [1 + (side - settings.size if settings.size else 2 * settings.padding) for side in sides]


def crop(
    images: Tensor, corners: Tensor, padding: int, fill: Fill = "zeros", size: int = 0
) -> Tensor:
    """Each image (N, C, H, W) padded on each side, then cut with its own corner.

    Args:
        corners: (N, 2) int64, top and left of the crop in the padded image.
        fill: with "reflect" the edge pixel itself is not repeated.
        size: of the crop, a square; 0 cuts to the old size.

    Raises:
        UserError: too few pixels to mirror.
    """
    height, width = (size, size) if size else images.shape[2:]
    if padding and fill == "zeros":
        images = F.pad(images, (padding,) * 4)
    elif padding:
        if padding >= min(images.shape[2:]):
            raise UserError(
                f"expected augmentation.padding below the image's side, got {padding} for "
                f"{'x'.join(map(str, images.shape[2:]))}"
            )
        images = _reflect_pad(_reflect_pad(images, padding, 2), padding, 3)
    windows = images.unfold(2, height, 1).unfold(3, width, 1)  # no copy: (N, C, top, left, H, W)
    numbers = torch.arange(len(images), device=images.device)
    return windows[numbers, :, corners[:, 0], corners[:, 1]]


def _reflect_pad(images: Tensor, padding: int, axis: int) -> Tensor:
    """Along one axis: `2 1 | 0 1 2 3 | 2 1`. torch's own may refuse bytes."""
    before = images.narrow(axis, 1, padding).flip(axis)
    after = images.narrow(axis, images.shape[axis] - 1 - padding, padding).flip(axis)
    return torch.cat([before, images, after], axis)


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """The images (N, C, H, W) with left and right exchanged where `chosen` (N,) is true."""
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def recolour(images: Tensor, settings: Augmentation, rng: Generator) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] with other colours, each with its own draws.

    Draws, in this order: the factors, the shifts; nothing for what is switched off. What leaves
    [0, 1] is clipped once, at the end; the reference codes clip after each change, or never.
    """
    if not (settings.jitter or settings.lighting):
        return images
    if settings.jitter:
        spread = settings.jitter
        factors = rng.uniform(1 - spread, 1 + spread, (len(images), 3)).astype(np.float32)
        images = color_jitter(images, _to_device(images, factors))
    if settings.lighting:
        amounts = rng.normal(0, settings.lighting, (len(images), 3))
        shifts = amounts * PRINCIPAL_VALUES @ np.transpose(PRINCIPAL_COLOURS)
        images = images + _to_device(images, shifts.astype(np.float32))[:, :, None, None]
    return images.clamp(0, 1)


def color_jitter(images: Tensor, factors: Tensor) -> Tensor:
    """Images (N, 3, H, W) with factors (N, 3) on brightness, contrast and saturation.

    Contrast blends with the image's mean grey, saturation with its grey at each pixel. Without
    clipping in between, their order makes no difference, so that it is not random.
    """
    brightness, contrast, saturation = factors[:, :, None, None, None].unbind(1)
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    grey = GREY[0] * red + GREY[1] * green + GREY[2] * blue
    mean = grey.mean((2, 3), keepdim=True)
    coloured = saturation * images + (1 - saturation) * grey
    return brightness * (contrast * coloured + (1 - contrast) * mean)


def draw_windows(
    rng: Generator, images: int, height: int, width: int, settings: ResizedCrop
) -> np.ndarray:
    """(N, 4) int64: top, left, height and width of each image's window.

    The area is uniform, the shape is so in its logarithm, the place uniform; a window that is
    larger than the image is drawn anew, ten times, then the largest in the middle is taken. Always
    draws as many numbers: the areas, the shapes (N, 10 each), the places (N, 2).
    """
    flattest, widest = map(log, settings.ratio)
    area = height * width * rng.uniform(*settings.scale, (images, TRIES))
    shape = np.exp(rng.uniform(flattest, widest, (images, TRIES)))
    places = rng.random((images, 2))
    tall, wide = np.rint(np.sqrt(area / shape)), np.rint(np.sqrt(area * shape))
    fits = (tall >= 1) & (tall <= height) & (wide >= 1) & (wide <= width)
    first = np.arange(images), fits.argmax(1)
    sizes = np.stack([tall[first], wide[first]], 1).astype(np.int64)
    room = np.array([height, width]) - sizes
    corners = np.floor(places * (room + 1)).astype(np.int64)
    drawn = np.concatenate([corners, sizes], 1)

    middle_shape = min(max(width / height, settings.ratio[0]), settings.ratio[1])
    middle_tall = min(height, round(width / middle_shape))
    middle_wide = min(width, round(height * middle_shape))
    middle = [(height - middle_tall) // 2, (width - middle_wide) // 2, middle_tall, middle_wide]
    return np.where(fits.any(1, keepdims=True), drawn, middle)


def resize_windows(images: Tensor, windows: np.ndarray, side: int, interpolation: str) -> Tensor:
    """Each image's window resized to squares of `side` pixels, antialiased, as torchvision does it.

    Pillow does the same, but rounds, and clips, between its two passes, so that it may differ by a
    level of 255, and at hard edges (bicubic, which overshoots there) by more.

    Args:
        images: (N, C, H, W); bytes are rounded to bytes again.
        windows: (N, 4) int64 as :func:`draw_windows` gives them.
        interpolation: "bilinear" or "bicubic".
    """
    height, width = images.shape[2:]
    top, left, tall, wide = torch.from_numpy(windows).to(images.device, non_blocking=True).unbind(1)
    rows = filter_weights(top, tall, height, side, interpolation)
    columns = filter_weights(left, wide, width, side, interpolation)
    resized = rows[:, None] @ images.float() @ columns[:, None].mT
    return resized if images.is_floating_point() else resized.round().clamp(0, 255).to(images.dtype)


def filter_weights(
    start: Tensor, length: Tensor, pixels: int, side: int, interpolation: str
) -> Tensor:
    """(N, side, pixels): how much each pixel along one axis has of each pixel that is made.

    Args:
        start, length: (N,) of the window along this axis.
        pixels: of the image along it.
        side: how many are made.
    """
    place = torch.arange(pixels, device=start.device)
    step = length / side  # of the image's pixels, for one that is made
    centre = start[:, None] + (torch.arange(side, device=start.device) + 0.5) * step[:, None]
    distance = (place + 0.5 - centre[:, :, None]) / step.clamp_min(1)[:, None, None]
    inside = (place >= start[:, None]) & (place < (start + length)[:, None])
    weights = FILTERS[interpolation](distance.abs()) * inside[:, None]
    return weights / weights.sum(2, keepdim=True)


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance).clamp_min(0)


def _cubic(distance: Tensor) -> Tensor:
    """Keys 1981 with a = -1/2, as Pillow and torch's antialiased bicubic have it."""
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


FILTERS = {"bilinear": _triangle, "bicubic": _cubic}
