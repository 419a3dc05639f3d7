"""Noise, blurs, weather and digital corruptions on images whose outcome is known."""

import colorsys
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from catchup_eval.analysis.corruption.registry import corrupt
from catchup_eval.analysis.corruption.transforms import blur, digital, noise, pixels, weather
from catchup_eval.datasets.dataset import Split

SEVERITIES = range(1, 6)
level = st.integers(0, 255)
BLURS = ("gaussian_blur", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur")
GREYS = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 12, 12).contiguous()


def grey(value: int, n: int = 40) -> Tensor:
    return torch.full((n, 3, 32, 32), value, dtype=torch.uint8)


def change(value: int, name: str) -> Tensor:
    """(122880,) grey levels at severity 3; the half level that truncation takes is added again."""
    images = grey(value)
    corrupted = corrupt(images, name, 3, index=torch.arange(len(images)))
    return (corrupted.double() - value + 0.5).flatten()


def test_noise_has_its_standard_deviation() -> None:
    sd = 255 * noise.GAUSSIAN["cifar"][2]
    found = change(128, "gaussian_noise")
    assert found.std().item() == pytest.approx(sd, rel=0.02)  # within 0.5 % for 11 seeds
    assert found.mean().item() == pytest.approx(0, abs=5 * sd / len(found) ** 0.5)
    for value in (60, 120):
        sd = noise.SPECKLE["cifar"][2] * value  # grows with the value
        assert change(value, "speckle_noise").std().item() == pytest.approx(sd, rel=0.02)
    found = change(100, "shot_noise")
    expected = 255 * (100 / 255 / noise.SHOT["cifar"][2]) ** 0.5  # Poisson(x c) / c varies by x / c
    # Truncation of counts in steps of about one level adds to it.
    assert found.std().item() == pytest.approx(expected, rel=0.03)
    assert found.mean().item() == pytest.approx(0, abs=0.5)  # up to 0.2 for 11 seeds
    for name in ("speckle_noise", "shot_noise"):
        assert not corrupt(grey(0), name, 3, index=torch.arange(40)).any()


def test_impulse_noise_hits_single_values_black_or_white() -> None:
    images = grey(100)
    corrupted = corrupt(images, "impulse_noise", 3, index=torch.arange(40))
    hit = corrupted != images
    amount = noise.IMPULSE["cifar"][2]
    error = (amount / hit.numel()) ** 0.5
    assert hit.double().mean().item() == pytest.approx(amount, abs=5 * error)
    assert set(corrupted[hit].tolist()) == {0, 255}
    white = (corrupted[hit] == 255).double().mean().item()
    assert white == pytest.approx(0.5, abs=2.5 / hit.sum().item() ** 0.5)
    assert hit.sum(1).eq(1).any(), "channels are hit on their own"


@pytest.mark.parametrize("name", BLURS)
def test_what_is_flat_stays_flat(name: str) -> None:
    for severity in SEVERITIES:
        assert torch.equal(corrupt(GREYS, name, severity, index=torch.arange(256)), GREYS)


@pytest.mark.parametrize("setting", [setting for row in blur.DEFOCUS.values() for setting in row])
def test_a_disk_weighs_one_and_looks_the_same_from_all_sides(setting: tuple[float, float]) -> None:
    kernel = blur.disk(*setting)
    touches = setting[0] in (8, 10)  # the edge of its grid, as in the original
    assert kernel.sum() == pytest.approx(1.012 if touches else 1, abs=0.002 if touches else 1e-9)
    assert len(kernel) % 2 == 1 and kernel.shape == kernel.T.shape
    np.testing.assert_allclose(kernel, kernel.T, rtol=1e-12)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], rtol=1e-12)


@pytest.mark.parametrize(
    ("angle", "row", "column"), [(0, 0, -1), (90, -1, 0), (180, 0, 1), (45, -1, -1), (-90, 1, 0)]
)
def test_a_point_leaves_a_trail_against_the_angle(angle: float, row: int, column: int) -> None:
    # Weights 1, exp(-1/2), exp(-2) at distances 0, 1, 2, shared out over 1.7419.
    point = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    point[0, 0, 4, 4] = 200
    trail = blur.apply_motion(point, np.array([angle]), 1, 1)[0, 0]
    levels = [int(trail[4 + i * row, 4 + i * column]) for i in range(3)]
    # Steps of 0.7 pixels are rounded: 0, 1 and 1.
    assert levels == ([114, 85, 0] if angle == 45 else [114, 69, 15])
    assert int(trail.int().sum()) == sum(levels)


