"""The counts are exact; the times are those of a clock of our own, since machines are noisy."""

from pathlib import Path

import pytest
import torch

from catchup_eval.trainers.base import StatelessMethod
from catchup_eval.trainers.mixing import METHODS
from catchup_eval.trainers.mixing.baseline import baseline

pytestmark = pytest.mark.trained
FREE = ("baseline", "input_mixup", "cutmix", "manifold_mixup", "catchup", "random_channel")


@pytest.fixture
def overhead(monkeypatch):
    """`benchmarks/overhead.py`, and a clock that goes on by one in each forward pass."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import machine
    import overhead

    ticks = []
    monkeypatch.setattr(machine, "process_time", lambda: len(ticks))

    def measure(model, methods, batch, rounds):
        model.register_forward_hook(lambda *_: ticks.append("tick"))
        return overhead.overhead(model, methods, *batch, rounds=rounds)

    return measure


def twice(model):
    """A saliency pass as PuzzleMix has it, then the baseline."""

    def loss(images, labels, rng):
        points = images.clone().requires_grad_()
        torch.autograd.grad(model(points).logsumexp(1).sum(), points)
        return baseline(model)(images, labels, rng)

    return StatelessMethod(loss)


def test_passes_are_counted_and_timed(overhead, new_model, new_batch):
    model = new_model()
    sides = {name: METHODS[name](model) for name in FREE} | {"twice": twice(model)}
    costs = overhead(model, sides, new_batch(), rounds=2)
    for name, cost in costs.items():
        passes = 2 if name == "twice" else 1
        assert (cost.forwards, cost.backwards) == (passes, passes), name
        assert cost.quartiles == (passes,) * 3, name
    assert len(model._forward_hooks) == 1 + 3  # the clock's, and of methods that mix features


def test_no_hook_is_left(overhead, new_model, new_batch):
    model = new_model()
    overhead(model, {"baseline": baseline(model)}, new_batch(), rounds=1)
    assert len(model._forward_hooks) == 1  # the clock's
