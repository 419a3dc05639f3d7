"""How work says how far it is; a command shows it, everybody else passes nothing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Update = Callable[..., None]  # (done, total, note="")


class Display(Protocol):
    """Shows progress over a list of jobs."""

    def skip(self) -> None:
        """The next job is done already."""
        ...

    def job(self, label: str) -> AbstractContextManager[Update]:
        """The next job; gives the function that takes its progress."""
        ...


class Silent:
    """Shows nothing."""

    def skip(self) -> None:
        """Nothing to say."""

    @contextmanager
    def job(self, label: str) -> Iterator[Update]:
        """Takes the progress, and says nothing."""
        yield lambda done, total, note="": None


SILENT = Silent()
