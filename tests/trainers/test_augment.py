import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from catchup_eval.errors import UserError
from catchup_eval.trainers.augment import augment, crop, flip
from catchup_eval.trainers.recipe import Augmentation


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


def test_nothing_asked_for_is_nothing_done_and_nothing_drawn():
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


def test_the_images_lent_are_left_alone():
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
