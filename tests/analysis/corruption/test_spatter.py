"""The steps of spatter against OpenCV's functions."""

from collections.abc import Callable
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from catchup_eval.analysis.corruption.transforms import spatter

SIDES = pytest.mark.parametrize("side", [(64, 47), (9, 13)])


def liquids(side: tuple[int, int], n: int = 12) -> np.ndarray:
    """Blurred noise above a threshold, as in spatter; the last image is dry."""
    noise = np.random.default_rng(side[0]).normal(0.65, 0.3, (n, *side))
    smooth = ndimage.gaussian_filter(noise, (0, 1, 1))
    levels = (np.where(smooth < 0.69, 0, smooth) * 255).clip(0, 255).astype(np.uint8)
    levels[-1] = 0
    return levels


def each(function: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    return np.stack([function(image) for image in images])


@SIDES
def test_edges_are_cannys(side: tuple[int, int]) -> None:
    coarse = np.random.default_rng(1).integers(0, 256, (12, *side), dtype=np.uint8)
    for levels in (liquids(side), ndimage.uniform_filter(coarse, (0, 3, 3))):
        expected = each(lambda image: cv2.Canny(image, 50, 150), levels) > 0
        np.testing.assert_array_equal(spatter.edges(levels), expected)
    assert expected.any()


@SIDES
def test_distances_are_opencvs(side: tuple[int, int]) -> None:
    marked = np.random.default_rng(2).random((12, *side)) < 0.01
    marked[-1] = False
    dark = 255 * (1 - marked.astype(np.uint8))
    expected = each(lambda image: cv2.distanceTransform(image, cv2.DIST_L2, 5), dark)
    ours = spatter.distance(marked) / spatter.FIXED
    # OpenCV 5 adds floats: its steps are longer by up to 1e-5.
    np.testing.assert_allclose(ours, np.minimum(expected, 20), atol=2e-4)


@SIDES
def test_levels_and_light_are_opencvs(side: tuple[int, int], reference: ModuleType) -> None:
    levels = np.random.default_rng(3).poisson(6, (12, *side)).astype(np.uint8)
    levels[-1] = 7
    expected = each(cv2.equalizeHist, levels)
    np.testing.assert_array_equal(spatter.equalize_histogram(levels), expected)
    liquid = liquids(side)
    np.testing.assert_array_equal(spatter.caustics(liquid), each(reference.caustics, liquid))


def test_dry_images_stay_as_they_are() -> None:
    x = torch.arange(3 * 16 * 16).view(1, 3, 16, 16).to(torch.uint8)
    assert torch.equal(spatter.add_water(x, np.zeros((1, 16, 16)), 0.5), x)
    assert torch.equal(spatter.add_mud(x, np.zeros((1, 16, 16), bool), 0.6), x)


def test_mud_is_brown_and_water_brightest_where_the_light_is() -> None:
    black = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    mud = spatter.add_mud(black, np.ones((1, 32, 32), bool), 0.6)
    assert mud[0, :, 8, 8].tolist() == [63, 42, 20]
    liquid = np.zeros((1, 32, 32))
    liquid[:, 8:24, 8:24] = 0.8
    water = spatter.add_water(black, liquid, 0.5)
    assert water.amax((0, 2, 3)).tolist() == [87, 119, 119]  # half of pale turquoise
    assert not water[:, :, :8].any(), "outside the drop it stays dry"
