"""The shards of every command partition its tasks; what all need is in each."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.jobs import engine
from catchup_eval.jobs.task import Task

NETS = """
from torch import nn

def build(*, seed=0):
    linear = nn.Linear(3, 10)
    for parameter in linear.parameters():
        nn.init.constant_(parameter, seed)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
"""
PLAN = """
name = "planned"
data = "few.npz"
methods = ["baseline", "cutmix"]
seeds = [0, 1]
models = ["nets.py:build?norm=none"]
cscores = {networks = 4}
only = ["clean", "cscore"]
"""
MODELS = [f"{name}=nets.py:build?norm=none&seed={seed}" for seed, name in enumerate("abcd")]
EVALUATION = (*MODELS, "--data", "few.npz", "--only", "clean", "ood", "--limit", "20")
COMMANDS = {
    "run": ("run", "plan.toml"),
    "train": ("train", "digits", "--data", "few.npz", "--method", "baseline", "cutmix",
              "--seeds", "0", "1"),
    "evaluate": ("evaluate", *EVALUATION),
    "compare": ("compare", *EVALUATION),
    "reproduce": ("reproduce", "table1", "--on", "digits", "--only", "baseline", "catchup",
                  "--seeds", "0", "1"),
    "data cscores": ("data", "cscores", "few.npz", "--out", "scores.npz", "--networks", "5"),
}  # fmt: skip


@pytest.fixture
def box(tmp_path: Path, few_digits: TensorDataset) -> Path:
    """A folder with a plan, networks and few digits."""
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "plan.toml").write_text(PLAN)
    train, test = few_digits.split("train"), few_digits.split("test")
    np.savez(
        tmp_path / "few.npz",
        images=test.images.numpy(),
        labels=test.labels.numpy(),
        train_images=train.images.numpy(),
        train_labels=train.labels.numpy(),
    )
    return tmp_path


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """The tasks that a command would run; none is run."""
    tasks: list[Task] = []

    def execute(own: Sequence[Task], *_: Any, **__: Any) -> Iterator[Any]:
        tasks.extend(own)
        if {"reproduce", "--shard"} <= {*sys.argv}:  # a shard has several settings
            return iter(())
        raise BadFile("nothing is run here")

    monkeypatch.setattr(engine, "execute", execute)
    return tasks


@pytest.mark.usefixtures("sketches")
@pytest.mark.parametrize("command", COMMANDS)
def test_shards_partition_the_tasks(
    command: str, call: Callable[..., Any], box: Path, planned: list[Task]
) -> None:
    def plan(*more: str) -> list[tuple[str, ...]]:
        planned.clear()
        ended = call(*COMMANDS[command], *more, folder=box)
        assert planned, ended.stderr
        return [
            (task.kind, task.unit, task.name, *(path.name for path in task.outputs))
            for task in planned
        ]

    whole = plan()
    shared = {task for task in whole if not task[1]} if command == "run" else set()
    parts = [plan("--shard", f"{number}/3") for number in (1, 2, 3)]
    assert all(shared <= {*part} for part in parts)
    own = [task for part in parts for task in part if task not in shared]
    assert sorted(own) == sorted(task for task in whole if task not in shared)
    assert len({*whole}) == len(whole) > len(shared)


def test_shards_share_the_networks_of_an_estimate(
    call: Callable[..., Any], box: Path, planned: list[Task]
) -> None:
    """And each begins with another one."""
    files = []
    for number in (1, 2):
        planned.clear()
        call("run", "plan.toml", "--shard", f"{number}/2", folder=box)
        files.append([task.outputs[0] for task in planned if task.kind == "estimate"])
    assert files[1] == files[0][2:] + files[0][:2] and len(files[0]) == 4
    assert {path.parent for path in files[0]} == {Path("reports/planned/cscores")}


def test_a_shard_of_a_reproduction_beyond_its_networks_is_a_mistake(
    call: Callable[..., Any], box: Path
) -> None:
    words = ("reproduce", "table1", "--on", "digits", "--only", "catchup", "--shard", "900/900")
    ended = call(*words, folder=box)
    assert ended.returncode == 2
    assert "shard 900/900 has nothing to do: there are only" in ended.stderr
