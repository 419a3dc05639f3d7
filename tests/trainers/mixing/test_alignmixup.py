import copy

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp
from torch.nn.functional import cross_entropy

from catchup_eval.core.rng import generator
from catchup_eval.trainers.mixing.alignmixup import align_mix, alignment, alignmixup, sinkhorn
from catchup_eval.trainers.mixing.input_mixup import input_mixup
from catchup_eval.trainers.mixing.shared.pairs import Pairs, weighted_mean

SWAP = torch.tensor([1, 0])
GOLDEN_COST = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]])


def literal_sinkhorn(cost):
    """The reference algorithm as it is written: potentials, and a stop that looks at a number."""
    points = cost.shape[-1]
    u, v = np.zeros(cost.shape[:2]), np.zeros(cost.shape[:2])
    marginal, iterations = np.log(1 / points + 1e-8), 0

    def scaled():
        return (-cost + u[:, :, None] + v[:, None, :]) / 0.1

    for _ in range(100):
        iterations += 1
        before = u
        u = 0.1 * (marginal - logsumexp(scaled(), axis=2)) + u
        v = 0.1 * (marginal - logsumexp(scaled(), axis=1)) + v
        if np.abs(u - before).sum(1).mean() < 0.1:
            break
    return np.exp(scaled()), iterations


def literal_mix(features, pairs, move_partner):
    """The mixture in numpy: one image and one place at a time."""
    maps = features.reshape(len(features), features.shape[1], -1)
    partners = maps[pairs.partner.numpy()]
    places = range(maps.shape[2])
    cost = np.array(
        [
            [[((a[:, i] - b[:, j]) ** 2).sum() for j in places] for i in places]
            for a, b in zip(maps, partners)
        ]
    )
    plans = literal_sinkhorn(cost)[0] * len(places)
    mixed = np.empty_like(maps)
    for image, plan in enumerate(plans):
        own, other = maps[image], partners[image]
        for p in places:
            if move_partner:
                moved = sum(plan[p, j] * other[:, j] for j in places)
                mixed[image][:, p] = pairs.weight * own[:, p] + (1 - pairs.weight) * moved
            else:
                moved = sum(plan[i, p] * own[:, i] for i in places)
                mixed[image][:, p] = pairs.weight * moved + (1 - pairs.weight) * other[:, p]
    return mixed.reshape(features.shape)


def features(n=4, channels=5, height=2, width=3, seed=0):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, height, width, generator=source, dtype=torch.double)


@pytest.fixture
def model(new_model):
    return new_model(5, 4, final_norm=False).eval()


@pytest.fixture
def batch():
    source = torch.Generator().manual_seed(1)
    return torch.rand(6, 3, 16, 24, generator=source), torch.arange(6) % 5


def test_three_points_worked_by_hand():
    plan = 3 * sinkhorn(GOLDEN_COST)[0]
    expected = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    # Moving a point the wrong way costs 1, at eps 0.1 a share of exp(-10) = 4.5e-5.
    torch.testing.assert_close(plan, expected, rtol=0, atol=1e-4)
    assert plan[0, 0] == pytest.approx(4.5e-5, rel=0.05)
    torch.testing.assert_close(plan.sum(0), torch.ones(3))
    torch.testing.assert_close(plan.sum(1), torch.ones(3), rtol=0, atol=1e-4)


LOOPS = {0.01: (0, 4), 30.0: (5, 99), 1000.0: (99, 100)}  # it stops early, late and never


@pytest.mark.parametrize("spread", [0.0, 0.01, 3.0, 30.0, 1000.0])
@pytest.mark.parametrize("points", [1, 4, 9])
def test_equals_the_reference_loop_that_stops_early(spread, points):
    cost = spread * features(6, 1, points, points).square()[:, 0]
    expected, iterations = literal_sinkhorn(cost.numpy())
    torch.testing.assert_close(sinkhorn(cost), torch.from_numpy(expected), rtol=1e-8, atol=1e-12)
    if points == 9 and spread in LOOPS:
        low, high = LOOPS[spread]
        assert low < iterations <= high


def test_noisy_copies_in_another_order_are_assigned_as_the_hungarian_method_does():
    own = features(1, 16, 3, 3)
    order = torch.from_numpy(generator(1).permutation(9))
    other = own.flatten(2)[:, :, order].view_as(own) + 0.5 * features(1, 16, 3, 3, seed=1)
    plan = alignment(torch.cat([own, other]), SWAP)[0]
    a, b = (maps.flatten(2)[0].T.numpy() for maps in (own, other))
    _, columns = linear_sum_assignment(((a[:, None] - b[None]) ** 2).sum(2))
    assert plan.argmax(1).tolist() == columns.tolist() == order.argsort().tolist()
    assert plan.max(1).values.min() > 0.99


