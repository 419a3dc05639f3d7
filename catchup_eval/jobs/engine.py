"""Run tasks: the same order, resuming, dry run and progress display for every command.

A mistake of the user, such as data that one method cannot learn from, ends its own task and those
that need its outputs. It ends the run where it is not about one task: where nothing was done yet
and a second task meets it, or where the disk is full.
"""

import errno
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing, nullcontext
from functools import partial
from heapq import heappop, heappush
from pathlib import Path
from time import monotonic
from typing import Protocol

import pandas as pd
import torch

from catchup_eval import feature_learning
from catchup_eval.core.environment import resolve_device
from catchup_eval.core.errors import CatchupError, UserError
from catchup_eval.jobs.cost import NOT_KNOWN, StepTimes
from catchup_eval.jobs.engines.settings import EngineSettings
from catchup_eval.jobs.task import AnyStore, Progress, Task, TaskResult, Worker
from catchup_eval.results import study
from catchup_eval.results.folder import writing
from catchup_eval.results.shards import Shard
from catchup_eval.results.store import MemoryStore
from catchup_eval.results.study import FAILED, SkippedAnalysis, Study, StudyInfo, check_groups

AGAIN = 3  # times that the task of a lost worker is submitted again
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class WorkerLost(CatchupError):
    """A worker ended without a result, killed for instance; the message names its log."""


class Display(Protocol):
    """Shows progress over tasks."""

    def begin(self, tasks: Sequence[Task]) -> None:
        """These are going to be run."""

    def start(self, task: Task) -> None:
        """A task has begun."""

    def update(self, task: Task, done: int, total: int, note: str = "", *, line: str = "") -> None:
        """A task has come so far; the line says what it has reached, for a log."""

    def finish(self, task: Task, result: TaskResult) -> None:
        """A task has ended."""

    def end(self) -> None:
        """All have ended, or an error or a signal has ended the run."""


class Silent:
    """Shows nothing."""

    def begin(self, tasks: Sequence[Task]) -> None: ...
    def start(self, task: Task) -> None: ...
    def update(
        self, task: Task, done: int, total: int, note: str = "", *, line: str = ""
    ) -> None: ...
    def finish(self, task: Task, result: TaskResult) -> None: ...
    def end(self) -> None: ...


SILENT = Silent()


class Engine(Protocol):
    """Where tasks run.

    Attributes:
        slots: how many at a time.
        about: what computes, in words, where it is not this process.
    """

    slots: int
    about: str

    def submit(
        self, task: Task, store: AnyStore, progress: Progress, *, fresh: bool
    ) -> Future[TaskResult]:
        """Run a task whose inputs are there, or take what is done of it.

        The future raises `UserError` for a user's mistake, and `WorkerLost` where the task should
        be submitted again.
        """
        ...

    def close(self) -> None:
        """Give up what it holds."""
        ...


class InlineEngine:
    """This process, one task after the other.

    Args:
        device: where to compute.
        workers: none.
        settings: its threads.
    """

    SETTINGS = EngineSettings
    slots = 1
    about = ""

    def __init__(
        self,
        device: torch.device | str = "auto",
        workers: None = None,
        settings: EngineSettings | None = None,
    ):
        self._device = device if isinstance(device, torch.device) else resolve_device(device)
        self._worker: Worker | None = None
        self._threads = torch.get_num_threads()
        if settings and settings.threads:
            torch.set_num_threads(settings.threads)

    def submit(
        self, task: Task, store: AnyStore, progress: Progress, *, fresh: bool
    ) -> Future[TaskResult]:
        future: Future[TaskResult] = Future()
        try:
            future.set_result(self.run(task, store, progress, fresh=fresh))
        except UserError as error:
            future.set_exception(error)
        return future

    def run(self, task: Task, store: AnyStore, progress: Progress, *, fresh: bool) -> TaskResult:
        """Run a task, or take what is done of it."""
        if self._worker is None or self._worker.store is not store:
            self._worker = Worker(self._device, store)
        if not fresh and task.is_done(store):
            return task.reuse(self._worker)
        return task.run(self._worker, progress, fresh=fresh)

    def close(self) -> None:
        """Forget the last model."""
        self._worker = None
        torch.set_num_threads(self._threads)


