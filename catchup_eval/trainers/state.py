"""The state of a training: everything that is needed to resume it.

It is saved on disk, so that a training can stop and go on; signals are heeded between two steps.
"""

import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from io import BytesIO
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from numpy.random import Generator
from torch import Tensor, nn

from catchup_eval.core.errors import BadFile, Interrupted, UserError
from catchup_eval.core.files import atomic_path, locked
from catchup_eval.core.settings import flatten
from catchup_eval.core.signals import SignalFlag, catch_signals
from catchup_eval.models.checkpoints import check_archive
from catchup_eval.models.classifier import Classifier
from catchup_eval.trainers.augmentation import build_transform
from catchup_eval.trainers.base import Loss
from catchup_eval.trainers.distributed import Processes, running_statistics
from catchup_eval.trainers.history import Epoch, History
from catchup_eval.trainers.optimization import (
    WeightAverage,
    load_optimiser_state,
    make_optimiser,
)
from catchup_eval.trainers.recipe import Recipe


@dataclass
class TrainingState:
    """The state of a training.

    Args:
        model, method, recipe: as :func:`~catchup_eval.trainers.loop.fit` has them.
        samples: in the training split.
        rng: the one generator of the training.
        device: where model and method are.
        average: of the weights, where the recipe has one.
        processes: those that train together.
        history: the finished epochs.
        order: (N,) the rows of the present epoch, in its order; None between epochs.
        position: how many of them are done.
        seconds: what they took.
        saved: the resume file that holds an earlier, sound state, if one has been written.
        heard: the signal that has come to this process.

    `loss` (), on the device, is the sum of their losses; reading it waits for the device.
    """

    model: Classifier
    method: Loss
    recipe: Recipe
    samples: int
    rng: Generator
    device: torch.device
    average: WeightAverage | None = None
    processes: Processes = field(default_factory=Processes)
    history: History = field(default_factory=History)
    order: Tensor | None = None
    position: int = 0
    seconds: float = 0.0
    saved: Path | None = None
    heard: SignalFlag = field(default_factory=SignalFlag)

    def __post_init__(self) -> None:
        self.loss = torch.zeros((), device=self.device)
        self._stops = [torch.zeros((), device=self.device)] * 2
        self._statistics = running_statistics(self.model)
        self.optimiser = make_optimiser(self.model, self.method, self.recipe.optimiser)
        self.transforms = [build_transform(e) for e in self.recipe.augmentation.transforms]

    def take_step(self, loss: Tensor, fraction: float = 1.0) -> Tensor:
        """Move all parameters against the gradient of the loss (), then their average.

        Args:
            fraction: of the batch, which the loss is the mean of.

        Returns:
            the loss of the whole batch.
        """
        self.optimiser.zero_grad()
        moved = [each for group in self.optimiser.param_groups for each in group["params"]]
        if self.processes.size > 1:
            loss = loss * fraction
        loss.backward()  # type: ignore[no-untyped-call]
        loss = loss.detach()
        if self.processes.size > 1:
            for each in self._statistics:
                each.mul_(fraction)
            gradients = [each.grad for each in moved if each.grad is not None]
            self.add_up([loss, *gradients, *self._statistics])
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(moved, self.recipe.clip_norm)
        self.optimiser.step()
        if self.average:
            self.average.update(self.step + 1)
        return loss

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each by its sum over all processes, and exchange whether a signal has come."""
        stop = torch.tensor(float(self.heard.came is not None), device=self.device)
        self.processes.add_up([*tensors, stop])
        self._stops = [self._stops[1], stop]

    def is_stopped(self) -> bool:
        """Whether a signal has come, to whichever process: the same answer for all.

        In the midst of an epoch it is that of the step before the last, for which no GPU waits.
        """
        if self.processes.size == 1:
            return self.heard.came is not None
        return bool(self._stops[1 if self.order is None else 0])

    def share(self) -> None:
        """All processes take the state of the first."""
        if self.processes.size > 1:
            packed = self.processes.ask_first(lambda: _pack(self.state()).getvalue())
            if not self.processes.first:
                self.load_state(_unpack(BytesIO(packed)))

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

    def begin_epoch(self) -> None:
        """Draw the order of the next epoch; nothing in the midst of one."""
        if self.order is not None:
            return
        self.order = torch.from_numpy(self.rng.permutation(self.samples))
        if hasattr(self.method, "start_epoch"):
            self.method.start_epoch()

    def batches(self, device: torch.device | None = None) -> Iterator[Tensor]:
        """The rows (N,) of each batch that is left of this epoch, on its device or another."""
        assert self.order is not None
        order = self.order.to(device or self.device)
        for start in range(self.position, self.samples, self.recipe.batch_size):
            yield order[start : start + self.recipe.batch_size]

    def set_learning_rates(self) -> None:
        """Each group's rate for the next step, by the schedule."""
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
    def measure_time(self) -> Iterator[None]:
        """Count the time within the context as training time."""
        started = perf_counter()
        yield
        self.seconds += perf_counter() - started

    def record_step(self, loss: Tensor, samples: int) -> None:
        """One more step is done, with this mean loss () over so many samples."""
        self.loss += loss.detach() * samples
        self.position += samples

    def finish_epoch(self, validation_loss: float, top1: float, ema_top1: float) -> None:
        """Put the epoch into the history."""
        train_loss = float(self.loss) / self.position
        numbers = (train_loss, validation_loss, top1, self.seconds, self.learning_rate, ema_top1)
        self.history.epochs.append(Epoch(self.epoch + 1, *numbers))
        self.order, self.position, self.seconds = None, 0, 0.0
        self.loss.zero_()

    def check_loss(self) -> None:
        """Stop where the loss is no number any more; waits for the device.

        Raises:
            UserError: with the place and what to try.
        """
        if not bool(self.loss.isfinite()):
            raise self._divergence_error("the training loss")

    def check_weights(self) -> None:
        """The same for the loss and every weight: a last step can spoil them unseen by its loss."""
        self.check_loss()
        weights = [value for value in self.model.state_dict().values() if value.is_floating_point()]
        if not bool(torch.stack([value.isfinite().all() for value in weights]).all()):
            raise self._divergence_error("a weight")

    def _divergence_error(self, what: str) -> UserError:
        saved = f"; {self.saved} holds the last sound state" if self.saved else ""
        return UserError(
            f"{what} is no finite number any more in epoch {self.epoch + 1} of "
            f"{self.recipe.epochs}, at learning rate {self.learning_rate:.3g}; "
            f"try a lower optimiser.lr, a schedule that warms up, or precision float32{saved}"
        )

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on: tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "method": self.method.state_dict() if isinstance(self.method, nn.Module) else {},
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.tensors if self.average else {},
            "draw": self.rng.bit_generator.state,
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
        if self.average:
            self.average.load(state["average"])
        self.rng.bit_generator.state = state["draw"]
        _set_global_states(state["torch"], self.device)
        self.history.epochs[:] = [Epoch(*row) for row in state["history"]]
        self.order, self.position = state["order"], state["position"]
        self.loss.copy_(state["loss"])
        self.seconds = state["seconds"]