def test_a_shuffled_image_is_put_in_order():
    own = features(1, 32)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    both = torch.cat([own, own.flatten(2)[:, :, order].view_as(own)])
    for move_partner in (True, False):
        mixed = align_mix(both, Pairs(0.3, SWAP), move_partner=move_partner)
        expected = both if move_partner else both[SWAP]
        torch.testing.assert_close(mixed, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("move_partner", [True, False])
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_equals_a_slow_reading_in_numpy(move_partner, scale):
    h, pairs = scale * features(), Pairs(0.3, torch.tensor([2, 0, 1, 3]))
    mixed = align_mix(h, pairs, move_partner=move_partner)
    expected = torch.from_numpy(literal_mix(h.numpy(), pairs, move_partner))
    torch.testing.assert_close(mixed, expected)


@pytest.mark.parametrize("scale", [0.2, 10.0])
def test_moving_the_partner_leaves_the_mean_over_places(scale):
    h, pairs = scale * features(), Pairs(0.4, torch.tensor([2, 0, 1, 3]))
    expected = weighted_mean(h, pairs).mean((2, 3))
    pooled = align_mix(h, pairs, move_partner=True).mean((2, 3))
    torch.testing.assert_close(pooled, expected, rtol=0, atol=1e-5)
    if scale < 1:  # the rows sum to 1 only where the plan has come to rest
        pooled = align_mix(h, pairs, move_partner=False).mean((2, 3))
        torch.testing.assert_close(pooled, expected, rtol=0, atol=0.02)


def test_no_gradient_goes_through_the_plan():
    h, pairs = features().requires_grad_(), Pairs(0.4, torch.tensor([2, 0, 1, 3]))
    plan = alignment(h, pairs.partner)
    assert not plan.requires_grad
    through = torch.autograd.grad(align_mix(h, pairs, move_partner=True).pow(2).sum(), h)[0]
    moved = (h.flatten(2)[pairs.partner] @ plan.mT).view_as(h)
    fixed = torch.autograd.grad((0.4 * h + 0.6 * moved).pow(2).sum(), h)[0]
    torch.testing.assert_close(through, fixed)


def test_the_plan_never_waits_for_the_device():
    # Tensors without values, of which reading one is an error.
    assert sinkhorn(torch.rand(2, 4, 4, device="meta")).shape == (2, 4, 4)


def test_the_plan_of_half_precision_features_is_computed_in_single():
    h, pairs = features().bfloat16(), Pairs(0.4, torch.tensor([2, 0, 1, 3]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plan = alignment(h, pairs.partner)
        mixed = align_mix(h, pairs, move_partner=False)
    assert plan.dtype == torch.float32 and mixed.dtype == torch.bfloat16
    assert torch.equal(plan, alignment(h.float(), pairs.partner))
    exact = align_mix(h.float(), pairs, move_partner=False)
    torch.testing.assert_close(mixed.float(), exact, rtol=0.02, atol=0.02)


def test_layers_and_coins_are_drawn_as_documented(model, batch):
    images, labels = batch
    draw, cases = generator(0), set()
    method = alignmixup(model)
    for _ in range(16):
        same = copy.deepcopy(draw)
        loss = method(images, labels, draw)
        if same.integers(2) == 0:
            assert loss == input_mixup(model, alpha=2.0)(images, labels, same)
            cases.add("input")
        else:
            pairs = Pairs(same.beta(2, 2), torch.from_numpy(same.permutation(6)))
            move_partner = same.random() < 0.5
            expected = step_by_hand(model, images, labels, pairs, move_partner)
            torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
            cases.add(move_partner)
        assert draw.random() == same.random()
    assert cases == {"input", True, False}


def step_by_hand(model, images, labels, pairs, move_partner):
    maps = model.feature_map(images).detach()  # without a final norm: what the last stage gives
    mixed = literal_mix(maps.double().numpy(), pairs, move_partner)
    logits = model.head(torch.from_numpy(mixed).float().mean((2, 3)))
    own, other = cross_entropy(logits, labels), cross_entropy(logits, labels[pairs.partner])
    return pairs.weight * own + (1 - pairs.weight) * other


def test_alpha_zero_moves_nothing_either(model, batch):
    images, labels = batch
    method, draw = alignmixup(model, alpha=0), generator(0)
    clean = cross_entropy(model(images), labels)
    assert all(method(images, labels, draw) == clean for _ in range(6))
