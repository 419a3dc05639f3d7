"""What all corruptions owe: their formulas, and no influence of what surrounds an image."""

from functools import partial
from types import ModuleType

import numpy as np
import pytest
import torch

from catchup_eval.analysis.corruption.registry import BENCHMARK_19, CORRUPTIONS, PRESETS, corrupt
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.rng import generator
from catchup_eval.datasets.dataset import Split

every = pytest.mark.parametrize("name", CORRUPTIONS)
# By the constants: saturation falls, then rises; elastic_transform is strongest at its first
# severity; the image's own weight falls as that of the frost rises.
NOT_RISING = ("saturate", "elastic_transform", "frost")
SIDES = {"cifar": 32, "tiny_imagenet": 64, "imagenet": 72}  # the last small, to be fast
INDEX = torch.tensor([3, 8])


def test_the_nineteen_names_stand_in_the_order_of_the_released_files() -> None:
    assert len(BENCHMARK_19) == len(set(BENCHMARK_19)) == 19
    assert BENCHMARK_19[0] == "gaussian_noise" and BENCHMARK_19[14] == "jpeg_compression"
    assert tuple(CORRUPTIONS)[:19] == BENCHMARK_19


@every
def test_family_and_constants(name: str) -> None:
    kind = CORRUPTIONS[name]
    assert kind.family
    assert kind.severities.keys() == PRESETS.keys()
    assert all(len(settings) == 5 for settings in kind.severities.values())


def images(side: int) -> torch.Tensor:
    """Two images of noise: nothing is as sensitive to a wrong neighbour; one is flat in places."""
    pixels = np.random.default_rng(side).integers(0, 256, (2, 3, side, side), dtype=np.uint8)
    pixels[1, :, : side // 2] = pixels[1, :, :1, :1]
    return torch.from_numpy(pixels)


@every
@pytest.mark.parametrize("preset", PRESETS)
def test_within_one_grey_level_of_the_formula(
    name: str, preset: str, reference: ModuleType, ice: list[np.ndarray]
) -> None:
    x = images(SIDES[preset])
    formula = getattr(reference, name)
    if name == "frost":
        formula = partial(formula, photographs=ice)
    for severity, setting in enumerate(CORRUPTIONS[name].severities[preset], 1):
        ours = corrupt(x, name, severity, index=INDEX, seed=7, preset=preset, photographs=ice)
        for number, image, result in zip(INDEX, x, ours, strict=True):
            rng = generator(7, f"{name} {severity}", int(number))
            settings = setting if isinstance(setting, tuple) else (setting,)
            expected = formula(image.permute(1, 2, 0).numpy(), rng, *settings)
            gap = np.abs(result.permute(1, 2, 0).numpy().astype(int) - expected)
            assert gap.max() <= 1, severity


@every
def test_neither_batch_nor_order_nor_threads_matter(name: str, noise: Split) -> None:
    index, state = torch.arange(10, 42), torch.get_rng_state()
    before, threads = noise.images.clone(), torch.get_num_threads()
    whole = corrupt(noise.images, name, 4, index=index)
    assert torch.equal(noise.images, before) and torch.equal(torch.get_rng_state(), state)
    assert whole.dtype == torch.uint8 and whole.shape == before.shape
    for rows in (slice(0, None, 2), slice(7, 8), torch.arange(31, -1, -1)):
        some = corrupt(noise.images[rows], name, 4, index=index[rows])
        assert torch.equal(whole[rows], some)
    many = noise.images.repeat(8, 1, 1, 1)  # large enough for torch to share the work out
    try:
        torch.set_num_threads(4)
        again = corrupt(many, name, 4, index=index.repeat(8))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(again, whole.repeat(8, 1, 1, 1))


@pytest.mark.parametrize(
    "name", ["gaussian_noise", "impulse_noise", "snow", "frost", "fog", "spatter"]
)
def test_seed_severity_and_image_draw_independently(name: str) -> None:
    grey = torch.full((2, 3, 32, 32), 128, dtype=torch.uint8)
    index = torch.arange(2)
    first = corrupt(grey, name, 3, index=index)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, corrupt(grey, name, 3, index=index, seed=1))
    # Not one pattern made stronger: the signs of the changes agree as often as by chance.
    patterns = [corrupt(grey, name, s, index=index).double() for s in (3, 4)]
    signs = [(p - p.mean((2, 3), keepdim=True)).sign() for p in patterns]
    assert not torch.equal(*signs)


@every
@pytest.mark.parametrize("preset", PRESETS)
def test_a_ramp_changes_more_at_the_last_severity(name: str, preset: str) -> None:
    side = SIDES[preset]
    ramp = torch.linspace(0, 255, side).to(torch.uint8).expand(1, 3, side, side).clone()
    changes = []
    for severity in range(1, 6):
        corrupted = corrupt(ramp, name, severity, index=torch.zeros(1).long(), preset=preset)
        changes.append((corrupted.double() - ramp.double()).square().mean().item())
    assert all(change > 0 for change in changes) or name == "saturate"  # grey has no colour
    if name not in NOT_RISING:
        assert changes[4] > changes[0]


def test_mistakes_are_named(noise: Split) -> None:
    with pytest.raises(UnknownName, match=r"did you mean 'gaussian_blur'\?"):
        corrupt(noise.images, "gausian_blur", 1, index=noise.index)
    with pytest.raises(UnknownName, match="preset 'mnist'"):
        corrupt(noise.images, "contrast", 1, index=noise.index, preset="mnist")
    for severity in (0, 6):
        with pytest.raises(UserError, match=f"from 1 to 5, got {severity}"):
            corrupt(noise.images, "contrast", severity, index=noise.index)
    with pytest.raises(UserError, match=r"float32 \(32, 3, 32, 32\)"):
        corrupt(noise.images.float(), "contrast", 1, index=noise.index)
