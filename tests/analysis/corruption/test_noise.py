"""Noise: its size, and what it leaves alone."""

import pytest
import torch
from torch import Tensor

from catchup_eval.analysis.corruption.registry import corrupt
from catchup_eval.analysis.corruption.transforms.noise import GAUSSIAN, IMPULSE, SHOT, SPECKLE

SEVERITIES = pytest.mark.parametrize("severity", range(1, 6))


def grey(level: int, n: int = 40) -> Tensor:
    return torch.full((n, 3, 32, 32), level, dtype=torch.uint8)


def change(level: int, name: str, severity: int) -> Tensor:
    """(122880,) grey levels; the half level that truncation takes is given back."""
    images = grey(level)
    corrupted = corrupt(images, name, severity, index=torch.arange(len(images)))
    return (corrupted.double() - level + 0.5).flatten()


@SEVERITIES
def test_gaussian_noise_has_its_standard_deviation(severity: int) -> None:
    noise = change(128, "gaussian_noise", severity)
    expected = 255 * GAUSSIAN["cifar"][severity - 1]
    assert noise.std().item() == pytest.approx(expected, rel=0.02)  # within 0.5 % for 11 seeds
    assert noise.mean().item() == pytest.approx(0, abs=5 * expected / len(noise) ** 0.5)


@SEVERITIES
def test_speckle_noise_grows_with_the_value(severity: int) -> None:
    sd = SPECKLE["cifar"][severity - 1]
    for level in (60, 120):
        noise = change(level, "speckle_noise", severity)
        assert noise.std().item() == pytest.approx(sd * level, rel=0.02)
    assert not corrupt(grey(0), "speckle_noise", severity, index=torch.arange(40)).any()


@SEVERITIES
def test_shot_noise_has_the_variance_of_its_mean(severity: int) -> None:
    photons = SHOT["cifar"][severity - 1]
    noise = change(100, "shot_noise", severity)
    expected = 255 * (100 / 255 / photons) ** 0.5  # variance of Poisson(x c) / c is x / c
    # Truncation of counts in steps of about one level adds to it.
    assert noise.std().item() == pytest.approx(expected, rel=0.03)
    assert noise.mean().item() == pytest.approx(0, abs=0.5)  # up to 0.2 for 11 seeds
    assert not corrupt(grey(0), "shot_noise", severity, index=torch.arange(40)).any()


@SEVERITIES
def test_impulse_noise_hits_single_values_black_or_white(severity: int) -> None:
    images = grey(100)
    corrupted = corrupt(images, "impulse_noise", severity, index=torch.arange(40))
    hit = corrupted != images
    amount = IMPULSE["cifar"][severity - 1]
    assert hit.double().mean().item() == pytest.approx(
        amount, abs=5 * (amount / hit.numel()) ** 0.5
    )
    assert set(corrupted[hit].tolist()) == {0, 255}
    assert (corrupted[hit] == 255).double().mean().item() == pytest.approx(
        0.5, abs=2.5 / hit.sum().item() ** 0.5
    )
    assert hit.sum(1).eq(1).any(), "channels are hit on their own"
