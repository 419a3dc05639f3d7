"""Tasks run in order as their inputs appear; what is done is passed over; one failure is one."""

import errno
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from catchup_eval.analysis import ANALYSES
from catchup_eval.core.errors import Interrupted, UserError
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.jobs import engine
from catchup_eval.jobs.engine import InlineEngine, Silent, WorkerLost
from catchup_eval.jobs.evaluate import LOG, EvaluationSettings
from catchup_eval.jobs.networks import ModelUnderTest, describe
from catchup_eval.jobs.task import AnyStore, Progress, Task, TaskResult, Worker
from catchup_eval.models.classifier import Classifier
from catchup_eval.results.shards import Shard
from catchup_eval.results.store import MemoryStore, Store
from catchup_eval.results.study import Study


class Writing(Task):
    """Writes its output."""

    kind, cost = "train", 1.0

    def __init__(self, path: Path, *inputs: Path, unit: str = ""):
        self.unit, self.name = unit, path.name
        self.inputs, self.outputs = inputs, (path,)

    def run(self, worker: Worker, progress: Progress, *, fresh: bool = False) -> TaskResult:
        assert all(path.exists() for path in self.inputs)
        progress(1, 2, "half")
        self.outputs[0].write_text("new")
        return TaskResult("done")

    def describe(self) -> str:
        return "one file"


class Threads:
    """Three tasks at a time."""

    slots, about = 3, "threads"

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.slots)

    def submit(
        self, task: Task, store: AnyStore, progress: Progress, *, fresh: bool
    ) -> Future[TaskResult]:
        return self._pool.submit(InlineEngine("cpu").run, task, store, progress, fresh=fresh)

    def close(self) -> None:
        self._pool.shutdown()


class Listening(Silent):
    def __init__(self) -> None:
        self.events: list[str] = []

    def start(self, task: Task) -> None:
        self.events.append(f"start {task.name}")

    def update(self, task: Task, done: int, total: int, note: str = "", *, line: str = "") -> None:
        self.events.append(f"{task.name} {done}/{total} {note}")

    def finish(self, task: Task, result: TaskResult) -> None:
        self.events.append(f"{result.status} {task.name}")

    def end(self) -> None:
        self.events.append("end")


@pytest.fixture
def chain(tmp_path: Path) -> list[Task]:
    """c needs b, which needs a; planned the other way round."""
    a, b, c = (tmp_path / name for name in "abc")
    return [Writing(c, b), Writing(b, a), Writing(a)]


@pytest.mark.parametrize("make", [lambda: InlineEngine("cpu"), Threads])
def test_a_task_waits_for_its_inputs(chain: list[Task], make: Callable[[], Any]) -> None:
    ended = engine.execute(chain, MemoryStore(), engine=make())
    assert [(task.name, result.status) for task, result in ended] == [
        ("a", "done"), ("b", "done"), ("c", "done"),
    ]  # fmt: skip


def test_what_is_done_is_passed_over_unless_fresh(chain: list[Task]) -> None:
    chain[2].outputs[0].write_text("old")
    heard = Listening()
    list(engine.execute(chain, MemoryStore(), engine=InlineEngine("cpu"), display=heard))
    assert heard.events[:5] == ["start a", "cached a", "start b", "b 1/2 half", "done b"]
    assert heard.events[-1] == "end"
    assert chain[2].outputs[0].read_text() == "old"
    again = engine.execute(chain, MemoryStore(), engine=InlineEngine("cpu"), fresh=True)
    assert {result.status for _, result in again} == {"done"}
    assert chain[2].outputs[0].read_text() == "new"


class Losing(InlineEngine):
    """Loses its worker so many times; several at a time, so the longest first."""

    def __init__(self, times: int):
        super().__init__("cpu")
        self.slots, self.left, self.order = 2, times, []

    def submit(self, task: Task, *rest: Any, **named: Any) -> Future[TaskResult]:
        self.order.append(task.name)
        if not self.left:
            return super().submit(task, *rest, **named)
        self.left -= 1
        future: Future[TaskResult] = Future()
        future.set_exception(WorkerLost("its log is here"))
        return future


def test_the_task_of_a_lost_worker_is_submitted_again_three_times(tmp_path: Path) -> None:
    losing = Losing(3)
    (ended,) = engine.execute([Writing(tmp_path / "a")], MemoryStore(), engine=losing)
    assert ended[1].status == "done" and losing.order == ["a"] * 4
    needs = [Writing(tmp_path / "b"), Writing(tmp_path / "c", tmp_path / "b")]
    b, c = (result for _, result in engine.execute(needs, MemoryStore(), engine=Losing(4)))
    assert b.reason == "failed: its worker was lost 4 times; the last: its log is here"
    assert c.reason == f"failed: b: {b.reason.removeprefix('failed: ')}", (
        "what needs its output is not waited for"
    )


