import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.rng import generator
from catchup_eval.trainers.mixing.saliencymix import (
    box_mask,
    fine_grained_saliency,
    most_salient,
    saliencymix,
)
from catchup_eval.trainers.mixing.shared.boxes import cutmix_box


def opencv_map(image):
    """(H, W), 0 to 255, of an image (3, H, W) uint8."""
    cv2 = pytest.importorskip("cv2", reason="needs opencv-contrib-python-headless")
    blue_first = np.ascontiguousarray(image.permute(1, 2, 0).numpy()[:, :, ::-1])
    done, saliency = cv2.saliency.StaticSaliencyFineGrained_create().computeSaliency(blue_first)
    assert done
    return np.rint(saliency * 255).astype(int)


def expect_opencv(images):
    ours = fine_grained_saliency(images.float() / 255).numpy()
    rows, columns = most_salient(images.float() / 255)
    for number, image in enumerate(images):
        theirs = opencv_map(image)
        np.testing.assert_array_equal(ours[number], theirs)
        place = np.unravel_index(theirs.argmax(), theirs.shape)
        assert (rows[number], columns[number]) == place


def test_maps_and_their_peaks_are_opencvs_on_a_hundred_digits_on_photographs(digits):
    expect_opencv(digits.split("test").images[:100])


def test_maps_and_their_peaks_are_opencvs_on_a_hundred_photographs(cifar10_test):
    expect_opencv((cifar10_test(100)[0] * 255).round().byte())


@pytest.mark.parametrize("height, width", [(224, 200), (41, 77), (17, 9), (2, 3)])
def test_maps_are_opencvs_at_other_sizes_and_at_the_ends_of_the_range(height, width):
    draw = np.random.default_rng(height)
    noise = draw.integers(0, 256, (2, 3, height, width), dtype=np.uint8)
    black_and_white = draw.integers(0, 2, (2, 3, height, width), dtype=np.uint8) * 255
    flat = np.full((1, 3, height, width), 255, dtype=np.uint8)
    expect_opencv(torch.from_numpy(np.concatenate([noise, black_and_white, flat])))


def test_opencv_takes_the_bytes_of_a_float_image_for_its_pixels(digits):
    """Why the reference's way, a normalised float image, is not followed."""
    cv2 = pytest.importorskip("cv2", reason="needs opencv-contrib-python-headless")
    image = digits.split("test").images[0].permute(1, 2, 0).numpy() / np.float32(255)
    image = (image - np.float32(0.5)) / np.float32(0.25)
    _, saliency = cv2.saliency.StaticSaliencyFineGrained_create().computeSaliency(image)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    for _ in range(2):
        grey = cv2.GaussianBlur(grey, (3, 3), 0)
    raw = grey.view(np.uint8)[:, :32]  # a quarter of each row's numbers, as bytes
    assert np.corrcoef(raw.ravel(), saliency.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("height, width", [(16, 16), (7, 30), (9, 4)])
def test_a_moved_box_is_cutmixs_box_at_that_centre(height, width):
    draw = generator(height)
    for _ in range(50):
        weight, row, column = draw.random(), draw.integers(height), draw.integers(width)
        middle = cutmix_box(height, width, weight, height // 2, width // 2)
        centre = torch.tensor([row]), torch.tensor([column])
        expected = torch.zeros(1, 1, height, width, dtype=torch.bool)
        expected[cutmix_box(height, width, weight, int(row), int(column)).window] = True
        assert torch.equal(box_mask(*centre, middle, height, width), expected)


class Means(nn.Module):
    """Logits (N, 3) that tell how much of which image is seen."""

    def forward(self, images):
        return images.mean((2, 3))


def batch(n=6, side=16):
    source = torch.Generator().manual_seed(n)
    return torch.rand(n, 3, side, side, generator=source), torch.arange(n) % 3


@pytest.mark.parametrize("per_image", [False, True])
def test_a_step_is_the_literal_rule(per_image):
    """The rule of the paper, image by image, with CutMix's box and OpenCV's peak."""
    images, labels = batch()
    images = (images * 255).round() / 255
    draw, same = generator(5), generator(5)
    method = saliencymix(Means(), per_image=per_image)
    for _ in range(10):
        loss = method(images, labels, draw)
        same.random()
        weight, partner = same.beta(1, 1), same.permutation(6)
        expected = 0.0
        for i, j in enumerate(partner):
            looked_at = images[j if per_image else partner[0]]
            saliency = opencv_map((looked_at * 255).round().byte())
            row, column = np.unravel_index(saliency.argmax(), saliency.shape)
            top, bottom, left, right = cutmix_box(16, 16, weight, int(row), int(column))
            mixed = images[i].clone()
            mixed[:, top:bottom, left:right] = images[j, :, top:bottom, left:right]
            kept = 1 - (bottom - top) * (right - left) / 256
            logits = mixed.mean((1, 2))[None]
            own, other = (cross_entropy(logits, labels[k : k + 1]) for k in (i, j))
            expected += (kept * own + (1 - kept) * other) / 6
        torch.testing.assert_close(loss, expected)
    assert draw.random() == same.random()


def test_one_box_for_the_batch_or_one_for_each():
    images, labels = batch()
    seen = []

    class Keep(Means):
        def forward(self, mixed):
            seen.append((mixed != images).any(1))
            return super().forward(mixed)

    for per_image in (False, True):
        saliencymix(Keep(), per_image=per_image)(images, labels, generator(1))
    partner = generator(1)
    partner.random(), partner.beta(1, 1)
    moved = torch.from_numpy(partner.permutation(6)) != torch.arange(6)
    together, apart = (mask[moved].unique(dim=0) for mask in seen)
    assert len(together) == 1 and len(apart) > 1


def test_probability_is_that_of_a_cut():
    images, labels = batch()
    net, draw = Means(), generator(2)
    clean = cross_entropy(net(images), labels)
    assert saliencymix(net, probability=0)(images, labels, copy.deepcopy(draw)) == clean
    half = saliencymix(net, probability=0.5)
    clean_steps = sum(bool(half(images, labels, draw) == clean) for _ in range(100))
    assert 25 <= clean_steps <= 75  # standard deviation 5
