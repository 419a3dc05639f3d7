"""Deformations: golden grids, scipy for one convention, torchvision for the other."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as vision

from catchup_eval.analysis.deformation.transforms import (
    AFFINE_CONVENTIONS,
    DEFORMATIONS,
    Deformation,
    affine,
    amounts,
    deform,
)
from catchup_eval.datasets.dataset import Split

GRID = torch.arange(1, 37).view(1, 1, 6, 6)
GOLDEN = {
    ("zoom", 0.6): """
         8  9 10 10 11 11
        14 15 16 16 17 17
        20 21 22 22 23 23
        20 21 22 22 23 23
        26 27 28 28 29 29
        26 27 28 28 29 29""",
    ("zoom", 0.8): """
         8  8  9 10 11 12
         8  8  9 10 11 12
        14 14 15 16 17 18
        20 20 21 22 23 24
        26 26 27 28 29 30
        32 32 33 34 35 36""",
    ("zoom", 1.4): """
         0  0  0  0  0  0
         0  1  2  4  5  0
         0  7  8 10 11  0
         0 19 20 22 23  0
         0 25 26 28 29  0
         0  0  0  0  0  0""",
    ("rotation", math.radians(20)): "0 0 8 3 4 0",  # the first row
    ("shear", 0.5): "13 8 9 4 0 0",
}


def moved(images: Tensor, kind: str, amount: float, convention: str) -> Tensor:
    rule = AFFINE_CONVENTIONS[convention]
    each = torch.full((len(images),), amount, dtype=torch.double)
    return affine(images, rule.matrix(kind, each), shift=rule.shift, margin=rule.margin)


@pytest.mark.parametrize(("kind", "amount"), GOLDEN)
def test_golden_grids(kind: str, amount: float) -> None:
    expected = np.array(GOLDEN[kind, amount].split(), int).reshape(-1, 6)
    found = moved(GRID, kind, amount, "manifold")[0, 0].numpy()
    np.testing.assert_array_equal(found[: len(expected)], expected)


@pytest.mark.parametrize("kind", ["rotation", "shear", "zoom"])
@pytest.mark.parametrize("size", [(32, 32), (19, 24)])
def test_manifold_is_scipys_affine_transform(kind: str, size: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    image = draw.integers(1, 256, size)
    centre = np.array(size) / 2 + 0.5
    for amount in draw.uniform(0.5, 1.5, 20):
        sin, cos = math.sin(amount), math.cos(amount)
        matrix = {
            "rotation": np.array([[cos, -sin], [sin, cos]]),
            "shear": np.array([[1, -sin], [0, cos]]),
            "zoom": np.diag([amount, amount]),
        }[kind]
        offset = centre - matrix @ centre
        expected = ndimage.affine_transform(image, matrix, offset, order=0, mode="constant")
        found = moved(torch.from_numpy(image)[None, None], kind, amount, "manifold")[0, 0]
        np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("kind", ["rotation", "shear", "zoom"])
def test_patchup_is_torchvisions_affine(kind: str) -> None:
    draw = np.random.default_rng(1)
    pixels = draw.integers(1, 256, (32, 32, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    for amount in draw.uniform(0.4, 1.3, 20):
        expected = vision.affine(
            Image.fromarray(pixels),
            angle=math.degrees(amount) if kind == "rotation" else 0,
            translate=[0, 0],
            scale=amount if kind == "zoom" else 1,
            shear=[math.degrees(amount) if kind == "shear" else 0.0, 0.0],
            interpolation=InterpolationMode.NEAREST,
        )
        found = moved(images, kind, amount, "patchup")[0].permute(1, 2, 0).numpy()
        # Pillow counts in 1/65536 of a pixel: where two pixels are as near, either may be taken.
        assert (found != np.asarray(expected)).any(-1).mean() < 0.005


VALID = {
    "manifold": (0.91, 0.87, 0.93, 0.87, 1.0, 1.0, 0.66, 0.494),
    "patchup": (0.93, 0.89, 0.93, 0.85, 0.353, 0.66, 1.0, 1.0),
}


@pytest.mark.parametrize("convention", AFFINE_CONVENTIONS)
def test_share_of_pixels_that_are_filled(convention: str) -> None:
    images = torch.ones(300, 1, 64, 64, dtype=torch.uint8)
    for deformation, share in zip(DEFORMATIONS, VALID[convention], strict=True):
        found = deform(images, deformation, index=torch.arange(300), convention=convention)
        tolerance = 0.015 if deformation.random else 0.001
        assert found.double().mean().item() == pytest.approx(share, abs=tolerance), deformation


def test_manifold_zooms_keep_the_rows_that_the_reference_keeps() -> None:
    ones = torch.ones(1, 1, 64, 64)
    for factor, first, rows in ((1.2, 6, 52), (1.4, 10, 45)):
        filled = moved(ones, "zoom", factor, "manifold")[0, 0].any(1).nonzero().flatten()
        assert (int(filled[0]), len(filled)) == (first, rows)


@pytest.mark.parametrize("convention", AFFINE_CONVENTIONS)
@pytest.mark.parametrize(("kind", "amount"), [("rotation", 0.0), ("shear", 0.0), ("zoom", 1.0)])
def test_no_deformation_is_no_change(
    kind: str, amount: float, convention: str, noise: Split
) -> None:
    assert torch.equal(moved(noise.images, kind, amount, convention), noise.images)


def test_patchup_turns_by_a_quarter_exactly(noise: Split) -> None:
    turned = moved(noise.images, "rotation", math.pi / 2, "patchup")
    assert torch.equal(turned, noise.images.rot90(-1, (2, 3))), "clockwise, as torchvision"


@pytest.mark.parametrize("deformation", DEFORMATIONS)
def test_each_image_keeps_its_draw(deformation: Deformation, noise: Split) -> None:
    index = torch.arange(100, 132)
    whole = deform(noise.images, deformation, index=index)
    parts = [deform(noise.images[i::3], deformation, index=index[i::3]) for i in range(3)]
    assert all(torch.equal(whole[i::3], part) for i, part in enumerate(parts))
    assert whole.dtype == torch.uint8
    other = deform(noise.images, deformation, index=index, seed=1)
    assert torch.equal(whole, other) != deformation.random


@pytest.mark.parametrize("deformation", [d for d in DEFORMATIONS if d.random])
def test_angles_are_uniform_up_to_the_strength(deformation: Deformation) -> None:
    angles = amounts(deformation, torch.arange(2000), seed=0) / deformation.amount
    assert angles.abs().max() <= 1
    assert angles.mean().item() == pytest.approx(0, abs=5 * (1 / 3 / 2000) ** 0.5)
    assert angles.var().item() == pytest.approx(1 / 3, abs=0.035)  # standard error 0.0067


def test_strengths_are_the_papers() -> None:
    printed = [(d.kind, d.strength) for d in DEFORMATIONS]
    assert printed[:4] == [("rotation", 20), ("rotation", 40), ("shear", 28.6), ("shear", 57.3)]
    for kind, strength, amount in DEFORMATIONS:
        written = 100 * amount if kind == "zoom" else math.degrees(amount)
        assert written == pytest.approx(strength, abs=0.05)