def test_the_longest_chain_begins_first(tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in "abcd"}
    a, b, c = (Writing(paths[name]) for name in "abc")
    d = Writing(paths["d"], paths["c"])
    a.cost, b.cost, c.cost, d.cost = 2.0, 5.0, 1.0, 9.0
    busy = Losing(0)
    list(engine.execute([a, b, c, d], MemoryStore(), engine=busy))
    assert busy.order == ["c", "b", "d", "a"]
    # Two workers: c, then d until 10; b until 5, then a until 7.
    assert engine.schedule_seconds([a, b, c, d], [2, 5, 1, 9], 2) == 10
    assert engine.schedule_seconds([a, b, c, d], [2, 5, 1, 9], 1) == 17


def test_a_dry_run_lists_all_and_does_nothing(chain: list[Task], tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    rows = engine.dry_run([*reversed(chain)], MemoryStore())
    assert rows["state"].tolist() == ["done already", "to do", "waits for b"]
    assert set(rows["work"]) == {"one file"}
    fresh = engine.dry_run([*reversed(chain)], MemoryStore(), fresh=True)
    assert fresh["state"].tolist() == ["to do", "waits for a", "waits for b"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_error_ends_the_run_and_the_display(chain: list[Task], tmp_path: Path) -> None:
    heard = Listening()
    (tmp_path / "b").mkdir()  # cannot be written
    with pytest.raises(OSError, match="directory"):
        list(
            engine.execute(
                chain, MemoryStore(), engine=InlineEngine("cpu"), display=heard, fresh=True
            )
        )
    assert heard.events[-1] == "end" and not (tmp_path / "c").exists()


def test_a_shard_has_models_whole_and_what_all_need(tmp_path: Path) -> None:
    tasks = [Writing(tmp_path / f"{unit}{k}", unit=unit) for k in range(2) for unit in "xyz"]
    shared = Writing(tmp_path / "shared")
    parts = [engine.shard_tasks([shared, *tasks], Shard(number, 2)) for number in (1, 2)]
    assert [[task.name for task in part] for part in parts] == [
        ["shared", "x0", "z0", "x1", "z1"], ["shared", "y0", "y1"],
    ]  # fmt: skip


@pytest.fixture
def two(networks: Callable[..., Classifier]) -> list[ModelUnderTest]:
    made = {name: networks(seed) for seed, name in enumerate("ab")}
    return [ModelUnderTest(describe(net, name, 0, name, {}), net) for name, net in made.items()]


Evaluate = Callable[..., Study]
BOTH = EvaluationSettings(["clean", "deformation"])


def failing(error: BaseException) -> Callable[..., Any]:
    def measure(context: Any) -> Any:
        raise error

    return measure


def test_an_analysis_that_fails_ends_itself_alone(
    two: list[ModelUnderTest],
    few_digits: AnySet,
    evaluate: Evaluate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            ANALYSES["deformation"], "measure", failing(RuntimeError("no memory\nat all"))
        )
        finished = evaluate(two, few_digits, BOTH, Store(tmp_path))
    assert set(finished.results) == {("a-s0", "clean"), ("b-s0", "clean")}
    reasons = [skip.reason for skip in finished.info.skipped]
    assert reasons == [f"failed: RuntimeError: no memory ({LOG} has the traceback)"] * 2
    log = (tmp_path / LOG).read_text()
    assert "a-s0: deformation" in log and "Traceback" in log and "at all" in log
    again = evaluate(two, few_digits, BOTH, Store(tmp_path))
    assert len(again.results) == 4 and not again.info.skipped


FULL = UserError("cannot write: no room")
FULL.__cause__ = OSError(errno.ENOSPC, "no room")


@pytest.mark.parametrize("error", [FULL, Interrupted("stopped", 2)])
def test_a_full_disk_and_a_signal_end_the_run_and_keep_what_is_done(
    error: Exception,
    two: list[ModelUnderTest],
    few_digits: AnySet,
    evaluate: Evaluate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ANALYSES["deformation"], "measure", failing(error))
    monkeypatch.setattr(engine, "monotonic", count(10.0).__next__)  # a second at each look
    with pytest.raises(type(error)):
        evaluate(two, few_digits, BOTH, Store(tmp_path))
    stopped = engine.study.load(tmp_path)
    assert set(stopped.results) == {("a-s0", "clean")}
    assert [model.key for model in stopped.info.models] == ["a-s0"]
    assert stopped.info.seconds >= 1


def test_a_mistake_ends_its_own_task(
    two: list[ModelUnderTest],
    few_digits: AnySet,
    evaluate: Evaluate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mistake = failing(UserError("no such file"))
    monkeypatch.setattr(ANALYSES["deformation"], "measure", mistake)
    finished = evaluate(two, few_digits, BOTH)
    assert set(finished.results) == {("a-s0", "clean"), ("b-s0", "clean")}
    assert [skip.reason for skip in finished.info.skipped] == ["failed: no such file"] * 2
    monkeypatch.setattr(ANALYSES["clean"], "measure", mistake)
    with pytest.raises(UserError, match="no such file"):  # which no task got past
        evaluate(two, few_digits, BOTH)


def test_memory_and_disk_hold_the_same(
    two: list[ModelUnderTest], few_digits: AnySet, evaluate: Evaluate, tmp_path: Path
) -> None:
    here, there = (evaluate(two, few_digits, BOTH, store) for store in (None, Store(tmp_path)))
    assert list(here.results) == list(there.results)
    for key, result in here.results.items():
        assert result.frame.equals(there.results[key].frame)
