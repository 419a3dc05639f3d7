"""Any console can be printed on, and a reader that goes away is no error."""

import os
import signal
import subprocess
import sys
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pytest

from catchup_eval.cli.console import Console, ProgressBars, Terminal
from catchup_eval.cli.main import prepare_console
from catchup_eval.jobs.data import DataSource
from catchup_eval.jobs.task import TaskResult
from catchup_eval.jobs.train import TrainTask
from catchup_eval.trainers.recipe import load_recipe

NOWHERE = DataSource("nowhere", Path())


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_a_table_can_be_printed_in_any_encoding(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(raw, encoding=encoding))
    monkeypatch.setenv("MPLBACKEND", "module://not.here")
    prepare_console()
    name = b"caf\xe9".decode("utf-8", "surrogateescape")  # as arguments come that are no UTF-8
    Console().table(
        {
            "": ["accuracy ↑"],
            name: ["\N{MINUS SIGN}1.0 [\N{MINUS SIGN}2.0, …]"],
            "語": ["\N{EN DASH}"],
        },
        "±",
    )
    sys.stdout.flush()
    printed = raw.getvalue().decode(encoding)
    assert ("accuracy ↑" if encoding == "utf-8" else "accuracy ^") in printed
    assert encoding != "ascii" or "-1.0 [-2.0, ...]  -" in printed
    assert "caf?" in printed
    assert os.environ["MPLBACKEND"] == "agg"


def test_a_closed_pipe_is_no_traceback() -> None:
    code = "from catchup_eval.cli.main import main; main()"
    words = [sys.executable, "-c", code, "data", "list"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, check=False, text=True)
    os.close(write)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == "the output was closed; the same command resumes from here\n"


def test_one_display_has_the_tasks_that_run_and_what_waits() -> None:
    tasks = [TrainTask(load_recipe("tiny"), "baseline", n, NOWHERE, Path()) for n in range(4)]
    bars = ProgressBars(Console(quiet=True), Terminal(file=StringIO(), force_terminal=True))

    def shown() -> list[str]:
        assert bars._progress is not None
        return [task.description for task in bars._progress.tasks]

    bars.begin(tasks)
    bars.start(tasks[0])
    bars.start(tasks[1])
    bars.update(tasks[1], 1, 2, "epoch 1")
    assert shown() == [
        "0 done, 2 running, 2 waiting",
        "baseline-s0: training",
        "baseline-s1: training  epoch 1",
    ]
    bars.start(tasks[1])  # again: its worker was lost
    bars.finish(tasks[1], TaskResult("done"))
    assert shown() == ["1 done, 1 running, 2 waiting", "baseline-s0: training"]
    bars.end()
