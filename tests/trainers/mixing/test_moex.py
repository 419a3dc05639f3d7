import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from catchup_eval.core.rng import generator
from catchup_eval.trainers.mixing.moex import exchange_moments, moex, positional_moments

SWAP = torch.tensor([1, 0])
# Two images of one pixel and four channels; means 3 and 2, unbiased variances 14/3 and 16/3.
WORKED = torch.tensor([[1.0, 2.0, 3.0, 6.0], [0.0, 0.0, 4.0, 4.0]]).view(2, 4, 1, 1)
EXCHANGED = [[-0.138090, 0.930955, 2.0, 5.207134], [1.129171, 1.129171, 4.870829, 4.870829]]


def features(n=4, channels=5, height=2, width=3, seed=0):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, height, width, generator=source, dtype=torch.double)


def reference(h, partner):
    """The paper's equation, one image and one position at a time, in numpy."""
    h, out = h.numpy(), np.empty(h.shape)
    for image, donor in enumerate(partner.tolist()):
        for at in np.ndindex(h.shape[2:]):
            own, given = h[(image, slice(None), *at)], h[(donor, slice(None), *at)]
            stds = [np.sqrt(vector.var(ddof=1) + 1e-5) for vector in (own, given)]
            out[(image, slice(None), *at)] = (own - own.mean()) / stds[0] * stds[1] + given.mean()
    return torch.from_numpy(out)


@pytest.fixture
def model(new_model):
    return new_model(5, 4).eval()


@pytest.fixture
def batch(new_batch):
    return new_batch(6, 8, classes=5)


def test_two_pixels_worked_by_hand():
    mean, std = positional_moments(WORKED)
    assert mean.flatten().tolist() == [3, 2]
    torch.testing.assert_close(std.flatten(), torch.tensor([2.160249, 2.309403]))
    mixed = exchange_moments(WORKED, SWAP).flatten(1)
    torch.testing.assert_close(mixed, torch.tensor(EXCHANGED), rtol=0, atol=1e-6)


def test_equals_a_slow_reading_of_the_equation():
    h, partner = features(), torch.tensor([2, 0, 1, 3])
    torch.testing.assert_close(exchange_moments(h, partner), reference(h, partner))


def test_gradients_pass_through_the_moments_of_both():
    h = features(2, 3, 1, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda h: exchange_moments(h, SWAP), h)
    given = torch.autograd.grad(exchange_moments(h, SWAP)[0].pow(2).sum(), h)[0]
    assert (given[1] != 0).any()


def test_channels_that_are_all_equal_give_no_nan():
    mixed = exchange_moments(torch.zeros(2, 4, 2, 2).requires_grad_(), SWAP)
    assert torch.equal(mixed, torch.zeros(2, 4, 2, 2))
    mixed.sum().backward()


def test_half_precision_is_computed_in_single():
    h = 100 + WORKED.half()  # 16 bits hold steps of 1/16 here: squares would be far off
    expected = exchange_moments(h.float(), SWAP).half()
    assert torch.equal(exchange_moments(h, SWAP), expected)
    assert exchange_moments(h, SWAP).dtype == torch.float16


def test_a_step_exchanges_after_the_stem(model, batch):
    images, labels = batch
    draw = generator(3)
    same = copy.deepcopy(draw)
    loss = moex(model, weight=0.9, probability=1.0)(images, labels, draw)
    same.random()  # whether to exchange comes first
    partner = torch.from_numpy(same.permutation(6))
    net, seen = model.net, []
    handle = model.stages[0].register_forward_hook(lambda _m, _i, stem: seen.append(stem.detach()))
    model(images)
    handle.remove()
    h = reference(seen[0].double(), partner).float()
    h = net.layer4(net.layer3(net.layer2(net.layer1(h))))
    logits = net.linear(net.pool(net.final(h)).flatten(1))
    own, other = cross_entropy(logits, labels), cross_entropy(logits, labels[partner])
    torch.testing.assert_close(loss, 0.9 * own + 0.1 * other)
    assert draw.random() == same.random()  # and nothing else was drawn


def test_the_stem_runs_once(model, batch):
    passes = []
    handle = model.stages[0].register_forward_hook(lambda *_: passes.append(1))
    method, draw = moex(model, probability=1.0), generator(0)
    for _ in range(5):
        method(*batch, draw)
    handle.remove()
    assert len(passes) == 5


def test_a_quarter_of_the_steps_exchange_and_the_others_are_clean(model, batch, weighing):
    method, draw, coins = moex(model, criterion=weighing), generator(0), generator(0)
    for _ in range(20):
        weights = [weight for weight, _, _ in weighing.step(method, *batch, draw)]
        exchanges = coins.random() < 0.25
        assert weights == ([0.5, 0.5] if exchanges else [1])
        if exchanges:
            coins.permutation(6)
