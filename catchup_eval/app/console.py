"""What a command prints: progress bars on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console as Terminal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from catchup_eval.app.options import Options
from catchup_eval.core.http import DownloadRequest, download
from catchup_eval.jobs.display import Update
from catchup_eval.models.sources import WeightsAccess

if TYPE_CHECKING:
    import pandas as pd


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
        """One line for those who asked for details."""
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

    @contextmanager
    def jobs(self, weights: Sequence[float]) -> Iterator["ProgressBars"]:
        """Show progress over jobs whose relative costs are `weights`."""
        jobs = ProgressBars(self, weights)
        if self._quiet or not self._terminal.is_terminal:
            yield jobs
            return
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            _TimeColumn(),
            console=self._terminal,
            transient=True,
        ) as progress:
            jobs.show(progress)
            yield jobs

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

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self._told = 0

    def update(self, here: int, whole: int) -> None:
        """Take the progress; where the whole is not known there is nothing to say."""
        tenths = 10 * here // whole if whole else 0
        if tenths > self._told:
            self._say(f"  {10 * tenths} %")
        self._told = tenths


class ProgressBars:
    """Progress over a list of jobs, each of a known share of the whole."""

    def __init__(self, console: Console, weights: Sequence[float]):
        self._console = console
        self._weights = list(weights)
        self._number = 0
        self._progress: Progress | None = None
        self._whole = self._current = TaskID(0)

    def show(self, progress: Progress) -> None:
        """Draw the bars on `progress` from now on."""
        self._progress = progress
        self._whole = progress.add_task("whole run", total=sum(self._weights))
        self._current = progress.add_task("", total=1.0, visible=False)

    def skip(self) -> None:
        """The next job is done already."""
        self._number += 1

    @contextmanager
    def job(self, label: str) -> Iterator[Update]:
        """The next job; gives the function that takes its progress."""
        before = sum(self._weights[: self._number])
        weight = self._weights[self._number] if self._number < len(self._weights) else 0.0
        self._number += 1
        started = monotonic()

        def update(done: int, total: int, note: str = "") -> None:
            if self._progress:
                share = done / max(total, 1)
                text = f"{label}  {note}".rstrip()
                self._progress.update(self._current, completed=share, description=text)
                self._progress.update(self._whole, completed=before + share * weight)

        if self._progress:
            self._progress.reset(self._current, description=label, visible=True)
        yield update
        update(1, 1)
        seconds = monotonic() - started
        self._console.info(f"[{self._number}/{len(self._weights)}] {label}: {seconds:.1f} s")


class _TimeColumn(ProgressColumn):
    """Elapsed and, from the share that is done, remaining time."""

    def render(self, task: Task) -> Text:
        elapsed = task.elapsed or 0.0
        share = task.completed / task.total if task.total else 0.0
        left = f"{_minutes(elapsed * (1 - share) / share)} left" if share > 0.01 else ""
        return Text(f"{share:4.0%} {_minutes(elapsed)}  {left}", style="dim")


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def access(options: Options, console: Console) -> WeightsAccess:
    """How a command gets and reads files of weights."""

    def get(wanted: DownloadRequest) -> None:
        with console.bytes(f"{wanted.path.name}, from {wanted.addresses[0]}") as tell:
            download(wanted, tell=tell)

    return WeightsAccess(options.data_root / "models", options.trust_pickle, get)
