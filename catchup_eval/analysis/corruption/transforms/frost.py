"""Frost: ice on the lens, from photographs or, where there are none, procedural.

The official photographs are not part of this package. Those of `hendrycks/robustness`
(`ImageNet-C/create_c/frost1.png` and so on) are read from a folder of the user's.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from catchup_eval.analysis.corruption.transforms.pixels import Rngs, Severities, draw_per_image
from catchup_eval.analysis.corruption.transforms.weather import plasma
from catchup_eval.core.errors import BadFile

# weight of the image, weight of the frost, scale of the photographs
FROST: Severities = {
    "cifar": ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
    "tiny_imagenet": (
        *((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3)),
        *((0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
    ),
    "imagenet": ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
}

# The original scripts list a sixth, frost6.jpg, and never draw it.
NAMES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")

# Of procedural frost: how fast detail fades towards finer scales; its contrast and tint in levels.
FADE, CONTRAST, TINT = 1.2, 120.0, (-13.0, 2.0, 12.0)

Photographs = Sequence[np.ndarray]  # each (H, W, 3) uint8, RGB


def photographs(folder: Path) -> Photographs:
    """The five photographs that the original scripts draw from.

    Raises:
        BadFile: one of :data:`NAMES` is absent from the folder or no image.
    """
    found = []
    for path in (folder / name for name in NAMES):
        try:
            with Image.open(path) as image:
                found.append(np.asarray(image.convert("RGB")))
        except FileNotFoundError:
            known = ", ".join(NAMES)
            raise BadFile(f"there is no {path}; frost needs all of {known}") from None
        except (UnidentifiedImageError, OSError) as error:
            raise BadFile(f"{path} cannot be read as an image: {error}") from error
    return found


def fingerprint(given: Photographs) -> str:
    """A hash of their pixels, 8 hexadecimal digits; "procedural" where there are none."""
    digest = hashlib.sha256()
    for photograph in given:
        digest.update(photograph.tobytes())
    return digest.hexdigest()[:8] if given else "procedural"


def frost(
    images: Tensor,
    rngs: Rngs,
    image_weight: float,
    frost_weight: float,
    scale: float,
    photographs: Photographs = (),
) -> Tensor:
    """The image and a random piece of a random photograph of frost, weighted and added."""
    size = images.shape[-2:]
    ice = crop_pieces(rngs, photographs, scale, size) if photographs else crystals(rngs, size)
    levels = image_weight * images.double() + frost_weight * ice.permute(0, 3, 1, 2)
    return levels.clamp(0, 255).to(torch.uint8)


def crop_pieces(rngs: Rngs, photographs: Photographs, scale: float, size: Sequence[int]) -> Tensor:
    """(N, H, W, 3) uint8: for each image a random photograph, cropped at a random place."""
    height, width = size
    resized = [_resized(Identical(each), scale, (height, width)) for each in photographs]

    def crop_piece(rng: Generator) -> np.ndarray:
        ice = resized[rng.integers(len(resized))]
        top, left = (int(rng.integers(n - k)) for n, k in zip(ice.shape, size, strict=False))
        return ice[top : top + height, left : left + width]

    return draw_per_image(rngs, crop_piece)


class Identical:
    """An array as a key of a cache: equal to itself alone, whatever it holds."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __hash__(self) -> int:
        return id(self.array)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identical) and other.array is self.array


@lru_cache(maxsize=len(NAMES))
def _resized(photograph: Identical, scale: float, size: tuple[int, int]) -> np.ndarray:
    return resize_bilinear(photograph.array, scale, size)


def resize_bilinear(photograph: np.ndarray, scale: float, size: Sequence[int]) -> np.ndarray:
    """A photograph read at every 1 / `scale` pixels, linearly, as OpenCV's `resize` does it.

    Where it would be too small to cut a piece of `size` from, it is scaled as much as needed.
    """
    least = max((want + 1) / have for want, have in zip(size, photograph.shape[:2], strict=False))
    scale = max(scale, least)
    if scale == 1:
        return photograph
    above, below, down = _neighbours(photograph.shape[0], scale)
    left, right, across = _neighbours(photograph.shape[1], scale)
    over, under = (
        rows[:, left] * (1 - across)[:, None] + rows[:, right] * across[:, None]
        for rows in (photograph[above], photograph[below])
    )
    levels = over * (1 - down)[:, None, None] + under * down[:, None, None]
    return np.asarray(np.rint(levels), np.uint8)


def _neighbours(size: int, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each pixel of a rescaled line: the two around its place, the second one's weight."""
    at = ((np.arange(round(size * scale)) + 0.5) / scale - 0.5).clip(0, size - 1)
    before = np.floor(at).astype(int)
    return before, np.minimum(before + 1, size - 1), at - before


def crystals(rngs: Rngs, size: Sequence[int]) -> Tensor:
    """Procedural frost (N, H, W, 3): bright ridges of fractal noise on a bluish ground.

    Not the official frost: brightness and contrast are about the photographs', the shapes are not.
    """
    side = 1 << (max(size) - 1).bit_length()
    noise = draw_per_image(rngs, lambda rng: rng.uniform(-1, 1, side * side)).numpy()
    clouds = plasma(noise[:, 1:], side, FADE)[:, : size[0], : size[1]]
    ridges = 1 - np.abs(2 * clouds - 1)
    ground = 145 + 50 * noise[:, 0, None, None]
    shade = ground + CONTRAST * (ridges - 0.6)
    return torch.from_numpy((shade[..., None] + TINT).clip(0, 255))
