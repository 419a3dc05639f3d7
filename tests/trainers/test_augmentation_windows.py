import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F

from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.trainers.augmentation import (
    ResizedCrop,
    draw_windows,
    filter_weights,
    resize_windows,
)

HALF = ResizedCrop(scale=(0.25, 0.25), ratio=(1, 1))


def noise(n, height, width, seed=0):
    draw = np.random.default_rng(seed)
    return torch.from_numpy(draw.integers(0, 256, (n, 3, height, width), dtype=np.uint8))


def smooth(n, side):
    """Waves, as photographs have more of than of hard edges."""
    places = torch.arange(side) / side
    waves = torch.sin(places[:, None] * torch.arange(1, n + 1)[:, None, None] + places * 7)
    return (127.5 + 120 * waves).to(torch.uint8)[:, None].expand(n, 3, side, side)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("side", [40, 9], ids=["enlarged", "reduced"])
def test_a_window_is_what_torchvision_makes_of_the_same_box(interpolation, side):
    images = noise(20, 24, 31).float()
    windows = draw_windows(np.random.default_rng(1), 20, 24, 31, ResizedCrop())
    for image, window, got in zip(
        images, windows, resize_windows(images, windows, side, interpolation), strict=True
    ):
        mode = InterpolationMode(interpolation)
        expected = F.resized_crop(image, *map(int, window), [side, side], mode, antialias=True)
        assert torch.allclose(got, expected, atol=2e-3)  # of 255


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("side", [48, 12])
def test_bytes_are_pillows_to_a_level(interpolation, side):
    images = smooth(10, 32)
    windows = draw_windows(np.random.default_rng(2), 10, 32, 32, ResizedCrop())
    done = resize_windows(images, windows, side, interpolation)
    assert done.dtype == torch.uint8
    for image, window, got in zip(images, windows, done, strict=True):
        mode = InterpolationMode(interpolation)
        cut = F.resized_crop(F.to_pil_image(image), *map(int, window), [side, side], mode)
        assert (got.int() - F.pil_to_tensor(cut).int()).abs().max() <= 1


def test_bicubic_bytes_stay_in_range():
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    images[:, :, :, 4:] = 255
    done = resize_windows(images, np.array([[0, 0, 8, 8]]), 64, "bicubic")
    assert int(done[..., :24].max()) < 30 and int(done[..., 40:].min()) > 225


def test_the_whole_image_at_its_own_size_is_itself():
    images = noise(2, 7, 7)
    whole = np.array([[0, 0, 7, 7]] * 2)
    assert torch.equal(resize_windows(images, whole, 7, "bilinear"), images)
    assert torch.equal(resize_windows(images, whole, 7, "bicubic"), images)


def test_nothing_beyond_the_window_is_seen():
    weights = filter_weights(torch.tensor([3, 0]), torch.tensor([4, 10]), 10, 5, "bicubic")
    assert weights.shape == (2, 5, 10)
    assert not weights[0, :, :3].any() and not weights[0, :, 7:].any()
    assert torch.allclose(weights.sum(2), torch.ones(2, 5))
    # Ten pixels to five: a triangle two wide, so that 1, 3, 3, 1 of 8 are taken from within.
    reduced = filter_weights(torch.tensor([0]), torch.tensor([10]), 10, 5, "bilinear")
    assert reduced[0, 2].tolist() == [0, 0, 0, 0.125, 0.375, 0.375, 0.125, 0, 0, 0]


def test_windows_lie_in_the_image_and_have_the_requested_areas_and_shapes():
    windows = draw_windows(np.random.default_rng(0), 4000, 90, 60, ResizedCrop(scale=(0.2, 0.6)))
    top, left, tall, wide = windows.T
    assert windows.min() >= 0 and (top + tall).max() <= 90 and (left + wide).max() <= 60
    area = tall * wide / 5400
    assert 0.19 < area.min() < 0.21 and 0.58 < area.max() < 0.62
    assert 0.72 < (wide / tall).min() < 0.77 and 1.30 < (wide / tall).max() < 1.38
    assert abs(np.log(wide / tall).mean()) < 0.05


def test_windows_are_spread_as_torchvisions_are():
    """Mean and spread of 5,000 of each; the standard error of a mean is below 0.006 of the side."""
    crop = RandomResizedCrop(64)
    image = torch.empty(3, 64, 64)
    with fork_global_rng(generator(3)):
        theirs = np.array(
            [crop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(5000)]
        )
    ours = draw_windows(np.random.default_rng(3), 5000, 64, 64, ResizedCrop())
    assert ours.mean(0) == pytest.approx(theirs.mean(0), abs=0.02 * 64)
    assert ours.std(0) == pytest.approx(theirs.std(0), abs=0.02 * 64)


def test_every_place_comes_equally_often():
    windows = draw_windows(np.random.default_rng(0), 9000, 4, 4, HALF)
    assert (windows[:, 2:] == 2).all()
    counts = np.unique(windows[:, :2], axis=0, return_counts=True)[1]
    assert len(counts) == 9 and abs(counts - 1000).max() < 150  # five standard deviations


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(10, 40, [0, 14, 10, 13]), (40, 10, [13, 0, 13, 10]), (10, 10, [0, 0, 10, 10])],
)
def test_what_does_not_fit_is_the_largest_in_the_middle(height, width, expected):
    """A window of the whole area fits no narrow image at these shapes."""
    settings = ResizedCrop(scale=(1, 1), ratio=(3 / 4, 4 / 3) if height != width else (1, 1))
    drawn = draw_windows(np.random.default_rng(0), 3, height, width, settings)
    top, left, tall, wide = drawn[0]
    assert [top, left, tall, wide] == [(height - tall) // 2, (width - wide) // 2, *expected[2:]]
    assert drawn.tolist() == [drawn[0].tolist()] * 3


def test_the_generator_alone_decides_and_the_draws_are_as_many_whatever_fits():
    one, two = np.random.default_rng(5), np.random.default_rng(5)
    first = draw_windows(one, 8, 64, 64, ResizedCrop())
    assert np.array_equal(first, draw_windows(two, 8, 64, 64, ResizedCrop()))
    draw_windows(one, 8, 64, 64, HALF)
    draw_windows(two, 8, 8, 64, HALF)
    assert one.bit_generator.state == two.bit_generator.state
