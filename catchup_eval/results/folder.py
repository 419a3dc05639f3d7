"""The file of a report that lists its contents."""

from pathlib import Path

from catchup_eval.core.errors import BadFile


def study_file(folder: Path) -> Path:
    """The `study.json` of a report's folder.

    Raises:
        BadFile: the folder holds none.
    """
    path = folder / "study.json"
    if not path.is_file():
        raise BadFile(f"{folder} holds no report: there is no {path}")
    return path
