"""Workers that are processes of this machine."""

import os
import pickle
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Annotated

import torch
from pydantic import Field

from catchup_eval.core.environment import resolve_device
from catchup_eval.core.errors import UserError
from catchup_eval.jobs.engines.base import WorkerEngine
from catchup_eval.jobs.engines.settings import EngineSettings
from catchup_eval.jobs.engines.worker import Outcome, Work
from catchup_eval.jobs.task import Progress, TaskResult

GRACE = 30.0  # seconds for a worker to save what it has, once it is stopped
WORKER = "catchup_eval.jobs.engines.process"


class LocalSettings(EngineSettings):
    """Of processes.

    Attributes:
        devices: how many GPUs; all where it is 0.
    """

    devices: Annotated[int, Field(ge=0, le=1024)] = 0


class LocalEngine(WorkerEngine):
    """Processes of this machine, one for each GPU or as many as --workers says.

    Each has all threads that OMP_NUM_THREADS allows, or its part of the cores. More workers than
    GPUs share them.
    """

    SETTINGS = LocalSettings

    def __init__(
        self,
        device: str = "auto",
        workers: int | None = None,
        settings: LocalSettings | None = None,
    ):
        chosen = settings or LocalSettings()
        devices = _devices(device, chosen.devices)
        slots = workers or len(devices)
        super().__init__(device, slots, chosen.threads or _threads(slots))
        self._processes = [_Process(n, devices[n % len(devices)]) for n in range(slots)]
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)

    def _do(self, work: Work, progress: Progress, logs: Path) -> TaskResult:
        process = self._idle.get()
        try:
            return process.run(work, progress, logs).take(process.log(logs))
        finally:
            self._idle.put(process)

    def close(self) -> None:
        """End the processes; one that trains saves its state first."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.stop()
        end = monotonic() + GRACE
        for process in self._processes:
            process.join(max(0.0, end - monotonic()))
        self._pool.shutdown()


class _Process:
    """A worker's process, started with its first task, and again after it was lost."""

    def __init__(self, number: int, device: str):
        self._number, self._device = number + 1, device
        self._process: subprocess.Popen[bytes] | None = None

    def log(self, logs: Path) -> Path:
        return logs / f"worker-{self._number}.log"

    def run(self, work: Work, progress: Progress, logs: Path) -> Outcome:
        process = self._process or self._start(work, logs)
        assert process.stdin and process.stdout
        try:
            pickle.dump((work, self._device), process.stdin)
            process.stdin.flush()
            while True:
                sent = pickle.load(process.stdout)
                if isinstance(sent, Outcome):
                    return sent
                *so_far, line = sent
                progress(*so_far, line=line)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            self.join(GRACE)
            code = process.returncode
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return Outcome(lost=f"the worker's process ended with {how}")

    def _start(self, work: Work, logs: Path) -> "subprocess.Popen[bytes]":
        logs.mkdir(parents=True, exist_ok=True)
        paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
        threads = {"OMP_NUM_THREADS": str(work.threads)}
        with self.log(logs).open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **threads, "PYTHONPATH": paths},
                start_new_session=True,  # Ctrl-C is for this process, which ends its workers
            )
        return self._process

    def stop(self) -> None:
        """Have it end: it stops by SIGTERM what it does when its input ends."""
        if self._process is not None and self._process.stdin:
            with suppress(OSError):
                self._process.stdin.close()

    def join(self, seconds: float) -> None:
        """Wait for its end; kill it after so many seconds."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                with suppress(OSError):
                    stream.close()


def _devices(name: str, most: int) -> list[str]:
    """The devices of the workers.

    Raises:
        UserError: there are fewer than `most`, or none of this name.
    """
    resolved = resolve_device(name)
    several = resolved.type == "cuda" and resolved.index is None
    devices = (
        [f"cuda:{n}" for n in range(torch.cuda.device_count())] if several else [str(resolved)]
    )
    if most > len(devices):
        raise UserError(f"expected at most {len(devices)} devices, which are here, got {most}")
    return devices[:most] if most else devices


def _threads(slots: int) -> int:
    """Of each worker, so that all together have no more than there are cores."""
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    known = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return max(1, cores // slots)
