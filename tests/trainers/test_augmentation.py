from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import functional as F

from catchup_eval.core.errors import UserError
from catchup_eval.trainers.augmentation import (
    Augmentation,
    ResizedCrop,
    augment,
    color_jitter,
    crop,
    flip,
    recolour,
)


def images_of(n, height, width, seed=0):
    draw = np.random.default_rng(seed)
    return torch.from_numpy(draw.random((n, 3, height, width), dtype=np.float32))


def sliced(image, corner, padding, fill):
    """One image, padded by numpy and sliced."""
    mode = {"zeros": "constant", "reflect": "reflect"}[fill]
    pads = [(0, 0), (padding, padding), (padding, padding)]
    padded = np.pad(image.numpy(), pads, mode=mode)
    top, left = corner
    return padded[:, top : top + image.shape[1], left : left + image.shape[2]]


@pytest.mark.parametrize("fill", ["zeros", "reflect"])
@given(
    height=st.integers(4, 9),
    width=st.integers(4, 9),
    padding=st.integers(0, 3),
    n=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_a_batch_is_cropped_as_each_image_would_be(fill, height, width, padding, n, seed):
    images = images_of(n, height, width, seed)
    corners = np.random.default_rng(seed).integers(2 * padding + 1, size=(n, 2))
    cropped = crop(images, torch.from_numpy(corners), padding, fill)
    for image, corner, got in zip(images, corners, cropped, strict=True):
        np.testing.assert_array_equal(got.numpy(), sliced(image, corner, padding, fill))


def test_bytes_are_cropped_too():
    images = (images_of(3, 6, 5) * 255).to(torch.uint8)
    corners = torch.tensor([[0, 0], [2, 2], [4, 1]])
    for fill in ("zeros", "reflect"):
        got = crop(images, corners, 2, fill)
        assert got.dtype == torch.uint8
        np.testing.assert_array_equal(got[2].numpy(), sliced(images[2], (4, 1), 2, fill))


def test_flipped_are_those_that_were_chosen():
    images = images_of(3, 2, 4)
    flipped = flip(images, torch.tensor([True, False, True]))
    np.testing.assert_array_equal(flipped[0].numpy(), images[0].numpy()[:, :, ::-1])
    np.testing.assert_array_equal(flipped[1].numpy(), images[1].numpy())
    np.testing.assert_array_equal(flipped[2].numpy(), images[2].numpy()[:, :, ::-1])


def test_without_settings_nothing_is_done_and_nothing_drawn():
    images, draw = images_of(4, 8, 8), np.random.default_rng(0)
    before = draw.bit_generator.state
    assert torch.equal(augment(images, Augmentation(), draw), images)
    assert draw.bit_generator.state == before


def test_every_corner_comes_equally_often_and_half_is_flipped():
    # An image of its own coordinates tells where it was cut and which way round it is.
    columns = torch.arange(10.0, 15.0).expand(1, 1, 5, 5)
    images = torch.cat([columns.transpose(2, 3), columns], 1).repeat(9000, 1, 1, 1)
    settings = Augmentation(padding=1, flip=True)
    done = augment(images, settings, np.random.default_rng(0))[:, :, 2, :]
    tops, lefts = done[:, 0, 2] - 12, done[:, 1, 2] - 12
    turned = done[:, 1, 3] < done[:, 1, 1]
    counts = torch.unique(torch.stack([tops, lefts]), dim=1, return_counts=True)[1]
    assert len(counts) == 9
    assert (counts - 1000).abs().max() < 150  # five standard deviations
    assert abs(int(turned.sum()) - 4500) < 240


def test_the_given_images_are_unchanged():
    images = images_of(4, 8, 8)
    before = images.clone()
    augment(images, Augmentation(padding=2, fill="reflect", flip=True), np.random.default_rng(0))
    assert torch.equal(images, before)


def test_the_generator_alone_decides():
    images, settings = images_of(16, 8, 8), Augmentation(padding=2, flip=True)
    first, again, other = (
        augment(images, settings, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_mirror_needs_enough_pixels():
    with pytest.raises(UserError, match="padding below the image's side, got 4 for 4x8"):
        crop(images_of(1, 4, 8), torch.zeros(1, 2, dtype=torch.long), 4, "reflect")


def test_a_crop_of_another_size_comes_from_anywhere_equally_often():
    rows = torch.arange(10.0, 16.0).view(1, 1, 6, 1).expand(1, 1, 6, 6)
    images = torch.cat([rows, rows.transpose(2, 3)], 1).repeat(9000, 1, 1, 1)
    done = augment(images, Augmentation(size=4), np.random.default_rng(0))
    assert done.shape == (9000, 2, 4, 4)
    tops, lefts = done[:, 0, 0, 0] - 10, done[:, 1, 0, 0] - 10
    assert torch.equal(done[:, 0, 3, 0] - done[:, 0, 0, 0], torch.full((9000,), 3.0))
    counts = torch.unique(torch.stack([tops, lefts]), dim=1, return_counts=True)[1]
    assert len(counts) == 9
    assert (counts - 1000).abs().max() < 150  # five standard deviations


def test_a_crop_may_need_the_padding():
    images = (images_of(5, 6, 8) * 255).to(torch.uint8)
    settings = Augmentation(padding=1, size=8)
    done = augment(images, settings, np.random.default_rng(0))
    assert (done.shape, done.dtype) == ((5, 3, 8, 8), torch.uint8)
    assert torch.equal(done[:, :, 1:7].sum((1, 2, 3)) > 0, torch.ones(5, dtype=torch.bool))
    assert not done[:, :, [0, 7]].any()
    with pytest.raises(UserError, match="size up to the image's side, got 9 for 6x8 pixels with a"):
        augment(images, Augmentation(padding=1, size=9), np.random.default_rng(0))


def test_a_window_is_brought_to_the_size_and_flipped():
    images = (images_of(6, 9, 9) * 255).to(torch.uint8)
    settings = Augmentation(size=5, resized_crop=ResizedCrop(scale=(1, 1), ratio=(1, 1)))
    whole = augment(images, settings, np.random.default_rng(0))
    expected = F.resize(images, [5, 5], antialias=True)
    assert (whole.int() - expected.int()).abs().max() <= 1
    own = settings.model_copy(update={"size": 0})
    assert torch.equal(augment(images, own, np.random.default_rng(0)), images)
    flipping = settings.model_copy(update={"flip": True})
    done = augment(images, flipping, np.random.default_rng(0))
    turned = [torch.equal(one, two.flip(2)) for one, two in zip(done, whole, strict=True)]
    same = [torch.equal(one, two) for one, two in zip(done, whole, strict=True)]
    assert any(turned) and any(same) and all(a != b for a, b in zip(turned, same, strict=True))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_colours_change_as_torchvision_changes_them_in_any_order(order):
    """Where nothing leaves [0, 1], so that torchvision does not clip in between."""
    images = 0.4 + 0.2 * images_of(4, 6, 5)
    factors = torch.tensor([[0.6, 1.4, 1.1], [1.4, 0.6, 0.7], [1.0, 1.0, 1.4], [0.9, 1.2, 0.6]])
    changes = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)
    expected = []
    for image, own in zip(images, factors, strict=True):
        for which in order:
            image = changes[which](image, float(own[which]))
        expected.append(image)
    assert torch.allclose(color_jitter(images, factors), torch.stack(expected), atol=2e-4)


def test_lighting_shifts_whole_images_along_the_principal_colours():
    images = torch.full((20000, 3, 1, 1), 0.5)
    settings = Augmentation(lighting=0.1)
    shifts = recolour(images, settings, np.random.default_rng(0))[:, :, 0, 0] - 0.5
    covariance = torch.cov(shifts.T).double()
    values, vectors = torch.linalg.eigh(covariance)
    # The deviation along each is 0.1 of its own value: the first along (0.57, 0.58, 0.58).
    assert values.sqrt().flip(0).numpy() == pytest.approx([0.02175, 0.00188, 0.00045], rel=0.03)
    assert vectors[:, 2].abs().numpy() == pytest.approx([0.5675, 0.5808, 0.5836], abs=1e-3)
    assert vectors[:, 1].abs().numpy() == pytest.approx([0.7192, 0.0045, 0.6948], abs=1e-2)


def test_colours_stay_in_range_and_other_images_are_left_alone():
    images = images_of(8, 4, 4)
    before = images.clone()
    done = recolour(images, Augmentation(jitter=1.0, lighting=5.0), np.random.default_rng(0))
    assert done.dtype == torch.float32
    assert (float(done.min()), float(done.max())) == (0.0, 1.0)
    assert torch.equal(images, before)
    draw = np.random.default_rng(0)
    state = draw.bit_generator.state
    assert recolour(images, Augmentation(flip=True), draw) is images
    assert draw.bit_generator.state == state


def test_factors_are_drawn_for_each_image_and_each_change():
    images = images_of(2, 4, 4)[:1].repeat(300, 1, 1, 1) * 0.5 + 0.25
    done = recolour(images, Augmentation(jitter=0.4), np.random.default_rng(0))
    grey = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    brightness = (done * grey).sum((1, 2, 3)) / (images * grey).sum((1, 2, 3))
    assert 0.6 <= float(brightness.min()) < 0.62 and 1.38 < float(brightness.max()) <= 1.4001
    spread = (done * grey).sum(1).std((1, 2)) / (images * grey).sum(1).std((1, 2)) / brightness
    assert 0.6 <= float(spread.min()) < 0.62 and 1.38 < float(spread.max()) <= 1.4001
    assert abs(float(torch.corrcoef(torch.stack([brightness, spread]))[0, 1])) < 0.2
