"""Fog: its clouds against diamond-square point by point, its darkening by limits."""

from types import ModuleType

import numpy as np
import pytest
import torch

from catchup_eval.analysis.corruption.registry import corrupt
from catchup_eval.analysis.corruption.transforms.weather import FOG, plasma

SEVERITIES = pytest.mark.parametrize("severity", range(1, 6))


@pytest.mark.parametrize(("side", "fade"), [(2, 3.0), (8, 1.75), (32, 2.5)])
def test_plasma_is_diamond_square(side: int, fade: float, reference: ModuleType) -> None:
    steps = np.random.default_rng(side).uniform(-1, 1, (3, side * side - 1))
    expected = [reference.cloud(row, side, fade) for row in steps]
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
