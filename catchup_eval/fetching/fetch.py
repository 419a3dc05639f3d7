"""An image set into the data root: what is missing is downloaded, compared, unpacked."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from catchup_eval.errors import BadFile
from catchup_eval.fetching.archives import File, Source
from catchup_eval.fetching.check import Finding, State, examine_file, layout
from catchup_eval.fetching.download import Patience, download
from catchup_eval.fetching.recognise import amount
from catchup_eval.fetching.transfer import Tell
from catchup_eval.fetching.unpack import unpacked
from catchup_eval.files import locked

NOTHING = Finding("", State.ABSENT)


class Show(NamedTuple):
    """How progress is shown.

    Attributes:
        say: takes a line.
        bar: opens a bar with a label; gives the function that takes the bytes that are here.
    """

    say: Callable[[str], None]
    bar: Callable[[str], AbstractContextManager[Tell]]


def fetch(
    source: Source,
    root: Path,
    *,
    show: Show,
    keep: bool = False,
    patience: Patience = Patience(),  # noqa: B008
) -> None:
    """Bring everything of an image set into the data root; what is there and right stays.

    Args:
        root: the data root.
        keep: archives stay beside what they were unpacked to. One that was there before always
            stays.

    Raises:
        BadFile: a file could not be got, or is not what it should be; says what to put where.
        UserError: the disk is full.
    """
    for file in source.files:
        path = file.wanted(root).path
        if not _is_here(*_examined(file, root)):
            with locked(path.with_name(f"{path.name}.fetch")):  # another process may be at it
                findings, archive = _examined(file, root)
                if not _is_here(findings, archive):
                    _bring(file, source, root, findings, archive, show, keep, patience)
                    continue
        show.say(f"{file.name}: is here already")


def _examined(file: File, root: Path) -> tuple[dict[Path, Finding], Finding | None]:
    """What is here of that which is needed, and the archive that it is unpacked from, if any."""
    findings = {root / each.place: each for each in examine_file(file, root)}
    archive = findings.pop(file.wanted(root).path, None) if file.top else None
    return findings, archive


def _is_here(findings: Mapping[Path, Finding], _archive: Finding | None) -> bool:
    return all(each.state is State.OK for each in findings.values())


def _bring(
    file: File,
    source: Source,
    root: Path,
    findings: Mapping[Path, Finding],
    archive: Finding | None,
    show: Show,
    keep: bool,
    patience: Patience,
) -> None:
    path = file.wanted(root).path
    _tell({**findings, path: archive or findings.get(path, NOTHING)}, show)
    # By hand, or by an earlier call that was stopped.
    brought = archive is not None and archive.state is State.OK
    if not brought:
        _download(file, source, root, show, patience)
    if file.top:
        _unpack(file, source, root, show)
    if file.top and not brought and not keep:
        path.unlink()


def _tell(findings: Mapping[Path, Finding], show: Show) -> None:
    """What is there and cannot stay."""
    for path, each in findings.items():
        if each.state not in (State.OK, State.ABSENT):
            show.say(f"{path}: {each.state}; {each.note}")


def _download(file: File, source: Source, root: Path, show: Show, patience: Patience) -> None:
    wanted = file.wanted(root)
    if not file.addresses:
        raise BadFile(f"{wanted.path} is needed and has no address: {source.by_hand}")
    size = f", {amount(file.size)}" if file.size else ""
    with show.bar(f"{file.name}{size}") as tell:
        download(wanted, tell=tell, patience=patience)


def _unpack(file: File, source: Source, root: Path, show: Show) -> None:
    """Into place once its layout is found to be right, too."""
    archive = file.wanted(root).path
    if not file.unpack:
        raise BadFile(f"{archive} needs more than unpacking: {source.by_hand}")
    show.say(f"unpacking {archive.name}")
    with unpacked(archive, root / file.into, file.top) as folder:
        for each in layout(file, folder, folder):
            if each.state is not State.OK:
                told = f"{each.place} in it: {each.state} {each.note}".rstrip()
                raise BadFile(f"{archive} does not hold what it should; {told}")