def _global_states(device: torch.device) -> dict[str, Tensor]:
    """torch's global generators: dropout in the network draws from them."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        module = torch.get_device_module(device)
        states[device.type] = module.get_rng_state(*_device_arguments(device))
    return states


def _set_global_states(states: dict[str, Tensor], device: torch.device) -> None:
    """On another kind of device the numbers differ from there on."""
    torch.set_rng_state(states["cpu"])
    if device.type != "cpu" and device.type in states:
        module = torch.get_device_module(device)
        module.set_rng_state(states[device.type], *_device_arguments(device))


def _device_arguments(device: torch.device) -> tuple[torch.device, ...]:
    return () if device.type == "mps" else (device,)  # of which there is only one


SECONDS = 5.0  # what a killed training may lose
COST_FACTOR = (
    50  # a save is put off until 50 times its cost has passed: at most 2 % goes into saving
)

Pause = Callable[[], None]


@contextmanager
def resume_from(
    run: TrainingState, path: Path | None, identity: Mapping[str, Any]
) -> Iterator[Pause]:
    """Go on from `path` if it exists, and save the state there from time to time.

    Args:
        run: fresh; its state is replaced where there is a file.
        path: None: nothing is saved, and signals are left alone.
        identity: must agree in both trainings: plain values, nested in tables.

    Yields:
        what to call between two steps: it saves when that is due and, after SIGINT or SIGTERM,
        saves and raises :class:`~catchup_eval.core.errors.Interrupted`.

    Raises:
        UserError: the file belongs to another training; the difference is named. Or another
            process is using it.
        BadFile: it is damaged.
    """
    if path is None:
        run.share()
        yield lambda: None
        return
    with locked(path, wait=False) if run.processes.first else nullcontext() as alone:
        if alone is False:
            raise UserError(f"another process is training with {path} at this moment")
        file = _ResumeFile(run, path, identity)
        run.share()
        with catch_signals() as run.heard:
            yield file.pause


class _ResumeFile:
    """The resume file of a training, which goes on from it where it exists."""

    def __init__(self, run: TrainingState, path: Path, identity: Mapping[str, Any]):
        self._run, self._path = run, path
        self._identity = json.dumps(identity, sort_keys=True)
        self._due = perf_counter() + SECONDS
        if run.processes.first and path.exists():
            state = _read_state(path)
            there, here = (json.loads(text) for text in (state["identity"], self._identity))
            expect_same(there, here, f"{path} belongs to another training")
            run.load_state(state)
            run.saved = path

    def pause(self) -> None:
        """Save if it is time to, stop if a signal has come."""
        stopped, first = self._run.is_stopped(), self._run.processes.first
        if first and (stopped or perf_counter() >= self._due):
            self._save()
        if stopped:
            came = self._run.heard.came or signal.SIGTERM  # to another process
            self._run.processes.ask_first(lambda: None)  # has saved
            raise Interrupted(
                f"stopped by {came.name} after {self._run.step} of {self._run.steps} steps; "
                f"all is saved in {self._path}, and the same call goes on from there",
                int(came),
            )

    def _save(self) -> None:
        """Write the state, whole or not at all; the file's is never one with what is no number."""
        started = perf_counter()
        self._run.check_weights()
        packed = _pack({"identity": self._identity, **self._run.state()})
        with atomic_path(self._path) as temporary:
            temporary.write_bytes(packed.getbuffer())
        self._run.saved = self._path
        now = perf_counter()
        self._due = now + max(SECONDS, COST_FACTOR * (now - started))


