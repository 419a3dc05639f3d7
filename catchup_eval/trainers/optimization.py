"""The optimiser: what is trained, at which rate, and the average of what it leaves.

Learning rates are functions of the step: nothing to remember, nothing to save.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import cos, pi
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Discriminator, Field, Tag, field_validator, model_validator
from torch import Tensor, nn

from catchup_eval.core.settings import (
    MOST,
    TAG,
    Count,
    Fraction,
    NonNegative,
    Pair,
    Positive,
    Settings,
    Several,
)
from catchup_eval.models.classifier import Classifier
from catchup_eval.trainers.base import Loss


class StepSchedule(Settings):
    """Multiplied by `gamma` after each epoch that is a milestone.

    Attributes:
        milestones: epochs from 1, rising.
        gamma: what the rate is multiplied by.
    """

    kind: Literal["step"] = "step"
    milestones: Several[Count]
    gamma: Positive = 0.1

    @field_validator("milestones")
    @classmethod
    def _check_increasing(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        if list(milestones) != sorted({*milestones}):
            raise ValueError(f"expected milestones as rising epochs from 1, got {[*milestones]}")
        return milestones

    def factor(self, step: int, *, steps_per_epoch: int, epochs: int) -> float:
        """The fraction of the recipe's learning rate that step `step` (0 = first) takes."""
        epoch = step // steps_per_epoch
        return self.gamma ** sum(epoch >= milestone for milestone in self.milestones)


class CosineSchedule(Settings):
    """Half a cosine from the recipe's rate to zero (Loshchilov and Hutter 2017, without restarts).

    Attributes:
        every: constant within an epoch, as in the mixup papers' code, or changing with each step.
        warmup_epochs: first the rate rises linearly for so many epochs (Goyal et al. 2017), as
            torch's `LinearLR` has it; the cosine takes the epochs that are left.
        warmup_start: the fraction of the recipe's rate that the rise begins with.
        end: the fraction of it that the cosine comes down to.
    """

    kind: Literal["cosine"] = "cosine"
    every: Literal["epoch", "step"] = "epoch"
    warmup_epochs: Annotated[int, Field(ge=0, le=MOST)] = 0
    warmup_start: Fraction = 0.01
    end: Fraction = 0.0

    def factor(self, step: int, *, steps_per_epoch: int, epochs: int) -> float:
        """The fraction of the recipe's learning rate that step `step` (0 = first) takes."""
        epoch = step / steps_per_epoch if self.every == "step" else step // steps_per_epoch
        if epoch < self.warmup_epochs:
            return self.warmup_start + (1 - self.warmup_start) * epoch / self.warmup_epochs
        done, whole = epoch - self.warmup_epochs, epochs - self.warmup_epochs
        return self.end + (1 - self.end) * (1 + cos(pi * done / whole)) / 2


class OneCycleSchedule(Settings):
    """Up to the recipe's rate and down to almost nothing, along cosines, changing with each step.

    Smith and Topin 2018, as torch's `OneCycleLR` has it; the momentum stays as it is.

    Attributes:
        warmup: the fraction of the steps that go up.
        start_divisor: the first step's rate is the recipe's by this.
        end_divisor: the last step's rate is the first's by this.
    """

    kind: Literal["one_cycle"] = "one_cycle"
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.3
    start_divisor: Annotated[float, Field(ge=1, le=1e12)] = 25.0
    end_divisor: Annotated[float, Field(ge=1, le=1e12)] = 1e4

    def factor(self, step: int, *, steps_per_epoch: int, epochs: int) -> float:
        """The fraction of the recipe's learning rate that step `step` (0 = first) takes."""
        last = epochs * steps_per_epoch - 1
        top = self.warmup * (last + 1) - 1
        start = 1 / self.start_divisor
        if step < top:
            return _cosine(start, 1.0, step / top)
        return _cosine(1.0, start / self.end_divisor, (step - top) / (last - top))


def _cosine(start: float, end: float, progress: float) -> float:
    """From `start` (progress 0) to `end` (progress 1) along half a cosine."""
    return end + (start - end) * (1 + cos(pi * progress)) / 2


Schedule = Annotated[StepSchedule | CosineSchedule | OneCycleSchedule, Field(discriminator="kind")]


class SGD(Settings):
    """Stochastic gradient descent.

    Attributes:
        lr: the learning rate that the schedule takes fractions of.
        head_lr: another one for the last linear layer and for what a method adds, as in
            fine-tuning; `lr` where it is not given.
        momentum: of the gradients.
        weight_decay: added to the gradient, times the weight.
        nesterov: Nesterov's momentum.
    """

    kind: Literal["sgd"] = "sgd"
    lr: Positive
    head_lr: Positive | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegative = 0.0
    nesterov: bool = False

    @model_validator(mode="after")
    def _check_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("optimiser.nesterov needs a momentum above 0, got 0")
        return self


