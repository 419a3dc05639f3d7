"""Settings from a file: checked, frozen, or refused in one sentence that names the key."""

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from catchup_eval.errors import UnknownName, UserError

TAG = "kind"  # the key that says which of several tables this one is


class Settings(BaseModel):
    """A table of settings; strict, because TOML tells 1 from "1"."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Table = TypeVar("Table", bound=Settings)


def check(kind: type[Table], values: Mapping[str, Any], source: str) -> Table:
    """The settings that `values` spell.

    Args:
        source: what the values were read from, for messages.

    Raises:
        UnknownName: a key or a kind that does not exist.
        UserError: a key that is absent, or a value of another type or out of range.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = error.errors()
        unknown = [fault for fault in faults if fault["type"] == "extra_forbidden"]
        raise _refusal(kind, dict((unknown or faults)[0]), source) from error


def _refusal(kind: type[Settings], fault: Mapping[str, Any], source: str) -> UserError:
    """A misspelt key is told first: it is why another one seems to be missing."""
    location, problem = fault["loc"], fault["type"]
    tables, key = _walk(kind, location[:-1] if problem == "extra_forbidden" else location)
    if problem == "extra_forbidden":
        place = f"[{key}] in {source}" if key else source
        return UnknownName(f"setting of {place}", str(location[-1]), tables[0].model_fields)
    if problem == "union_tag_invalid":
        return UnknownName(f"{key} in {source}", fault["ctx"]["tag"], map(_tag, tables))
    if problem == "union_tag_not_found":
        return UserError(f"{source}: {key} needs {TAG}, one of: {', '.join(map(_tag, tables))}")
    if problem == "missing":
        return UserError(f"{source}: {key} is missing")
    return UserError(f"{source}: {_sentence(key, fault)}")


def _sentence(key: str, fault: Mapping[str, Any]) -> str:
    message = str(fault["msg"])
    if fault["type"] == "value_error":
        return message.removeprefix("Value error, ")
    expected = message.removeprefix("Input should be ")
    if expected.startswith(("greater", "less")):
        expected = f"a number {expected}"
    return f"expected {key} as {expected}, got {fault['input']!r}"


def _walk(
    kind: type[Settings], location: tuple[int | str, ...]
) -> tuple[list[type[Settings]], str]:
    """The tables that may stand at a location of an error, and the key as the file spells it."""
    tables, names = [kind], []
    for part in location:
        tagged = [table for table in tables if _tag(table) == part]
        if tagged:
            tables = tagged
            continue
        names.append(str(part))
        fields = [t.model_fields[part] for t in tables if part in t.model_fields]
        if fields:  # a place in a list or a key of a mapping is no field: its tables are known
            tables = [table for field in fields for table in _tables(field.annotation)]
    return tables, ".".join(names)


def _tag(table: type[Settings]) -> str:
    field = table.model_fields.get(TAG)
    return "" if field is None else str(field.default)


def _tables(annotation: Any) -> list[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [table for inner in get_args(annotation) for table in _tables(inner)]
