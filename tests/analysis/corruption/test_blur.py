"""Blurs: what a disk weighs, where a trail goes, what stays flat."""

import numpy as np
import pytest
import torch

from catchup_eval.analysis.corruption.registry import corrupt
from catchup_eval.analysis.corruption.transforms.blur import DEFOCUS, apply_motion, disk

SEVERITIES = pytest.mark.parametrize("severity", range(1, 6))


@pytest.mark.parametrize("setting", [setting for row in DEFOCUS.values() for setting in row])
def test_a_disk_weighs_one_and_looks_the_same_from_all_sides(setting: tuple[float, float]) -> None:
    kernel = disk(*setting)
    touches = setting[0] in (8, 10)  # the edge of its grid, as in the original
    assert kernel.sum() == pytest.approx(1.012 if touches else 1, abs=0.002 if touches else 1e-9)
    assert len(kernel) % 2 == 1 and kernel.shape == kernel.T.shape
    np.testing.assert_allclose(kernel, kernel.T, rtol=1e-12)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], rtol=1e-12)


@SEVERITIES
@pytest.mark.parametrize(
    "name", ["gaussian_blur", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"]
)
def test_what_is_flat_stays_flat(name: str, severity: int) -> None:
    images = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 12, 12)
    corrupted = corrupt(images.contiguous(), name, severity, index=torch.arange(256))
    assert torch.equal(corrupted, images)


@pytest.mark.parametrize(
    ("angle", "row", "column"), [(0, 0, -1), (90, -1, 0), (180, 0, 1), (45, -1, -1), (-90, 1, 0)]
)
def test_a_point_leaves_a_trail_against_the_angle(angle: float, row: int, column: int) -> None:
    # Weights 1, exp(-1/2), exp(-2) at distances 0, 1, 2, shared out over 1.7419.
    point = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    point[0, 0, 4, 4] = 200
    trail = apply_motion(point, np.array([angle]), 1, 1)[0, 0]
    levels = [int(trail[4 + i * row, 4 + i * column]) for i in range(3)]
    if angle == 45:  # steps of 0.7 pixels, rounded: 0, 1 and 1
        assert levels == [114, 85, 0]
    else:
        assert levels == [114, 69, 15]
    assert int(trail.int().sum()) == sum(levels)
