"""What a worker does: one task, from its pickle to its outcome; the same for every engine."""

import os
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from catchup_eval.core.environment import resolve_device, utc_timestamp
from catchup_eval.core.errors import BadFile, Interrupted, UserError
from catchup_eval.jobs.engine import WorkerLost
from catchup_eval.jobs.task import Task, TaskResult, Worker
from catchup_eval.results.store import MemoryStore, Store
from catchup_eval.results.study import FAILED


@dataclass(frozen=True)
class Work:
    """A task on its way to a worker.

    Args:
        label: of the task.
        task: pickled.
        folder: of the report; None where the task writes files only.
        device: as `--device` names it; the worker resolves it.
        threads: of torch; as the worker's process has them where it is 0.
        team: how many processes do it together.
        cwd: what relative paths begin at.
        fresh: do not resume a stopped call.
        rank: which of the team this is; the first is the worker.
    """

    label: str
    task: bytes
    folder: Path | None
    device: str
    threads: int
    team: int
    cwd: Path
    fresh: bool
    rank: int = 0


class Outcome(NamedTuple):
    """How a task ended in a worker.

    Args:
        result: where it ended well, or failed for itself alone.
        mistake: of the user, in one sentence.
        bad_file: whether that is about a file.
        number: the system's number of the error behind the mistake, such as a full disk's.
        lost: why the worker does not go on.
    """

    result: TaskResult | None = None
    mistake: str = ""
    bad_file: bool = False
    number: int | None = None
    lost: str = ""

    def take(self, log: Path) -> TaskResult:
        """The result.

        Raises:
            WorkerLost: there is none.
            UserError: the user's mistake.
        """
        if self.result is not None:
            reason = self.result.reason
            if self.result.status == "failed" and "traceback" not in reason:
                return self.result._replace(reason=f"{reason} (the worker's log is {log})")
            return self.result
        if self.mistake:
            error = BadFile(self.mistake) if self.bad_file else UserError(self.mistake)
            raise error from (None if self.number is None else OSError(self.number, self.mistake))
        raise WorkerLost(f"{self.lost}; its log is {log}")


def do(work: Work, progress: Callable[..., None] = lambda *_, **__: None) -> Outcome:
    """Run a task here, and note its begin and end in the log, which is the error stream."""
    _log(work, "begins")
    try:
        os.chdir(work.cwd)
        if work.threads:
            torch.set_num_threads(work.threads)
        task: Task = pickle.loads(work.task)
        with _device(work) as device:
            result = task.run(_worker(device, work.folder), progress, fresh=work.fresh)
    except UserError as error:
        _log(work, f"ends: {error}")
        cause: Any = error.__cause__
        return Outcome(
            mistake=str(error),
            bad_file=isinstance(error, BadFile),
            number=cause.errno if isinstance(cause, OSError) else None,
        )
    except (Interrupted, KeyboardInterrupt) as error:
        _log(work, f"was stopped: {error}")
        return Outcome(lost=str(error) or "it was stopped by a signal")
    except Exception as error:  # whatever one task meets, the others go on
        traceback.print_exc()
        _log(work, "ends by an error")
        text = f"{type(error).__name__}: {error}".partition("\n")[0]
        return Outcome(TaskResult("failed", f"{FAILED}{text}"))
    _log(work, f"ends: {result.reason or result.status}")
    return Outcome(result)


@contextmanager
def _device(work: Work) -> Iterator[torch.device]:
    """Where it is computed; the other processes of a team are there meanwhile."""
    if work.team == 1:
        yield resolve_device(work.device)
        return
    from catchup_eval.jobs.engines.team import meet

    with meet(work) as device:
        yield device


@lru_cache(maxsize=1)
def _worker(device: torch.device, folder: Path | None) -> Worker:
    return Worker(device, MemoryStore() if folder is None else Store(folder))


def _log(work: Work, text: str) -> None:
    sys.stderr.write(f"{utc_timestamp()} {work.label} {text}\n")
    sys.stderr.flush()
