import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.rng import generator
from catchup_eval.trainers.mixing.cutmix import cutmix, cutmix_paste
from catchup_eval.trainers.mixing.shared.boxes import Box, cutmix_box

weights = st.floats(0, 1)
sides = st.integers(1, 40)


def reference_pixels(height, width, weight, row, column):
    """Every pixel asked on its own whether it is in the box; sides as the reference code's."""
    share = (1.0 - weight) ** 0.5
    cut_height, cut_width = int(height * share), int(width * share)
    inside = torch.zeros(height, width, dtype=torch.bool)
    for y in range(height):
        for x in range(width):
            tall = row - cut_height // 2 <= y < row + cut_height // 2
            wide = column - cut_width // 2 <= x < column + cut_width // 2
            inside[y, x] = tall and wide
    return inside


@pytest.mark.parametrize(
    "weight, side, kept",
    [(0.75, 16, 0.75), (0.9, 10, 0.90234375)],  # sqrt(.25) * 32 = 16; int(10.1) = 10
)
def test_published_sides_and_corrected_weights(weight, side, kept):
    box = cutmix_box(32, 32, weight, 16, 16)
    assert (box.bottom - box.top, box.right - box.left) == (side, side)
    assert 1 - box.area / 32**2 == kept


def test_an_odd_side_loses_a_pixel_and_the_image_clips_the_box():
    assert cutmix_box(10, 10, 0.51, 5, 5) == Box(2, 8, 2, 8)  # int(10 * .7) = 7, 7 // 2 = 3
    assert cutmix_box(10, 10, 0.51, 0, 9) == Box(0, 3, 6, 10)


def test_height_and_width_are_not_swapped():
    assert cutmix_box(8, 32, 0.75, 4, 16) == Box(2, 6, 8, 24)


@settings(max_examples=60, deadline=None)
@given(st.data(), sides, sides, weights)
def test_pasting_moves_the_pixels_that_the_literal_rule_names(data, height, width, weight):
    row = data.draw(st.integers(0, height - 1))
    column = data.draw(st.integers(0, width - 1))
    images = torch.rand(3, 2, height, width, generator=torch.Generator().manual_seed(0))
    before, partner = images.clone(), torch.tensor([1, 2, 0])
    box = cutmix_box(height, width, weight, row, column)
    inside = reference_pixels(height, width, weight, row, column)
    pasted = cutmix_paste(images, partner, box)
    assert torch.equal(pasted, torch.where(inside, before[partner], before))
    assert torch.equal(images, before)
    assert box.area == inside.sum()


class Count(nn.Module):
    """Logits (N, N): which share of image i's pixels has the value of image k."""

    def forward(self, images):
        values = torch.arange(len(images)) / len(images)
        return (images[:, 0, :, :, None] == values).double().mean((1, 2))


@pytest.mark.parametrize("height, width", [(16, 16), (7, 30)])
def test_label_weights_are_the_fractions_of_remaining_pixels(height, width, weighing):
    n, draw = 5, generator(1)
    images = (torch.arange(n) / n).view(n, 1, 1, 1).expand(n, 1, height, width)
    method = cutmix(Count(), criterion=weighing)
    for _ in range(30):
        own, other = weighing.step(method, images, torch.arange(n), draw)
        assert own[0] + other[0] == pytest.approx(1)
        mixed = own[2] != other[2]  # an image may be its own partner
        for weight, shares, labels in (own, other):
            realised = shares[torch.arange(n), labels][mixed]
            torch.testing.assert_close(realised, torch.full_like(realised, weight))


def test_probability_is_that_of_a_cut():
    images, labels = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    clean = cross_entropy(net(images), labels)
    draw = generator(2)
    assert cutmix(net, probability=0)(images, labels, draw) == clean
    half = cutmix(net, probability=0.5)
    clean_steps = sum(bool(half(images, labels, draw) == clean) for _ in range(200))
    # Half, and some boxes that are empty or cut from itself: 0.6, standard deviation 7.
    assert 85 <= clean_steps <= 155
