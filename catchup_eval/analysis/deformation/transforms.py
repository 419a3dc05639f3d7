"""Rotation, shear and zoom, by one affine core, in the two conventions of the literature.

`manifold`: Verma et al. 2019 (Manifold Mixup), Tables 4 and 9, as its code has it. Matrices take an
*output* position (row, column) to an *input* position, about a centre one pixel below and right of
the true one. Zoom below 100 % enlarges the central part; above, the image shrinks on black.
`patchup`: Faramarzi et al. 2022 (PatchUp), by torchvision's `RandomAffine` on 8-bit images, about
the true centre. Zoom is reversed: below 100 % shrinks.

Both take the nearest pixel and fill with black. The Catch-up Mix paper says "following Manifold
Mixup" and prints PatchUp's eight settings; which one it ran is not stated.
"""

from collections.abc import Callable, Mapping
from math import radians
from typing import NamedTuple

import torch
from torch import Tensor

from catchup_eval.core.rng import image_rngs


class Deformation(NamedTuple):
    """One condition."""

    kind: str  # "rotation", "shear" or "zoom"
    strength: float  # as papers print it: largest angle in degrees, or zoom in percent
    amount: float  # largest angle in radians, or zoom as a factor

    @property
    def random(self) -> bool:
        """Whether each image has its own angle, uniform between minus and plus `amount`."""
        return self.kind != "zoom"


# The paper's Table 2. Manifold Mixup's shears are 0.5 and 1 radian; the second is 57.3 degrees
# (the paper prints 57.2). PatchUp writes them in degrees, 0.2 % less.
DEFORMATIONS = (
    Deformation("rotation", 20, radians(20)),
    Deformation("rotation", 40, radians(40)),
    Deformation("shear", 28.6, 0.5),
    Deformation("shear", 57.3, 1.0),
    *(Deformation("zoom", percent, percent / 100) for percent in (60, 80, 120, 140)),
)


class AffineConvention(NamedTuple):
    """How an output pixel finds its input pixel."""

    matrix: Callable[[str, Tensor], Tensor]  # (N, 2, 2) of kind and amounts, from output to input
    shift: float  # pixels from the true centre to the centre used, along both axes
    margin: float  # how far beyond the outermost pixels' centres an image reaches


def _manifold_matrix(kind: str, amount: Tensor) -> Tensor:
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    sin, cos = amount.sin(), amount.cos()
    entries = {
        "rotation": (cos, -sin, sin, cos),
        "shear": (one, -sin, zero, cos),
        "zoom": (amount, zero, zero, amount),
    }
    return torch.stack(entries[kind], -1).view(-1, 2, 2)


def _patchup_matrix(kind: str, amount: Tensor) -> Tensor:
    """The inverse of torchvision's matrix, in (row, column) instead of (x, y)."""
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    sin, cos = amount.sin(), amount.cos()
    entries = {
        "rotation": (cos, -sin, sin, cos),
        "shear": (one, zero, amount.tan(), one),
        "zoom": (1 / amount, zero, zero, 1 / amount),
    }
    return torch.stack(entries[kind], -1).view(-1, 2, 2)


AFFINE_CONVENTIONS: Mapping[str, AffineConvention] = {
    # scipy.ndimage.affine_transform: outside begins at the outermost centres
    "manifold": AffineConvention(_manifold_matrix, shift=1.0, margin=0.0),
    # Pillow: outside begins at the pixels' outer edges
    "patchup": AffineConvention(_patchup_matrix, shift=0.0, margin=0.5),
}


def deform(
    images: Tensor,
    deformation: Deformation,
    *,
    index: Tensor,
    seed: int = 0,
    convention: str = "manifold",
) -> Tensor:
    """The images (N, C, H, W) deformed, of the same type, black where nothing was.

    Args:
        index: (N,) the images' stable numbers, which decide their angles.
        seed: of the angles; both conventions are given the same.
        convention: one of :data:`AFFINE_CONVENTIONS`.
    """
    rule = AFFINE_CONVENTIONS[convention]
    matrices = rule.matrix(deformation.kind, amounts(deformation, index, seed))
    return affine(images, matrices, shift=rule.shift, margin=rule.margin)


def amounts(deformation: Deformation, index: Tensor, seed: int) -> Tensor:
    """(N,) float64: each image's angle in radians, or the zoom factor."""
    if not deformation.random:
        return torch.full((len(index),), deformation.amount, dtype=torch.double)
    name = f"{deformation.kind} {deformation.strength:g}"
    angles = [rng.uniform(-1, 1) for rng in image_rngs(seed, name, index.cpu().numpy())]
    return deformation.amount * torch.tensor(angles, dtype=torch.double)


def affine(images: Tensor, matrices: Tensor, *, shift: float, margin: float) -> Tensor:
    """Images (N, C, H, W) in which each output pixel takes the nearest input pixel, or black.

    Args:
        matrices: (N, 2, 2) float64, from output (row, column) to input, about the centre.
        shift, margin: as in :class:`AffineConvention`.
    """
    size = torch.tensor(images.shape[-2:])
    source = _source_positions(matrices, size, shift)
    filled = ((source >= -margin) & (source <= size - 1 + margin)).all(-1)
    nearest = (source + 0.5).floor().long().clamp(torch.zeros_like(size), size - 1)
    flat = (nearest[..., 0] * size[1] + nearest[..., 1]).flatten(1).to(images.device)
    pixels = images.flatten(2).gather(2, flat[:, None].expand(-1, images.shape[1], -1))
    return pixels.view_as(images) * filled[:, None].to(images.device)


def _source_positions(matrices: Tensor, size: Tensor, shift: float) -> Tensor:
    """(N, H, W, 2) the input position (row, column) of every output pixel."""
    centre = (size.double() - 1) / 2 + shift
    rows, columns = (torch.arange(n, dtype=torch.double) for n in size.tolist())
    offset = centre - matrices @ centre
    # In this order, scipy's: where a position falls on the edge, the last bit decides.
    down = offset[:, None, None] + matrices[:, None, None, :, 0] * rows[:, None, None]
    return down + matrices[:, None, None, :, 1] * columns[:, None]
