"""One file over HTTP: from the first mirror that has it, resumed after a cut, whole or not at all.

`files.replacing` is not used here: what it would throw away at a cut is what one goes on from.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import NamedTuple

from catchup_eval.errors import BadFile, UserError
from catchup_eval.fetching.partial import Partial
from catchup_eval.fetching.recognise import amount
from catchup_eval.fetching.transfer import Away, Broken, Refused, Tell, transfer
from catchup_eval.files import locked


@dataclass(frozen=True)
class Wanted:
    """A file to get.

    Attributes:
        path: where it shall lie.
        addresses: mirrors in order; each gives the same file.
        size: its bytes; None where nobody knows.
        checksum: "md5:..." or "sha256:..." of it; empty where nobody knows.
    """

    path: Path
    addresses: Sequence[str]
    size: int | None = None
    checksum: str = ""


class Patience(NamedTuple):
    """How long a server is put up with.

    Attributes:
        tries: how often in a row without a single new byte.
        timeout: seconds without a byte after which a connection counts as stalled.
        pause: waits so many seconds; they double from try to try.
    """

    tries: int = 5
    timeout: float = 30.0
    pause: Callable[[float], None] = sleep


def download(
    wanted: Wanted,
    *,
    tell: Tell = lambda here, whole: None,
    patience: Patience = Patience(),  # noqa: B008
) -> None:
    """Get a file; where something was left by an earlier call, go on from it.

    Where another process is getting it, wait, and take what came. Where the file system has no
    locks, each gets a file of its own, and begins anew after a cut.

    Args:
        tell: takes the progress: bytes that are here, bytes of the whole (0 where not known).

    Raises:
        BadFile: no mirror gave the file that was expected; the sentence says what each gave.
        UserError: the disk is full; what came is kept.
    """
    _make_folder(wanted.path.parent)
    before = _state(wanted.path)
    with locked(wanted.path) as alone:
        if _state(wanted.path) in (None, before):
            part = Partial(wanted.path, wanted.checksum, alone=alone is not None)
            try:
                _download(part, wanted, tell, patience)
            finally:
                if alone is None:
                    part.discard()


def _state(path: Path) -> tuple[int, ...] | None:
    """What tells that a file is another one than before; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _download(part: Partial, wanted: Wanted, tell: Tell, patience: Patience) -> None:
    faults: dict[str, str] = {}
    begun = part.origin.address
    for address in sorted(wanted.addresses, key=lambda address: address != begun):
        try:
            _from(address, part, wanted, tell, patience)
        except Refused as fault:
            faults[address] = str(fault)
        else:
            part.finish()
            return
    here = part.size
    if not here:
        part.discard()
    raise BadFile(_sorry(wanted, faults, here))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}") from error


def _from(address: str, part: Partial, wanted: Wanted, tell: Tell, patience: Patience) -> None:
    """From one mirror; tries are counted anew whenever more is here than ever before."""
    tries, most = 0, part.size
    while not _whole(part, address):
        resumed = part.usable(address) > 0
        try:
            transfer(part, address, size=wanted.size, tell=tell, timeout=patience.timeout)
            if _right(part, resumed):
                return
        except Broken as fault:
            tries = tries + 1 if part.size <= most else 1
            most = max(most, part.size)
            if isinstance(fault, Away) and not part.size:
                raise Refused(str(fault)) from fault
            if tries >= patience.tries:
                raise Refused(f"{fault} ({tries} tries)") from fault
            patience.pause(fault.wait or 2.0 ** (tries - 1))


def _whole(part: Partial, address: str) -> bool:
    """Whether an earlier call had everything and was stopped before the last step."""
    return part.usable(address) > 0 and part.size == part.origin.length and part.matches()


def _right(part: Partial, resumed: bool) -> bool:
    """Compare the checksum, where it is known.

    Raises:
        Broken: two pieces do not make the file; one piece may.
        Refused: the whole is not the expected file.
    """
    if not part.checksum or part.matches():
        return True
    found = part.found()
    part.discard()
    if resumed:
        raise Broken("the pieces do not make the expected file")
    raise Refused(f"it is not the expected file: {found}, expected {part.checksum}")


def _sorry(wanted: Wanted, faults: Mapping[str, str], here: int) -> str:
    kept = f"; the {amount(here)} that came are kept, and the same command goes on" if here else ""
    told = "; ".join(f"{address}: {fault}" for address, fault in faults.items())
    return (
        f"cannot get {wanted.path.name} from {told}{kept}; "
        f"or get it another way, put it at {wanted.path}, and call the same command again"
    )
