import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.nn.functional import cross_entropy

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import generator
from catchup_eval.trainers.mixing.catchup import catchup, catchup_mask, relative_influence
from catchup_eval.trainers.mixing.cutmix import cutmix
from catchup_eval.trainers.mixing.input_mixup import input_mixup
from catchup_eval.trainers.mixing.shared.features import take_channels

SWAP = torch.tensor([1, 0])


def features(n=6, channels=9, side=3, seed=0, dtype=torch.float32):
    drawn = torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(seed))
    return drawn.to(dtype)


def partner(n=6, seed=0):
    return torch.from_numpy(generator(seed).permutation(n))


def mix(features, partner, weight):
    return take_channels(features, partner, catchup_mask(features, partner, weight))


def reference(features, partner, weight):
    """Algorithm 1 line by line, one image and one channel at a time, in plain numbers."""
    mixed = []
    for source, target in zip(features, features[partner]):
        own, other = (
            [math.sqrt((h**2).sum()) for h in maps.detach().double()] for maps in (source, target)
        )
        relative = [a / sum(own) - b / sum(other) for a, b in zip(own, other)]
        ranking = sorted(range(len(relative)), key=lambda channel: relative[channel])
        retained = ranking[: math.floor(weight * len(relative))]
        mixed.append(
            torch.stack([source[c] if c in retained else target[c] for c in range(len(source))])
        )
    return torch.stack(mixed)


@pytest.fixture
def model(new_model):
    return new_model(5, 4)


@pytest.fixture
def batch(new_batch):
    return new_batch(8, 8, classes=5)


def test_two_images_that_each_keep_their_weak_channels():
    norms = torch.tensor([[10.0, 4.0, 2.0, 1.0], [1.0, 2.0, 4.0, 10.0]]).view(2, 4, 1, 1)
    kept = torch.tensor([[False, False, True, True], [True, True, False, False]])
    assert torch.equal(catchup_mask(norms, SWAP, 0.5), kept)
    assert mix(norms, SWAP, 0.5).flatten(1).tolist() == [[1, 2, 2, 1]] * 2


def test_influence_is_relative_to_the_image_not_absolute():
    # Norms 3, 4 and 30, 10: shares 3/7, 4/7 and 3/4, 1/4. By norm alone channel 0 would be
    # the weak one of the second image too.
    maps = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[18.0, 24.0], [6.0, 8.0]]]).unsqueeze(-1)
    difference = torch.tensor([[3 / 7 - 3 / 4, 4 / 7 - 1 / 4]])
    expected = torch.cat([difference, -difference])
    torch.testing.assert_close(relative_influence(maps, SWAP), expected)
    assert catchup_mask(maps, SWAP, 0.5).tolist() == [[True, False], [False, True]]


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.integers(1, 7), st.integers(1, 20), st.integers(0, 99))
def test_equals_a_slow_reading_of_algorithm_1(weight, n, channels, seed):
    h, pi = features(n, channels, seed=seed, dtype=torch.double), partner(n, seed)
    assert torch.equal(mix(h, pi, weight), reference(h, pi, weight))


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**20])
def test_mask_does_not_change_when_one_image_is_scaled(scale):
    h, pi = features(), torch.tensor([1, 2, 3, 4, 5, 0])
    scaled = h.clone()
    scaled[2] *= scale
    assert torch.equal(catchup_mask(scaled, pi, 0.4), catchup_mask(h, pi, 0.4))


def test_dead_channels_and_dead_images_give_no_nan_and_stable_ties():
    h = features(2, 8)
    h[:, 2:6] = 0
    scores = relative_influence(h, SWAP)
    assert (scores[:, 2:6] == 0).all()
    h[1] = 0
    assert relative_influence(h, SWAP).isfinite().all()
    dead = torch.zeros_like(h)
    assert catchup_mask(dead, SWAP, 0.5).tolist() == [[True] * 4 + [False] * 4] * 2


def test_influence_of_half_precision_features_does_not_overflow():
    h = torch.full((2, 4, 8, 8), 3e4, dtype=torch.float16)  # norm 8 * 3e4; float16 ends at 65504
    h[0, 1] = h[1, 2] = 1e4
    kept = torch.tensor([[False, True, False, False], [False, False, True, False]])
    assert torch.equal(catchup_mask(h, SWAP, 0.25), kept)


def test_no_gradient_goes_through_the_mask():
    h, pi = features(dtype=torch.double).requires_grad_(), partner()
    constant = catchup_mask(h.detach(), pi, 0.4)
    through = torch.autograd.grad(mix(h, pi, 0.4).pow(3).sum(), h)[0]
    fixed = torch.autograd.grad(take_channels(h, pi, constant).pow(3).sum(), h)[0]
    assert torch.equal(through, fixed)
    assert not catchup_mask(h, pi, 0.4).requires_grad