def _pack(state: dict[str, Any]) -> BytesIO:
    buffer = BytesIO()  # torch's error on a full disk is not readable
    torch.save(state, buffer)
    return buffer


def _unpack(source: Path | BytesIO) -> Any:
    """On the CPU; nothing in it is run."""
    return torch.load(source, map_location="cpu", weights_only=True)


def _read_state(path: Path) -> dict[str, Any]:
    """What a resume file holds."""
    try:
        check_archive(path)
        state = _unpack(path)
        if isinstance(state, dict) and "identity" in state:
            return state
    except Exception:  # a damaged file can raise many types
        pass
    raise BadFile(
        f"{path} is no complete resume file; delete it, or start anew (--fresh, fresh=True)"
    )


def expect_same(there: Mapping[str, Any], here: Mapping[str, Any], what: str) -> None:
    """Raise `UserError` with the first settings in which a file and a request differ."""
    old, new = flatten(there), flatten(here)
    differences = [
        f"{key} is {old.get(key, 'absent')!r} there and {new.get(key, 'absent')!r} here"
        for key in dict.fromkeys([*new, *old])
        if old.get(key, "absent") != new.get(key, "absent")
    ]
    if differences:
        raise UserError(
            f"{what}: {', '.join(differences[:3])}; "
            "start anew (--fresh, fresh=True) to replace it, or choose another name or folder"
        )
