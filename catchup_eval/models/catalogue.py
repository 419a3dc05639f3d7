"""Published checkpoints by name: where they are, which network they are, what is claimed of them.

The list is `catalogue.toml` beside this file. Where nobody has read a file and measured it with
this toolkit, its entry is not `verified`: the address, the preprocessing or the number may then be
other than the entry states.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from catchup_eval.core import toml
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.settings import Settings, check

CATALOGUE = "catalogue:"


@dataclass(frozen=True)
class PublishedAccuracy:
    """A top-1 accuracy on the test images, in percent, that somebody published.

    `data` is the name of their dataset; empty: the one that the model is evaluated on.
    """

    accuracy: float
    data: str = ""

    def is_about(self, data: str) -> bool:
        """Whether it is about this dataset, or about a file of its test images."""
        return self.data in ("", data) or data == f"{self.data}_test"


class CatalogueEntry(Settings):
    """A published checkpoint."""

    spec: str  # network and preprocessing; the weights too where a zoo has them by name
    data: str  # the dataset that it was trained on
    paper: str  # who made it known
    page: str  # where it is described
    address: str = ""  # of the file; empty where it must be got by hand from the page
    sha256: str = (
        ""  # of the file, or its first digits, as in torch.hub's names; empty if not known
    )
    accuracy: float | None = None  # the published top-1 in percent
    licence: str = ""  # of code and weights, as on the page
    verified: bool = False  # the file was read with this toolkit, and the accuracy equalled

    @property
    def claim(self) -> PublishedAccuracy | None:
        """What is published about it."""
        return None if self.accuracy is None else PublishedAccuracy(self.accuracy, self.data)

    @property
    def checksum(self) -> str:
        """In the form that downloads take."""
        return f"sha256:{self.sha256}" if self.sha256 else ""

    @property
    def about(self) -> str:
        """One line for a list."""
        claimed = "no accuracy claimed" if self.accuracy is None else f"{self.accuracy:.2f} %"
        state = "" if self.verified else ", not verified"
        by_hand = "" if self.is_at_hand else f", by hand from {self.page}"
        return f"{self.data}, {claimed}{state}; {self.spec}; {self.paper}{by_hand}"

    @property
    def is_at_hand(self) -> bool:
        """Whether it can be got without the user's help."""
        return bool(self.address) or "@" in self.spec

    @property
    def warnings(self) -> tuple[str, ...]:
        """Notes on its numbers."""
        if self.verified:
            return ()
        return (f"{self.spec} of the catalogue was not verified: see {self.page}",)


@cache
def entries() -> Mapping[str, CatalogueEntry]:
    """All published checkpoints, by name."""
    content = toml.shipped("catchup_eval.models")["catalogue"]
    return {name: check(CatalogueEntry, entry, name) for name, entry in content.items()}


def find(name: str) -> CatalogueEntry:
    """A published checkpoint that can be got.

    Raises:
        UnknownName: no such checkpoint.
        UserError: it must be got by hand.
    """
    known = entries()
    if name not in known:
        raise UnknownName("published checkpoint", name, known)
    entry = known[name]
    if not entry.is_at_hand:
        architecture, _, query = entry.spec.partition("?")
        raise UserError(
            f"{name} must be got by hand from {entry.page}; give its file as "
            f"{architecture}@FILE?{query}"
        )
    return entry
