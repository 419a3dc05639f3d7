"""What all corruptions share: the same image gets the same corruption, whatever surrounds it."""

import pytest
import torch

from catchup_eval.analysis.corruption.registry import BENCHMARK_19, CORRUPTIONS, PRESETS, corrupt
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.datasets.dataset import Split

every = pytest.mark.parametrize("name", CORRUPTIONS)
# By the constants: saturation falls, then rises; elastic_transform is strongest at its first
# severity; the image's own weight falls as that of the frost rises.
NOT_RISING = ("saturate", "elastic_transform", "frost")
SIDES = {"cifar": 32, "tiny_imagenet": 64, "imagenet": 48}  # the last small, to be fast


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


@every
def test_neither_batch_nor_order_matters(name: str, noise: Split) -> None:
    index = torch.arange(10, 42)
    whole = corrupt(noise.images, name, 4, index=index)
    halves = [corrupt(noise.images[i::2], name, 4, index=index[i::2]) for i in (0, 1)]
    assert torch.equal(whole[0::2], halves[0]) and torch.equal(whole[1::2], halves[1])
    alone = corrupt(noise.images[7:8], name, 4, index=index[7:8])
    assert torch.equal(whole[7:8], alone)
    backwards = corrupt(noise.images.flip(0), name, 4, index=index.flip(0))
    assert torch.equal(whole, backwards.flip(0))


@every
def test_threads_do_not_matter(name: str, noise: Split) -> None:
    images = noise.images.repeat(8, 1, 1, 1)  # large enough for torch to share the work out
    index = torch.arange(len(images))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = corrupt(images, name, 5, index=index)
        torch.set_num_threads(4)
        assert torch.equal(corrupt(images, name, 5, index=index), one)
    finally:
        torch.set_num_threads(before)


@every
def test_the_images_are_left_alone_and_nothing_global_is_drawn(name: str, noise: Split) -> None:
    before, state = noise.images.clone(), torch.get_rng_state()
    corrupted = corrupt(noise.images, name, 1, index=noise.index)
    assert torch.equal(noise.images, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert corrupted.dtype == torch.uint8 and corrupted.shape == before.shape


@pytest.mark.parametrize(
    "name", ["gaussian_noise", "impulse_noise", "snow", "frost", "fog", "spatter"]
)
def test_seed_severity_and_image_draw_independently(name: str) -> None:
    images = torch.full((2, 3, 32, 32), 128, dtype=torch.uint8)
    index = torch.arange(2)
    first = corrupt(images, name, 3, index=index)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, corrupt(images, name, 3, index=index, seed=1))
    # Not one pattern made stronger: the signs of the changes agree as often as by chance.
    patterns = [corrupt(images, name, s, index=index).double() for s in (3, 4)]
    signs = [(p - p.mean((2, 3), keepdim=True)).sign() for p in patterns]
    assert not torch.equal(*signs)


@every
@pytest.mark.parametrize("preset", PRESETS)
def test_every_severity_of_every_preset_runs_on_its_size(name: str, preset: str) -> None:
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
