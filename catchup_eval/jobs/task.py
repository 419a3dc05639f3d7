"""What a command plans: tasks with inputs, outputs and a cost; an engine runs them."""

import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from catchup_eval.jobs.cost import NOT_KNOWN, StepTimes
from catchup_eval.results.store import MemoryStore, Store
from catchup_eval.results.study import DataInfo, ModelInfo

Progress = Callable[..., None]  # (done, total, note="", *, line=""), the line for a log
AnyStore = Store | MemoryStore


class TaskResult(NamedTuple):
    """What a task came to. Numbers are in the store and weights in their file.

    Args:
        status: "cached" where it was done before.
        reason: why it was skipped or failed: "needs boxes".
        models: the models it was about, for `study.json`.
        data: what they were evaluated on, likewise.
        notes: choices and observations, a sentence each.
    """

    status: Literal["done", "cached", "skipped", "failed"]
    reason: str = ""
    models: tuple[ModelInfo, ...] = ()
    data: DataInfo | None = None
    notes: tuple[str, ...] = ()


@dataclass
class Worker:
    """What a process keeps from one task to the next.

    Args:
        device: where tasks compute.
        store: where results go.
        cache: objects common to tasks of one model; :class:`EvaluateTask` keeps its contexts here.
    """

    device: torch.device
    store: AnyStore
    cache: dict[Any, Any] = field(default_factory=dict)


class SharedInput(ABC):
    """What several tasks share and load, such as a dataset or a model.

    It is pickled without what it has loaded. A process that unpickles it with each of its tasks
    has one object for all of them, so that it loads once.
    """

    @abstractmethod
    def spelled(self) -> Mapping[str, Any]:
        """The attributes that another process makes it from.

        Raises:
            UserError: it lies in the memory of this process alone.
        """

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle_once, (pickle.dumps((type(self), dict(self.spelled()))),)


@lru_cache(maxsize=64)
def _unpickle_once(content: bytes) -> SharedInput:
    kind, attributes = pickle.loads(content)
    made: SharedInput = kind.__new__(kind)
    made.__dict__.update(attributes)
    return made


class Task(ABC):
    """One piece of work; it can be pickled, to run in another process.

    Attributes:
        kind: "train", "evaluate", "simulate" or "estimate".
        unit: what a shard gets whole: all tasks of a model; empty where every shard needs it.
        name: which of the unit's tasks: an analysis.
        cost: relative to the other tasks', for the order and the progress.
        inputs: files that it reads and other tasks write.
        outputs: files that it writes, whole or not at all; where they are, it is done.
        divisible: whether several processes can do it together, as torchrun starts them.
    """

    kind: str
    unit: str
    name: str
    cost: float
    inputs: tuple[Path, ...] = ()
    outputs: tuple[Path, ...] = ()
    divisible: bool = False

    @property
    def label(self) -> str:
        """For progress and errors."""
        return f"{self.unit}: {self.name}" if self.unit else self.name

    def is_done(self, store: AnyStore) -> bool:
        """Whether its outputs, or its result in the store, are there already."""
        return all(path.exists() for path in self.outputs)

    @abstractmethod
    def run(self, worker: Worker, progress: Progress, *, fresh: bool = False) -> TaskResult:
        """Do the work.

        Args:
            progress: called with steps done, steps in all, and words; now and then with a `line`
                of what was reached, for a log.
            fresh: do not resume a stopped call.
        """

    def reuse(self, worker: Worker) -> TaskResult:
        """Use the result that is there already.

        Raises:
            UserError: it was made otherwise than this task would.
        """
        return TaskResult("cached")

    def missing_need(self) -> str:
        """A missing requirement, as far as known before: "boxes"; empty where nothing."""
        return ""

    def describe(self) -> str:
        """The amount of work in words, for a dry run."""
        return ""

    def seconds(self, times: StepTimes) -> float:
        """About how long it takes on a device, for a dry run; NaN where that is not known."""
        return NOT_KNOWN
