from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from catchup_eval.core.errors import UserError
from catchup_eval.trainers.mixing.shared.criteria import (
    Weights,
    batch_loss,
    mixed_labels_loss,
    sample_losses,
    weighted_loss,
)

LOGITS = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 0])
WEIGHT = torch.tensor([1.0, 2.0, 0.0, 5.0])
COUNTS = 5 * WEIGHT[LABELS] / 9  # the weights of the batch sum to 9
PARTNER = torch.tensor([1, 2, 3, 4, 0])


def by_hand(logits, labels):
    """Of labels (N,), in place and by a loop, so that vmap cannot run it."""
    total, weights = torch.zeros(1), 0.0
    for logit, label in zip(logits.log_softmax(1), labels):
        weight = float(WEIGHT[label])
        total += -weight * logit[label]
        weights += weight
    return (total / weights).squeeze()


WEIGHTED = {
    "module": nn.CrossEntropyLoss(WEIGHT),
    "partial": partial(cross_entropy, weight=WEIGHT),
    "function": lambda logits, labels: cross_entropy(logits, labels, WEIGHT),
    "by hand": by_hand,
}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_of_a_plain_mean_they_are_what_reduction_none_gives(smoothing):
    expected = cross_entropy(LOGITS, LABELS, reduction="none", label_smoothing=smoothing)
    for criterion in (
        partial(cross_entropy, label_smoothing=smoothing),
        lambda logits, labels: cross_entropy(logits, labels, label_smoothing=smoothing),
    ):
        assert torch.equal(sample_losses(criterion, LOGITS, LABELS), expected)


@pytest.mark.parametrize("name", WEIGHTED)
def test_class_weights_count_as_in_the_batch(name):
    """Each sample's loss times N w / sum(w); alone, a sample's weight would fall out."""
    plain = cross_entropy(LOGITS, LABELS, reduction="none")
    ours = sample_losses(WEIGHTED[name], LOGITS, LABELS)
    torch.testing.assert_close(ours, COUNTS * plain)
    torch.testing.assert_close(ours.mean(), cross_entropy(LOGITS, LABELS, WEIGHT))


@pytest.mark.parametrize("name", WEIGHTED)
def test_what_a_label_counts_goes_with_it_to_other_images(name):
    sources = torch.stack([PARTNER, PARTNER.flip(0)])
    plain = torch.stack([cross_entropy(LOGITS, LABELS[s], reduction="none") for s in sources])
    ours = sample_losses(WEIGHTED[name], LOGITS, LABELS, sources)
    torch.testing.assert_close(ours, COUNTS[sources] * plain)


@pytest.mark.parametrize("name", WEIGHTED)
def test_one_weight_for_all_is_the_pairs_loss(name):
    """lam * criterion(a) + (1 - lam) * criterion(b), and its gradients."""
    criterion, logits = WEIGHTED[name], LOGITS.clone().requires_grad_()
    weights = Weights(torch.full((5,), 0.3), torch.full((5,), 0.7))
    ours = weighted_loss(criterion, logits, LABELS, PARTNER, weights)
    theirs = 0.3 * criterion(logits, LABELS) + 0.7 * criterion(logits, LABELS[PARTNER])
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)
    assert gradients[0].isfinite().all()


def test_the_divisor_is_that_of_the_plain_criterion_when_weights_differ():
    """Two images of classes that weigh 1 and 3: the divisor is 4 whatever the mixture."""
    weight, labels = torch.tensor([1.0, 3.0]), torch.tensor([0, 1])
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    mixture = Weights(torch.tensor([1.0, 0.25]), torch.tensor([0.0, 0.75]))
    a, b = cross_entropy(logits, labels, reduction="none")
    other = cross_entropy(logits[1:], labels[:1])
    expected = (1 * 1 * a + 0.25 * 3 * b + 0.75 * 1 * other) / 4
    for criterion in (
        nn.CrossEntropyLoss(weight),
        lambda logits, labels: cross_entropy(logits, labels, weight),
    ):
        ours = weighted_loss(criterion, logits, labels, labels.flip(0), mixture)
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(
    "settings", [{"ignore_index": 0}, {"ignore_index": 0, "label_smoothing": 0.2}]
)
def test_labels_that_are_left_out_have_no_loss(settings):
    expected = cross_entropy(LOGITS, LABELS, **settings)
    for criterion in (
        nn.CrossEntropyLoss(**settings),
        lambda logits, labels: cross_entropy(logits, labels, **settings),
    ):
        ours = sample_losses(criterion, LOGITS, LABELS)
        assert ours[[0, 4]].tolist() == [0, 0]
        torch.testing.assert_close(ours.mean(), expected)


def test_a_sum_stays_a_sum():
    expected = cross_entropy(LOGITS, LABELS, WEIGHT, reduction="sum")
    for criterion in (
        nn.CrossEntropyLoss(WEIGHT, reduction="sum"),
        lambda logits, labels: cross_entropy(logits, labels, WEIGHT, reduction="sum"),
    ):
        ours = sample_losses(criterion, LOGITS, LABELS)
        torch.testing.assert_close(ours.mean(), expected)


def test_many_numbers_are_refused_before_they_are_broadcast():
    for ask in (batch_loss, sample_losses):
        with pytest.raises(UserError, match=r"one number for a batch .* got \(5,\)"):
            ask(nn.CrossEntropyLoss(reduction="none"), LOGITS, LABELS)


def test_half_precision_logits_are_not_rounded_further():
    half = LOGITS.bfloat16()
    for ask in (batch_loss, sample_losses):
        ours = ask(lambda logits, y: cross_entropy(logits, y), half, LABELS)
        assert torch.equal(ours, ask(cross_entropy, half.float(), LABELS))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_certain_probabilities_are_labels(smoothing):
    certain = one_hot(LABELS, 4).float()
    for weight in (None, WEIGHT):
        criterion = nn.CrossEntropyLoss(weight, label_smoothing=smoothing)
        ours = mixed_labels_loss(criterion, LOGITS, certain, LABELS)
        torch.testing.assert_close(ours, criterion(LOGITS, LABELS))


def test_a_criterion_that_takes_no_probabilities():
    soft = torch.full((5, 4), 0.25)
    for criterion in (by_hand, nn.CrossEntropyLoss(ignore_index=1)):
        with pytest.raises(UserError, match="takes labels as probabilities"):
            mixed_labels_loss(criterion, LOGITS, soft, LABELS)
