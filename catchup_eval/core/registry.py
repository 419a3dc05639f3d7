"""Lists of what there is by name, each entry imported at its first use.

Names and descriptions are known without an import. Other installed packages add to the lists by
entry points, in their `pyproject.toml`, under the group of the list:

    [project.entry-points."catchup_eval.methods"]
    mymix = "mypackage.mymix:mymix"

The groups are `catchup_eval.methods` (a builder), `.analyses` (a module or object of the shape
:class:`catchup_eval.analysis.base.Analysis`), `.models` (a
:class:`catchup_eval.models.zoo.Architecture`), `.data` (a
:class:`catchup_eval.datasets.DatasetEntry`) and `.engines` (:mod:`catchup_eval.jobs.engines`).
"""

import ast
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any, Generic, TypeVar, cast

from catchup_eval.core.errors import UserError
from catchup_eval.core.foreign import foreign_code

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

    What another package adds and cannot be used is not among them, but in `broken`; who asks for it
    by its name is told why.

    Args:
        group: of the entry points, less `catchup_eval.`; empty: other packages add nothing.
        own: the toolkit's; a :class:`LazyEntry` is replaced by what it loads.
        parts: attributes that an entry must have, or these with their types.
        about: the attribute that describes an entry, in its first line.

    Raises:
        UserError: by name: it cannot be imported, or is of another shape.
    """

    def __init__(
        self,
        group: str,
        own: Mapping[str, Entry | LazyEntry],
        parts: Iterable[str],
        about: str = "__doc__",
    ):
        self._group, self.own, self._about = group, own, about
        self._parts = parts if isinstance(parts, Mapping) else dict.fromkeys(parts, object)
        self._loaded: dict[str, Entry] = {}
        self._broken: dict[str, str] = {}  # those that were asked for, and why they cannot be used

    def __getitem__(self, name: str) -> Entry:
        if name not in self._loaded:
            own = self.own.get(name)
            if isinstance(own, LazyEntry):
                own = own.make(resolve_name(own.target))
            self._loaded[name] = self._load(name, self._others[name]) if own is None else own
        return self._loaded[name]

    def describe(self, name: str) -> str:
        """What the entry is, in one line; the toolkit's own are not imported for it."""
        own = self.own.get(name)
        if isinstance(own, LazyEntry):
            return own.describe(self._about)
        return _first_line(getattr(self[name], self._about))

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from (name for name in self._others if not self._fault(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self._others

    @property
    def broken(self) -> dict[str, str]:
        """What other packages add and cannot be used, by name, and why in one sentence."""
        faults = {name: self._fault(name) for name in self._others}
        return {**self._taken, **{name: fault for name, fault in faults.items() if fault}}

    def guard(self, name: str, *, surely: bool = True) -> AbstractContextManager[None]:
        """While an entry of another package is used, what it raises is reported with its line.

        Args:
            surely: as of :func:`~catchup_eval.core.foreign.foreign_code`.
        """
        point = None if name in self.own else self._others.get(name)
        if point is None:
            return nullcontext()
        return foreign_code(self._describe_origin(point), _root(point), surely=surely)

    def expect(self, name: str, given: Any, expected: str, *kinds: type) -> None:
        """Raise `UserError` where an entry of another package has given another type."""
        if not isinstance(given, kinds):
            origin = self._describe_origin(self._others[name]) if name in self._others else name
            raise UserError(f"expected {expected} from {origin}, got {type(given).__name__}")

    @property
    def _points(self) -> list[EntryPoint]:
        return sorted(entry_points(group=f"catchup_eval.{self._group}")) if self._group else []

    @cached_property
    def _others(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in self._points if point.name not in self.own}

    @property
    def _taken(self) -> dict[str, str]:
        return {
            point.name: f"the name is taken by the toolkit's own; {_package(point)} adds another"
            for point in self._points
            if point.name in self.own
        }

    def _fault(self, name: str) -> str:
        """Why an entry of another package cannot be used; empty where it can."""
        try:
            self[name]
        except UserError as error:
            return str(error)
        return ""

    def _describe_origin(self, point: EntryPoint) -> str:
        return f"{point.name!r}, which {_package(point)} adds to the {self._group},"

    def _load(self, name: str, point: EntryPoint) -> Entry:
        if name in self._broken:
            raise UserError(self._broken[name])
        try:
            return self._import(point)
        except UserError as error:
            self._broken[name] = str(error)
            raise

    def _import(self, point: EntryPoint) -> Entry:
        what = self._describe_origin(point)
        both = {_package(each) for each in self._points if each.name == point.name}
        if len(both) > 1:
            raise UserError(f"several packages add {point.name!r}: {', '.join(sorted(both))}")
        with foreign_code(what, _root(point)):
            entry = point.load()
            lacking = [part for part in self._parts if not hasattr(entry, part)]
            parts = {part: getattr(entry, part) for part in self._parts if part not in lacking}
        if lacking:
            raise UserError(f"{what} lacks {', '.join(lacking)}")
        for part, value in parts.items():
            if not isinstance(value, self._parts[part]):
                kind = getattr(self._parts[part], "__name__", str(self._parts[part]))
                raise UserError(f"{what} has no {kind} as {part}, but {type(value).__name__}")
        return cast(Entry, entry)


def _root(point: EntryPoint) -> Path:
    """The folder of the package that an entry point is in, or its file."""
    try:
        found = find_spec(point.module.partition(".")[0])
    except (ImportError, ValueError, AttributeError):
        found = None
    if found is None or not found.origin:
        return Path(point.value)
    return Path(found.origin).parent if found.submodule_search_locations else Path(found.origin)


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
