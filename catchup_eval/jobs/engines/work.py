"""A task on its way to a worker, and what comes back; both can be pickled."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.jobs.engine import WorkerLost
from catchup_eval.jobs.task import TaskResult


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
