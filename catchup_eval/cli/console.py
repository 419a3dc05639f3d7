"""What a command prints: progress bars on a terminal, plain lines elsewhere."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.progress import Task as BarTask
from rich.text import Text

from catchup_eval.cli.options import Options
from catchup_eval.core.errors import Interrupted
from catchup_eval.core.http import DownloadRequest, download
from catchup_eval.models.sources import WeightsAccess

if TYPE_CHECKING:
    import pandas as pd

    from catchup_eval.jobs.task import Task, TaskResult


class Terminal(RichConsole):
    """Ends the command where the reader of its output goes away; what is stored stays."""

    def on_broken_pipe(self) -> None:
        """Raise, in place of exit code 1, which means something else here."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Interrupted("the output was closed", signal.SIGPIPE)


class Console:
    """Where a command prints.

    Args:
        quiet: nothing but results and errors.
        verbose: details too.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False):
        self._terminal = Terminal(highlight=False, emoji=False, soft_wrap=True)
        self._quiet, self._verbose = quiet, verbose

    def info(self, text: str) -> None:
        """One line, unless quiet."""
        if not self._quiet:
            self.result(text)

    def detail(self, text: str) -> None:
        """One line, with `--verbose`."""
        if self._verbose:
            self.result(text)

    def result(self, text: str) -> None:
        """What the command was called for; always printed."""
        self._terminal.print(text, markup=False)

    def table(self, frame: "pd.DataFrame | Mapping[str, Sequence[object]]", title: str) -> None:
        """A small table, unless quiet; lines wider than the terminal are for it to wrap."""
        if self._quiet:
            return
        columns = [[str(name), *map(str, column)] for name, column in frame.items()]
        widths = [max(map(len, column)) for column in columns]
        self.result(title)
        for cells in zip(*columns, strict=True):
            padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
            self.result("  ".join(padded).rstrip())

    def display(self) -> "ProgressBars":
        """Shows the progress of tasks."""
        bars = not self._quiet and self._terminal.is_terminal
        return ProgressBars(self, self._terminal if bars else None)

    @contextmanager
    def bytes(self, label: str) -> Iterator[Callable[[int, int], None]]:
        """Show how much of a file has come; gives the function that takes (here, whole)."""
        if not self._terminal.is_terminal:
            self.info(label)
            yield DownloadLines(self.info).update
            return
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            DownloadColumn(),
            TransferSpeedColumn(),
            _TimeColumn(),
            console=self._terminal,
            transient=True,
        ) as progress:
            task = progress.add_task(label.partition(",")[0], total=None)
            yield lambda here, whole: progress.update(task, completed=here, total=whole or None)
        self.info(label)


class DownloadLines:
    """A line whenever another tenth of a file is here."""

    def __init__(self, info: Callable[[str], None]):
        self._print = info
        self._printed = 0  # tenths

    def update(self, here: int, whole: int) -> None:
        """Take the progress; prints nothing where the whole is not known."""
        tenths = 10 * here // whole if whole else 0
        if tenths > self._printed:
            self._print(f"  {10 * tenths} %")
        self._printed = tenths


class ProgressBars:
    """Shows the progress of tasks, a :class:`~catchup_eval.jobs.engine.Display`.

    Args:
        console: gets a line for each task that was run, and the notes of the tasks.
        terminal: gets bars: one for each task that runs, one for all by their costs; None for none.
    """

    def __init__(self, console: Console, terminal: Terminal | None):
        self._console, self._terminal = console, terminal
        self._progress: Progress | None = None
        self._started: dict[Task, float] = {}
        self._bars: dict[Task, TaskID] = {}  # of the tasks that run
        self._fractions: dict[Task, float] = {}  # of each task that is done or runs
        self._known: set[str] = set()  # models and notes that were printed
        self._ended = self._total = 0

    def begin(self, tasks: Sequence["Task"]) -> None:
        """Show the bars."""
        self._ended, self._total = 0, len(tasks)
        if self._terminal is None:
            return
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            _TimeColumn(),
            console=self._terminal,
            transient=True,
        )
        self._whole = self._progress.add_task("", total=sum(task.cost for task in tasks))
        self._show_whole()
        self._progress.start()

    def _show_whole(self) -> None:
        """How many tasks are done, run and wait, and how much that is by their costs."""
        if self._progress:
            done, running = self._ended, len(self._started)
            text = f"{done} done, {running} running, {self._total - done - running} waiting"
            cost = sum(task.cost * fraction for task, fraction in [*self._fractions.items()])
            self._progress.update(self._whole, completed=cost, description=text)

    def start(self, task: "Task") -> None:
        """A task has begun."""
        self._started[task] = monotonic()
        if self._progress and task not in self._bars:  # else its worker was lost
            self._bars[task] = self._progress.add_task(task.label, total=1.0)
            self._show_whole()

    def update(
        self, task: "Task", done: int, total: int, note: str = "", *, line: str = ""
    ) -> None:
        """A task has come so far; the line is printed where there are no bars."""
        if line and not self._progress:
            self._console.info(f"{task.unit}: {line}")
        if self._progress and task in self._bars:
            self._fractions[task] = done / max(total, 1)
            text = f"{task.label}  {note}".rstrip()
            bar, fraction = self._bars[task], self._fractions[task]
            self._progress.update(bar, completed=fraction, description=text)
            self._show_whole()

    def finish(self, task: "Task", result: "TaskResult") -> None:
        """A task has ended: one line, unless it was done before."""
        self._ended += 1
        seconds = monotonic() - self._started.pop(task)
        if self._progress:
            self._fractions[task] = 1.0
            self._progress.remove_task(self._bars.pop(task))
            self._show_whole()
        for note in result.notes:
            self._print_once(note, self._console.info)
        for model in result.models:
            if model.fingerprint:
                text = f"{model.key}: {model.preprocessing}, weights {model.fingerprint[:8]}"
                self._print_once(text, self._console.detail)
        ending = result.reason or f"{seconds:.1f} s"
        if result.status != "cached":
            self._console.info(f"[{self._ended}/{self._total}] {task.label}: {ending}")

    def _print_once(self, text: str, write: Callable[[str], None]) -> None:
        if text not in self._known:
            self._known.add(text)
            write(text)

    def end(self) -> None:
        """Take the bars away."""
        if self._progress:
            self._progress.stop()


class _TimeColumn(ProgressColumn):
    """Elapsed and, from the fraction that is done, remaining time."""

    def render(self, task: BarTask) -> Text:
        elapsed = task.elapsed or 0.0
        fraction = task.completed / task.total if task.total else 0.0
        left = f"{_minutes(elapsed * (1 - fraction) / fraction)} left" if fraction > 0.01 else ""
        return Text(f"{fraction:4.0%} {_minutes(elapsed)}  {left}", style="dim")


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def access(options: Options, console: Console) -> WeightsAccess:
    """How a command gets and reads files of weights."""

    def get(wanted: DownloadRequest) -> None:
        with console.bytes(f"{wanted.path.name}, from {wanted.addresses[0]}") as progress:
            download(wanted, progress=progress)

    return WeightsAccess(options.data_root / "models", options.trust_pickle, get)
