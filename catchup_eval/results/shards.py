"""Shards, for job arrays: `--shard 2/8` does every eighth network, from the second on.

Of `run`, `evaluate` and `compare` each shard writes a report folder of its own, and
`catchup-eval report NAME-shard*` merges them. The shards of other commands write to one folder.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from catchup_eval.core.errors import UserError

if TYPE_CHECKING:
    from catchup_eval.results.study import ModelInfo, StudyInfo

Item = TypeVar("Item")


class Shard(NamedTuple):
    """Number `number` of `total`, from 1; all by default."""

    number: int = 1
    total: int = 1

    def select(self, items: Sequence[Item]) -> list[Item]:
        """This shard's items: one in `total`, so that cheap and expensive ones are spread evenly.

        Raises:
            UserError: there are fewer items than shards, and this one has none.
        """
        own = list(items[self.number - 1 :: self.total])
        if items and not own:
            raise UserError(f"shard {self} has nothing to do: there are only {len(items)}")
        return own

    def after(self, count: int) -> "Shard":
        """The shard of a next list, where `count` items came before it."""
        return Shard((self.number - 1 - count) % self.total + 1, self.total)

    @property
    def suffix(self) -> str:
        """What the folder's name ends with."""
        return f"-shard{self.number}of{self.total}" if self.total > 1 else ""

    def study_fields(self, groups: Sequence[str]) -> dict[str, Any]:
        """The fields of this shard's study; none where there is only one shard."""
        return {"shard": str(self), "order": tuple(groups)} if self.total > 1 else {}

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


WHOLE = Shard()


def parse(text: str) -> Shard:
    """The shard that `--shard` names; all where it names none.

    Raises:
        UserError: no `NUMBER/COUNT`, or a number beyond the count.

    Example:
        >>> parse("2/8").select(range(20))
        [1, 9, 17]
    """
    if not text:
        return WHOLE
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(f"expected --shard as NUMBER/COUNT with NUMBER from 1, got {text!r}")
    return Shard(int(found[1]), int(found[2]))


def missing_shards(infos: "Sequence[StudyInfo]") -> list[str]:
    """The shards that a merge of these studies lacks: "3/8"."""
    given = [parse(info.shard) for info in infos if info.shard]
    whole = {Shard(number, one.total) for one in given for number in range(1, one.total + 1)}
    return [str(one) for one in sorted(whole - {*given})]


def sort_models(models: "Sequence[ModelInfo]", infos: "Sequence[StudyInfo]") -> "list[ModelInfo]":
    """The networks of shards as the job without shards would list them."""
    groups = [group for info in infos for group in info.order]
    if not groups:
        return list(models)
    groups += [model.group for model in models]  # those of no shard come last
    return sorted(models, key=lambda model: (groups.index(model.group), model.seed))
