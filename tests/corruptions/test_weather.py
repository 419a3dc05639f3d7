"""Brightness against matplotlib's colours; fog against diamond-square, point by point."""

import numpy as np
import pytest
import torch
from matplotlib import colors

from catchup_eval.corruptions import corrupt
from catchup_eval.corruptions.weather import BRIGHTNESS, FOG, plasma
from catchup_eval.datasets import Part

SEVERITIES = pytest.mark.parametrize("severity", range(1, 6))


@SEVERITIES
def test_brightness_raises_the_value(severity: int, noise: Part) -> None:
    hsv = colors.rgb_to_hsv(noise.images.permute(0, 2, 3, 1).numpy() / 255)
    hsv[..., 2] = (hsv[..., 2] + BRIGHTNESS["cifar"][severity - 1]).clip(0, 1)
    expected = np.floor(colors.hsv_to_rgb(hsv) * 255).transpose(0, 3, 1, 2)
    ours = corrupt(noise.images, "brightness", severity, index=noise.index).numpy()
    assert np.abs(ours - expected).max() <= 1


def point_by_point(steps: np.ndarray, side: int, fade: float) -> np.ndarray:
    """Diamond-square on a torus, a single cloud, one point at a time."""
    cloud, height, gap, fresh = np.zeros((side, side)), 100.0, side, iter(steps)
    while gap >= 2:
        half = gap // 2
        for middle in (True, False):
            offsets = [(half, half)] if middle else [(0, half), (half, 0)]
            reach = [(-half, -half), (-half, half), (half, -half), (half, half)]
            reach = reach if middle else [(-half, 0), (half, 0), (0, -half), (0, half)]
            for top, left in offsets:
                for y in range(top, side, gap):
                    for x in range(left, side, gap):
                        around = [cloud[(y + a) % side, (x + b) % side] for a, b in reach]
                        cloud[y, x] = sum(around) / 4 + height * height * next(fresh)
        height, gap = height / fade, half
    cloud -= cloud.min()
    return cloud / cloud.max()


@pytest.mark.parametrize(("side", "fade"), [(2, 3.0), (8, 1.75), (32, 2.5)])
def test_plasma_is_diamond_square(side: int, fade: float) -> None:
    steps = np.random.default_rng(side).uniform(-1, 1, (3, side * side - 1))
    expected = [point_by_point(row, side, fade) for row in steps]
    np.testing.assert_allclose(plasma(steps, side, fade), expected, atol=1e-12)


@SEVERITIES
def test_fog_keeps_black_black_and_white_above_its_floor(severity: int) -> None:
    index = torch.arange(4)
    black, white = (torch.full((4, 3, 32, 32), v, dtype=torch.uint8) for v in (0, 255))
    assert not corrupt(black, "fog", severity, index=index).any()
    thickness = FOG["cifar"][severity - 1][0]  # type: ignore[index]
    fogged = corrupt(white, "fog", severity, index=index)
    assert int(fogged.amin()) == pytest.approx(255 / (1 + thickness), abs=1)
    assert int(fogged.amax()) >= 254
    assert torch.equal(fogged[:, 0], fogged[:, 1]), "the clouds are grey"
