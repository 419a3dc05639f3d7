"""TOML files: those that come with a package, by name, and a user's own, by path."""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from reprlib import Repr
from typing import Any

from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.core.files import read_regular

SUFFIX = ".toml"
MOST = 10_000_000  # bytes
LONGEST = 4096  # characters of a text
DEEPEST = 16  # lists and tables within one another
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 60


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
        text = read_regular(Path(path), most=MOST).decode("utf-8-sig")
    except (BadFile, UnicodeDecodeError) as error:
        names = ", ".join(known)
        others = f"; those that come with the toolkit are: {names}" if names else ""
        raise BadFile(f"cannot read the {kind} {path}: {error}{others}") from error
    return parse(text, str(path))


def parse(text: str, source: str) -> dict[str, Any]:
    """The content of a TOML text; `source` names it in errors.

    Raises:
        BadFile: no valid TOML; the message says in which line.
        UserError: as :func:`expect_plain`.
    """
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise BadFile(f"{source} is no valid TOML: it is nested too deeply") from None
    except ValueError as error:  # a TOMLDecodeError, or a number of too many digits
        raise BadFile(f"{source} is no valid TOML: {error}") from error
    expect_plain(values, source)
    return values


def parse_value(text: str, source: str) -> Any:
    """The value that TOML has for a text, or the text itself.

    Example:
        >>> parse_value("[1, 2]", "--set"), parse_value("fog", "--set")
        ([1, 2], 'fog')
    """
    try:
        values = parse(f"value = {text}", source)
    except BadFile:
        return text
    return values["value"] if values.keys() == {"value"} else text


def expect_plain(value: Any, source: str, depth: int = 0) -> None:
    """Refuse what no setting can mean, and what libraries fail to convert.

    Raises:
        UserError: a whole number of more than 64 bits, a text that is very long or has control
            characters, or deep nesting.
    """
    fault = ""
    if isinstance(value, int) and value.bit_length() > 63:
        fault = f"numbers of 64 bits at most, got one of {value.bit_length()}"
    elif isinstance(value, str):
        if len(value) > LONGEST:
            fault = f"text of {LONGEST} characters at most, got {len(value)}"
        elif CONTROL.search(value):
            fault = f"text without control characters, got {brief(value)}"
    elif isinstance(value, Mapping | list | tuple):
        if depth > DEEPEST:
            fault = f"lists and tables at most {DEEPEST} deep"
        parts = [*value, *value.values()] if isinstance(value, Mapping) else value
        for part in () if fault else parts:
            expect_plain(part, source, depth + 1)
    if fault:
        raise UserError(f"{source}: expected {fault}")


def brief(value: Any) -> str:
    """A value as it is shown in a message: short."""
    return _SHORT.repr(value)


def write_key(key: str) -> str:
    """A key as TOML spells it."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def write_value(value: Any) -> str:
    """A plain value as TOML spells it."""
    if isinstance(value, Mapping):
        pairs = (f"{write_key(key)} = {write_value(each)}" for key, each in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(write_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, bool | str) else repr(value)
