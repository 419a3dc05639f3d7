"""SIGINT and SIGTERM as a note that is read between two steps, so that nothing is cut in half."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

WATCHED = (signal.SIGINT, signal.SIGTERM)


@dataclass
class SignalFlag:
    """The signal that has come, if any."""

    came: signal.Signals | None = None


@contextmanager
def catch_signals() -> Iterator[SignalFlag]:
    """While this is open, the first signal is noted; a second one acts as it did before.

    Python lets only the main thread have signal handlers: elsewhere nothing is noted.
    """
    flag = SignalFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    # None is a handler that was not installed from Python and cannot be restored.
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in WATCHED}

    def restore_handlers() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _frame: FrameType | None) -> None:
        flag.came = signal.Signals(number)
        restore_handlers()

    for number in WATCHED:
        signal.signal(number, note)
    try:
        yield flag
    finally:
        restore_handlers()
