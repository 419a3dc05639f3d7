"""The shipped list of datasets: their files, addresses, sizes, checksums (`sources.toml`)."""

import shlex
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from catchup_eval.core import toml
from catchup_eval.core.errors import UnknownName
from catchup_eval.core.http import DownloadRequest
from catchup_eval.core.settings import Bytes, Count, Settings, check


def _check_relative_path(path: str) -> str:
    """The same path, which may not leave its folder."""
    parts = PurePosixPath(path).parts
    if (not parts and path != ".") or path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError(f"expected a path that stays in its folder, got {path!r}")
    return path


Address = Annotated[str, Field(pattern=r"^https?://[^\s/]+/\S+$")]
Md5 = Annotated[str, Field(pattern=r"^([0-9a-f]{32})?$")]
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Inside = Annotated[str, AfterValidator(_check_relative_path)]


class ArchivedFile(Settings):
    """What is known of a file that lies in an archive."""

    md5: Md5 = ""
    size: Bytes | None = None  # bytes


class File(Settings):
    """One file to get, and what it becomes in the data root.

    Attributes:
        name: of the file; where it is got by hand, it is put at `into`/`name`.
        addresses: mirrors in order; none where it takes a login or the official one is dead.
        size: bytes.
        md5, sha256: of the file; empty if not known.
        verified: whether the checksum was computed from these very bytes; otherwise it is as
            `source`, where size and checksum are from, gives it.
        into: the folder of the data root where it lies and is unpacked to.
        top: what lies at its root, if it is an archive; empty for a file that is used as it is.
        unpack: whether `fetch` can; some archives need more than unpacking.
        members: by path below `into`, what is known of files in it.
        counts: by pattern below `into`, how many files there must be.
    """

    name: Inside
    addresses: Annotated[tuple[Address, ...], Field(strict=False)] = ()
    size: Bytes | None = None
    md5: Md5 = ""
    sha256: Sha256 = ""
    verified: bool = False
    source: str = ""
    into: Inside = "."
    top: Annotated[tuple[Inside, ...], Field(strict=False)] = ()
    unpack: bool = True
    members: Mapping[Inside, ArchivedFile] = {}
    counts: Mapping[Inside, Count] = {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.verified and not self.checksum:
            raise ValueError(f"{self.name} is verified, but has no checksum")
        if not self.top and (self.members or self.counts):
            raise ValueError(f"{self.name} has members or counts, but no top")
        return self

    @property
    def checksum(self) -> str:
        """ "sha256:..." or "md5:..."; empty if not known."""
        if self.sha256:
            return f"sha256:{self.sha256}"
        return f"md5:{self.md5}" if self.md5 else ""

    def request(self, root: Path) -> DownloadRequest:
        """What to download, for this data root."""
        path = root / self.into / self.name
        return DownloadRequest(path, self.addresses, self.size, self.checksum)


class Source(Settings):
    """A dataset, or what goes with one, and the files it is made of.

    Attributes:
        about: one line.
        kind: "images", or "extra": what an analysis can use beside a dataset.
        images, classes: 0 where it has none.
        licence, citation, page: of the authors.
        by_hand: how to get what has no address.
        files: none where the dataset is embedded in the package.
    """

    about: str
    kind: Literal["images", "extra"] = "images"
    images: int = 0
    classes: int = 0
    licence: str
    citation: str
    page: str
    by_hand: str = ""
    files: Annotated[tuple[File, ...], Field(strict=False)] = ()

    @property
    def size(self) -> int:
        """Bytes to download, as far as they are known."""
        return sum(file.size or 0 for file in self.files)


def load(path: Path | None = None) -> dict[str, Source]:
    """The sources by name.

    Args:
        path: a list of your own in the same form, such as one of a mirror in your laboratory.

    Raises:
        BadFile: no such file, or no TOML.
        UnknownName, UserError: a key that does not exist, or a value that cannot be.
    """
    if path is None:
        where, tables = "sources.toml", toml.shipped("catchup_eval.datasets.download")["sources"]
    else:
        where, tables = str(path), toml.read("list of sources", path)
    return {name: check(Source, table, f"[{name}] in {where}") for name, table in tables.items()}


def remedy(name: str, source: Source, root: Path) -> str:
    """How to get the files of a source into the data root."""
    if source.by_hand:
        return source.by_hand
    place = "" if root == Path("data") else f" --data-root {shlex.quote(str(root))}"
    return f"to get it: catchup-eval data fetch {name}{place}"


def find(name: str, sources: Mapping[str, Source]) -> Source:
    """The source of this name.

    Raises:
        UnknownName: there is none.
    """
    if name not in sources:
        raise UnknownName("dataset to fetch", name, sources)
    return sources[name]
