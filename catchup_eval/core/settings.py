"""Settings of a file or of a function: checked, or refused in one sentence that names the key.

A file's are a table, :class:`Settings`. A function's are its keyword-only arguments; their types
and bounds are in its signature: `bins: Annotated[int, Field(ge=1)] = 15`.
"""

import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, wraps
from types import SimpleNamespace
from typing import Annotated, Any, ParamSpec, TypeVar, get_args, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import PydanticCustomError

from catchup_eval.core.errors import UnknownName, UserError

TAG = "kind"  # the key that selects one of several tables
LISTS = {"is_instance_of", "list_type", "sequence_str"}  # faults where a list was expected

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")
Item = TypeVar("Item")
Rule = Callable[[Mapping[str, Any]], None]


def each_once(values: Sequence[Item]) -> Sequence[Item]:
    """The same values, each of which may occur once; a validator for lists."""
    if len(set(values)) < len(values):
        raise PydanticCustomError("different", "a list of different values")
    return values


def one_of(kind: str, names: Collection[str]) -> AfterValidator:
    """A validator for one of some names, which refuses others with `UnknownName`."""

    def check_name(name: str) -> str:
        if name not in names:
            raise UnknownName(kind, name, names)
        return name

    return AfterValidator(check_name)


Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
EachOnce = AfterValidator(each_once)


class Settings(BaseModel):
    """A table of settings; strict, because TOML distinguishes 1 from "1"."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Keywords(Settings):
    """The keyword-only arguments of a function."""

    model_config = ConfigDict(
        allow_inf_nan=False, arbitrary_types_allowed=True, protected_namespaces=()
    )


Table = TypeVar("Table", bound=Settings)


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted keys; empty ones are not in it."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def check(kind: type[Table], values: Mapping[str, Any], source: str) -> Table:
    """The settings that `values` spell; `source`, which they were read from, is for messages.

    Raises:
        UnknownName: a key or a kind that does not exist.
        UserError: a key that is absent, or a value of another type or out of range.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = error.errors()
        # A misspelt key first: it is why another one seems to be missing.
        unknown = [fault for fault in faults if fault["type"] == "extra_forbidden"]
        raise _refusal(kind, dict((unknown or faults)[0]), source) from error


def check_keywords(function: Callable[..., Any], values: Mapping[str, Any], source: str) -> None:
    """Refuse keyword-only arguments that a signature or a rule does not allow; convert nothing.

    Raises:
        UnknownName, UserError: as :func:`check`, or of a rule of :func:`validate_settings`.
    """
    check(_keywords(function), values, source)
    defaults = {name: p.default for name, p in _parameters(function).items()}
    for rule in getattr(function, "rules", ()):
        rule({**defaults, **values})


def validate_settings(
    *rules: Rule,
) -> Callable[[Callable[Parameters, Returned]], Callable[Parameters, Returned]]:
    """A decorator: :func:`check_keywords` before each call, and so before anything is computed.

    Args:
        rules: what several settings must fulfil together; each is given all of them, the defaults
            included, and raises `UserError`.
    """

    def decorate(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
        positional = inspect.signature(function).parameters.keys() - _parameters(function).keys()

        @wraps(function)
        def checked(*args: Parameters.args, **settings: Parameters.kwargs) -> Returned:
            own = {name: value for name, value in settings.items() if name not in positional}
            check_keywords(checked, own, function.__module__.rpartition(".")[2])
            return function(*args, **settings)

        checked.rules = rules  # type: ignore[attr-defined]
        return checked

    return decorate


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(function).parameters
    return {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


@cache
def _keywords(function: Callable[..., Any]) -> type[Keywords]:
    parameters = _parameters(function)
    # Of these alone: the other annotations may name what exists for type checkers only.
    own = {n: p.annotation for n, p in parameters.items() if p.annotation is not p.empty}
    names = getattr(inspect.unwrap(function), "__globals__", {})
    hints = get_type_hints(SimpleNamespace(__annotations__=own), names, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints.get(name, Any), ... if p.default is p.empty else p.default)
        for name, p in parameters.items()
    }
    return create_model(function.__qualname__, __base__=Keywords, **fields)


def _refusal(kind: type[Settings], fault: Mapping[str, Any], source: str) -> UserError:
    location, problem = fault["loc"], fault["type"]
    tables, key = _walk(kind, location[:-1] if problem == "extra_forbidden" else location)
    if problem == "extra_forbidden":
        place = f"[{key}] in {source}" if key else source
        return UnknownName(f"setting of {place}", str(location[-1]), tables[0].model_fields)
    if problem == "union_tag_invalid":
        return UnknownName(f"{key} in {source}", fault["ctx"]["tag"], map(_tag, tables))
    if problem == "union_tag_not_found":
        return UserError(f"{source}: {key} needs {TAG}, one of: {', '.join(map(_tag, tables))}")
    named = problem == "literal_error" and isinstance(fault["input"], str)
    if named and issubclass(kind, Keywords):
        known = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
        return UnknownName(f"{key} in {source}", fault["input"], known)
    if problem == "value_error" and isinstance(fault["ctx"]["error"], UnknownName):
        return fault["ctx"]["error"]
    if problem == "missing":
        return UserError(f"{source}: {key} is missing")
    return UserError(f"{source}: {_sentence(key, fault)}")


def _sentence(key: str, fault: Mapping[str, Any]) -> str:
    message = str(fault["msg"])
    if fault["type"] == "value_error":
        return message.removeprefix("Value error, ")
    expected = message.removeprefix("Input should be ")
    if fault["type"] in LISTS:
        expected = "a list"
    if expected.startswith(("greater", "less")):
        expected = f"a number {expected}"
    return f"expected {key} as {expected}, got {fault['input']!r}"


def _walk(
    kind: type[Settings], location: tuple[int | str, ...]
) -> tuple[list[type[Settings]], str]:
    """The tables that may be at a location of an error, and the key as the file spells it."""
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
