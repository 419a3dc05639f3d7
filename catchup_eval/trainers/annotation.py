"""A recipe in words: every key with its value, type and meaning, as a list or as a TOML file."""

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any, NamedTuple

from catchup_eval.core import toml
from catchup_eval.core.settings import TAG, Setting, Settings, describe_table
from catchup_eval.trainers.recipe import Recipe

WIDTH = 100
APART = ("base",)  # a whole file has none
HEAD = (
    "A recipe of catchup-eval: all settings, their meaning and what they may be. A line that "
    "begins with # and a key has the default; take the # away to change it."
)


class Entry(NamedTuple):
    """A key of a recipe.

    Attributes:
        key: with those of its tables, and dots.
        value: that the recipe has.
        setting: in words.
    """

    key: str
    value: Any
    setting: Setting


def entries(table: Settings, prefix: str = "") -> Iterator[Entry]:
    """Every key of a recipe and of its tables, in order."""
    for setting in describe_table(type(table)):
        value = getattr(table, setting.name)
        if isinstance(value, Settings):
            yield from entries(value, f"{prefix}{setting.name}.")
        else:
            yield Entry(prefix + setting.name, value, setting)


def annotate(recipe: Recipe) -> str:
    """The recipe as TOML, with every key that there is.

    Those that have their default, and the tables that it has not, are comments.
    """
    lines = [*_comment(HEAD), ""]
    settings = {setting.name: setting for setting in describe_table(Recipe)}
    tables = {name: one for name, one in settings.items() if one.tables or one.default == {}}
    for name, setting in settings.items():
        if name not in tables and name not in APART:
            lines += _key(setting, getattr(recipe, name))
    for name, setting in tables.items():
        value = getattr(recipe, name)
        lines += ["", *_comment(f"{name}: {setting.meaning.rstrip('.')}")]
        if setting.tables:
            lines += _tables(name, setting, value)
        elif all(isinstance(each, Mapping) for each in value.values()):  # by method
            for key, own in value.items():
                lines += ["", f"[{name}.{toml.write_key(key)}]", *_pairs(own)]
        else:
            lines += [f"[{name}]", *_pairs(value)]
    return "\n".join(lines) + "\n"


def _tables(name: str, setting: Setting, value: Settings | None) -> Iterator[str]:
    """The table that the recipe has, then, as comments, those that it could have."""
    others = [kind for kind in setting.tables if not isinstance(value, kind)]
    if value is not None:
        yield f"[{name}]"
        yield from _table(name, type(value), value)
    for kind in others:
        yield ""
        yield from _comment((kind.__doc__ or "").partition("\n")[0])
        yield f"#[{name}]"
        yield from _table(name, kind, None)


def _table(name: str, kind: type[Settings], value: Settings | None) -> Iterator[str]:
    inner = []
    for setting in describe_table(kind):
        own = setting.default if value is None else getattr(value, setting.name)
        if setting.tables:
            inner.append((setting, own))
        elif setting.name == TAG:
            yield f"{'#' if value is None else ''}{TAG} = {toml.write_value(own)}"
        else:
            yield from _key(setting, own, absent=value is None)
    for setting, own in inner:  # a table within ends the keys of the one around it
        yield ""
        yield from _comment(f"{setting.name}: {setting.meaning.rstrip('.')}")
        yield from _tables(f"{name}.{setting.name}", setting, own)


def _key(setting: Setting, value: Any, *, absent: bool = False) -> Iterator[str]:
    """What a key means and may be, then the key."""
    yield from _comment(f"{setting.name}: {setting}")
    if value is None:
        yield f"#{setting.name} ="
    else:
        off = absent or (value == setting.default and not setting.required)
        yield f"{'#' if off else ''}{setting.name} = {toml.write_value(value)}"


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{toml.write_key(key)} = {toml.write_value(value)}" for key, value in table.items()]


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in wrap(text, WIDTH - 2, break_on_hyphens=False)]
