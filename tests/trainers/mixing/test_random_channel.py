import pytest
import torch
from scipy import stats

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import generator
from catchup_eval.models.hooks import StageHooks
from catchup_eval.trainers.mixing.catchup import catchup
from catchup_eval.trainers.mixing.random_channel import random_channel, random_channel_mask


@pytest.fixture
def model(new_model):
    return new_model(3, 4)


def test_every_image_keeps_its_own_floor_of_lambda_times_c_channels():
    mask = random_channel_mask(torch.zeros(50, 30, 1, 1), 0.5, generator(0))
    assert (mask.sum(1) == 15).all()
    assert len(mask.unique(dim=0)) == 50


def test_every_channel_is_kept_equally_often():
    draw = generator(1)
    kept = sum(random_channel_mask(torch.zeros(100, 8, 1, 1), 0.4, draw).sum(0) for _ in range(20))
    assert kept.sum() == 20 * 100 * 3
    assert stats.chisquare(kept.numpy()).pvalue > 1e-6  # as far as five standard deviations


def test_the_mask_is_the_generators_alone():
    first, again = (random_channel_mask(torch.zeros(4, 9, 2, 2), 0.5, generator(2)) for _ in "ab")
    other = random_channel_mask(torch.zeros(4, 9, 2, 2), 0.5, generator(3))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_it_never_mixes_the_input(model):
    arrived = []
    model.register_forward_pre_hook(lambda _module, inputs: arrived.append(inputs[0]))
    images, method, draw = torch.rand(4, 3, 8, 8), random_channel(model), generator(0)
    for _ in range(12):
        method(images, torch.tensor([0, 1, 2, 0]), draw)
    assert all(pixels is images for pixels in arrived)
    with pytest.raises(UserError, match=r"expected layers from 1 to 5 .*, got 0"):
        random_channel(model, layers=[0, 1], clean_input=False)


def test_it_leaves_as_many_batches_clean_as_catchup_without_a_partner(model, monkeypatch):
    """The input is drawn once in six, as each stage: the control is of the channels alone."""
    mixed = []
    replace = StageHooks.replace_output
    monkeypatch.setattr(
        StageHooks, "replace_output", lambda *a: (mixed.append(a[1]), replace(*a))[1]
    )
    images, labels, steps = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]), 300
    for method in (random_channel(model), catchup(model, input_partner="none")):
        mixed.clear()
        draw = generator(0)
        for _ in range(steps):
            method(images, labels, draw)
        clean = steps - len(mixed)
        assert stats.binomtest(clean, steps, 1 / 6).pvalue > 1e-6


def test_alpha_zero_is_no_mixing(model, weighing):
    model.eval()
    images = torch.rand(4, 3, 8, 8)
    method = random_channel(model, criterion=weighing, alpha=0)
    own, other = weighing.step(method, images, torch.tensor([0, 1, 2, 0]), generator(0))
    assert (own[0], other[0]) == (1, 0)
    assert torch.equal(own[1], model(images))