def execute(
    tasks: Sequence[Task],
    store: AnyStore,
    *,
    engine: Engine | None = None,
    display: Display = SILENT,
    fresh: bool = False,
) -> Iterator[tuple[Task, TaskResult]]:
    """Run tasks as their inputs appear; pass over what is done.

    One at a time they run in the order planned; several at a time the longest first, each with the
    longest of what waits for it.

    Gives each with its result as soon as it ends.

    Raises:
        UserError: a mistake that is not about one task; or the first one, where no task was done.
    """
    engine = engine or InlineEngine()
    waiting, running = list(tasks), dict[Future[TaskResult], Task]()
    if engine.slots > 1:
        waiting.sort(key=_chain_costs(tasks).__getitem__, reverse=True)
    outcomes = _Outcomes()
    unfinished = {path for task in tasks for path in task.outputs}
    display.begin(tasks)
    try:
        with closing(engine):
            while waiting or running:
                ready = [task for task in waiting if unfinished.isdisjoint(task.inputs)]
                for task in ready[: engine.slots - len(running)]:
                    waiting.remove(task)
                    display.start(task)
                    progress = partial(display.update, task)
                    running[engine.submit(task, store, progress, fresh=fresh)] = task
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    task = running.pop(future)
                    result = outcomes.take(task, future)
                    if result is None:
                        waiting.insert(0, task)
                        continue
                    ended = [(task, result)]
                    if result.status == "failed":
                        ended += _blocked_by(task, result, waiting)
                        for lost, _ in ended[1:]:
                            waiting.remove(lost)
                            display.start(lost)
                    for each, its_result in ended:
                        unfinished -= {*each.outputs}
                        display.finish(each, its_result)
                        yield each, its_result
        outcomes.check()
    finally:
        display.end()


class _Outcomes:
    """Which errors came, and what they end."""

    def __init__(self) -> None:
        self._lost: Counter[Task] = Counter()
        self._mistakes: list[UserError] = []
        self._any_done = False

    def take(self, task: Task, future: Future[TaskResult]) -> TaskResult | None:
        """The result of a task; None where it should be submitted again.

        Raises:
            UserError: what other tasks would meet too.
        """
        try:
            result = future.result()
        except WorkerLost as error:
            self._lost[task] += 1
            if self._lost[task] <= AGAIN:
                return None
            reason = f"{FAILED}its worker was lost {self._lost[task]} times; the last: {error}"
            return TaskResult("failed", reason)
        except UserError as error:
            met = str(error) in map(str, self._mistakes) and not self._any_done
            if met or getattr(error.__cause__, "errno", None) in NO_ROOM:
                raise
            self._mistakes.append(error)
            return TaskResult("failed", f"{FAILED}{error}")
        self._any_done |= result.status in ("done", "cached")
        return result

    def check(self) -> None:
        """Raise the first mistake where nothing was done."""
        if self._mistakes and not self._any_done:
            raise self._mistakes[0]


def _chain_costs(tasks: Sequence[Task]) -> Mapping[Task, float]:
    """The cost of each task with that of the longest chain of tasks that wait for it."""
    readers: dict[Path, list[Task]] = {}
    for task in tasks:
        for path in task.inputs:
            readers.setdefault(path, []).append(task)
    known: dict[Task, float] = {}

    def chain(task: Task) -> float:
        if task not in known:
            after = {reader for path in task.outputs for reader in readers.get(path, ())}
            known[task] = task.cost + max(map(chain, after), default=0.0)
        return known[task]

    return {task: chain(task) for task in tasks}


def _blocked_by(
    failed: Task, result: TaskResult, waiting: Sequence[Task]
) -> list[tuple[Task, TaskResult]]:
    """The tasks that can never run, since they need an output of the failed one."""
    reason = f"{FAILED}{failed.label}: {result.reason.removeprefix(FAILED)}"
    missing = {*failed.outputs}
    blocked: list[tuple[Task, TaskResult]] = []
    left = [*waiting]
    while found := [task for task in left if not missing.isdisjoint(task.inputs)]:
        blocked += [(task, TaskResult("failed", reason)) for task in found]
        missing |= {path for task in found for path in task.outputs}
        left = [task for task in left if task not in found]
    return blocked


