"""Run tasks: the same order, resuming, dry run and progress display for every command."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Protocol

import pandas as pd
import torch

from catchup_eval import feature_learning
from catchup_eval.core.environment import resolve_device
from catchup_eval.jobs.cost import NOT_KNOWN, StepTimes
from catchup_eval.jobs.task import AnyStore, Progress, Task, TaskResult, Worker
from catchup_eval.results import study
from catchup_eval.results.folder import writing
from catchup_eval.results.shards import Shard
from catchup_eval.results.store import MemoryStore
from catchup_eval.results.study import SkippedAnalysis, Study, StudyInfo, check_groups


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
    """

    slots: int

    def submit(
        self, task: Task, store: AnyStore, progress: Progress, *, fresh: bool
    ) -> Future[TaskResult]:
        """Run a task whose inputs are there, or take what is done of it."""
        ...

    def close(self) -> None:
        """Give up what it holds."""
        ...


class InlineEngine:
    """This process, one task after the other.

    Args:
        device: where to compute.
    """

    slots = 1

    def __init__(self, device: torch.device | str = "auto"):
        self._device = device if isinstance(device, torch.device) else resolve_device(device)
        self._worker: Worker | None = None

    def submit(
        self, task: Task, store: AnyStore, progress: Progress, *, fresh: bool
    ) -> Future[TaskResult]:
        future: Future[TaskResult] = Future()
        future.set_result(self.run(task, store, progress, fresh=fresh))
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


def execute(
    tasks: Sequence[Task],
    store: AnyStore,
    *,
    engine: Engine | None = None,
    display: Display = SILENT,
    fresh: bool = False,
) -> Iterator[tuple[Task, TaskResult]]:
    """Run tasks as their inputs appear, in the order planned; pass over what is done.

    Gives each with its result as soon as it ends. A task that raises ends the run.
    """
    engine = engine or InlineEngine()
    waiting, running = list(tasks), dict[Future[TaskResult], Task]()
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
                    unfinished -= {*task.outputs}
                    display.finish(task, future.result())
                    yield task, future.result()
    finally:
        display.end()


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
        info = info.model_copy(update={"seconds": seconds, "planned": tuple(planned)})
        before = info.seconds
        try:
            for task, result in execute(tasks, store, engine=engine, display=display, fresh=fresh):
                changed = _with_result(info, task, result)
                if changed != info:
                    check_groups(changed.models)
                    info = changed
                    _save(info, store)
        finally:
            info = info.model_copy(update={"seconds": round(before + monotonic() - started, 1)})
            if info.models:
                _save(info, store)
    return study.collect(info, store, feature_learning.KNOWN)


def _with_result(info: StudyInfo, task: Task, result: TaskResult) -> StudyInfo:
    """What is known of the study after one more task."""
    known = {model.key for model in info.models}
    models = (*info.models, *(model for model in result.models if model.key not in known))
    skipped = info.skipped
    if result.status in ("skipped", "failed"):
        missing = SkippedAnalysis(model=task.unit, analysis=task.name, reason=result.reason)
        skipped = (*skipped, missing)
    data = result.data or info.data
    return info.model_copy(update={"models": models, "skipped": skipped, "data": data})


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
