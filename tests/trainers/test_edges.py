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
from catchup_eval.models.wrapping import wrap
from catchup_eval.trainers.mixing import METHODS, default_settings
from catchup_eval.trainers.regularizers import REGULARIZERS, regularize

CLASSES = 4
WEIGHT = torch.tensor([0.1, 3.0, 1.0, 0.4])
SIZES = (5, 1)  # of the batches of two steps
# settings that cost less and change nothing else
CHEAP = {"part": 3, "turns": 1, "blocks": {int: 2, tuple: (2, 4)}}
every_method = pytest.mark.parametrize("name", METHODS)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, 2, 1, bias=False)
        # Without momentum: torch updates running statistics again as it recomputes.
        self.norm = nn.BatchNorm2d(8, momentum=0.0)
        self.shortcut = nn.Conv2d(8, 8, 1, 2)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)) + self.shortcut(x))


class Net(nn.Module):
    """Two residual blocks that may be recomputed in the backward pass, `reentrant` or not.

    oneDNN#6035: with fewer than 8 channels the backward pass may write beyond its memory.
    """

    def __init__(self, reentrant=None, dropout=0.2):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.one, self.two = Block(), Block()
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


def make_model(**options):
    with fork_global_rng(generator(0)):
        net = Net(**options)
    return wrap(net, stages=["stem", "one", "two"], mean=(0.4,) * 3, std=(0.2,) * 3)


def make_batch(size):
    source = torch.Generator().manual_seed(size)
    images = torch.rand(size, 3, 8, 8, generator=source)
    return images, torch.randint(CLASSES, (size,), generator=source)


def make(name, model, regularizer=None, criterion=None, **settings):
    """A method under a regularizer; a criterion of one's own wins over the regularizer's."""
    on = regularize(model, {} if regularizer is None else {regularizer: {}})
    for key, own in default_settings(name).items():
        if key in CHEAP:
            settings[key] = CHEAP[key][type(own)] if key == "blocks" else CHEAP[key]
    with fork_global_rng(generator(1)):
        method = METHODS[name](model, criterion=criterion or on.criterion, **settings)
    method = on.wrap(method)
    if regularizer is not None:
        method.set_progress(1.0)
    return method


def steps(method, model, autocast=False):
    """Loss and gradients of a step for each of `SIZES`."""
    rng, seen = generator(2), []
    with fork_global_rng(generator(3)):  # dropout
        for size in SIZES:
            model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = method(*make_batch(size), rng)
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
        model = make_model(**options)
        seen.append(steps(make(name, model, regularizer, CRITERIA[criterion]), model))
    for (loss, gradients), (again, recomputed) in zip(*seen):
        assert loss.isfinite() and loss.shape == ()
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        torch.testing.assert_close(again, loss)
        torch.testing.assert_close(recomputed, gradients)


@every_method
def test_class_weights_are_the_same_however_they_are_written_and_not_lost(name):
    spellings = [nn.CrossEntropyLoss(WEIGHT), partial(cross_entropy, weight=7 * WEIGHT)]
    if not METHODS[name](make_model()).traits.probabilities:  # torch divides by N for them
        spellings += [weighted]
    first, *others, plain = (
        steps(make(name, model := make_model(), criterion=criterion), model)
        for criterion in [*spellings, cross_entropy]
    )
    for other in others:
        for (loss, gradients), (same, alike) in zip(first, other):
            torch.testing.assert_close(same, loss, rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(alike, gradients, rtol=1e-3, atol=1e-5)
    assert plain[0][0].item() != pytest.approx(first[0][0].item(), rel=1e-3)


@every_method
def test_where_nothing_is_mixed_the_loss_is_the_criterions(name):
    model, settings = make_model(dropout=0.0), default_settings(name)
    nothing = {key: 0 for key in ("alpha", "probability") if key in settings}
    inside = {"layers": [1, 2, 3]} if "layers" in settings else {}
    images, labels = make_batch(5)
    for criterion in filter(None, CRITERIA.values()):
        method = make(name, model, criterion=criterion, **nothing, **inside)
        for _ in range(2):
            ours = method(images, labels, generator(0))
            torch.testing.assert_close(ours, criterion(model(images), labels))
        method.close()


@every_method
def test_a_criterion_that_gives_many_numbers_is_refused(name):
    method = make(name, make_model(), criterion=nn.CrossEntropyLoss(reduction="none"))
    with pytest.raises(UserError, match=r"one number for a batch .* got \(5,\)"):
        for _ in range(2):
            method(*make_batch(5), generator(0))


@every_method
def test_images_that_the_criterion_leaves_out(name):
    """`ignore_index`: their labels count nothing; probabilities cannot say so."""
    method = make(name, make_model(), criterion=nn.CrossEntropyLoss(ignore_index=0))
    images, labels = make_batch(5)[0], torch.tensor([0, 1, 2, 0, 3])
    if method.traits.probabilities:
        with pytest.raises(UserError, match="takes labels as probabilities"):
            method(images, labels, generator(0))
        return
    rng = generator(0)
    for _ in range(4):
        assert method(images, labels, rng).isfinite()


@every_method
def test_mixed_precision_with_a_weighted_and_smoothed_criterion(name):
    for criterion in ("weighted and smoothed", "focal"):
        model = make_model(dropout=0.0)
        method = make(name, model, "dropblock", CRITERIA[criterion])
        for loss, gradients in steps(method, model, autocast=True):
            assert loss.isfinite() and loss.dtype == torch.float32
            assert all(gradient.isfinite().all() for gradient in gradients)


@every_method
def test_traits_are_declared(name):
    method = METHODS[name](make_model())
    assert method.traits.stateful == isinstance(method, nn.Module)
