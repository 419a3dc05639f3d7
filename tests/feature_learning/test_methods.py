from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from catchup_eval.core.rng import generator
from catchup_eval.feature_learning import methods
from catchup_eval.feature_learning.methods import ChannelMixing, Draws, draw_step, keep_lowest
from catchup_eval.trainers.mixing.catchup import relative_influence as influence_of_catchup

CATCHUP, CONTROL = map(ChannelMixing, (methods.relative_influence, methods.random_scores))
POSITIVE = torch.tensor([[1.0, 0, 1, 0, 0]]).double().expand(2, 5)


def draw(seeds: int, points: int, filters: int, alpha: float = 10.0) -> Draws:
    sources = [generator(seed) for seed in range(seeds)]
    return draw_step(sources, points, filters, alpha, torch.zeros(1).double())


@pytest.fixture
def maps() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6, 5, 3)))


def test_each_point_keeps_the_weakest_filters_by_hand() -> None:
    """Norms 10 4 2 1 and 1 2 4 10, each the other's partner: both come to 1 2 2 1."""
    norms = torch.tensor([[10.0, 4, 2, 1], [1, 2, 4, 10]]).double()
    maps = norms.T[None, ..., None]
    draws = Draws(torch.tensor([[1, 0]]), torch.tensor([0.5]), torch.zeros(1, 4, 2))
    kept = keep_lowest(methods.relative_influence(maps, draws), draws.weight)[0].T
    assert kept.tolist() == [[False, False, True, True], [True, True, False, False]]
    assert torch.where(kept, norms, norms.flip(0)).tolist() == [[1, 2, 2, 1], [1, 2, 2, 1]]


def test_the_influence_is_that_of_catchup_mix_on_images(maps: Tensor) -> None:
    draws = draw(2, 5, 6)
    scores = methods.relative_influence(maps, draws)
    for seed in range(2):
        images = maps[seed].movedim(1, 0)[..., None]  # (N, C, H, W)
        expected = influence_of_catchup(images, draws.partner[seed])
        torch.testing.assert_close(scores[seed].T, expected)


def test_how_many_filters_are_kept(maps: Tensor) -> None:
    scores = methods.relative_influence(maps, draw(2, 5, 6))
    kept = keep_lowest(scores, torch.tensor([0.49, 1.0]))
    assert (kept.sum(1) == torch.tensor([[2], [6]])).all()


@pytest.mark.parametrize("mixing", [CATCHUP, CONTROL])
def test_the_gradient_is_that_of_the_value(mixing: ChannelMixing, maps: Tensor) -> None:
    draws = draw(2, 5, 6)
    maps.requires_grad_()
    (expected,) = torch.autograd.grad(mixing.value(maps, POSITIVE, draws).sum(), maps)
    torch.testing.assert_close(mixing.gradient(maps.detach(), POSITIVE, draws), expected)


@pytest.mark.parametrize("mixing", [CATCHUP, CONTROL])
def test_a_weight_of_one_mixes_nothing(mixing: ChannelMixing, maps: Tensor) -> None:
    draws = draw(2, 5, 6, alpha=0)
    logits = maps.sum((1, 3))
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, POSITIVE, reduction="none")
    torch.testing.assert_close(mixing.value(maps, POSITIVE, draws), plain.mean(-1))


def test_a_seed_draws_the_same_beside_others() -> None:
    both = draw(2, 5, 6)
    alone = draw_step([generator(1)], 5, 6, 10.0, torch.zeros(1).double())
    assert all((many[1] == one[0]).all() for many, one in zip(both, alone, strict=True))


def kept_number(alpha: float, filters: int, k: int) -> tuple[float, float]:
    """The probability that k filters are kept, and the mean of lambda then."""
    low, high = k / filters, (k + 1) / filters
    density: Callable[[float], float] = stats.beta(alpha, alpha).pdf
    probability = integrate.quad(density, low, high)[0]
    return probability, integrate.quad(lambda x: x * density(x), low, high)[0] / probability


def test_sampled_steps_come_to_the_sum_over_all_partners_and_weights() -> None:
    filters, points, alpha = 2, 3, 2.0
    maps = torch.from_numpy(np.random.default_rng(3).normal(size=(1, filters, points, 3)))
    positive = torch.tensor([[1.0, 0, 1]]).double()

    def loss(partner: tuple[int, ...], kept: int, weight: float) -> float:
        """The loss where so many are kept, and labels weigh as if lambda were its mean then."""
        noise = torch.zeros(1, filters, points)
        draws = Draws(torch.tensor([partner]), torch.tensor([kept / filters]), noise)
        logits, _, _ = CATCHUP._mix(maps, positive, draws)
        targets = weight * positive + (1 - weight) * positive[:, list(partner)]
        return float((torch.nn.functional.softplus(logits) - targets * logits).mean())

    shares = [kept_number(alpha, filters, k) for k in range(filters)]
    partners = list(permutations(range(points)))
    exact = np.mean([sum(p * loss(o, k, w) for k, (p, w) in enumerate(shares)) for o in partners])
    draws = draw_step([generator(0)] * 20_000, points, filters, alpha, maps)
    sampled = CATCHUP.value(maps.expand(20_000, -1, -1, -1), positive.expand(20_000, -1), draws)
    assert abs(sampled.mean() - exact) < 5 * sampled.std() / np.sqrt(len(sampled))
