"""The process of a local worker: tasks come by its input, progress and outcomes go by its output.

When its input ends, so does it: whoever started it is gone, or wants it to stop.
"""

import os
import pickle
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from queue import SimpleQueue
from threading import Event, Lock, Thread
from time import monotonic

from catchup_eval.jobs.engines.work import Work
from catchup_eval.jobs.engines.worker import do

OFTEN = 0.1  # seconds between two reports of progress


def main() -> None:
    """Do what comes."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a network prints goes to the log
    works: SimpleQueue[Work | None] = SimpleQueue()
    busy, alone = Event(), Lock()

    def send(content: object) -> None:
        with alone, suppress(OSError):  # whoever listened is gone, and the signal comes
            pickle.dump(content, output)
            output.flush()

    def receive() -> None:
        with suppress(EOFError, OSError):
            while True:
                work, device = pickle.load(sys.stdin.buffer)
                busy.set()
                works.put(replace(work, device=device))
        works.put(None)
        if busy.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=receive, daemon=True).start()
    while (work := works.get()) is not None:
        last = 0.0

        def progress(done: int, total: int, note: str = "", *, line: str = "") -> None:
            nonlocal last
            if line or monotonic() - last > OFTEN:
                last = monotonic()
                send((done, total, note, line))

        outcome = do(work, progress)
        busy.clear()
        send(outcome)
        if outcome.lost:
            break


if __name__ == "__main__":
    main()
