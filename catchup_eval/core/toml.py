"""TOML files: those that come with a package, by name, and a user's own, by path."""

import os
import stat
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from catchup_eval.core.errors import BadFile, UnknownName

SUFFIX = ".toml"
LARGEST = 1_000_000  # bytes of a file


@cache
def shipped(package: str, folder: str = "") -> Mapping[str, dict[str, Any]]:
    """The TOML files in a folder of a package, by name without suffix, in alphabetical order."""
    files = {file.name: file for file in resources.files(package).joinpath(folder).iterdir()}
    return {
        name.removesuffix(SUFFIX): parse(files[name].read_text(encoding="utf-8"), name)
        for name in sorted(files)
        if name.endswith(SUFFIX)
    }


def find(kind: str, name: str, known: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """One of the `known` files by name, or your own by path; `kind` names it in errors.

    Raises:
        UnknownName: no file of this name, which is no path.
        BadFile: as :func:`read`.
    """
    if name.endswith(SUFFIX) or Path(name).name != name:
        return read(kind, name, known)
    if name not in known:
        raise UnknownName(kind, name, known)
    return known[name]


def read(kind: str, path: str | Path, known: Iterable[str] = ()) -> dict[str, Any]:
    """The file at `path`; `known` are names that an error lists.

    Raises:
        BadFile: no such file, no regular one, a large one, no text, or no TOML; the message says
            in which line.
    """
    try:
        if (status := os.stat(path)).st_size > LARGEST or not stat.S_ISREG(status.st_mode):
            raise OSError(f"expected a regular file of {LARGEST:,} bytes at most")
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        names = ", ".join(known)
        others = f"; those that come with the toolkit are: {names}" if names else ""
        fault = getattr(error, "strerror", None) or error
        raise BadFile(f"cannot read the {kind} {path}: {fault}{others}") from error
    return parse(text, str(path))


def parse(text: str, source: str) -> dict[str, Any]:
    """The content of a TOML text; `source` names it in errors.

    Raises:
        BadFile: no valid TOML; the message says in which line.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise BadFile(f"{source} is no valid TOML: it is nested too deeply") from None
    except ValueError as error:  # a TOMLDecodeError, or a number of too many digits
        raise BadFile(f"{source} is no valid TOML: {error}") from error