def test_motion_blurs_a_large_image_as_its_channels_alone() -> None:
    """Small planes are added by numpy, large ones by torch."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 3, 80, 80), dtype=np.uint8)
    planes, angles = torch.from_numpy(noise), np.array([-30.0, 100.0])
    assert planes[0, :1].numel() < blur.SMALL < planes[0].numel()
    alone = [blur.apply_motion(planes[:, [c]], angles, 6, 2) for c in range(3)]
    assert torch.equal(blur.apply_motion(planes, angles, 6, 2), torch.cat(alone, 1))


def test_long_chains_of_glass_are_followed_to_their_end() -> None:
    """Every pixel looks one row down, where the pixel below has looked before: all rows become the
    last one that is never written."""
    steps = np.zeros((1, 1, 2, 36, 36), np.int8)
    steps[:, :, 0] = 1
    sources = blur.glass_sources(steps, 2)[0]
    pixel = np.arange(1600).reshape(40, 40)
    pixel[3:39, 3:39] = pixel[39, 3:39]
    np.testing.assert_array_equal(sources, pixel)


def test_glass_copies_and_does_not_swap() -> None:
    steps = np.random.default_rng(0).integers(-1, 1, (1, 1, 2, 30, 30), dtype=np.int8)
    distinct = len(np.unique(blur.glass_sources(steps, 1)))
    assert distinct < 0.8 * 32 * 32  # 747 of 1,024 in the original script


@pytest.mark.parametrize(("side", "fade"), [(2, 3.0), (32, 2.5)])
def test_plasma_is_diamond_square(side: int, fade: float, reference: ModuleType) -> None:
    steps = np.random.default_rng(side).uniform(-1, 1, (3, side * side - 1))
    expected = [reference.cloud(row, side, fade) for row in steps]
    np.testing.assert_allclose(weather.plasma(steps, side, fade), expected, atol=1e-12)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_keeps_black_black_and_white_above_its_floor(severity: int) -> None:
    index = torch.arange(4)
    assert not corrupt(grey(0, 4), "fog", severity, index=index).any()
    thickness = weather.FOG["cifar"][severity - 1][0]  # type: ignore[index]
    fogged = corrupt(grey(255, 4), "fog", severity, index=index)
    assert int(fogged.amin()) == pytest.approx(255 / (1 + thickness), abs=1)
    assert int(fogged.amax()) >= 254
    assert torch.equal(fogged[:, 0], fogged[:, 1]), "the clouds are grey"


@given(
    st.tuples(level, level, level), st.floats(0, 20), st.floats(0, 0.5), st.sampled_from((0, 0.2))
)
def test_saturation_and_value_are_the_standard_librarys_and_leave_the_hue(
    rgb: tuple[int, int, int], factor: float, offset: float, brighter: float
) -> None:
    levels = torch.tensor(rgb, dtype=torch.uint8).view(1, 3, 1, 1)
    changed = pixels.recolour(levels, factor=factor, offset=offset, brighter=brighter)
    hue, saturation, value = colorsys.rgb_to_hsv(*(number / 255 for number in rgb))
    new = min(saturation * factor + offset, 1), min(value + brighter, 1)
    expected = 255 * np.array(colorsys.hsv_to_rgb(hue, *new))
    low, high = (np.floor((expected + gap).clip(0, 255)) for gap in (-5e-4, 5e-4))
    found = changed.flatten().numpy()
    assert (low <= found).all() and (found <= high).all(), (found, expected)


@given(st.tuples(level, level, level))
def test_a_colour_that_keeps_saturation_and_value_stays(rgb: tuple[int, int, int]) -> None:
    levels = torch.tensor(rgb, dtype=torch.uint8).view(1, 3, 1, 1)
    assert torch.equal(pixels.recolour(levels), levels)


def box(size: int, small: int) -> np.ndarray:
    """(small, size) weights: the input pixels whose centres lie in an output's box."""
    scale = size / small
    distance = np.abs((np.arange(small)[:, None] + 0.5) * scale - (np.arange(size) + 0.5))
    inside = (distance <= scale / 2).astype(float)
    return inside / inside.sum(1, keepdims=True)


def test_pixelate_averages_boxes_and_repeats_them(noise: Split) -> None:
    for severity, fraction in enumerate(digital.PIXELATE["cifar"], 1):
        small = int(32 * fraction)  # type: ignore[operator]
        shrink = box(32, small)
        shrunk = shrink @ noise.images.numpy() @ shrink.T
        nearest = ((np.arange(32) + 0.5) * small / 32).astype(int)
        expected = shrunk[..., nearest, :][..., nearest]
        ours = corrupt(noise.images, "pixelate", severity, index=noise.index).numpy().astype(int)
        assert np.abs(ours - expected).max() <= 1


@pytest.mark.parametrize("name", ["contrast", "pixelate", "jpeg_compression"])
def test_grey_without_contrast_stays_as_it_is(name: str) -> None:
    some = GREYS[::5]
    for severity in SEVERITIES:
        corrupted = corrupt(some, name, severity, index=torch.arange(len(some)))
        assert (corrupted.int() - some).abs().max() <= 1
