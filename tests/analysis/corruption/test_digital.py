"""Digital corruptions against the standard library's colours and a box filter by hand."""

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catchup_eval.analysis.corruption.registry import corrupt
from catchup_eval.analysis.corruption.transforms.digital import PIXELATE
from catchup_eval.analysis.corruption.transforms.pixels import (
    merge_value_saturation,
    split_value_saturation,
)
from catchup_eval.datasets.dataset import Split

SEVERITIES = pytest.mark.parametrize("severity", range(1, 6))
level = st.integers(0, 255)


def ours(part: Split, name: str, severity: int) -> np.ndarray:
    return corrupt(part.images, name, severity, index=part.index).numpy().astype(int)


@settings(deadline=None)
@given(st.tuples(level, level, level))
def test_the_parts_of_a_colour_are_the_standard_librarys_and_fit_together(
    rgb: tuple[int, int, int],
) -> None:
    pixel = torch.tensor(rgb).double().view(1, 3, 1, 1) / 255
    value, saturation, below = split_value_saturation(pixel)
    _, s, v = colorsys.rgb_to_hsv(*(v / 255 for v in rgb))
    np.testing.assert_allclose([saturation.item(), value.item()], [s, v], atol=1e-12)
    back = merge_value_saturation(value, saturation, below)
    torch.testing.assert_close(back, pixel, rtol=0, atol=1e-12)
    assert back.amax() == pixel.amax(), "exactly, or truncation takes a level"


@settings(deadline=None)
@given(st.tuples(level, level, level), st.floats(0, 1), st.floats(0, 1))
def test_another_saturation_and_value_leave_the_hue(
    rgb: tuple[int, int, int], saturation: float, value: float
) -> None:
    hue, _, _ = colorsys.rgb_to_hsv(*(v / 255 for v in rgb))
    _, _, below = split_value_saturation(torch.tensor(rgb).double().view(1, 3, 1, 1) / 255)
    given = (torch.tensor(x, dtype=torch.double) for x in (value, saturation))
    made = merge_value_saturation(*given, below)
    np.testing.assert_allclose(
        made.flatten(), colorsys.hsv_to_rgb(hue, saturation, value), atol=1e-12
    )


def box(size: int, small: int) -> np.ndarray:
    """(small, size) shares: the input pixels whose centres lie in an output's box."""
    scale = size / small
    distance = np.abs((np.arange(small)[:, None] + 0.5) * scale - (np.arange(size) + 0.5))
    inside = (distance <= scale / 2).astype(float)
    return inside / inside.sum(1, keepdims=True)


@SEVERITIES
def test_pixelate_averages_boxes_and_repeats_them(severity: int, noise: Split) -> None:
    small = int(32 * PIXELATE["cifar"][severity - 1])  # type: ignore[operator]
    shrink = box(32, small)
    shrunk = shrink @ noise.images.numpy() @ shrink.T
    nearest = ((np.arange(32) + 0.5) * small / 32).astype(int)
    expected = shrunk[..., nearest, :][..., nearest]
    assert np.abs(ours(noise, "pixelate", severity) - expected).max() <= 1


@SEVERITIES
@pytest.mark.parametrize("name", ["contrast", "pixelate", "jpeg_compression"])
def test_grey_without_contrast_stays_as_it_is(name: str, severity: int) -> None:
    images = torch.arange(0, 256, 5, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)
    corrupted = corrupt(images.contiguous(), name, severity, index=torch.arange(len(images)))
    assert (corrupted.int() - images).abs().max() <= 1
