import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catchup_eval.core.rng import generator
from catchup_eval.models.wrapping import wrap
from catchup_eval.models.zoo.preactresnet import preactresnet10
from catchup_eval.trainers.regularizers.cutout import cutout, fill_squares

MEAN = (0.1, 0.5, 0.9)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 12), st.integers(1, 12), st.integers(1, 14))
def test_the_square_is_the_one_of_the_literal_rule(data, height, width, length):
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    images = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    before, colour = images.clone(), torch.tensor(MEAN).view(1, 3, 1, 1)
    expected = images.clone()
    half = length // 2
    top, bottom = max(row - half, 0), min(row + half, height)
    left, right = max(column - half, 0), min(column + half, width)
    expected[:, :, top:bottom, left:right] = colour
    ours = fill_squares(images, torch.tensor([row]), torch.tensor([column]), length, colour)
    assert torch.equal(ours, expected) and torch.equal(images, before)


def test_the_square_is_zero_to_the_network_and_each_images_own():
    model = wrap(preactresnet10(classes=2, width=2), mean=MEAN, std=(0.2,) * 3)
    images, draw = torch.ones(40, 3, 32, 32), generator(0)
    same = copy.deepcopy(draw)
    out = model.normalize(cutout(model, length=6).images(images, draw))
    rows, columns = same.integers(32, size=40), same.integers(32, size=40)
    for image, row, column in zip(out, rows, columns):
        assert not image[:, row, column].any()
        assert (image == 0).all(0).sum() <= 36
    assert draw.random() == same.random()


@pytest.mark.parametrize("length", [8, 16])
def test_the_mean_area_is_that_of_a_square_clipped_at_a_uniform_centre(length):
    model = wrap(preactresnet10(classes=2, width=2), mean=MEAN)
    out = cutout(model, length=length).images(torch.ones(4000, 3, 32, 32), generator(1))
    side = sum(min(c + length // 2, 32) - max(c - length // 2, 0) for c in range(32)) / 32
    area = (out != 1).all(1).float().sum((1, 2)).mean().item()
    assert area == pytest.approx(side**2, rel=0.02)