@pytest.mark.parametrize("layer", [1, 2, 3, 4, 5])
def test_a_step_is_the_forward_pass_with_algorithm_1_after_the_named_stage(layer, model, batch):
    images, labels = batch
    draw = generator(layer)
    same = copy.deepcopy(draw)
    same.integers(1)
    weight, pi = same.beta(10, 10), torch.from_numpy(same.permutation(8))
    model.eval()
    method, passes = catchup(model, layers=[layer]), []
    handle = model.register_forward_hook(lambda *_: passes.append(1))
    loss = method(images, labels, draw)
    handle.remove()
    assert len(passes) == 1  # one forward pass and none more
    h = model.normalize(images)
    for number, stage in enumerate(model.stages, 1):
        h = stage(h)
        h = reference(h, pi, weight) if number == layer else h
    net = model.net
    logits = net.linear(net.pool(net.final(h)).flatten(1))
    expected = weight * cross_entropy(logits, labels)
    expected += (1 - weight) * cross_entropy(logits, labels[pi])
    torch.testing.assert_close(loss, expected)
    assert draw.random() == same.random()  # and nothing else was drawn


@pytest.mark.parametrize(
    "name, alone",
    [("cutmix", cutmix), ("input_mixup", lambda model: input_mixup(model, alpha=0.2))],
)
def test_layer_0_is_the_input_partner_with_its_own_weight(name, alone, model, batch):
    model.eval()
    draw = generator(5)
    same = copy.deepcopy(draw)
    for _ in range(5):
        ours = catchup(model, layers=[0], input_partner=name)(*batch, draw)
        same.integers(1)
        assert ours == alone(model)(*batch, same)


def test_without_an_input_partner_layer_0_is_clean_or_absent(model, batch):
    model.eval()
    images, labels = batch
    clean = cross_entropy(model(images), labels)
    losses = catchup(model, layers=0, input_partner="none")(images, labels, generator(0))
    assert losses == clean
    inside = catchup(model, input_partner="none", clean_input=False)
    draw = generator(1)
    assert all(inside(images, labels, draw) != clean for _ in range(20))
    with pytest.raises(UserError, match=r"expected layers from 1 to 5 .* got 0"):
        catchup(model, layers=[0], input_partner="none", clean_input=False)


def test_label_ratio_mask_weighs_the_labels_by_the_channels_kept(model, batch, weighing):
    method = catchup(model, criterion=weighing, layers=[1], label_ratio="mask")
    draw = generator(0)
    weights = [weighing.step(method, *batch, draw)[0][0] for _ in range(20)]
    assert set(weights) <= {0, 0.25, 0.5, 0.75, 1}  # the stem has 4 channels
    sampled = catchup(model, criterion=weighing, layers=[1])
    draw = generator(0)
    for weight in weights:
        own, other = weighing.step(sampled, *batch, draw)
        assert weight == math.floor(4 * own[0]) / 4
        assert own[0] + other[0] == pytest.approx(1)


@pytest.mark.parametrize(
    "layers, expected", [(None, [0, 1, 2, 3, 4, 5]), ((0, 2, 5, 2), [0, 2, 5])]
)
def test_layers_are_drawn_uniformly(layers, expected, model):
    raw, changed = {}, []
    for number, stage in enumerate(model.stages, 1):  # hooks run in the order of registration
        stage.register_forward_hook(lambda _m, _i, out, k=number: raw.update({k: out}))
    method = catchup(model, layers=layers)
    for number, stage in enumerate(model.stages, 1):
        stage.register_forward_hook(
            lambda _m, _i, out, k=number: changed.append(k) if out is not raw[k] else None
        )
    draw, steps = generator(0), 30 * len(expected)
    with torch.no_grad():
        for _ in range(steps):
            method(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]), draw)
    counts = {0: steps - len(changed)} | {k: changed.count(k) for k in set(changed)}
    assert sorted(counts) == expected
    # As far as five standard deviations.
    assert stats.chisquare(list(counts.values())).pvalue > 1e-6


@pytest.mark.parametrize("layers", [[6], [-1, 2], [], ["stem"], [1.5]])
def test_layers_that_are_not_there(layers, model):
    with pytest.raises(
        UserError, match=r"expected layers(\.0| as a list of at least 1| from 0 to 5).*, got "
    ):
        catchup(model, layers=layers)
