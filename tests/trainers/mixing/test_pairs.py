import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn.functional import cross_entropy, one_hot

from catchup_eval.core.rng import generator
from catchup_eval.trainers.mixing.shared.pairs import (
    Pairs,
    draw_pairs,
    pair_loss,
    weighted_mean,
)


def test_weighted_mean_by_hand():
    pairs = Pairs(0.25, torch.tensor([1, 0, 2]))
    values = torch.tensor([[0.0], [8.0], [5.0]])
    assert weighted_mean(values, pairs).tolist() == [[6.0], [2.0], [5.0]]


def test_pair_loss_is_cross_entropy_with_mixed_labels():
    draw = generator(0)
    logits, labels = torch.from_numpy(draw.normal(size=(6, 4))), torch.tensor([0, 1, 2, 3, 3, 0])
    pairs = draw_pairs(draw, 1.0, logits)
    mixed_labels = weighted_mean(one_hot(labels, 4).double(), pairs)
    ours = pair_loss(cross_entropy, logits, labels, pairs)
    torch.testing.assert_close(ours, cross_entropy(logits, mixed_labels))


@pytest.mark.parametrize("weight, other", [(1.0, [0, 1]), (0.0, [1, 0])])
def test_an_extreme_weight_takes_one_label(weight, other):
    logits, labels = torch.tensor([[2.0, 0.5], [0.3, 0.1]]), torch.tensor([0, 1])
    loss = pair_loss(cross_entropy, logits, labels, Pairs(weight, torch.tensor([1, 0])))
    assert loss == cross_entropy(logits, torch.tensor(other))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 10.0])
def test_weights_are_from_the_symmetric_beta_distribution(alpha):
    draw = generator(3)
    weights = [draw_pairs(draw, alpha, torch.zeros(2)).weight for _ in range(500)]
    # As far as five standard deviations.
    assert stats.kstest(weights, stats.beta(alpha, alpha).cdf).pvalue > 1e-6


def test_partners_are_a_permutation_and_uniform():
    draw = generator(4)
    partners = np.array([draw_pairs(draw, 1.0, torch.zeros(5)).partner for _ in range(600)])
    assert (np.sort(partners, axis=1) == np.arange(5)).all()
    counts = np.bincount(partners[:, 0], minlength=5)
    assert stats.chisquare(counts).pvalue > 1e-6  # as far as five standard deviations


def test_partners_go_where_the_images_are():
    assert (
        draw_pairs(generator(0), 1.0, torch.zeros(3, device="meta")).partner.device.type == "meta"
    )


def test_alpha_zero_mixes_nothing():
    assert draw_pairs(generator(0), 0, torch.zeros(3)).weight == 1.0
