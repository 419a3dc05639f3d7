"""Workers that are processes of this machine."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from time import monotonic

import torch

from catchup_eval.core.environment import resolve_device
from catchup_eval.core.errors import UserError
from catchup_eval.core.words import count_noun
from catchup_eval.jobs.engines.base import WorkerEngine
from catchup_eval.jobs.engines.settings import TeamSettings
from catchup_eval.jobs.engines.work import Outcome, Work
from catchup_eval.jobs.task import Progress, TaskResult

GRACE = 30.0  # seconds for a worker to save what it has, once it is stopped
WORKER = "catchup_eval.jobs.engines.process"


class LocalEngine(WorkerEngine):
    """Processes of this machine, one for each GPU or as many as --workers says.

    Each has all threads that OMP_NUM_THREADS allows, or its part of the cores. More workers than
    GPUs share them.
    """

    SETTINGS = TeamSettings

    def __init__(
        self,
        device: str = "auto",
        workers: int | None = None,
        settings: TeamSettings | None = None,
    ):
        chosen = settings or TeamSettings()
        places = _places(device, chosen.devices)
        slots, team = workers or len(places), chosen.devices
        super().__init__(device, slots, chosen.threads or _threads(slots * team), team)
        self._processes = [_Process(n, *places[n % len(places)]) for n in range(slots)]
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

    def __init__(self, number: int, device: str, environment: Mapping[str, str]):
        self._number, self._device, self._environment = number + 1, device, environment
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
                env={**os.environ, **self._environment, **threads, "PYTHONPATH": paths},
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


def _places(name: str, each: int) -> list[tuple[str, dict[str, str]]]:
    """Device and environment of the workers, `each` of which has so many GPUs, or cores.

    Raises:
        UserError: there are not so many, or no device of this name.
    """
    resolved = resolve_device(name)
    several = resolved.type == "cuda" and resolved.index is None
    count = torch.cuda.device_count() if several else _cores() if resolved.type == "cpu" else 1
    if each > count:
        what = count_noun(count, "core" if resolved.type == "cpu" else "GPU")
        raise UserError(f"expected at most {what} for one training, as there are, got {each}")
    if not several:
        return [(str(resolved), {})]
    if each == 1:
        return [(f"cuda:{n}", {}) for n in range(count)]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    names = visible[:count] if len(visible) >= count > 0 and visible[0] else map(str, range(count))
    groups = zip(*[iter(names)] * each)
    return [("cuda", {"CUDA_VISIBLE_DEVICES": ",".join(group)}) for group in groups]


def _threads(processes: int) -> int:
    """Of each process, so that all together have no more than there are cores."""
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    return max(1, _cores() // processes)


def _cores() -> int:
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
