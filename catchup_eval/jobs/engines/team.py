"""Several processes of one worker that train one network together, as torchrun would start them.

The worker is the first of them, starts the others and ends them; they have one device each, on its
machine. How they train is :mod:`catchup_eval.trainers.distributed`.
"""

import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import distributed

from catchup_eval.jobs.engines.work import Work
from catchup_eval.trainers.distributed import join_processes

GRACE = 30.0  # seconds for a process to end by itself
MEMBER = "catchup_eval.jobs.engines.member"
LOOPBACK = "127.0.0.1"


@contextmanager
def meet(work: Work) -> Iterator[torch.device]:
    """Start the other processes of the work's team, or be one of them; meet all.

    Yields:
        this process's device.

    Raises:
        UserError: fewer GPUs than processes.
        Interrupted: the others do not come.
    """
    with ExitStack() as ending:
        ending.callback(_leave_group)  # at last, when there is no process that it could wait for
        if work.rank == 0:
            port = _free_port()
            for rank in range(1, work.team):
                ending.enter_context(_member(replace(work, rank=rank), port))
            ending.enter_context(_environment(_meeting(work, port)))
        _, device = ending.enter_context(join_processes(work.device))
        yield device


def _leave_group() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _meeting(work: Work, port: int) -> dict[str, str]:
    """What torchrun tells a process."""
    size, rank = str(work.team), str(work.rank)
    place = {"MASTER_ADDR": LOOPBACK, "MASTER_PORT": str(port)}
    return {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "RANK": rank, "LOCAL_RANK": rank, **place}


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


@contextmanager
def _member(work: Work, port: int) -> Iterator[None]:
    """Another process of the team; its output is this one's."""
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
    threads = {"OMP_NUM_THREADS": str(work.threads)} if work.threads else {}
    process = subprocess.Popen(
        [sys.executable, "-m", MEMBER],
        stdin=subprocess.PIPE,
        env={**os.environ, **_meeting(work, port), **threads, "PYTHONPATH": paths},
    )
    assert process.stdin
    try:
        with suppress(OSError):  # has ended already: whoever waits for it is told so
            label = f"{work.label} (process {work.rank + 1} of {work.team})"
            pickle.dump(replace(work, label=label), process.stdin)
            process.stdin.flush()
        yield
    finally:
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
