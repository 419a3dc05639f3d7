"""Lists of what there is by name, each entry imported at its first use.

Names and descriptions are known without an import. Other installed packages add to the lists by
entry points, in their `pyproject.toml`, under the group of the list:

    [project.entry-points."catchup_eval.methods"]
    mymix = "mypackage.mymix:mymix"

The groups are `catchup_eval.methods` (a builder), `.analyses` (a module or object of the shape
:class:`catchup_eval.analysis.base.Analysis`), `.models` (a
:class:`catchup_eval.models.zoo.Architecture`) and `.data` (a
:class:`catchup_eval.datasets.DatasetEntry`).
"""

import ast
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any, Generic, TypeVar, cast

from catchup_eval.core.errors import UserError

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class LazyEntry:
    """An entry that is imported at its first use: what `make` makes of its target.

    Args:
        target: `module:name`, or a module alone.
    """

    target: str
    make: Callable[[Any], Any] = lambda found: found

    def describe(self, constant: str) -> str:
        """Its first line, read from the source of its module, which is not imported.

        That of the docstring of a function or class, or of a module's `constant`.
        """
        module, _, name = self.target.partition(":")
        found = find_spec(module)
        assert found and found.origin  # a module of this package
        for node in ast.parse(Path(found.origin).read_text(encoding="utf-8")).body:
            if name and isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
                return _first_line(ast.get_docstring(node))
            if not name and isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if node.value and any(ast.unparse(each) == constant for each in targets):
                    return _first_line(ast.literal_eval(node.value))
        return ""


def _first_line(text: object) -> str:
    return str(text or "").strip().partition("\n")[0]


class Registry(Mapping[str, Entry], Generic[Entry]):
    """The toolkit's own entries, in their order, then those of other packages.

    Args:
        group: of the entry points, less `catchup_eval.`; empty: other packages add nothing.
        own: the toolkit's; a :class:`LazyEntry` is replaced by what it loads.
        parts: attributes that an entry must have.
        about: the attribute that describes an entry, in its first line.

    Raises:
        UserError: at the first use: a package adds a name that is taken, cannot be imported, or
            adds something of another shape; the message names it.
    """

    def __init__(
        self,
        group: str,
        own: Mapping[str, Entry | LazyEntry],
        parts: Sequence[str],
        about: str = "__doc__",
    ):
        self._group, self.own, self._parts, self._about = group, own, parts, about
        self._loaded: dict[str, Entry] = {}

    def __getitem__(self, name: str) -> Entry:
        if name not in self._loaded:
            own = self.own.get(name)
            if isinstance(own, LazyEntry):
                own = own.make(resolve_name(own.target))
            self._loaded[name] = self._load(self._others[name]) if own is None else own
        return self._loaded[name]

    def describe(self, name: str) -> str:
        """What the entry is, in one line; the toolkit's own are not imported for it."""
        own = self.own.get(name)
        if isinstance(own, LazyEntry):
            return own.describe(self._about)
        return _first_line(getattr(self[name], self._about))

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from self._others

    def __len__(self) -> int:
        return len(self.own) + len(self._others)

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self._others

    @cached_property
    def _others(self) -> dict[str, EntryPoint]:
        others: dict[str, EntryPoint] = {}
        group = f"catchup_eval.{self._group}"
        for point in sorted(entry_points(group=group)) if self._group else ():
            if point.name in self.own or point.name in others:
                raise UserError(
                    f"{_package(point)} adds {point.name!r} to the {self._group}, "
                    "but that name is taken; uninstall it, or have it renamed"
                )
            others[point.name] = point
        return others

    def _load(self, point: EntryPoint) -> Entry:
        what = f"{point.name!r}, which {_package(point)} adds to the {self._group},"
        try:
            entry = point.load()
        except Exception as error:  # whatever a stranger's module may raise
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"{what} cannot be imported: {reason}") from error
        lacking = [part for part in self._parts if not hasattr(entry, part)]
        if lacking:
            raise UserError(f"{what} lacks {', '.join(lacking)}")
        return cast(Entry, entry)


def _package(point: EntryPoint) -> str:
    return f"the package {point.dist.name}" if point.dist else f"the module {point.module}"


def share_entries(package: str, registry: Registry[Any], **others: str) -> None:
    """Let a package have the toolkit's own entries as attributes, each imported at its first use.

    An entry that has the name of its file takes the place of that module, which Python would make
    the attribute when it is imported.

    Args:
        others: further attributes, by their targets.
    """
    entries = registry.own

    class PackageOfEntries(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name in entries:
                return registry[name]
            if name in others:
                return resolve_name(others[name])
            raise AttributeError(f"module {package!r} has no attribute {name!r}")

        def __setattr__(self, name: str, value: Any) -> None:
            own = isinstance(value, ModuleType) and name in entries
            super().__setattr__(name, registry[name] if own else value)

        def __dir__(self) -> list[str]:
            return sorted({*super().__dir__(), *entries, *others})

    sys.modules[package].__class__ = PackageOfEntries
