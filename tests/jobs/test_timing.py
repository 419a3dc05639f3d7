"""Timed epochs: of a training of their own, and only where nothing else ran."""

import numpy as np
import pytest
import torch

from catchup_eval.jobs import timing
from catchup_eval.jobs.data import DataSource
from catchup_eval.jobs.task import Worker
from catchup_eval.jobs.timing import EpochTimes, TimingTask, read_times
from catchup_eval.jobs.train import TrainTask
from catchup_eval.results.store import MemoryStore
from catchup_eval.trainers.recipe import load_recipe


@pytest.fixture
def task(tmp_path, few_digits):
    recipe = load_recipe("digits", {"options": {"width": 4}, "epochs": 60, "batch_size": 100})
    data = DataSource("few", tmp_path, live=few_digits)
    training = TrainTask(recipe, "baseline", 0, data, tmp_path / "models")
    return TimingTask(training, tmp_path / "timing")


@pytest.mark.trained
def test_twenty_epochs_are_timed_and_nothing_else_is_left(task, tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "EPOCHS", 3)
    short = TimingTask(task, tmp_path / "timing")
    worker = Worker(torch.device("cpu"), MemoryStore())
    assert short.run(worker, lambda *_: None).status == "done"
    assert short.is_done(worker.store)
    assert [*(tmp_path / "timing").iterdir()] == [short.outputs[0]]
    assert not (tmp_path / "models").exists()
    times = read_times(short.outputs[0])
    assert times.seconds.shape == (3,) and (times.seconds > 0).all()


def test_a_long_training_is_timed_over_twenty_epochs(task):
    assert task.recipe.epochs == 20 and task.recipe.keep == ()
    assert task.cost == pytest.approx(20 * 1.1)


def test_the_time_of_another_recipe_is_not_taken(task, tmp_path):
    longer = task.recipe.model_copy(update={"batch_size": 50})
    training = TrainTask(longer, "baseline", 0, task.data, tmp_path / "models")
    other = TimingTask(training, tmp_path / "timing")
    again = TimingTask(task, tmp_path / "timing")
    assert other.outputs != task.outputs and again.recipe == task.recipe


def test_other_work_is_seen(monkeypatch):
    """Ten CPU seconds on the machine, four of them ours, in two seconds: three other cores."""
    clock, busy, own = iter([100.0, 102.0]), iter([50.0, 60.0]), iter([(1, 1, 0, 0), (5, 1, 0, 0)])
    monkeypatch.setattr(timing, "monotonic", lambda: next(clock))
    monkeypatch.setattr(timing, "_busy_seconds", lambda: next(busy))
    monkeypatch.setattr(timing.os, "times", lambda: (*next(own), 0.0))
    assert timing._count_other_cores()() == 3.0
    assert not EpochTimes(np.ones(2), 3.0).is_undisturbed
    assert EpochTimes(np.ones(2), 0.1).is_undisturbed
    assert EpochTimes(np.ones(2), float("nan")).is_undisturbed, "not known, not refused"
