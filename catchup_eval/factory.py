"""Functions of the user's own, asked for as `FILE.py:NAME`."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from catchup_eval.errors import BadFile, UnknownName


def named(target: str) -> bool:
    """Whether this asks for a function of a file, which is run to have it."""
    return ".py:" in target


def load(target: str) -> Callable[..., Any]:
    """The function that `FILE.py:NAME` names; the file is run.

    Raises:
        BadFile: there is no such file.
        UnknownName: there is no such function in it.
    """
    path, _, name = target.rpartition(":")
    if not Path(path).is_file():
        raise BadFile(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec and spec.loader  # given for every .py file
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        public = [each for each in vars(module) if each[0] != "_"]
        raise UnknownName(f"function of {path}", name, public)
    return getattr(module, name)  # type: ignore[no-any-return]
