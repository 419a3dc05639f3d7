"""The door of a report's folder: what is read from it is bounded, and one run at a time writes it.

Only regular files below the folder are read, and only so many bytes: a report may be a stranger's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.files import is_locked, locked, open_regular, read_regular, remove_leftovers

STUDY = "study.json"
MOST_STUDY = 16_000_000  # bytes: thousands of models
MOST_PAGE = 256_000_000
WRITTEN = ("results", "tables", "figures", "errors.log")  # in place, not replaced

_written: set[Path] = set()  # by this process, at this moment


def study_file(folder: Path) -> Path:
    """The `study.json` of a report's folder.

    Raises:
        BadFile: the folder holds none that can be read.
    """
    path = folder / STUDY
    if not path.exists():
        raise BadFile(f"{folder} holds no report: there is no {path}")
    try:
        open_regular(path, most=MOST_STUDY, below=folder).close()
    except BadFile as error:
        raise BadFile(f"{path} cannot be read: {error}") from error
    return path


def read_stored(folder: Path, name: str, most: int) -> bytes:
    """A file of a report.

    Raises:
        BadFile: absent, no regular file below the folder, or larger.
    """
    try:
        return read_regular(folder / name, most=most, below=folder)
    except BadFile as error:
        raise BadFile(f"{name}: {error}") from error


def is_written(folder: Path) -> bool:
    """Whether another process is writing this report now."""
    return folder.resolve() not in _written and is_locked(folder / STUDY)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Be the only one that writes a report; a killed process is none any more.

    Raises:
        UserError: another run writes it, or it cannot be written, or only through a link that
            leaves it.
    """
    own = folder.resolve()
    if own in _written:
        yield
        return
    for name in WRITTEN:
        if not (folder / name).resolve().is_relative_to(own):
            raise UserError(f"{folder / name} is a link that leaves the folder; nothing is written")
    with locked(folder / STUDY, wait=False) as alone:
        if alone is False:
            raise UserError(
                f"another run is writing {folder} at this moment; wait for its end, or choose "
                "another --name"
            )
        _written.add(own)
        try:
            for inside in (folder, *folder.glob("*/"), *folder.glob("results/*/")):
                if inside.resolve().is_relative_to(own):
                    remove_leftovers(inside)  # of a run that was killed
            yield
        finally:
            _written.discard(own)