def run(
    tasks: Sequence[Task],
    store: AnyStore,
    info: StudyInfo,
    *,
    engine: Engine | None = None,
    display: Display = SILENT,
    fresh: bool = False,
) -> Study:
    """Run the tasks of a study, and write `study.json` as results come; nothing else writes it.

    Args:
        info: what is known before the first task; the models come from the tasks.

    Raises:
        UserError: two models of one group are not the seeds of one training, or another run is
            writing this report.
    """
    started = monotonic()
    with nullcontext() if isinstance(store, MemoryStore) else writing(store.folder):
        planned = dict.fromkeys(task.unit for task in tasks if task.kind == "evaluate")
        seconds = info.seconds + _seconds_before(store)
        machine = "; ".join(filter(None, [info.machine, engine.about if engine else ""]))
        known = {"seconds": seconds, "planned": tuple(planned), "machine": machine}
        info = info.model_copy(update=known)
        before, given = info.seconds, info
        results: dict[Task, TaskResult] = {}
        try:
            for task, result in execute(tasks, store, engine=engine, display=display, fresh=fresh):
                results[task] = result
                changed = _with_results(given, [(t, results[t]) for t in tasks if t in results])
                if changed != info:
                    check_groups(changed.models)
                    info = changed
                    _save(info, store)
        finally:
            info = info.model_copy(update={"seconds": round(before + monotonic() - started, 1)})
            if info.models:
                _save(info, store)
    return study.collect(info, store, feature_learning.KNOWN)


def _with_results(info: StudyInfo, ended: Sequence[tuple[Task, TaskResult]]) -> StudyInfo:
    """What is known of the study after these tasks, in the order planned."""
    models = {model.key: model for model in info.models}
    skipped, data = [*info.skipped], info.data
    for task, result in ended:
        models |= {model.key: model for model in result.models if model.key not in models}
        data = result.data or data
        # What fails before an evaluation, such as a training, is the reason of the evaluation's.
        if result.status in ("skipped", "failed") and task.kind not in ("train", "estimate"):
            missing = SkippedAnalysis(model=task.unit, analysis=task.name, reason=result.reason)
            skipped.append(missing)
    update = {"models": (*models.values(),), "skipped": (*skipped,), "data": data}
    return info.model_copy(update=update)


def _seconds_before(store: AnyStore) -> float:
    """What earlier calls took."""
    return 0.0 if isinstance(store, MemoryStore) else study.seconds_before(store.folder)


def _save(info: StudyInfo, store: AnyStore) -> None:
    if not isinstance(store, MemoryStore):
        study.save(info, store.folder)


def shard_tasks(tasks: Sequence[Task], shard: Shard) -> list[Task]:
    """The tasks of one shard: every N-th model with all its tasks, and what every shard needs.

    Raises:
        UserError: there are fewer models than shards, and this one has none.
    """
    own = {*shard.select(list(dict.fromkeys(task.unit for task in tasks if task.unit)))}
    return [task for task in tasks if not task.unit or task.unit in own]


def schedule_seconds(tasks: Sequence[Task], seconds: Sequence[float], workers: int) -> float:
    """How long tasks take on several workers, in the order in which :func:`execute` starts them.

    Args:
        seconds: of each on one worker, all workers being as fast.
    """
    needed, chains = dict(zip(tasks, seconds, strict=True)), _chain_costs(tasks)
    waiting = sorted(tasks, key=chains.__getitem__, reverse=True)
    unfinished = {path for task in tasks for path in task.outputs}
    running: list[tuple[float, int]] = []  # the end, and which
    now, numbers = 0.0, {task: number for number, task in enumerate(tasks)}
    while waiting or running:
        ready = [task for task in waiting if unfinished.isdisjoint(task.inputs)]
        for task in ready[: workers - len(running)]:
            waiting.remove(task)
            heappush(running, (now + needed[task], numbers[task]))
        now, number = heappop(running)
        unfinished -= {*tasks[number].outputs}
    return now


def dry_run(
    tasks: Iterable[Task], store: AnyStore, times: StepTimes | None = None, *, fresh: bool = False
) -> pd.DataFrame:
    """What `run` would do: one row a task.

    Columns: `kind`, `unit`, `name`, `state` ("done already", "skip: needs boxes", "waits for
    FILE" or "to do"), `work` (the amount, in words), `seconds` (about, by `times`; NaN where not
    known).
    """
    planned = list(tasks)
    pending: dict[Path, str] = {}
    rows = []
    for task in planned:
        waits = [path for path in task.inputs if path in pending]
        if task.missing_need():
            state = f"skip: needs {task.missing_need()}"
        elif waits:
            state = f"waits for {waits[0].name}"
        else:
            state = "done already" if not fresh and task.is_done(store) else "to do"
        if state != "done already":
            pending |= dict.fromkeys(task.outputs, task.label)
        idle = state == "done already" or state.startswith("skip")
        seconds = 0.0 if idle else NOT_KNOWN if times is None else task.seconds(times)
        rows.append((task.kind, task.unit, task.name, state, task.describe(), seconds))
    return pd.DataFrame(rows, columns=["kind", "unit", "name", "state", "work", "seconds"])
