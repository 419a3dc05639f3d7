import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest


@pytest.fixture(scope="module")
def few_digits_train() -> Iterator[None]:
    """Trainings on digits are short: a narrow network, one image in eight."""
    from catchup_eval.app import run
    from catchup_eval.trainers import recipe

    load = recipe.load_recipe

    def load_recipe(name: str, changes: Mapping[str, Any] | None = None) -> Any:
        short = {"options": {"width": 4}, "share": 0.125} if name == "digits" else {}
        return load(name, {**short, **(changes or {})})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "load_recipe", load_recipe)
        yield


@pytest.fixture(scope="module")
def few_resamples() -> Iterator[None]:
    """Bootstraps of 20 resamples, where intervals are no matter."""
    from catchup_eval.metrics import intervals

    with pytest.MonkeyPatch.context() as patch:
        for function in (intervals.bootstrap, intervals.bootstrap_mean):
            patch.setitem(function.__kwdefaults__, "resamples", 20)
        yield


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

    from catchup_eval.cli.main import main

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
