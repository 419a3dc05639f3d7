"""Workers that are tasks of a Ray cluster."""

import os
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

from pydantic import Field

from catchup_eval.core.files import safe_filename
from catchup_eval.core.settings import Few
from catchup_eval.jobs.engines.base import WorkerEngine
from catchup_eval.jobs.engines.settings import EngineSettings
from catchup_eval.jobs.engines.work import Outcome, Work
from catchup_eval.jobs.engines.worker import do
from catchup_eval.jobs.task import Progress, TaskResult

LOOPBACK = "127.0.0.1"
TASKS = 64  # at a time on a cluster, where --workers does not say


class RaySettings(EngineSettings):
    """Of a task.

    Attributes:
        address: of a cluster ("auto", "HOST:PORT", "ray://HOST:PORT"); where it is empty, one is
            started on this machine, bound to loopback.
        cpus, gpus: that a task takes; a fraction of a GPU is shared.
    """

    address: str = ""
    cpus: Few = 1
    gpus: Annotated[float, Field(ge=0, le=64)] = 0


class RayEngine(WorkerEngine):
    """Tasks of a Ray cluster, the user's or one on this machine; --workers says how many."""

    SETTINGS = RaySettings

    def __init__(
        self, device: str = "auto", workers: int | None = None, settings: RaySettings | None = None
    ):
        self._settings = settings or RaySettings()
        most = TASKS if self._settings.address else max(1, os.cpu_count() or 1)
        threads = self._settings.threads or self._settings.cpus
        super().__init__(device, workers or most, threads)
        self._alone = Lock()
        self._remote: Any = None
        self._sent: list[Any] = []

    def _do(self, work: Work, progress: Progress, logs: Path) -> TaskResult:
        ray = import_module("ray")
        log = logs / f"{safe_filename(work.label)}.log"
        with self._alone:
            reference = self._start().remote(work, log)
            self._sent.append(reference)
        try:
            outcome: Outcome = ray.get(reference)
        except ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            outcome = Outcome(lost=f"Ray lost the worker: {lines[0]}")
        return outcome.take(log)

    def _start(self) -> Any:
        """The remote function; the first call connects to the cluster, or starts one."""
        ray = import_module("ray")
        if self._remote is None:
            own = self._settings
            if own.address:
                ray.init(own.address, log_to_driver=False)
            else:
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
                ray.init(
                    num_cpus=self.slots * own.cpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    _node_ip_address=LOOPBACK,
                )
            wanted = {"num_cpus": own.cpus, "num_gpus": own.gpus, "max_retries": 0}
            self._remote = ray.remote(**wanted)(do_with_log)
        return self._remote

    def close(self) -> None:
        """Cancel the tasks, and end the cluster that was started."""
        if self._remote is not None:
            ray = import_module("ray")
            for reference in self._sent:
                ray.cancel(reference, force=True)
            ray.shutdown()
        self._remote = None
        self._pool.shutdown(cancel_futures=True)


def do_with_log(work: Work, log: Path) -> Outcome:
    """Do it with a file as its output and error stream."""
    log.parent.mkdir(parents=True, exist_ok=True)
    before = [os.dup(stream) for stream in (1, 2)]
    with log.open("ab") as file:
        try:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
            return do(work)
        finally:
            for stream, old in zip((1, 2), before, strict=True):
                os.dup2(old, stream)
                os.close(old)
