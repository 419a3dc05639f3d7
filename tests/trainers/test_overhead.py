"""The counts are exact; the times are those of a clock of our own, since machines are noisy."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from catchup_eval.models.classifier import Classifier
from catchup_eval.trainers.base import Method, StatelessMethod
from catchup_eval.trainers.mixing import METHODS, build
from catchup_eval.trainers.mixing.baseline import baseline
from catchup_eval.trainers.overhead import overhead

pytestmark = pytest.mark.trained
FREE = ("baseline", "input_mixup", "cutmix", "manifold_mixup", "catchup", "random_channel")


def batch() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    return torch.rand(6, 3, 16, 16, generator=source), torch.arange(6)


def test_methods_without_extra_passes_have_one_of_each(
    networks: Callable[..., Classifier],
) -> None:
    model = networks(0).train()
    sides = {name: build(name, model) for name in FREE}
    assert set(sides) <= set(METHODS)
    for name, cost in overhead(model, sides, *batch(), rounds=1).items():
        assert (cost.forwards, cost.backwards) == (1, 1), name
        assert cost.ratios.shape == (1,) and (cost.ratios > 0).all()


def twice(model: Classifier) -> Method:
    """A saliency pass as PuzzleMix has it, then the baseline."""

    def loss(images: Tensor, labels: Tensor, draw: np.random.Generator) -> Tensor:
        points = images.clone().requires_grad_()
        torch.autograd.grad(model(points).logsumexp(1).sum(), points)
        return baseline(model)(images, labels, draw)

    return StatelessMethod(loss, lambda: None)


def test_a_saliency_pass_is_counted_and_timed(
    networks: Callable[..., Classifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that goes on by one in each forward pass, whatever else the machine does."""
    model, clock = networks(0).train(), []
    model.register_forward_hook(lambda *_: clock.append("tick"))
    monkeypatch.setattr("catchup_eval.trainers.overhead.process_time", lambda: len(clock))
    cost = overhead(model, {"twice": twice(model)}, *batch(), rounds=2)["twice"]
    assert (cost.forwards, cost.backwards) == (2, 2)
    assert cost.quartiles == (2, 2, 2)


def test_no_hook_is_left(networks: Callable[..., Classifier]) -> None:
    model = networks(0).train()
    overhead(model, {"baseline": baseline(model)}, *batch(), rounds=1)
    assert not model._forward_hooks
