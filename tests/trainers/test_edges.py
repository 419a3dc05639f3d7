"""Methods under regularizers, criteria and checkpointing, in pairs, on batches of odd sizes.

No method is known by name: what sets one apart is declared in its `traits`.
"""

from functools import partial
from itertools import combinations, product

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot
from torch.utils.checkpoint import checkpoint

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.models.classifier import wrap
from catchup_eval.trainers.base import traits_of
from catchup_eval.trainers.mixing import METHODS, default_settings
from catchup_eval.trainers.regularizers import REGULARIZERS, regularize

CLASSES = 4
WEIGHT = torch.tensor([0.1, 3.0, 1.0, 0.4])
SIZES = (5, 1)  # of the batches of two steps
CHEAP = {"part": 3, "turns": 1}  # settings that cost less and change nothing else
every_method = pytest.mark.parametrize("name", METHODS)


class Block(nn.Module):
    def __init__(self, into, out):
        super().__init__()
        self.conv = nn.Conv2d(into, out, 3, 2, 1, bias=False)
        # Without momentum: torch updates running statistics again as it recomputes.
        self.norm = nn.BatchNorm2d(out, momentum=0.0)
        self.shortcut = nn.Conv2d(into, out, 1, 2)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)) + self.shortcut(x))


class Net(nn.Module):
    """Two residual blocks that may be recomputed in the backward pass, `reentrant` or not."""

    def __init__(self, reentrant=None, dropout=0.2):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.one, self.two = Block(4, 6), Block(6, 8)
        self.drop, self.pool = nn.Dropout(dropout), nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, CLASSES)
        self.reentrant = reentrant

    def blocks(self, x):
        return self.drop(self.two(self.one(x)))

    def forward(self, x):
        x = self.stem(x)
        if self.reentrant is None or not torch.is_grad_enabled():
            x = self.blocks(x)
        else:
            x = checkpoint(self.blocks, x, use_reentrant=self.reentrant)
        return self.head(self.pool(x).flatten(1))


def weighted(logits, labels):
    """Weighted cross-entropy written by hand, for labels (N,) or probabilities (N, K)."""
    if labels.ndim == 1:
        labels = one_hot(labels, CLASSES)
    each = -logits.log_softmax(1) * labels * WEIGHT
    return each.sum() / (labels * WEIGHT).sum()


def focal(logits, labels):
    """In place, so that vmap cannot run it."""
    if labels.ndim == 1:
        labels = one_hot(labels, CLASSES)
    log = logits.log_softmax(1)
    loss = torch.zeros(len(logits)).to(log)
    loss += (-((1 - log.exp()) ** 2) * log * labels).sum(1)
    return loss.mean()


CRITERIA = {
    "the regularizer's own": None,
    "weighted": nn.CrossEntropyLoss(weight=WEIGHT),
    "weighted and smoothed": partial(cross_entropy, weight=WEIGHT, label_smoothing=0.1),
    "smoothed sum": nn.CrossEntropyLoss(label_smoothing=0.2, reduction="sum"),
    "weighted by hand": weighted,
    "focal": focal,
}


def new_model(**options):
    with fork_global_rng(generator(0)):
        net = Net(**options)
    return wrap(net, stages=["stem", "one", "two"], mean=(0.4,) * 3, std=(0.2,) * 3)


def new_batch(size, side=16):
    source = torch.Generator().manual_seed(size)
    images = torch.rand(size, 3, side, side, generator=source)
    return images, torch.randint(CLASSES, (size,), generator=source)


def built(name, model, regularizer=None, criterion=None, **settings):
    """A method under a regularizer; a criterion of one's own wins over the regularizer's."""
    on = regularize(model, {} if regularizer is None else {regularizer: {}})
    with fork_global_rng(generator(1)):
        settings |= {key: CHEAP[key] for key in CHEAP if key in default_settings(name)}
        method = METHODS[name](model, criterion=criterion or on.criterion, **settings)
    method = on.wrap(method)
    if regularizer is not None:
        method.set_progress(1.0)
    return method


def steps(method, model, autocast=False):
    """Loss and gradients of a step for each of `SIZES`."""
    draw, seen = generator(2), []
    with fork_global_rng(generator(3)):  # dropout
        for size in SIZES:
            model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = method(*new_batch(size), draw)
            loss.backward()
            seen.append((loss.detach(), [parameter.grad for parameter in model.parameters()]))
    return seen


