"""A training under way: everything that one which goes on later must have again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from numpy.random import Generator
from torch import Tensor, nn

from catchup_eval.errors import UserError
from catchup_eval.models.classifier import Classifier
from catchup_eval.trainers.history import Epoch, History
from catchup_eval.trainers.mixing.method import Loss
from catchup_eval.trainers.optimiser import load_optimiser_state, make_optimiser
from catchup_eval.trainers.recipe import Recipe


@dataclass
class Run:
    """A training under way.

    Args:
        model, method, recipe: as :func:`~catchup_eval.trainers.fit.fit` has them.
        samples: in the training part.
        draw: the one generator of the training.
        device: where model and method are.
        history: the finished epochs.
        order: (N,) the rows of the present epoch, in its order; None between epochs.
        position: how many of them are done.
        loss: (), sum of their losses, on the device; reading it waits for the device.
        seconds: what they took.
        kept: the resume file that holds an earlier, sound state, if one has been written.
    """

    model: Classifier
    method: Loss
    recipe: Recipe
    samples: int
    draw: Generator
    device: torch.device
    history: History = field(default_factory=History)
    order: Tensor | None = None
    position: int = 0
    seconds: float = 0.0
    kept: Path | None = None

    def __post_init__(self) -> None:
        self.loss = torch.zeros((), device=self.device)
        self.optimiser = make_optimiser(self.model, self.method, self.recipe.optimiser)

    @property
    def epoch(self) -> int:
        """How many epochs are finished."""
        return len(self.history.epochs)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; the last may be smaller."""
        return ceil(self.samples / self.recipe.batch_size)

    @property
    def step(self) -> int:
        """How many steps are done since the training began."""
        return self.epoch * self.steps_per_epoch + ceil(self.position / self.recipe.batch_size)

    @property
    def steps(self) -> int:
        """How many steps the training has."""
        return self.recipe.epochs * self.steps_per_epoch

    @property
    def mixed_precision(self) -> bool:
        """Whether the forward pass is computed in bfloat16."""
        return self.recipe.precision == "bfloat16"

    def begin_epoch(self) -> None:
        """Draw the order of the next epoch; nothing in the midst of one."""
        if self.order is not None:
            return
        self.order = torch.from_numpy(self.draw.permutation(self.samples))
        start = getattr(self.method, "start_epoch", None)
        if start is not None:
            start()

    def batches(self, device: torch.device | None = None) -> Iterator[Tensor]:
        """The rows (N,) of each batch that is left of this epoch, on its device or another."""
        assert self.order is not None
        order = self.order.to(device or self.device)
        for start in range(self.position, self.samples, self.recipe.batch_size):
            yield order[start : start + self.recipe.batch_size]

    def set_learning_rates(self) -> None:
        """Each group's share for the next step, as the schedule says."""
        factor = self.recipe.schedule.factor(
            self.step, steps_per_epoch=self.steps_per_epoch, epochs=self.recipe.epochs
        )
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_lr"] * factor

    @property
    def learning_rate(self) -> float:
        """Of the base group, at the last step."""
        return float(self.optimiser.param_groups[0]["lr"])

    @contextmanager
    def timed(self) -> Iterator[None]:
        """What is done inside counts as training time."""
        started = perf_counter()
        yield
        self.seconds += perf_counter() - started

    def note(self, loss: Tensor, samples: int) -> None:
        """One more step is done, with this mean loss () over so many samples."""
        self.loss += loss.detach() * samples
        self.position += samples

    def finish_epoch(self, validation_loss: float, top1: float) -> None:
        """Put the epoch into the history."""
        train_loss = float(self.loss) / self.position
        self.history.epochs.append(
            Epoch(
                self.epoch + 1,
                train_loss,
                validation_loss,
                top1,
                self.seconds,
                self.learning_rate,
            )
        )
        self.order, self.position, self.seconds = None, 0, 0.0
        self.loss.zero_()

    def check_loss(self) -> None:
        """Stop where the loss is no number any more; waits for the device.

        Raises:
            UserError: it says where, and what to try.
        """
        if not bool(self.loss.isfinite()):
            raise self._diverged("the training loss")

    def check_weights(self) -> None:
        """The same for the loss and every weight: a last step can spoil them unseen by its loss."""
        self.check_loss()
        weights = [value for value in self.model.state_dict().values() if value.is_floating_point()]
        if not bool(torch.stack([value.isfinite().all() for value in weights]).all()):
            raise self._diverged("a weight")

    def _diverged(self, what: str) -> UserError:
        kept = f"; {self.kept} holds the last sound state" if self.kept else ""
        return UserError(
            f"{what} is no finite number any more in epoch {self.epoch + 1} of "
            f"{self.recipe.epochs}, at learning rate {self.learning_rate:.3g}; "
            f"try a lower optimiser.lr, a schedule that warms up, or precision float32{kept}"
        )

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on: tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "method": self.method.state_dict() if isinstance(self.method, nn.Module) else {},
            "optimiser": self.optimiser.state_dict(),
            "draw": self.draw.bit_generator.state,
            "torch": _global_states(self.device),
            "history": [tuple(epoch) for epoch in self.history.epochs],
            "order": self.order,
            "position": self.position,
            "loss": self.loss,
            "seconds": self.seconds,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self.model.load_state_dict(state["model"])
        if isinstance(self.method, nn.Module):
            self.method.load_state_dict(state["method"])
        load_optimiser_state(self.optimiser, state["optimiser"])
        self.draw.bit_generator.state = state["draw"]
        _set_global_states(state["torch"], self.device)
        self.history.epochs[:] = [Epoch(*row) for row in state["history"]]
        self.order, self.position = state["order"], state["position"]
        self.loss.copy_(state["loss"])
        self.seconds = state["seconds"]


def _global_states(device: torch.device) -> dict[str, Tensor]:
    """torch's global generators: dropout in the network draws from them."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state(*_which(device))
    return states


def _set_global_states(states: dict[str, Tensor], device: torch.device) -> None:
    """Whoever goes on with another kind of device draws anew there."""
    torch.set_rng_state(states["cpu"])
    if device.type != "cpu" and device.type in states:
        torch.get_device_module(device).set_rng_state(states[device.type], *_which(device))


def _which(device: torch.device) -> tuple[torch.device, ...]:
    return () if device.type == "mps" else (device,)  # of which there is only one