class AdamW(Settings):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as torch's `AdamW` has it.

    Attributes:
        lr: the learning rate that the schedule takes fractions of.
        head_lr: another one for the last linear layer and for what a method adds, as in
            fine-tuning; `lr` where it is not given.
        betas: of the means of gradients and of their squares.
        eps: added to the root of the latter.
        weight_decay: taken off each weight, times the weight and its learning rate.
    """

    kind: Literal["adamw"] = "adamw"
    lr: Positive
    head_lr: Positive | None = None
    betas: Pair[Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0, le=1)] = 1e-8
    weight_decay: NonNegative = 0.01


def _kind(values: Any) -> str:
    """What a table says; it may be silent, as all did before there was a second optimiser."""
    found = values.get(TAG, "sgd") if isinstance(values, Mapping) else getattr(values, TAG, "sgd")
    return str(found)


Optimiser = Annotated[
    Annotated[SGD, Tag("sgd")] | Annotated[AdamW, Tag("adamw")], Discriminator(_kind)
]


def make_optimiser(
    model: Classifier, method: Loss, settings: SGD | AdamW
) -> torch.optim.SGD | torch.optim.AdamW:
    """The optimiser of all parameters that are to be trained, those that the method adds included.

    On CUDA one kernel moves them all (`fused`). On a CPU that would save less than 1 % of a step,
    and round otherwise.
    """
    network = dict.fromkeys(_trainable_parameters(model))
    own = _trainable_parameters(method) if isinstance(method, nn.Module) else []
    added = [parameter for parameter in own if parameter not in network]
    head = [] if settings.head_lr is None else _trainable_parameters(model.head) + added
    of_head = {*head}
    body = [parameter for parameter in (*network, *added) if parameter not in of_head]
    groups: list[dict[str, Any]] = [
        {"params": body, "base_lr": settings.lr},
        {"params": head, "base_lr": settings.head_lr},
    ]
    make = torch.optim.SGD if isinstance(settings, SGD) else torch.optim.AdamW
    return make(
        [group for group in groups if group["params"]],
        fused=all(parameter.is_cuda for parameter in body + head) or None,
        **settings.model_dump(exclude={TAG, "head_lr"}),
    )


def load_optimiser_state(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Go on from a state, computing it as is best here, wherever it was saved."""
    optimiser.load_state_dict(state)
    for group in optimiser.param_groups:
        group["fused"] = optimiser.defaults["fused"]


def _trainable_parameters(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


class AverageSettings(Settings):
    """An exponential moving average of the weights and of the batch norms' statistics.

    Attributes:
        decay: the fraction of the average that each step keeps.
        warmup: keep less at first: 1 - (1 + n) ** (-2/3) in the n-th step after the first, as timm
            has it, as long as this is below `decay`.
    """

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9999
    warmup: bool = False


class WeightAverage:
    """The exponential moving average of all that a network's state dict has.

    It begins as what the first step leaves. Whole numbers are not averaged: the last ones count. As
    timm's `ModelEmaV3`, or torch's `AveragedModel` with `use_buffers`.

    Attributes:
        tensors: by name; empty before the first step.
    """

    def __init__(self, model: nn.Module, settings: AverageSettings):
        self._model, self._settings = model, settings
        self.tensors: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in what the step of this number, from 1, has left."""
        now = self._model.state_dict()
        if not self.tensors:
            self.tensors = {name: value.clone() for name, value in now.items()}
            return
        decay = self._settings.decay
        if self._settings.warmup:
            decay = min(decay, 1 - step ** (-2 / 3))
        averaged = [name for name, value in now.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self.tensors[name] for name in averaged], [now[name] for name in averaged], 1 - decay
        )
        for name in now.keys() - averaged:
            self.tensors[name].copy_(now[name])

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from these."""
        own = self._model.state_dict()
        self.tensors = {n: torch.empty_like(own[n]).copy_(value) for n, value in tensors.items()}

    @contextmanager
    def in_the_network(self) -> Iterator[None]:
        """For a while the network has the average, where there is one, in place of its weights."""
        own = self._model.state_dict()
        before = {name: own[name].clone() for name in self.tensors}
        try:
            with torch.no_grad():
                for name, value in self.tensors.items():
                    own[name].copy_(value)
            yield
        finally:
            with torch.no_grad():
                for name, value in before.items():
                    own[name].copy_(value)
