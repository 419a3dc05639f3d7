"""The common corruptions as batched tensor functions (Hendrycks and Dietterich 2019).

Nineteen types in five families, each at severities 1 to 5. The constants depend on the size of the
images: a preset names them. An image's corruption depends on the seed, the type, the severity and
the image's own number, never on the batch: every model gets the same pixels.

One more type is a function in a file of its own and a line of `CORRUPTIONS`; it is measured where
`corruptions` names it, and is in no mean over the benchmark's.

The released CIFAR-10-C and CIFAR-100-C files were drawn without a seed, so they cannot be drawn
again; what is computed here follows their distribution.
"""

from collections.abc import Callable, Mapping
from math import log
from typing import NamedTuple

import torch
from torch import Tensor

from catchup_eval.analysis.corruption.transforms import (
    blur,
    digital,
    frost,
    noise,
    spatter,
    weather,
)
from catchup_eval.analysis.corruption.transforms.pixels import Severities
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.rng import image_rngs

# In the order of the released files; the last four their authors call validation types. These are
# what a mean over "all" types is over, whatever else `CORRUPTIONS` lists.
BENCHMARK_19 = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    *("speckle_noise", "gaussian_blur", "spatter", "saturate"),
)
VERSION = 2  # raised when an image comes out differently
CHUNK = 3 * 224**2  # values at a time: intermediate values stay small, and in the cache
PRESETS: Mapping[str, int] = {"cifar": 32, "tiny_imagenet": 64, "imagenet": 224}  # pixels a side


class Corruption(NamedTuple):
    """One type: `function(images, rngs, *setting)`, and its settings by preset and severity.

    Figures set the types of one `family` apart from those of others.
    """

    function: Callable[..., Tensor]
    family: str
    severities: Severities


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption(noise.gaussian_noise, "noise", noise.GAUSSIAN),
    "shot_noise": Corruption(noise.shot_noise, "noise", noise.SHOT),
    "impulse_noise": Corruption(noise.impulse_noise, "noise", noise.IMPULSE),
    "defocus_blur": Corruption(blur.defocus_blur, "blur", blur.DEFOCUS),
    "glass_blur": Corruption(blur.glass_blur, "blur", blur.GLASS),
    "motion_blur": Corruption(blur.motion_blur, "blur", blur.MOTION),
    "zoom_blur": Corruption(blur.zoom_blur, "blur", blur.ZOOM),
    "snow": Corruption(weather.snow, "weather", weather.SNOW),
    "frost": Corruption(frost.frost, "weather", frost.FROST),
    "fog": Corruption(weather.fog, "weather", weather.FOG),
    "brightness": Corruption(weather.brightness, "weather", weather.BRIGHTNESS),
    "contrast": Corruption(digital.contrast, "digital", digital.CONTRAST),
    "elastic_transform": Corruption(digital.elastic_transform, "digital", digital.ELASTIC),
    "pixelate": Corruption(digital.pixelate, "digital", digital.PIXELATE),
    "jpeg_compression": Corruption(digital.jpeg_compression, "digital", digital.JPEG),
    "speckle_noise": Corruption(noise.speckle_noise, "extra", noise.SPECKLE),
    "gaussian_blur": Corruption(blur.gaussian_blur, "extra", blur.GAUSSIAN),
    "spatter": Corruption(spatter.spatter, "extra", spatter.SPATTER),
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
    photographs: frost.Photographs = (),
) -> Tensor:
    """The same images, corrupted; computed on the CPU, returned on their device.

    Args:
        images: (N, 3, H, W) uint8, as is what is returned.
        name: one of :data:`CORRUPTIONS`.
        severity: 1 to 5.
        index: (N,) the images' stable numbers.
        seed: of all randomness.
        preset: one of :data:`PRESETS`.
        photographs: as :func:`~catchup_eval.analysis.corruption.transforms.frost.photographs` reads
            them; where there are none, frost is procedural.

    Raises:
        UnknownName: no such corruption or preset.
        UserError: another severity, or images of another shape or type.
    """
    for kind, key, known in (("corruption", name, CORRUPTIONS), ("preset", preset, PRESETS)):
        if key not in known:
            raise UnknownName(kind, key, known)
    if severity not in range(1, 6):
        raise UserError(f"expected a severity from 1 to 5, got {severity}")
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise UserError(
            f"expected images as uint8 (N, 3, H, W), got {images.dtype} {tuple(images.shape)}"
        )
    function, _, severities = CORRUPTIONS[name]
    setting = severities[preset][severity - 1]
    settings = setting if isinstance(setting, tuple) else (setting,)
    extra = {"photographs": photographs} if name == "frost" else {}
    size = max(1, CHUNK // images[0].numel())
    chunks = zip(torch.split(images.cpu(), size), torch.split(index.cpu(), size), strict=True)
    corrupted = [
        function(chunk, image_rngs(seed, f"{name} {severity}", numbers.numpy()), *settings, **extra)
        for chunk, numbers in chunks
    ]
    return torch.cat(corrupted).to(images.device)


def preset_for(side: int) -> str:
    """The preset whose images are nearest in size to `side` pixels, by ratio.

    Example:
        >>> preset_for(32), preset_for(96), preset_for(256)
        ('cifar', 'tiny_imagenet', 'imagenet')
    """
    return min(PRESETS, key=lambda preset: abs(log(PRESETS[preset] / side)))
