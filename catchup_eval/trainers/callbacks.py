"""Callbacks: what a training reports after each step and each epoch.

class Print(Callback):
    def on_epoch(self, info):
        print(info.epoch, info.numbers["train_loss"])

train("digits", "catchup", data, folder="runs", callbacks=[Print()])

A callback is given numbers, not the network, and the global random states are restored after each
call: a training ends with the same weights, bit for bit, with callbacks and without. The history of
the epochs is a CSV file beside the checkpoint in any case.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from catchup_eval.core.environment import install_command
from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.trainers.history import Epoch


@dataclass(frozen=True)
class StepInfo:
    """What one step was.

    Attributes:
        step: how many are done, from 1, since the training began.
        steps: how many there will be.
        epoch: that it is in, from 1.
        learning_rate: of the base group.
    """

    step: int
    steps: int
    epoch: int
    learning_rate: float
    _loss: Tensor = field(repr=False)

    @property
    def loss(self) -> float:
        """Mean of the batch, as the method has it; reading it waits for the device."""
        return float(self._loss)


class EpochInfo(NamedTuple):
    """What one epoch was.

    Attributes:
        epoch: from 1.
        epochs: how many there will be.
        step: how many steps are done.
        numbers: the columns of :class:`~catchup_eval.trainers.history.Epoch` that there are.
    """

    epoch: int
    epochs: int
    step: int
    numbers: Mapping[str, float]

    @classmethod
    def of(cls, row: Epoch, epochs: int, step: int) -> "EpochInfo":
        """What a row of the history says."""
        columns = row._asdict()
        number = columns.pop("epoch")
        found = {name: value for name, value in columns.items() if not isnan(value)}
        return cls(number, epochs, step, found)

    def describe(self) -> str:
        """One line, for a log."""
        parts = [FORMS[name].format(value) for name, value in self.numbers.items()]
        return f"epoch {self.epoch}/{self.epochs}: {', '.join(parts)}"


FORMS = {
    "train_loss": "train loss {:.4f}",
    "validation_loss": "validation loss {:.4f}",
    "top1": "top-1 {:.2f} %",
    "seconds": "{:.1f} s",
    "learning_rate": "learning rate {:.3g}",
    "ema_top1": "top-1 of the average {:.2f} %",
}


class Callback:
    """What is called during a training; each method does nothing unless it is overridden."""

    def on_step(self, info: StepInfo) -> None:
        """A step is done."""

    def on_epoch(self, info: EpochInfo) -> None:
        """An epoch is done, and the validation split looked at where that was due."""

    def close(self) -> None:
        """The training has ended, or was stopped."""


def call_all(callbacks: Sequence[Callback], method: str, *info: StepInfo | EpochInfo) -> None:
    """Call this method of each, and restore the global random states."""
    if callbacks:
        with fork_global_rng(generator(0, "callbacks")):
            for callback in callbacks:
                getattr(callback, method)(*info)


class TensorBoard(Callback):
    """Writes the numbers of a training for TensorBoard; a resumed one goes on in the same folder.

    Args:
        folder: of the event files.
        every: steps from one reading of the loss to the next, because each waits for the device.

    Raises:
        UserError: the package tensorboard is absent.
    """

    def __init__(self, folder: Path | str, every: int = 50):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                f"event files need the package tensorboard: {install_command('tensorboard')}"
            ) from error
        self._make, self._folder, self._every = SummaryWriter, Path(folder), every
        self._writer: Any = None

    def _write(self, numbers: Mapping[str, float], prefix: str, step: int) -> None:
        if self._writer is None:  # what an earlier call wrote beyond its last save is hidden
            self._writer = self._make(str(self._folder), purge_step=step)
        for name, value in numbers.items():
            self._writer.add_scalar(f"{prefix}/{name}", value, step)

    def on_step(self, info: StepInfo) -> None:
        """Write loss and learning rate, of every so many steps."""
        if self._writer is None or info.step % self._every == 0:
            numbers = {"loss": info.loss, "learning_rate": info.learning_rate}
            self._write(numbers, "step", info.step)

    def on_epoch(self, info: EpochInfo) -> None:
        """Write the row of the history."""
        self._write(info.numbers, "epoch", info.step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
