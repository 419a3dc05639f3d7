"""The common corruptions as batched tensor functions (Hendrycks and Dietterich 2019).

Nineteen types in five families, each at severities 1 to 5. The constants depend on the size of the
images: a preset names them. An image's corruption depends on the seed, the type, the severity and
the image's own number, never on the batch: every model gets the same pixels.

One more type is a function in a file of its own and a line of `CORRUPTIONS`; it is measured where
`corruptions` names it, and is in no mean over the benchmark's.

The ten types of ImageNet-C-bar and the ten of CIFAR-C-bar (Mintun et al. 2021), five of which are
in both lists, are read from files alone.

The released CIFAR-10-C and CIFAR-100-C files were drawn without a seed, so they cannot be drawn
again; what is computed here follows their distribution.
"""

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from math import log
from typing import Any, NamedTuple, cast

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
# As `imagenet_c_bar.csv` and `cifar10_c_bar.csv` of facebookresearch/augmentation-corruption have
# them, whose spelling it is; types that are perceptually far from the nineteen.
IMAGENET_C_BAR = (
    *("blue_noise_sample", "brownish_noise", "caustic_refraction", "checkerboard_cutout"),
    *("cocentric_sine_waves", "inverse_sparkles", "perlin_noise", "plasma_noise"),
    *("single_frequency_greyscale", "sparkles"),
)
CIFAR_C_BAR = (
    *("blue_noise_sample", "brownish_noise", "checkerboard_cutout", "circular_motion_blur"),
    *("inverse_sparkles", "lines", "pinch_and_twirl", "ripple", "sparkles"),
    "transverse_chromatic_abberation",
)
NINETEEN = "c"
BENCHMARKS: Mapping[str, Sequence[str]] = {
    NINETEEN: BENCHMARK_19,
    "imagenet-c-bar": IMAGENET_C_BAR,
    "cifar-c-bar": CIFAR_C_BAR,
}
VERSION = 3  # raised when an image comes out differently
CHUNK = 3 * 160**2  # values at a time: intermediate values stay small, and in the cache
PRESETS: Mapping[str, int] = {"cifar": 32, "tiny_imagenet": 64, "imagenet": 224}  # pixels a side


class Corruption(NamedTuple):
    """One type: `function(images, rngs, *setting)`, and its settings by preset and severity.

    Figures set the types of one `family` apart from those of others.
    """

    function: Callable[..., Tensor]
    family: str
    severities: Severities
    chunk: int = CHUNK  # values that `function` is given at a time, one image at least


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption(noise.gaussian_noise, "noise", noise.GAUSSIAN),
    "shot_noise": Corruption(noise.shot_noise, "noise", noise.SHOT),
    "impulse_noise": Corruption(noise.impulse_noise, "noise", noise.IMPULSE),
    "defocus_blur": Corruption(blur.defocus_blur, "blur", blur.DEFOCUS),
    "glass_blur": Corruption(blur.glass_blur, "blur", blur.GLASS),
    "motion_blur": Corruption(blur.motion_blur, "blur", blur.MOTION),
    "zoom_blur": Corruption(blur.zoom_blur, "blur", blur.ZOOM, 4 * 3 * 224**2),
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


# What may be measured: a type that is computed, one that is in files alone, or a whole list.
NAMES = ChainMap(
    cast("dict[str, Any]", CORRUPTIONS),
    dict.fromkeys([*IMAGENET_C_BAR, *CIFAR_C_BAR]),
    dict(BENCHMARKS),
)


class Benchmark(NamedTuple):
    """Types that are measured together, and the list that they are of."""

    name: str  # one of :data:`BENCHMARKS`
    types: tuple[str, ...]

    @property
    def metric(self) -> str:
        """The mean error over the types: each list's has a name of its own."""
        end = "" if self.name == NINETEEN else f"_{self.name.replace('-', '_')}"
        return f"mean_error{end}"


def find_benchmark(names: Sequence[str], preset: str = "") -> Benchmark:
    """The list that these types are of; types that are computed count as of the nineteen.

    Args:
        names: of types, or of whole lists.
        preset: of the images, which decides where both lists of C-bar have all types.

    Raises:
        UserError: there are none, one is there twice, or they are of several lists.

    Example:
        >>> find_benchmark(["sparkles"], "cifar"), find_benchmark(["fog"]).metric
        (Benchmark(name='cifar-c-bar', types=('sparkles',)), 'mean_error')
    """
    types = tuple(each for name in names for each in BENCHMARKS.get(name, (name,)))
    if not types or len(set(types)) < len(types):
        raise UserError(f"expected corruptions, each once, got {list(names)}")
    if set(types) <= set(CORRUPTIONS):
        return Benchmark(NINETEEN, types)
    fitting = [name for name, every in BENCHMARKS.items() if set(types) <= set(every)]
    if not fitting:
        raise UserError(
            "expected corruptions of one benchmark, so that no mean is over several, got "
            f"{', '.join(types)}; {', '.join(BENCHMARKS)} are evaluated one by one"
        )
    own = [name for name in fitting if name in names or name.startswith(preset or "?")]
    return Benchmark((own or fitting)[0], types)


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
    function, _, severities, chunk = CORRUPTIONS[name]
    setting = severities[preset][severity - 1]
    settings = setting if isinstance(setting, tuple) else (setting,)
    extra = {"photographs": photographs} if name == "frost" else {}
    size = max(1, chunk // images[0].numel())
    chunks = zip(torch.split(images.cpu(), size), torch.split(index.cpu(), size), strict=True)
    corrupted = [
        function(some, image_rngs(seed, f"{name} {severity}", numbers.numpy()), *settings, **extra)
        for some, numbers in chunks
    ]
    return torch.cat(corrupted).to(images.device)


def preset_for(side: int) -> str:
    """The preset whose images are nearest in size to `side` pixels, by ratio.

    Example:
        >>> preset_for(32), preset_for(96), preset_for(256)
        ('cifar', 'tiny_imagenet', 'imagenet')
    """
    return min(PRESETS, key=lambda preset: abs(log(PRESETS[preset] / side)))
