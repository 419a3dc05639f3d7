"""Workers that are jobs of a Slurm cluster, by submitit."""

import shutil
from importlib import import_module
from pathlib import Path
from threading import Event, Lock
from typing import Annotated, Any, Literal

from pydantic import Field

from catchup_eval.core.errors import UserError
from catchup_eval.core.settings import Few, Positive
from catchup_eval.jobs.engine import WorkerLost
from catchup_eval.jobs.engines.base import WorkerEngine
from catchup_eval.jobs.engines.settings import TeamSettings
from catchup_eval.jobs.engines.work import Outcome, Work
from catchup_eval.jobs.engines.worker import do
from catchup_eval.jobs.task import Progress, TaskResult

JOBS = 64  # at a time, where --workers does not say
POLL = 0.5  # seconds between two looks at the file of a result; Slurm is asked once a minute


class SlurmSettings(TeamSettings):
    """Of a job.

    Attributes:
        partition, account, qos, constraint: as sbatch has them.
        time: limit of a job, minutes or HH:MM:SS.
        gpus: of a job; one that trains on several devices gets as many, unless --device is cpu.
        cpus: of a process.
        memory: of a job, in GB; the cluster's default where it is 0.
        cluster: "local" runs the jobs as processes here, as a trial.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    time: Annotated[str, Field(pattern=r"^(\d+|\d+:\d\d:\d\d)$", coerce_numbers_to_str=True)] = (
        "240"
    )
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    cpus: Few = 1
    memory: Positive | None = None
    cluster: Literal["slurm", "local"] = "slurm"

    @property
    def minutes(self) -> int:
        """Limit of a job."""
        hours, _, rest = self.time.partition(":")
        return int(hours) * 60 + int(rest[:2]) + (rest[3:] > "00") if rest else int(hours)


class SlurmEngine(WorkerEngine):
    """Jobs of a Slurm cluster, one for each task; --workers says how many at a time (64)."""

    SETTINGS = SlurmSettings

    def __init__(
        self,
        device: str = "auto",
        workers: int | None = None,
        settings: SlurmSettings | None = None,
    ):
        self._settings = settings or SlurmSettings()
        if self._settings.cluster == "slurm" and not shutil.which("sbatch"):
            raise UserError(
                "there is no Slurm here: no command sbatch; call this on a login node, or use "
                "another engine"
            )
        own = self._settings
        super().__init__(device, workers or JOBS, own.threads or own.cpus, own.devices)
        self._executors: dict[tuple[Path, int], Any] = {}
        self._jobs: list[Any] = []
        self._alone, self._closed = Lock(), Event()

    def _do(self, work: Work, progress: Progress, logs: Path) -> TaskResult:
        errors = import_module("submitit.core.utils")
        with self._alone:
            job = self._submit(work, logs)
            self._jobs.append(job)
        while not job.done():
            progress(0, 1, str(job.state).lower())
            if self._closed.wait(POLL):
                raise WorkerLost("the run was stopped")
        try:
            outcome: Outcome = job.result()
        except (errors.UncompletedJobError, errors.FailedJobError):
            outcome = Outcome(lost=f"the job {job.job_id} ended without a result ({job.state})")
        return outcome.take(job.paths.stderr)

    def _submit(self, work: Work, logs: Path) -> Any:
        refused = import_module("submitit.core.utils").FailedJobError
        try:
            return self._executor(logs, work.team).submit(do, work)
        except (refused, OSError, RuntimeError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError(f"Slurm refuses the job: {lines[-1]}") from error

    def _executor(self, logs: Path, team: int) -> Any:
        if (logs, team) not in self._executors:
            own = self._settings
            submitit = import_module("submitit")
            executor = submitit.AutoExecutor(folder=logs / "%j", cluster=own.cluster)
            names = ("partition", "account", "qos", "constraint")
            given = {f"slurm_{name}": getattr(own, name) for name in names if getattr(own, name)}
            executor.update_parameters(
                name="catchup-eval",
                timeout_min=own.minutes,
                cpus_per_task=own.cpus * team,
                gpus_per_node=max(own.gpus, team if team > 1 and self._device != "cpu" else 0),
                **given,
                **({"mem_gb": own.memory} if own.memory else {}),
            )
            self._executors[logs, team] = executor
        return self._executors[logs, team]

    def close(self) -> None:
        """Cancel the jobs that have not ended."""
        self._closed.set()
        self._pool.shutdown(cancel_futures=True)
        for job in self._jobs:
            if not job.done():
                job.cancel(check=False)
