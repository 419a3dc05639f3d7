"""Digital corruptions against numpy, matplotlib's colours, a box filter by hand, Pillow."""

import colorsys
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colors
from PIL import Image

from catchup_eval.corruptions import corrupt
from catchup_eval.corruptions.digital import CONTRAST, JPEG, PIXELATE, SATURATE
from catchup_eval.corruptions.hsv import hsv_to_rgb, rgb_to_hsv
from catchup_eval.datasets import Part

SEVERITIES = pytest.mark.parametrize("severity", range(1, 6))
level = st.integers(0, 255)


def ours(part: Part, name: str, severity: int) -> np.ndarray:
    return corrupt(part.images, name, severity, index=part.index).numpy().astype(int)


@SEVERITIES
def test_contrast_shrinks_towards_the_mean(severity: int, noise: Part) -> None:
    x = noise.images.numpy() / 255
    mean = x.mean((2, 3), keepdims=True)
    expected = np.floor(((x - mean) * CONTRAST["cifar"][severity - 1] + mean) * 255)
    assert np.abs(ours(noise, "contrast", severity) - expected).max() <= 1


@SEVERITIES
def test_saturate_changes_the_saturation(severity: int, noise: Part) -> None:
    hsv = colors.rgb_to_hsv(noise.images.permute(0, 2, 3, 1).numpy() / 255)
    factor, offset = SATURATE["cifar"][severity - 1]  # type: ignore[misc]
    hsv[..., 1] = (hsv[..., 1] * factor + offset).clip(0, 1)
    expected = np.floor(colors.hsv_to_rgb(hsv) * 255).transpose(0, 3, 1, 2)
    assert np.abs(ours(noise, "saturate", severity) - expected).max() <= 1


@settings(deadline=None)
@given(st.tuples(level, level, level))
def test_hsv_is_the_standard_librarys_and_turns_back(rgb: tuple[int, int, int]) -> None:
    pixel = torch.tensor(rgb).double().view(1, 3, 1, 1) / 255
    hue, saturation, value = rgb_to_hsv(pixel)
    found = [part.item() for part in (hue, saturation, value)]
    np.testing.assert_allclose(found, colorsys.rgb_to_hsv(*(v / 255 for v in rgb)), atol=1e-12)
    back = hsv_to_rgb(hue, saturation, value)
    torch.testing.assert_close(back, pixel, rtol=0, atol=1e-12)
    assert back.amax() == pixel.amax(), "exactly, or truncation takes a level"


def box(size: int, small: int) -> np.ndarray:
    """(small, size) shares: the input pixels whose centres lie in an output's box."""
    scale = size / small
    distance = np.abs((np.arange(small)[:, None] + 0.5) * scale - (np.arange(size) + 0.5))
    inside = (distance <= scale / 2).astype(float)
    return inside / inside.sum(1, keepdims=True)


@SEVERITIES
def test_pixelate_averages_boxes_and_repeats_them(severity: int, noise: Part) -> None:
    small = int(32 * PIXELATE["cifar"][severity - 1])  # type: ignore[operator]
    shrink = box(32, small)
    shrunk = shrink @ noise.images.numpy() @ shrink.T
    nearest = ((np.arange(32) + 0.5) * small / 32).astype(int)
    expected = shrunk[..., nearest, :][..., nearest]
    assert np.abs(ours(noise, "pixelate", severity) - expected).max() <= 1


@SEVERITIES
def test_jpeg_is_pillows(severity: int, noise: Part) -> None:
    for image, changed in zip(noise.images[:8], ours(noise, "jpeg_compression", severity)):
        file = BytesIO()
        channels_last = Image.fromarray(image.permute(1, 2, 0).numpy())
        channels_last.save(file, format="JPEG", quality=JPEG["cifar"][severity - 1])
        np.testing.assert_array_equal(np.asarray(Image.open(file)), changed.transpose(1, 2, 0))


@SEVERITIES
@pytest.mark.parametrize("name", ["contrast", "pixelate", "jpeg_compression"])
def test_grey_without_contrast_stays_as_it_is(name: str, severity: int) -> None:
    images = torch.arange(0, 256, 5, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)
    corrupted = corrupt(images.contiguous(), name, severity, index=torch.arange(len(images)))
    assert (corrupted.int() - images).abs().max() <= 1