def pairs():
    """Rows in which any two of method, regularizer, criterion and kind of checkpointing meet."""
    criteria = list(CRITERIA)
    return [
        (name, regularizer, criteria[(i + k) % len(criteria)], bool((i // 2 + k) % 2))
        for i, name in enumerate(METHODS)
        for k, regularizer in enumerate([None, *REGULARIZERS])
    ]


def test_any_two_meet():
    kinds = (METHODS, [None, *REGULARIZERS], CRITERIA, [True, False])
    for (i, first), (k, second) in combinations(enumerate(kinds), 2):
        assert {(row[i], row[k]) for row in pairs()} == set(product(first, second))


@pytest.mark.parametrize("name, regularizer, criterion, reentrant", pairs())
def test_steps_are_sound_and_the_same_under_checkpointing(name, regularizer, criterion, reentrant):
    seen = []
    for options in ({}, {"reentrant": reentrant}):
        model = new_model(**options)
        seen.append(steps(built(name, model, regularizer, CRITERIA[criterion]), model))
    for (loss, gradients), (again, recomputed) in zip(*seen):
        assert loss.isfinite() and loss.shape == ()
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        torch.testing.assert_close(again, loss)
        torch.testing.assert_close(recomputed, gradients)


@every_method
def test_class_weights_are_the_same_however_they_are_written(name):
    spellings = [nn.CrossEntropyLoss(WEIGHT), partial(cross_entropy, weight=7 * WEIGHT)]
    if not traits_of(METHODS[name](new_model())).probabilities:  # torch divides by N for them
        spellings += [weighted]
    seen = []
    for criterion in spellings:
        model = new_model()
        seen.append(steps(built(name, model, criterion=criterion), model))
    for other in seen[1:]:
        for (loss, gradients), (same, alike) in zip(seen[0], other):
            torch.testing.assert_close(same, loss, rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(alike, gradients, rtol=1e-3, atol=1e-5)


@every_method
def test_class_weights_are_not_lost(name):
    model, images = new_model(dropout=0.0), new_batch(4)[0]
    losses = []
    for criterion in (nn.CrossEntropyLoss(WEIGHT), weighted, cross_entropy):
        method = built(name, model, criterion=criterion)
        losses.append(method(images, torch.tensor([0, 1, 2, 3]), generator(5)).item())
    assert losses[2] not in [pytest.approx(loss, rel=1e-3) for loss in losses[:2]]


@every_method
@pytest.mark.parametrize("criterion", [name for name in CRITERIA if CRITERIA[name]])
def test_where_nothing_is_mixed_the_loss_is_the_criterions(name, criterion):
    model = new_model(dropout=0.0)
    settings = default_settings(name)
    nothing = {key: 0 for key in ("alpha", "probability") if key in settings}
    inside = {"layers": [1, 2, 3]} if "layers" in settings else {}
    method = built(name, model, criterion=CRITERIA[criterion], **nothing, **inside)
    images, labels = new_batch(5)
    for _ in range(2):
        ours = method(images, labels, generator(0))
        torch.testing.assert_close(ours, CRITERIA[criterion](model(images), labels))


@every_method
def test_a_criterion_that_gives_many_numbers_is_refused(name):
    model = new_model()
    method = built(name, model, criterion=nn.CrossEntropyLoss(reduction="none"))
    with pytest.raises(UserError, match=r"one number for a batch .* got \(5,\)"):
        for _ in range(2):
            method(*new_batch(5), generator(0))


@every_method
def test_images_that_the_criterion_leaves_out(name):
    """`ignore_index`: their labels count nothing; probabilities cannot say so."""
    model = new_model()
    method = built(name, model, criterion=nn.CrossEntropyLoss(ignore_index=0))
    images, labels = new_batch(5)[0], torch.tensor([0, 1, 2, 0, 3])
    if traits_of(method).probabilities:
        with pytest.raises(UserError, match="takes labels as probabilities"):
            method(images, labels, generator(0))
        return
    draw = generator(0)
    for _ in range(4):
        assert method(images, labels, draw).isfinite()


@every_method
def test_mixed_precision_with_a_weighted_and_smoothed_criterion(name):
    for criterion in ("weighted and smoothed", "focal"):
        model = new_model(dropout=0.0)
        method = built(name, model, "dropblock", CRITERIA[criterion])
        for loss, gradients in steps(method, model, autocast=True):
            assert loss.isfinite() and loss.dtype == torch.float32
            assert all(gradient.isfinite().all() for gradient in gradients)


@every_method
def test_traits_are_declared(name):
    method = METHODS[name](new_model())
    assert traits_of(method).stateful == isinstance(method, nn.Module)
