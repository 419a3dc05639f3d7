"""The process of a member of a team (:mod:`catchup_eval.jobs.engines.team`)."""

import os
import pickle
import sys
from threading import Thread
from time import sleep

from catchup_eval.jobs.engines.team import GRACE
from catchup_eval.jobs.engines.work import Work
from catchup_eval.jobs.engines.worker import do


def main() -> None:
    """Do this process's part of the work that comes by the input.

    When the input ends, the worker has ended, or will not wait for longer.
    """
    work: Work = pickle.load(sys.stdin.buffer)

    def leave() -> None:
        sys.stdin.buffer.read()
        sleep(GRACE)
        os._exit(1)

    Thread(target=leave, daemon=True).start()
    sys.exit(do(work).result is None)


if __name__ == "__main__":
    main()
