"""What a worker does: one task, from its pickle to its outcome; the same for every engine."""

import os
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from catchup_eval.core.environment import resolve_device, utc_timestamp
from catchup_eval.core.errors import BadFile, Interrupted, UserError
from catchup_eval.jobs.engines.team import meet
from catchup_eval.jobs.engines.work import Outcome, Work
from catchup_eval.jobs.task import Task, TaskResult, Worker
from catchup_eval.results.store import MemoryStore, Store
from catchup_eval.results.study import FAILED


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
    else:
        with meet(work) as device:
            yield device


@lru_cache(maxsize=1)
def _worker(device: torch.device, folder: Path | None) -> Worker:
    return Worker(device, MemoryStore() if folder is None else Store(folder))


def _log(work: Work, text: str) -> None:
    sys.stderr.write(f"{utc_timestamp()} {work.label} {text}\n")
    sys.stderr.flush()
