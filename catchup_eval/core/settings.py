"""Settings of a file or of a function: checked, or refused in one sentence that names the key.

A file's are a table, :class:`Settings`. A function's are its keyword-only arguments; their types
and bounds are in its signature: `bins: Annotated[int, Field(ge=1, le=1000)] = 15`. Errors and
:func:`describe_keywords` state these very bounds. Every number has two: no setting may take a
machine's whole memory.
"""

import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from types import SimpleNamespace
from typing import Annotated, Any, NamedTuple, ParamSpec, TypeVar, get_args, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.toml import brief, expect_plain

TAG = "kind"  # the key that selects one of several tables
LISTS = {"is_instance_of", "list_type", "sequence_str", "tuple_type"}  # a list was expected
NUMBERS = {
    "int_type", "float_type", "bool_type", "greater_than", "greater_than_equal", "less_than",
    "less_than_equal", "finite_number", "missing", "string_type",
}  # fmt: skip
MOST = 10_000_000  # of what is counted, and the largest number that is no count

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")
Item = TypeVar("Item")
Rule = Callable[[Mapping[str, Any]], None]


def each_once(values: Sequence[Item]) -> Sequence[Item]:
    """The same values, each of which may occur once; a validator for lists."""
    if len(set(values)) < len(values):
        raise PydanticCustomError("different", "a list of different values")
    return values


@dataclass(frozen=True, eq=False)
class one_of:  # noqa: N801 (in an annotation it reads as a phrase)
    """A validator for one of some names, which refuses others with `UnknownName`."""

    kind: str
    names: Collection[str]

    def check(self, name: str) -> str:
        """The name, if it is one of them."""
        if name not in self.names:
            raise UnknownName(self.kind, name, self.names)
        return name

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return {"enum": sorted(self.names)}


