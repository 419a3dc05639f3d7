"""What has come of a file so far (`NAME.part`), and which file it is a part of (`NAME.part.json`).

A part is gone on with only where the server can say that its file is still the same one (an ETag
or a time of last change), or where a checksum will tell in the end.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path

from catchup_eval.errors import UserError
from catchup_eval.fetching.recognise import amount, blocks
from catchup_eval.files import temporary_name, write_text


@dataclass(frozen=True)
class Origin:
    """The file that a part belongs to, as its server described it.

    Attributes:
        address: where it was asked for, before redirects.
        etag, modified: headers of the answer; empty where it had none.
        length: bytes of the whole file; None where the server did not say.
    """

    address: str
    etag: str = ""
    modified: str = ""
    length: int | None = None

    @property
    def validator(self) -> str:
        """What `If-Range` may be asked with; a weak ETag may not."""
        return self.modified if self.etag.startswith("W/") else self.etag or self.modified


class Partial:
    """A file on its way to `path`.

    Args:
        path: where it will lie once it is whole.
        checksum: "md5:..." or "sha256:..." of the whole file; empty where nobody knows it.
        alone: no other process adds to it, so that its name may be one to find again; else the
            name is random.
    """

    def __init__(self, path: Path, checksum: str = "", *, alone: bool = True):
        self.path = path
        self.checksum = checksum
        name = path.name if alone else temporary_name(path).name
        self.file = path.with_name(f"{name}.part")
        self._note = path.with_name(f"{name}.part.json")
        self._running = self._fresh()
        self._hashed = 0

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.file.stat().st_size if self.file.exists() else 0

    @property
    def origin(self) -> Origin:
        """What the bytes belong to; of no address where that is not known."""
        try:
            return Origin(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return Origin("")

    def usable(self, address: str) -> int:
        """How many bytes of what lies at this address need not be asked for again."""
        origin = self.origin
        safe = bool(origin.validator or self.checksum)
        return self.size if origin.address == address and safe else 0

    def begin(self, origin: Origin) -> None:
        """Forget what is here; what comes now belongs to `origin`."""
        self.discard()
        write_text(self._note, json.dumps(asdict(origin)))

    def discard(self) -> None:
        """Forget what is here."""
        self.file.unlink(missing_ok=True)  # first: a part never belongs to another's note
        self._note.unlink(missing_ok=True)
        self._running, self._hashed = self._fresh(), 0

    @contextmanager
    def writing(self) -> Iterator[Callable[[bytes], None]]:
        """Give the function that adds bytes at the end.

        Raises:
            UserError: the disk is full; what has come stays.
        """
        self._catch_up()
        with self._opened() as file:

            def add(block: bytes) -> None:
                rest = memoryview(block)
                try:
                    while rest:
                        rest = rest[file.write(rest) :]
                except OSError as error:
                    raise self._unwritten(error) from error
                self._running.update(block)
                self._hashed += len(block)

            yield add

    def matches(self) -> bool:
        """Whether the checksum is known and that of the bytes that are here."""
        if not self.checksum:
            return False
        self._catch_up()
        return self.found() == self.checksum

    def found(self) -> str:
        """The checksum of the bytes that are here, of the kind that is expected."""
        self._catch_up()
        return f"{self._running.name}:{self._running.hexdigest()}"

    def finish(self) -> None:
        """Give the whole file its name."""
        os.replace(self.file, self.path)
        self.discard()

    def _fresh(self) -> "hashlib._Hash":
        kind = self.checksum.partition(":")[0] or "sha256"
        return hashlib.new(kind, usedforsecurity=False)

    def _catch_up(self) -> None:
        """Take into the running checksum what an earlier process has left."""
        if self._hashed == self.size:
            return
        self._running = self._fresh()
        for block in blocks(self.file):
            self._running.update(block)
        self._hashed = self.size

    def _opened(self) -> FileIO:
        try:
            return self.file.open("ab", buffering=0)
        except OSError as error:
            raise self._unwritten(error) from error

    def _unwritten(self, error: OSError) -> UserError:
        reason = error.strerror or error
        kept = (
            f"the {amount(self.size)} that came are kept; make room, and the same command goes on"
        )
        return UserError(f"cannot write {self.file}: {reason}; {kept}")
