"""What all engines with workers have in common."""

import pickle
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch

from catchup_eval.core.errors import UserError
from catchup_eval.core.words import count_noun
from catchup_eval.jobs.engines.work import Work
from catchup_eval.jobs.task import AnyStore, Progress, Task, TaskResult, Worker
from catchup_eval.results.store import MemoryStore

LOGS = "logs"  # in the folder of the report, or of the checkpoints


class WorkerEngine(ABC):
    """Pickles tasks, and has a thread for each that is out.

    Args:
        device: as `--device` names it.
        slots: how many tasks at a time.
        threads: of each process; the worker's default where it is 0.
        team: how many processes train one network together.
    """

    def __init__(self, device: str, slots: int, threads: int = 0, team: int = 1):
        self.slots = slots
        self._device, self._threads, self._team = device, threads, team
        self._pool = ThreadPoolExecutor(slots)

    @property
    def about(self) -> str:
        """What computes, in words."""
        each = f" of {count_noun(self._threads, 'thread')} each" if self._threads else ""
        team = f", {self._team} processes for each training" if self._team > 1 else ""
        return f"{count_noun(self.slots, 'worker')}{each}{team}"

    def submit(
        self, task: Task, store: AnyStore, progress: Progress, *, fresh: bool
    ) -> Future[TaskResult]:
        """Send a task to a worker; what is done of it is taken here."""
        future: Future[TaskResult] = Future()
        try:
            if not fresh and task.is_done(store):
                future.set_result(task.reuse(Worker(torch.device("cpu"), store)))
                return future
            work, folder = self._pack(task, store, fresh=fresh)
        except UserError as error:
            future.set_exception(error)
            return future
        return self._pool.submit(self._do, work, progress, folder / LOGS)

    def _pack(self, task: Task, store: AnyStore, *, fresh: bool) -> tuple[Work, Path]:
        """What a worker gets, and the folder that it writes to."""
        if isinstance(store, MemoryStore):
            if not task.outputs:
                raise UserError(
                    "results in the memory of this process cannot come from another one; use the "
                    "engine inline, or a report's folder"
                )
            own, folder = None, task.outputs[0].parent
        else:
            own = folder = store.folder
        content = pickle.dumps(task)
        team = self._team if task.divisible else 1
        work = Work(task.label, content, own, self._device, self._threads, team, Path.cwd(), fresh)
        return work, folder.absolute()

    @abstractmethod
    def _do(self, work: Work, progress: Progress, logs: Path) -> TaskResult:
        """Have a worker do it, and wait.

        Args:
            logs: the folder of the workers' logs.

        Raises:
            UserError, WorkerLost: as of :class:`~catchup_eval.jobs.engine.Engine`.
        """

    @abstractmethod
    def close(self) -> None:
        """End the workers."""
