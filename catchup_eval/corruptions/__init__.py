"""The common corruptions as batched tensor functions (Hendrycks and Dietterich 2019).

Nineteen types in five families, each at severities 1 to 5. The constants depend on the size of the
images: a preset names them. An image's corruption depends on the seed, the type, the severity and
the image's own number, never on the batch: every model is shown the same pixels.

The released CIFAR-10-C and CIFAR-100-C files were drawn without a seed, so nobody can draw them
again; what is computed here follows their distribution.
"""

from collections.abc import Callable, Mapping
from math import log
from typing import NamedTuple

import torch
from torch import Tensor

from catchup_eval.corruptions import blur, digital, noise, weather
from catchup_eval.corruptions.pixels import Severities
from catchup_eval.errors import UnknownName, UserError
from catchup_eval.randomness import per_image

__all__ = ["CORRUPTIONS", "FAMILIES", "NAMES", "PRESETS", "Corruption", "corrupt", "preset_for"]

# In the order of the released files; "extra" are the four that its authors call validation types.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
}
NAMES = tuple(name for family in FAMILIES.values() for name in family)
PRESETS: Mapping[str, int] = {"cifar": 32, "tiny_imagenet": 64, "imagenet": 224}  # pixels a side


class Corruption(NamedTuple):
    """One type: `function(images, draws, *setting)`, and its settings by preset and severity."""

    function: Callable[..., Tensor]
    family: str
    severities: Severities


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption(noise.gaussian_noise, "noise", noise.GAUSSIAN),
    "shot_noise": Corruption(noise.shot_noise, "noise", noise.SHOT),
    "impulse_noise": Corruption(noise.impulse_noise, "noise", noise.IMPULSE),
    "defocus_blur": Corruption(blur.defocus_blur, "blur", blur.DEFOCUS),
    "fog": Corruption(weather.fog, "weather", weather.FOG),
    "brightness": Corruption(weather.brightness, "weather", weather.BRIGHTNESS),
    "contrast": Corruption(digital.contrast, "digital", digital.CONTRAST),
    "pixelate": Corruption(digital.pixelate, "digital", digital.PIXELATE),
    "jpeg_compression": Corruption(digital.jpeg_compression, "digital", digital.JPEG),
    "speckle_noise": Corruption(noise.speckle_noise, "extra", noise.SPECKLE),
    "gaussian_blur": Corruption(blur.gaussian_blur, "extra", blur.GAUSSIAN),
    "saturate": Corruption(digital.saturate, "extra", digital.SATURATE),
}


def corrupt(
    images: Tensor,
    name: str,
    severity: int,
    *,
    index: Tensor,
    seed: int = 0,
    preset: str = "cifar",
) -> Tensor:
    """The same images, corrupted; computed on the CPU, given back on their device.

    Args:
        images: (N, 3, H, W) uint8.
        name: one of :data:`CORRUPTIONS`.
        severity: 1 to 5.
        index: (N,) the images' stable numbers.
        seed: of all draws.
        preset: one of :data:`PRESETS`.

    Returns:
        (N, 3, H, W) uint8.

    Raises:
        UnknownName: no such corruption or preset.
        UserError: another severity, or images of another shape or type.
    """
    kind, setting = _setting(name, severity, preset)
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise UserError(
            f"expected images as uint8 (N, 3, H, W), got {images.dtype} {tuple(images.shape)}"
        )
    draws = per_image(seed, f"{name} {severity}", index.cpu().numpy())
    return kind.function(images.cpu(), draws, *setting).to(images.device)


def _setting(name: str, severity: int, preset: str) -> tuple[Corruption, tuple[float, ...]]:
    if name not in CORRUPTIONS:
        raise UnknownName("corruption", name, CORRUPTIONS)
    if preset not in PRESETS:
        raise UnknownName("preset", preset, PRESETS)
    kind = CORRUPTIONS[name]
    if severity not in range(1, 6):
        raise UserError(f"expected a severity from 1 to 5, got {severity}")
    setting = kind.severities[preset][severity - 1]
    return kind, setting if isinstance(setting, tuple) else (setting,)


def preset_for(side: int) -> str:
    """The preset whose images are nearest in size to `side` pixels, by ratio.

    Example:
        >>> preset_for(32), preset_for(96), preset_for(256)
        ('cifar', 'tiny_imagenet', 'imagenet')
    """
    return min(PRESETS, key=lambda preset: abs(log(PRESETS[preset] / side)))
