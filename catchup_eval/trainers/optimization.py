"""The optimiser: what is trained, and at which rate.

Learning rates are functions of the step: nothing to remember, nothing to save.
"""

from math import cos, pi
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import nn

from catchup_eval.core.settings import Count, NonNegative, Positive, Settings, Several
from catchup_eval.models.classifier import Classifier
from catchup_eval.trainers.base import Loss


class StepSchedule(Settings):
    """Multiplied by `gamma` after each epoch that is a milestone."""

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

    Constant within an epoch, as in the mixup papers' code, or falling with each step.
    """

    kind: Literal["cosine"] = "cosine"
    every: Literal["epoch", "step"] = "epoch"

    def factor(self, step: int, *, steps_per_epoch: int, epochs: int) -> float:
        """The fraction of the recipe's learning rate that step `step` (0 = first) takes."""
        epoch = step / steps_per_epoch if self.every == "step" else step // steps_per_epoch
        return (1 + cos(pi * epoch / epochs)) / 2


class OneCycleSchedule(Settings):
    """Up to the recipe's rate and down to almost nothing, along cosines, changing with each step.

    Smith and Topin 2018, as torch's `OneCycleLR` has it; the momentum stays as it is.
    """

    kind: Literal["one_cycle"] = "one_cycle"
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.3  # fraction of the steps that go up
    start_divisor: Annotated[float, Field(ge=1, le=1e12)] = 25.0  # the first step's rate is 1/25
    # The last step's is this far below the first.
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


class Optimiser(Settings):
    """Stochastic gradient descent.

    Attributes:
        lr: the learning rate that the schedule takes fractions of.
        head_lr: another one for the last linear layer and for what a method adds, as in
            fine-tuning; `lr` where it is not given.
    """

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


def make_optimiser(model: Classifier, method: Loss, settings: Optimiser) -> torch.optim.SGD:
    """SGD over all parameters that are to be trained, those that the method adds included.

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
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov,
        fused=all(parameter.is_cuda for parameter in body + head) or None,
    )


def load_optimiser_state(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Go on from a state, computing it as is best here, wherever it was saved."""
    optimiser.load_state_dict(state)
    for group in optimiser.param_groups:
        group["fused"] = optimiser.defaults["fused"]


def _trainable_parameters(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
