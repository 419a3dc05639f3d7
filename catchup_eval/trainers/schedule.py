"""Learning rates as functions of the step: nothing to remember, nothing to save."""

from math import cos, pi
from typing import Annotated, Literal

from pydantic import Field, field_validator

from catchup_eval.settings import Settings


class StepSchedule(Settings):
    """Multiplied by `gamma` after each epoch that is a milestone."""

    kind: Literal["step"] = "step"
    milestones: Annotated[tuple[int, ...], Field(strict=False)]
    gamma: Annotated[float, Field(gt=0)] = 0.1

    @field_validator("milestones")
    @classmethod
    def _rising(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        if list(milestones) != sorted({*milestones}) or any(epoch < 1 for epoch in milestones):
            raise ValueError(f"expected milestones as rising epochs from 1, got {[*milestones]}")
        return milestones

    def factor(self, step: int, *, steps_per_epoch: int, epochs: int) -> float:
        """The share of the recipe's learning rate that step `step` (0 = first) takes."""
        epoch = step // steps_per_epoch
        return self.gamma ** sum(epoch >= milestone for milestone in self.milestones)


class CosineSchedule(Settings):
    """Half a cosine from the recipe's rate to zero (Loshchilov and Hutter 2017, without restarts).

    Constant within an epoch, as in the mixup papers' code, or falling with each step.
    """

    kind: Literal["cosine"] = "cosine"
    every: Literal["epoch", "step"] = "epoch"

    def factor(self, step: int, *, steps_per_epoch: int, epochs: int) -> float:
        """The share of the recipe's learning rate that step `step` (0 = first) takes."""
        epoch = step / steps_per_epoch if self.every == "step" else step // steps_per_epoch
        return (1 + cos(pi * epoch / epochs)) / 2


class OneCycleSchedule(Settings):
    """Up to the recipe's rate and down to almost nothing, along cosines, changing with each step.

    Smith and Topin 2018, as torch's `OneCycleLR` has it; the momentum stays as it is.
    """

    kind: Literal["one_cycle"] = "one_cycle"
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.3  # share of the steps that go up
    start_divisor: Annotated[float, Field(ge=1)] = 25.0  # the first step's rate is 1/25
    end_divisor: Annotated[float, Field(ge=1)] = 1e4  # the last step's is this far below the first

    def factor(self, step: int, *, steps_per_epoch: int, epochs: int) -> float:
        """The share of the recipe's learning rate that step `step` (0 = first) takes."""
        last = epochs * steps_per_epoch - 1
        top = self.warmup * (last + 1) - 1
        start = 1 / self.start_divisor
        if step < top:
            return _cosine(start, 1.0, step / top)
        return _cosine(1.0, start / self.end_divisor, (step - top) / (last - top))


def _cosine(start: float, end: float, share: float) -> float:
    """From `start` (share 0) to `end` (share 1) along half a cosine."""
    return end + (start - end) * (1 + cos(pi * share)) / 2


Schedule = Annotated[StepSchedule | CosineSchedule | OneCycleSchedule, Field(discriminator="kind")]
