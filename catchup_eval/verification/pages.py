"""Whether a report's pages, tables and figures are what its results give when drawn again."""

import re
from collections.abc import Iterable
from pathlib import Path

from catchup_eval.verification.verdict import Finding, Verdict, finding

FOLDERS = ("tables", "figures")
PAGES = ("index.html", "report.md")
PICTURE = re.compile(rb"data:image/[^\"']*")
DRAWN = (".png", ".pdf", ".svg")


def check_pages(folder: Path, redrawn: Path, *, code: bool, libraries: bool) -> list[Finding]:
    """Compare a report with the same one drawn again, byte for byte.

    Args:
        folder: of the report.
        redrawn: where its results were drawn again.
        code: whether the package is the one that measured; only then does another page contradict.
        libraries: likewise those that write tables and pictures.
    """
    names = sorted(set(_files(folder)) | set(_files(redrawn)))
    texts = [name for name in names if not name.endswith(DRAWN)]
    pictures = [name for name in names if name.endswith(DRAWN)]
    other = [fault for name in texts if (fault := _fault(folder, redrawn, name, text=True))]
    drawn = [fault for name in pictures if (fault := _fault(folder, redrawn, name))]
    if not drawn and (fault := _fault(folder, redrawn, "index.html")) and not other:
        drawn = [f"a picture inside {fault}"]
    return [
        _judged("page and tables", other, f"{len(texts)} files, drawn again, are the same", code),
        _judged(
            "figures",
            drawn,
            f"{len(pictures)} files, drawn again, are the same",
            code and libraries,
        ),
    ]


def _judged(check: str, faults: Iterable[str], fine: str, same: bool) -> Finding:
    if same:
        return finding(check, faults, fine, Verdict.CONTRADICTED)
    found = finding(check, faults, fine, Verdict.UNKNOWN)
    why = "; but this is another version of the package or its libraries than measured"
    return found._replace(detail=found.detail + why) if found.verdict != "confirmed" else found


def _files(folder: Path) -> list[str]:
    inside = [path for name in FOLDERS for path in (folder / name).glob("*") if path.is_file()]
    pages = [folder / name for name in PAGES if (folder / name).exists()]
    return [path.relative_to(folder).as_posix() for path in [*pages, *inside]]


def _fault(folder: Path, redrawn: Path, name: str, *, text: bool = False) -> str:
    """What is wrong with one file; nothing where it is the same."""
    paths = folder / name, redrawn / name
    for path, fault in zip(paths, ("is absent", "is not from these results"), strict=True):
        if not path.exists():
            return f"{name} {fault}"
    told, own = (path.read_bytes() for path in paths)
    if text:
        told, own = (PICTURE.sub(b"", content) for content in (told, own))
    return "" if told == own else f"{name} differs"