Count = Annotated[int, Field(ge=1, le=MOST)]
Bytes = Annotated[int, Field(ge=1, lt=2**63)]
Few = Annotated[int, Field(ge=1, le=1000)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[float, Field(ge=-MOST, le=MOST)]
Positive = Annotated[float, Field(gt=0, le=MOST)]
NonNegative = Annotated[float, Field(ge=0, le=MOST)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
EachOnce = AfterValidator(each_once)
Pair = Annotated[tuple[Item, Item], Field(strict=False)]
Several = Annotated[tuple[Item, ...], Field(strict=False)]  # TOML has arrays, not tuples


class Settings(BaseModel):
    """A table of settings; strict, because TOML distinguishes 1 from "1"."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Keywords(Settings):
    """The keyword-only arguments of a function."""

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())


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
    expect_plain(values, source)
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
    name = getattr(function, "__name__", type(function).__name__)
    return create_model(name, __base__=Keywords, **fields)


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
    return UserError(f"{source}: {_sentence(kind, key, fault)}")


def _sentence(kind: type[Settings], key: str, fault: Mapping[str, Any]) -> str:
    message = str(fault["msg"])
    if fault["type"] == "value_error":
        return message.removeprefix("Value error, ")
    expected = message.removeprefix("Input should be ")
    length = re.search(r"should have (at (?:least|most) \d+ (\w+))", message)
    if fault["type"] in LISTS:
        expected = "a list"
    elif length:
        expected = f"{'a list' if 'item' in length[2] else 'text'} of {length[1]}"
    elif fault["type"] in NUMBERS:
        expected = _expected(kind, fault["loc"]) or expected
    return f"expected {key} as {expected}, got {brief(fault['input'])}"


def describe_keywords(function: Callable[..., Any]) -> dict[str, str]:
    """Each setting of a function that takes plain values, with what is expected, in words.

    Example:
        >>> def cut(*, length: Count = 8): ...
        >>> describe_keywords(cut)
        {'length': 'a whole number from 1 to 10,000,000'}
    """
    fields = _keywords(function).model_fields
    words = {name: _describe(_schema_of(field)) for name, field in fields.items()}
    return {name: text for name, text in words.items() if text}


def _schema_of(field: FieldInfo) -> dict[str, Any]:
    """The JSON schema of a field; empty where it is no plain value."""
    try:
        whole: Any = Annotated[(field.annotation, Field(), *field.metadata)]
        return TypeAdapter(whole, config=ConfigDict(arbitrary_types_allowed=True)).json_schema()
    except PydanticUserError:
        return {}


def _describe(schema: Mapping[str, Any]) -> str:
    """A JSON schema in words; empty where it says nothing."""
    if "anyOf" in schema:
        return " or ".join(filter(None, map(_describe, schema["anyOf"])))
    if "enum" in schema or "const" in schema:
        return "one of " + ", ".join(map(repr, schema.get("enum") or [schema["const"]]))
    kind = schema.get("type", "")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _bounds(schema)
    if kind == "array":
        within = _describe(schema.get("items", {}))
        return f"a list, each {within}" if within else "a list"
    return {"boolean": "true or false", "string": "text", "object": "a table", "null": "none"}.get(
        kind, ""
    )


def _bounds(schema: Mapping[str, Any]) -> str:
    words = {
        "minimum": " from {:,}",
        "exclusiveMinimum": " above {:,}",
        "maximum": " to {:,}",
        "exclusiveMaximum": " and below {:,}",
    }
    text = "".join(words[name].format(schema[name]) for name in words if name in schema)
    return text.replace("above 0 to", "above 0 up to").replace(".0", "")


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


def _expected(kind: type[Settings], location: tuple[int | str, ...]) -> str:
    """What a field, or the items of a list, must be, in words."""
    schema: Mapping[str, Any] = {}
    for place, part in enumerate(location):
        tables, _ = _walk(kind, location[:place])
        fields = [table.model_fields[part] for table in tables if part in table.model_fields]
        schema = _schema_of(fields[0]) if fields else schema.get("items", {})
    return _describe(schema)


def _tag(table: type[Settings]) -> str:
    field = table.model_fields.get(TAG)
    return "" if field is None else str(field.default)


def _tables(annotation: Any) -> list[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [table for inner in get_args(annotation) for table in _tables(inner)]


class Setting(NamedTuple):
    """One setting, in words.

    Attributes:
        name: its key.
        default: None where there is none.
        expected: its type and bounds; empty for a table.
        meaning: what the docstring says of it, in one line.
        required: whether it has no default.
        tables: the kinds of table that it may be.
    """

    name: str
    default: Any
    expected: str
    meaning: str
    required: bool = False
    tables: tuple[type[Settings], ...] = ()

    def __str__(self) -> str:
        expected = f" ({self.expected})" if self.meaning and self.expected else self.expected
        return self.meaning.rstrip(".") + expected


def describe_table(kind: type[Settings]) -> list[Setting]:
    """Each setting of a table, in words, in its order."""
    meanings = describe_arguments(kind)
    return [
        Setting(
            name,
            None if field.is_required() else field.get_default(call_default_factory=True),
            _describe(_schema_of(field)).removeprefix("none"),
            meanings.get(name, ""),
            field.is_required(),
            tuple(_tables(field.annotation)),
        )
        for name, field in kind.model_fields.items()
    ]


def describe_settings(function: Callable[..., Any]) -> list[Setting]:
    """Each keyword-only argument of a function that takes plain values, in words."""
    meanings, expected = describe_arguments(function), describe_keywords(function)
    return [
        Setting(name, p.default, expected.get(name, ""), meanings.get(name, ""))
        for name, p in _parameters(function).items()
        if name in expected
    ]


def describe_arguments(documented: Any) -> dict[str, str]:
    """What a docstring says of each argument or attribute, in one line.

    Example:
        >>> describe_arguments(describe_keywords)
        {}
    """
    found: dict[str, str] = {}
    names: list[str] = []
    lines = (inspect.getdoc(documented) or "").splitlines()
    starts = [place for place, line in enumerate(lines) if line in ("Args:", "Attributes:")]
    for line in lines[starts[0] + 1 :] if starts else ():
        if line and not line.startswith("    "):
            break
        head = re.match(r"    (\w+(?:, \w+)*): (.*)", line)
        if head:
            names = head[1].split(", ")
            found |= dict.fromkeys(names, head[2])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found
