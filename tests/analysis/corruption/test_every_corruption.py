"""Every corruption, preset and severity against the formulas, one image at a time."""

from functools import partial
from types import ModuleType

import numpy as np
import pytest
import torch

from catchup_eval.analysis.corruption.registry import CORRUPTIONS, PRESETS, corrupt
from catchup_eval.core.rng import generator

SIDES = {"cifar": 32, "tiny_imagenet": 64, "imagenet": 72}  # the last small, to be fast
INDEX = torch.tensor([3, 8])


def images(side: int) -> torch.Tensor:
    """Two images of noise: nothing is as sensitive to a wrong neighbour; one is flat in places."""
    pixels = np.random.default_rng(side).integers(0, 256, (2, 3, side, side), dtype=np.uint8)
    pixels[1, :, : side // 2] = pixels[1, :, :1, :1]
    return torch.from_numpy(pixels)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_within_one_grey_level_of_the_formula(
    name: str, preset: str, reference: ModuleType, ice: list[np.ndarray]
) -> None:
    x = images(SIDES[preset])
    change = getattr(reference, name)
    if name == "frost":
        change = partial(change, photographs=ice)
    for severity, setting in enumerate(CORRUPTIONS[name].severities[preset], 1):
        ours = corrupt(x, name, severity, index=INDEX, seed=7, preset=preset, photographs=ice)
        for number, image, result in zip(INDEX, x, ours, strict=True):
            draw = generator(7, f"{name} {severity}", int(number))
            settings = setting if isinstance(setting, tuple) else (setting,)
            expected = change(image.permute(1, 2, 0).numpy(), draw, *settings)
            gap = np.abs(result.permute(1, 2, 0).numpy().astype(int) - expected)
            assert gap.max() <= 1, severity
