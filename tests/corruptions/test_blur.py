"""Blurs against scipy, to one grey level."""

import numpy as np
import pytest
import torch
from scipy import ndimage, signal

from catchup_eval.corruptions import corrupt
from catchup_eval.corruptions.blur import DEFOCUS, GAUSSIAN, disk
from catchup_eval.datasets import Part

SEVERITIES = pytest.mark.parametrize("severity", range(1, 6))


def blurred(part: Part, name: str, severity: int, preset: str = "cifar") -> np.ndarray:
    images, index = part.images[:4], part.index[:4]
    return corrupt(images, name, severity, index=index, preset=preset).numpy().astype(int)


@SEVERITIES
@pytest.mark.parametrize("preset", ["cifar", "tiny_imagenet"])
def test_gaussian_blur_is_scipys(severity: int, preset: str, noise: Part) -> None:
    sigma = GAUSSIAN[preset][severity - 1]
    x = noise.images[:4].numpy() / 255
    expected = ndimage.gaussian_filter(x, (0, 0, sigma, sigma), mode="nearest", truncate=4)
    ours = blurred(noise, "gaussian_blur", severity, preset)
    assert np.abs(ours - np.floor(expected * 255)).max() <= 1


@SEVERITIES
@pytest.mark.parametrize("preset", ["cifar", "tiny_imagenet"])
def test_defocus_blur_is_a_convolution_with_a_smoothed_disk(
    severity: int, preset: str, noise: Part
) -> None:
    radius, rim = DEFOCUS[preset][severity - 1]  # type: ignore[misc]
    across, down = np.meshgrid(np.arange(-8, 9), np.arange(-8, 9))
    sharp = (across**2 + down**2 <= radius**2).astype(float)
    bell = np.exp(-np.array([1, 0, 1]) / (2 * rim**2))
    kernel = signal.convolve2d(sharp, np.outer(bell, bell), mode="same")
    kernel /= kernel.sum()
    x = noise.images[:4].numpy() / 255
    expected = ndimage.convolve(x, kernel[None, None], mode="mirror")
    ours = blurred(noise, "defocus_blur", severity, preset)
    assert np.abs(ours - np.floor(expected * 255)).max() <= 1


@pytest.mark.parametrize("setting", [setting for row in DEFOCUS.values() for setting in row])
def test_a_disk_weighs_one_and_looks_the_same_from_all_sides(setting: tuple[float, float]) -> None:
    kernel = disk(*setting)
    touches = setting[0] in (8, 10)  # the edge of its grid, as in the original
    assert kernel.sum() == pytest.approx(1.012 if touches else 1, abs=0.002 if touches else 1e-9)
    assert len(kernel) % 2 == 1 and kernel.shape == kernel.T.shape
    np.testing.assert_allclose(kernel, kernel.T, rtol=1e-12)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], rtol=1e-12)


@SEVERITIES
@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur"])
def test_what_is_flat_stays_flat(name: str, severity: int) -> None:
    images = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 12, 12)
    corrupted = corrupt(images.contiguous(), name, severity, index=torch.arange(256))
    assert torch.equal(corrupted.amin((1, 2, 3)), corrupted.amax((1, 2, 3)))
    assert (corrupted.int() - images).abs().max() <= 1
