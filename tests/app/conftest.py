import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from catchup_eval.app.cli import main


class Ended(NamedTuple):
    """What a command left, as `subprocess.run` tells it."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """The command `catchup-eval` with these words, in this process, where torch is loaded."""
    for name, value in {"NO_COLOR": "1", "COLUMNS": "100", "OMP_WAIT_POLICY": "passive"}.items():
        monkeypatch.setenv(name, value)

    def run(*words: str, folder: Path | None = None) -> Ended:
        if folder is not None:
            monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["catchup-eval", *words])
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return Ended(code, *capsys.readouterr())

    return run
