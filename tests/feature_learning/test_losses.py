from collections.abc import Iterator
from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from catchup_eval.core.errors import UserError
from catchup_eval.feature_learning.losses import CutMix, Cutout, cutmix_optimum

SEEDS, N, P = 2, 5, 4
LOSSES: dict[str, Cutout | CutMix] = {
    "erm": Cutout(P, 0),
    "cutout": Cutout(P, 1),
    "two cut": Cutout(P, 2),
    "cutmix": CutMix(P),
}


@pytest.fixture
def outputs() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(0, 2, (SEEDS, N, P)))


@pytest.fixture
def positive() -> Tensor:
    return torch.tensor([[1.0, 0, 0, 1, 0], [0, 1, 1, 1, 1]]).double()


def log_loss(logit: float, label: float) -> float:
    return float(np.log1p(np.exp(-logit if label else logit)))


def mixtures() -> Iterator[tuple[tuple[int, ...], float]]:
    """Each subset of patches with its probability: its size is uniform, then all are alike."""
    for size in range(P + 1):
        for subset in combinations(range(P), size):
            yield subset, 1 / ((P + 1) * comb(P, size))


def cutmix_of(outputs: np.ndarray, labels: np.ndarray, i: int, j: int, first: tuple) -> float:
    logit = sum(outputs[i if p in first else j, p] for p in range(P))
    share = len(first) / P
    return share * log_loss(logit, labels[i]) + (1 - share) * log_loss(logit, labels[j])


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_cutout_is_the_mean_over_all_cuts(outputs: Tensor, positive: Tensor, cut: int) -> None:
    x, y = outputs.numpy(), positive.numpy()

    def loss(s: int, i: int, away: tuple[int, ...]) -> float:
        return log_loss(sum(x[s, i, p] for p in range(P) if p not in away), y[s, i])

    cuts = list(combinations(range(P), cut))
    values = [np.mean([loss(s, i, away) for i in range(N) for away in cuts]) for s in range(SEEDS)]
    np.testing.assert_allclose(Cutout(P, cut).value(outputs, positive), values)


def test_cutmix_is_the_mean_over_all_pairs_and_subsets(outputs: Tensor, positive: Tensor) -> None:
    values = [
        sum(
            probability * cutmix_of(outputs[s].numpy(), positive[s].numpy(), i, j, first) / N**2
            for first, probability in mixtures()
            for i in range(N)
            for j in range(N)
        )
        for s in range(SEEDS)
    ]
    np.testing.assert_allclose(LOSSES["cutmix"].value(outputs, positive), values)


def test_sampled_mixtures_come_to_the_expectation(outputs: Tensor, positive: Tensor) -> None:
    source = np.random.default_rng(1)
    x, y = outputs[0].numpy(), positive[0].numpy()
    draws = []
    for _ in range(4000):
        first = tuple(source.permutation(P)[: source.integers(P + 1)])
        draws.append(cutmix_of(x, y, *source.integers(N, size=2), first))
    error = np.std(draws) / np.sqrt(len(draws))
    exact = float(LOSSES["cutmix"].value(outputs, positive)[0])
    assert abs(np.mean(draws) - exact) < 4 * error


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_that_of_the_value(name: str, outputs: Tensor, positive: Tensor) -> None:
    loss = LOSSES[name]
    outputs.requires_grad_()
    (expected,) = torch.autograd.grad(loss.value(outputs, positive).sum(), outputs)
    torch.testing.assert_close(loss.gradient(outputs.detach(), positive), expected)


@pytest.mark.parametrize("patches", [3, 5, 10])
def test_the_balanced_optimum_is_that_of_one_unknown(patches: int) -> None:
    """With balanced labels both outputs are the same number c, and half of the pairs agree."""

    def loss(c: float) -> float:
        alike = log_loss(patches * c, 1)
        mixed = 0.0
        for taken in range(patches + 1):
            share, logit = taken / patches, (2 * taken - patches) * c
            mixed += share * log_loss(logit, 1) + (1 - share) * log_loss(logit, 0)
        return 0.5 * alike + 0.5 * mixed / (patches + 1)

    expected = minimize_scalar(loss, bounds=(0, 4), method="bounded", options={"xatol": 1e-9})
    best = cutmix_optimum(patches)
    assert best.positive == pytest.approx(expected.x, abs=1e-5)
    assert best.negative == pytest.approx(expected.x, abs=1e-5)
    assert best.loss == pytest.approx(expected.fun, abs=1e-12)


@pytest.mark.parametrize("ones", [1, 3, 5])
def test_nothing_pulls_at_the_optimum(ones: int) -> None:
    """The loss is convex in the outputs: where its gradient is 0, it is lowest."""
    positive = (torch.arange(6) < ones).double()[None]
    best = cutmix_optimum(P, ones / 6)
    on_patch = positive * best.positive - (1 - positive) * best.negative
    outputs = on_patch[..., None].expand(1, 6, P)
    loss = CutMix(P)
    torch.testing.assert_close(float(loss.value(outputs, positive)), best.loss)
    assert float(loss.gradient(outputs, positive).abs().max()) < 1e-6


def test_two_patches_have_no_optimum() -> None:
    with pytest.raises(UserError, match="3 patches or more"):
        cutmix_optimum(2)


@pytest.mark.parametrize("cut", [-1, 4])
def test_some_patch_must_be_left(cut: int) -> None:
    with pytest.raises(UserError, match=f"from 0 to 3 patches, got {cut}"):
        Cutout(4, cut)
