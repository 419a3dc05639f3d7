"""TOML files: those that come with a package, by name, and a user's own, by path."""

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from catchup_eval.core.errors import BadFile, UnknownName
from catchup_eval.core.files import read_regular

SUFFIX = ".toml"
MOST = 10_000_000  # bytes


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
        BadFile: no such file, no text, or no TOML; the message says in which line.
    """
    try:
        text = read_regular(Path(path), most=MOST).decode()
    except (BadFile, UnicodeDecodeError) as error:
        names = ", ".join(known)
        others = f"; those that come with the toolkit are: {names}" if names else ""
        raise BadFile(f"cannot read the {kind} {path}: {error}{others}") from error
    return parse(text, str(path))


def parse(text: str, source: str) -> dict[str, Any]:
    """The content of a TOML text; `source` names it in errors.

    Raises:
        BadFile: no valid TOML; the message says in which line.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadFile(f"{source} is no valid TOML: {error}") from error
