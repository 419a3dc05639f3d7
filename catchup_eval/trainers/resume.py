"""Stop and go on: a training's state on disk, and signals that are heeded between two steps."""

import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from catchup_eval.errors import BadFile, Interrupted, UserError
from catchup_eval.files import locked, replacing
from catchup_eval.trainers.interrupt import Heard, listening
from catchup_eval.trainers.run import Run

SECONDS = 5.0  # what a killed training may lose
SHARE = 50  # a save is put off until 50 times its cost has passed: at most 2 % goes into saving

Pause = Callable[[], None]


@contextmanager
def resumable(run: Run, path: Path | None, identity: Mapping[str, Any]) -> Iterator[Pause]:
    """Go on from `path` if it exists, and keep it up to date.

    Args:
        run: fresh; its state is replaced where there is a file.
        path: None: nothing is saved, and signals are left alone.
        identity: what both trainings must agree in: plain values, tables of them inside.

    Yields:
        what to call between two steps: it saves when that is due and, after SIGINT or SIGTERM,
        saves and raises :class:`~catchup_eval.errors.Interrupted`.

    Raises:
        UserError: the file belongs to another training; the difference is named. Or another
            process is using it.
        BadFile: it is damaged.
    """
    if path is None:
        yield lambda: None
        return
    with locked(path, wait=False) as alone:
        if alone is False:
            raise UserError(f"another process is training with {path} at this moment")
        file = _ResumeFile(path, identity)
        file.restore(run)
        with listening() as heard:
            yield lambda: file.pause(run, heard)


class _ResumeFile:
    """A resume file and when it was last written."""

    def __init__(self, path: Path, identity: Mapping[str, Any]):
        self._path = path
        self._identity = json.dumps(identity, sort_keys=True)
        self._due = perf_counter() + SECONDS

    def pause(self, run: Run, heard: Heard) -> None:
        """Save if it is time to, stop if a signal has come."""
        if heard.came is None and perf_counter() < self._due:
            return
        self.save(run)
        if heard.came is not None:
            raise Interrupted(
                f"stopped by {heard.came.name} after {run.step} of {run.steps} steps; all is "
                f"saved in {self._path}, and the same call goes on from there",
                int(heard.came),
            )

    def save(self, run: Run) -> None:
        """Write the state, whole or not at all.

        Raises:
            UserError: it holds what is no number; the file keeps the last sound state.
        """
        started = perf_counter()
        run.check_weights()
        buffer = BytesIO()  # torch says nothing readable of a full disk
        torch.save({"identity": self._identity, **run.state()}, buffer)
        with replacing(self._path) as temporary:
            temporary.write_bytes(buffer.getbuffer())
        run.kept = self._path
        now = perf_counter()
        self._due = now + max(SECONDS, SHARE * (now - started))

    def restore(self, run: Run) -> None:
        """Put the file's state into `run`; nothing where there is no file."""
        if not self._path.exists():
            return
        state = read_state(self._path)
        there, here = (json.loads(text) for text in (state["identity"], self._identity))
        expect_same(there, here, f"{self._path} belongs to another training")
        run.load_state(state)
        run.kept = self._path


def read_state(path: Path) -> dict[str, Any]:
    """What a resume file holds, on the CPU; nothing in it is run.

    Raises:
        BadFile: damaged, or no resume file.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(state, dict) and "identity" in state:
            return state
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError, KeyError):
        pass
    raise BadFile(
        f"{path} is no whole resume file; delete it, or start afresh (--fresh, fresh=True)"
    )


def expect_same(there: Mapping[str, Any], here: Mapping[str, Any], what: str) -> None:
    """Raise `UserError` with the first settings in which a file and a request differ."""
    old, new = _flat(there), _flat(here)
    differences = [
        f"{key} is {old.get(key, 'absent')!r} there and {new.get(key, 'absent')!r} here"
        for key in dict.fromkeys([*new, *old])
        if old.get(key, "absent") != new.get(key, "absent")
    ]
    if differences:
        raise UserError(
            f"{what}: {', '.join(differences[:3])}; "
            "start afresh (--fresh, fresh=True) to replace it, or choose another name or folder"
        )


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
