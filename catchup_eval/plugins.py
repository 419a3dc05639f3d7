"""What other installed packages add to the lists: found by entry points, imported at first use.

In the `pyproject.toml` of such a package, under the group of the list that it adds to:

    [project.entry-points."catchup_eval.methods"]
    mymix = "mypackage.mymix:mymix"

The groups are `catchup_eval.methods` (a builder), `.analyses` (a module or object of the shape
:class:`catchup_eval.question.Analysis`), `.models` (a
:class:`catchup_eval.models.architectures.Architecture`) and `.data` (a
:class:`catchup_eval.datasets.Dataset`).
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

from catchup_eval.errors import UserError

Entry = TypeVar("Entry")


class Listed(Mapping[str, Entry], Generic[Entry]):
    """The toolkit's own entries, in their order, then those of other packages.

    Args:
        group: of the entry points, less `catchup_eval.`.
        own: the toolkit's.
        parts: attributes that an entry must have.

    Raises:
        UserError: at the first use: a package adds a name that is taken, cannot be imported, or
            adds something of another shape; the message names it.
    """

    def __init__(self, group: str, own: Mapping[str, Entry], parts: Sequence[str]):
        self._group, self._own, self._parts = group, own, parts
        self._loaded: dict[str, Entry] = {}

    def __getitem__(self, name: str) -> Entry:
        if name in self._own:
            return self._own[name]
        if name not in self._loaded:
            self._loaded[name] = self._load(self._others[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from self._others

    def __len__(self) -> int:
        return len(self._own) + len(self._others)

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._others

    @cached_property
    def _others(self) -> dict[str, EntryPoint]:
        others: dict[str, EntryPoint] = {}
        for point in sorted(entry_points(group=f"catchup_eval.{self._group}")):
            if point.name in self._own or point.name in others:
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
