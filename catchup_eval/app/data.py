"""The image sets of the data root: list, fetch, check."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from catchup_eval.app.console import Console
from catchup_eval.fetching.archives import File, Source, find, load
from catchup_eval.fetching.check import Finding, State, examine, glance
from catchup_eval.fetching.download import Patience
from catchup_eval.fetching.fetch import Show, fetch
from catchup_eval.fetching.recognise import amount

DONE, WRONG = 0, 2  # not those of `evaluate`: torch takes seconds to import
ALL = "all"


def list_sets(root: Path, *, archives: Path | None = None) -> int:
    """Print a line for each set: how large it is and whether it is here; gives the exit code.

    Args:
        root: the data root.
        archives: a list of addresses instead of the shipped one.
    """
    sources = load(archives)
    rows = [_row(name, source, root) for name, source in sources.items()]
    Console().table(pd.DataFrame(rows), f"data root: {root}")
    return DONE


def _row(name: str, source: Source, root: Path) -> dict[str, str]:
    return {
        "name": name,
        "images": f"{source.images:,}" if source.images else "-",
        "classes": str(source.classes or "-"),
        "download": amount(source.size) if source.size else "-",
        "here": glance(source, root) if source.files else "embedded",
        "what it is": source.about,
    }


def describe_sets(names: Sequence[str], *, archives: Path | None = None) -> int:
    """Print all that is known of sets: whose they are, what may be done with them, their files.

    Raises:
        UnknownName: no such set.
    """
    console = Console()
    sources = load(archives)
    for name, source in {name: find(name, sources) for name in names}.items():
        console.result(f"{name}: {source.about}")
        told = ("licence", "citation", "page", "by_hand")
        facts = {each.replace("_", " "): getattr(source, each) for each in told}
        facts |= {file.name: _file(file) for file in source.files}
        for label, text in facts.items():
            if text:
                console.result(f"  {label}: {text}")
    return DONE


def _file(file: File) -> str:
    size = amount(file.size) if file.size else "size not known"
    compared = "compared with the file" if file.verified else f"from {file.source}"
    checksum = f"{file.checksum} ({compared})" if file.checksum else "no checksum known"
    return ", ".join([size, checksum, *file.addresses])


def fetch_sets(
    names: Sequence[str],
    root: Path,
    *,
    keep: bool = False,
    archives: Path | None = None,
    patience: Patience = Patience(),
) -> int:
    """Bring sets into the data root; gives the exit code.

    Args:
        keep: archives stay after they are unpacked.
        patience: with servers that stall or break off.

    Raises:
        UnknownName: no such set; none is fetched then.
        BadFile: a file could not be got; the message says what to put where.
        UserError: the disk is full.
    """
    console = Console()
    sources = load(archives)
    show = Show(console.say, console.bytes)
    for name, source in {name: find(name, sources) for name in names}.items():
        fetch(source, root, show=show, keep=keep, patience=patience)
        where = f"in {root}" if source.files else "embedded; there is nothing to fetch"
        console.result(f"{name}: {where}")
    return DONE


def check_sets(names: Sequence[str], root: Path, *, archives: Path | None = None) -> int:
    """Print what is wrong with the files of sets, and what is right; gives the exit code.

    Args:
        names: sets; "all" stands for those of which something is here.

    Raises:
        UnknownName: no such set.
    """
    console = Console()
    sources = load(archives)
    chosen = _here(sources, root) if ALL in names else list(names)
    if not chosen:
        console.result(f"no image set is in {root}")
    found = {name: examine(find(name, sources), root) for name in chosen}
    for name, findings in found.items():
        _show(console, name, findings, sources[name], root)
    well = all(each.state is State.OK for findings in found.values() for each in findings)
    return DONE if chosen and well else WRONG


def _here(sources: Mapping[str, Source], root: Path) -> list[str]:
    with_files = {name: source for name, source in sources.items() if source.files}
    return [name for name, source in with_files.items() if glance(source, root) != State.ABSENT]


def _show(
    console: Console, name: str, findings: Sequence[Finding], source: Source, root: Path
) -> None:
    if not findings:
        console.result(f"{name}: embedded; there is nothing to check")
        return
    console.table(
        pd.DataFrame(findings, columns=["file", "state", "compared"]), f"{name} in {root}"
    )
    if any(each.state is not State.OK for each in findings):
        console.result(source.by_hand or f"to mend it: catchup-eval data fetch {name}")
