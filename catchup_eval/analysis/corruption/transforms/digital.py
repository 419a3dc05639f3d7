"""What processing does to an image: contrast, colour, resolution, compression, elastic tilt."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from catchup_eval.analysis.corruption.transforms import linear, pixels
from catchup_eval.analysis.corruption.transforms.pixels import Rngs, Setting, Severities

CONTRAST: Severities = {
    "cifar": (0.75, 0.5, 0.4, 0.3, 0.15),
    "tiny_imagenet": (0.4, 0.3, 0.2, 0.1, 0.05),
    "imagenet": (0.4, 0.3, 0.2, 0.1, 0.05),
}

# factor and offset of the saturation: grey, greyer, then ever more colour
SATURATE: Severities = {
    "cifar": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    "tiny_imagenet": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
    "imagenet": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}
PIXELATE: Severities = {
    "cifar": (0.95, 0.9, 0.85, 0.75, 0.65),
    "tiny_imagenet": (0.9, 0.8, 0.7, 0.6, 0.5),
    "imagenet": (0.6, 0.5, 0.4, 0.3, 0.25),
}
JPEG: Severities = {
    "cifar": (80, 65, 58, 50, 40),
    "tiny_imagenet": (65, 58, 50, 40, 25),
    "imagenet": (25, 18, 15, 10, 7),
}


def _times(side: int, fractions: tuple[tuple[float, ...], ...]) -> tuple[Setting, ...]:
    return tuple(tuple(side * fraction for fraction in row) for row in fractions)


# strength and smoothness (a standard deviation) of the stretching, strength of the tilt, in pixels;
# written as multiples of the side: for 224 pixels the original says 244, and so it stays
ELASTIC: Severities = {
    "cifar": _times(
        32,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    ),
    "tiny_imagenet": _times(
        64,
        ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
    ),
    "imagenet": _times(
        244,
        ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
    ),
}
LINES = "raw", "RGB;L"  # how Pillow reads and writes (H, 3, W): nothing is moved pixel by pixel
GRID = 2**16  # steps of the noise between 0 and 1


def contrast(images: Tensor, _rngs: Rngs, factor: float) -> Tensor:
    """Each channel drawn towards its mean over the image."""
    # Whole numbers add up exactly, in any order.
    sums = images.sum((2, 3), dtype=torch.long, keepdim=True)
    means = sums.double() / (255 * images[0, 0].numel())
    x = pixels.to_unit_float(images)
    return pixels.to_uint8(x.sub_(means).mul_(factor).add_(means))


def saturate(images: Tensor, _rngs: Rngs, factor: float, offset: float) -> Tensor:
    """The saturation (of hue, saturation, value) times `factor` plus `offset`."""
    return pixels.recolour(images, factor=factor, offset=offset)


def pixelate(images: Tensor, _rngs: Rngs, fraction: float) -> Tensor:
    """Shrunk to `fraction` of height and width with a box filter and brought back with one."""
    height, width = images.shape[-2:]
    small = int(width * fraction), int(height * fraction)

    def change(image: Image.Image) -> Image.Image:
        box = Image.Resampling.BOX
        return image.resize(small, box).resize((width, height), box)

    return _apply_pil(images, change)


def jpeg_compression(images: Tensor, _rngs: Rngs, quality: float) -> Tensor:
    """Written and read again as JPEG; the bytes depend on the libjpeg inside Pillow."""

    def change(image: Image.Image) -> Image.Image:
        file = BytesIO()
        image.save(file, "JPEG", quality=int(quality))
        return Image.open(file, formats=["JPEG"])

    return _apply_pil(images, change)


def _apply_pil(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """`change` applied to each image as Pillow has it, read and written a line of each colour."""
    size = images.shape[-1], images.shape[-2]
    done = b"".join(
        change(Image.frombuffer("RGB", size, lines, *LINES, 0, 1)).tobytes(*LINES)
        for lines in images.transpose(1, 2).contiguous().numpy()
    )
    changed = torch.frombuffer(bytearray(done), dtype=torch.uint8)
    return changed.view_as(images.transpose(1, 2)).transpose(1, 2).contiguous()


def elastic_transform(
    images: Tensor, rngs: Rngs, strength: float, sigma: float, tilt: float
) -> Tensor:
    """A random affine map, then a random smooth displacement; interpolated linearly both times."""
    height, width = images.shape[-2:]
    shape = (2, height, width)
    shifts, noise = [], []
    for rng in rngs:
        shifts.append(rng.uniform(-tilt, tilt, (3, 2)))
        noise.append(rng.integers(-GRID, GRID, shape, dtype=np.int32, endpoint=True))
    positions = _tilt(torch.from_numpy(np.stack(shifts)), height, width)
    tilted = _read(images.double(), positions, mirror=True)
    if not strength:
        return pixels.levels_to_uint8(tilted)
    steps = torch.from_numpy(np.stack(noise)).double()
    smooth = linear.gaussian_filter(steps, sigma, mode="reflect", truncate=3)
    smooth.mul_(strength / GRID)
    for axis, places in enumerate(_grid(height, width)):
        smooth[:, axis].add_(places)
    return pixels.levels_to_uint8(_read(tilted, smooth, mirror=False))


def _tilt(shifts: Tensor, height: int, width: int) -> Tensor:
    """(N, 2, H, W) where each pixel of the tilted image comes from, row and column.

    Args:
        shifts: (N, 3, 2) where three corners of a square in the middle go, column and row, relative
            to where they were: below right, above right, above left.
    """
    middle, half = torch.tensor([width // 2, height // 2]), min(height, width) // 3
    before = middle + half * torch.tensor([[1, 1], [1, -1], [-1, -1]])
    ones = torch.ones(3, 1, dtype=torch.double)
    after = torch.cat([before + shifts, ones.expand(len(shifts), 3, 1)], 2)
    maps = torch.linalg.solve(after, before.double().expand(len(shifts), 3, 2))  # (N, 3, 2)
    rows, columns = _grid(height, width)
    across, down, offset = maps.flip(2)[..., None, None].unbind(1)
    positions: Tensor = (across * columns + offset) + down * rows
    return positions


def _grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    """The pixels' rows (H, 1) and columns (W,)."""
    rows, columns = (torch.arange(side, dtype=torch.double) for side in (height, width))
    return rows[:, None], columns


def _read(images: Tensor, positions: Tensor, *, mirror: bool) -> Tensor:
    """Images (N, C, H, W) float64 read at positions (N, 2, H, W), row and column, linearly.

    Args:
        mirror: outside, the image is mirrored at the centres of its outermost pixels; else at
            their outer edges.
    """
    grid = positions.new_empty(len(positions), *positions.shape[2:], 2)  # column first
    for axis, side in enumerate(images.shape[-2:]):
        scale, start = (2 / (side - 1), -1) if mirror else (2 / side, 1 / side - 1)
        torch.mul(positions[:, axis], scale, out=grid[..., 1 - axis]).add_(start)
    read: Tensor = F.grid_sample(images, grid, padding_mode="reflection", align_corners=mirror)
    return read
