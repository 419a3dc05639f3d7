"""The same changes as the original script makes to the first 200 official CIFAR-10 test images.

Root mean square change in grey levels at severities 1 to 5, measured with hendrycks/robustness,
make_cifar_c.py, one draw; motion_blur and snow, which need ImageMagick there, were not.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from catchup_eval.analysis.corruption.registry import corrupt
from catchup_eval.analysis.corruption.transforms import frost

ORIGINAL = {
    "gaussian_noise": (10.0, 15.0, 19.8, 22.2, 24.5),
    "shot_noise": (7.8, 10.9, 17.1, 19.6, 23.8),
    "impulse_noise": (14.2, 20.2, 24.9, 32.2, 38.0),
    "defocus_blur": (2.1, 5.1, 7.6, 10.0, 14.1),
    "glass_blur": (22.5, 22.2, 20.4, 32.3, 29.9),
    "zoom_blur": (14.6, 17.1, 20.2, 23.2, 25.9),
    "frost": (31.3, 47.2, 56.3, 48.7, 49.5),
    "fog": (13.6, 26.6, 34.0, 41.0, 48.4),
    "brightness": (10.4, 21.1, 31.5, 41.5, 59.7),
    "contrast": (13.7, 27.4, 32.8, 38.3, 46.5),
    "elastic_transform": (36.3, 33.4, 30.2, 27.1, 22.4),
    "pixelate": (6.2, 8.3, 9.6, 11.9, 14.3),
    "jpeg_compression": (7.5, 9.2, 9.8, 10.4, 11.2),
    "speckle_noise": (8.1, 13.2, 15.7, 20.7, 25.5),
    "gaussian_blur": (2.0, 7.5, 9.6, 11.3, 14.2),
    "spatter": (7.7, 12.6, 19.1, 18.8, 23.9),
    "saturate": (21.3, 27.5, 13.8, 30.8, 43.9),
}
FIXED = ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")
FIXED += ("gaussian_blur", "saturate")


@pytest.fixture(scope="module")
def photographs(cifar10_test: Callable[[int], tuple[Tensor, Tensor]]) -> Tensor:
    return (cifar10_test(200)[0] * 255).round().to(torch.uint8)


@pytest.mark.parametrize("name", ORIGINAL)
def test_change_in_grey_levels(
    name: str, photographs: Tensor, official_ice: frost.Photographs
) -> None:
    ours = []
    for severity in range(1, 6):
        corrupted = corrupt(
            photographs, name, severity, index=torch.arange(200), photographs=official_ice
        )
        ours.append((corrupted.double() - photographs).square().mean().sqrt().item())
    tolerance = {"rel": 0, "abs": 0.1} if name in FIXED else {"rel": 0.05}
    assert ours == pytest.approx(ORIGINAL[name], **tolerance)
