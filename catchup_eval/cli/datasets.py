"""The datasets of the data root: list, fetch, check."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from catchup_eval.cli.console import Console
from catchup_eval.core.files import format_bytes
from catchup_eval.core.http import RetryPolicy
from catchup_eval.datasets import DATASETS
from catchup_eval.datasets.download.fetch import (
    FetchDisplay,
    FileCheck,
    State,
    examine,
    fetch,
    glance,
)
from catchup_eval.datasets.download.sources import File, Source, find, load, remedy

DONE, FAULTY = 0, 2

ALL = "all"
COLUMNS = ("name", "images", "classes", "download", "here", "about")


def list_sets(root: Path, *, archives: Path | None = None) -> int:
    """Print a line for each dataset and what goes with one: how large it is, whether it is here.

    Those of other packages, and those that are made of others' files, come last.

    Args:
        root: the data root.
        archives: a list of addresses instead of the shipped one.
    """
    sources = load(archives)
    rows = [_row(name, source, root) for name, source in sources.items()]
    rows += [
        {
            **dict.fromkeys(("images", "classes", "download", "here"), "-"),
            "name": name,
            "about": entry.about,
        }
        for name, entry in DATASETS.items()
        if name not in sources
    ]
    columns = {key: [row[key] for row in rows] for key in COLUMNS}
    Console().table(columns, f"data root: {root}")
    return DONE


def _row(name: str, source: Source, root: Path) -> dict[str, str]:
    return {
        "name": name,
        "images": f"{source.images:,}" if source.images else "-",
        "classes": str(source.classes or "-"),
        "download": format_bytes(source.size) if source.size else "-",
        "here": glance(source, root) if source.files else "embedded",
        "about": source.about,
    }


def describe_sets(names: Sequence[str], *, archives: Path | None = None) -> int:
    """Print all that is known of datasets: source, licence, files.

    Raises:
        UnknownName: no such dataset.
    """
    console = Console()
    sources = load(archives)
    for name, source in {name: find(name, sources) for name in names}.items():
        console.result(f"{name}: {source.about}")
        names = ("licence", "citation", "page", "by_hand")
        facts = {each.replace("_", " "): getattr(source, each) for each in names}
        facts |= {file.name: _file(file) for file in source.files}
        for label, text in facts.items():
            if text:
                console.result(f"  {label}: {text}")
    return DONE


def _file(file: File) -> str:
    size = format_bytes(file.size) if file.size else "size not known"
    compared = "compared with the file" if file.verified else f"from {file.source}"
    checksum = f"{file.checksum} ({compared})" if file.checksum else "no checksum known"
    return ", ".join([size, checksum, *file.addresses])


def fetch_sets(
    names: Sequence[str],
    root: Path,
    *,
    keep: bool = False,
    archives: Path | None = None,
    retry: RetryPolicy = RetryPolicy(),
) -> int:
    """Bring datasets into the data root; gives the exit code.

    Args:
        keep: archives stay after they are unpacked.
        retry: for servers that stall or break off.

    Raises:
        UnknownName: no such dataset; none is fetched then.
        BadFile: a file could not be got; the message says what to put where.
        UserError: the disk is full.
    """
    console = Console()
    sources = load(archives)
    show = FetchDisplay(console.info, console.bytes)
    for name, source in {name: find(name, sources) for name in names}.items():
        fetch(source, root, show=show, keep=keep, retry=retry)
        where = f"in {root}" if source.files else "embedded; there is nothing to fetch"
        console.result(f"{name}: {where}")
    return DONE


def check_sets(names: Sequence[str], root: Path, *, archives: Path | None = None) -> int:
    """Print the state of the files of datasets; gives the exit code.

    Args:
        names: datasets; "all" stands for those of which something is here.

    Raises:
        UnknownName: no such dataset.
    """
    console = Console()
    sources = load(archives)
    chosen = _installed(sources, root) if ALL in names else list(names)
    if not chosen:
        console.result(f"no dataset is in {root}")
    found = {name: examine(find(name, sources), root) for name in chosen}
    for name, findings in found.items():
        _show(console, name, findings, sources[name], root)
    well = all(each.state is State.OK for findings in found.values() for each in findings)
    return DONE if chosen and well else FAULTY


def _installed(sources: Mapping[str, Source], root: Path) -> list[str]:
    with_files = {name: source for name, source in sources.items() if source.files}
    return [name for name, source in with_files.items() if glance(source, root) != State.ABSENT]


def _show(
    console: Console, name: str, findings: Sequence[FileCheck], source: Source, root: Path
) -> None:
    if not findings:
        console.result(f"{name}: embedded; there is nothing to check")
        return
    columns = zip(("file", "state", "compared"), zip(*findings, strict=True), strict=True)
    console.table(dict(columns), f"{name} in {root}")
    if any(each.state is not State.OK for each in findings):
        console.result(remedy(name, source, root))
