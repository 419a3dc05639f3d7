"""Checks of a stored report that evaluate no model again.

- whether its files are those that were stored, and consistent
- whether its pages, tables and figures are what its results give when drawn again
- whether the numbers of a result follow from its stored outcomes
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from catchup_eval.analysis.base import Analysis, declaration
from catchup_eval.audit.findings import AuditCheck, AuditStatus, finding
from catchup_eval.core.errors import BadFile
from catchup_eval.metrics.intervals import Interval, bootstrap_mean, wilson
from catchup_eval.results import hashes
from catchup_eval.results.folder import MOST_PAGE, MOST_STUDY, STUDY, read_stored
from catchup_eval.results.headline import RowLink
from catchup_eval.results.result import RANGES, Result
from catchup_eval.results.store import ResultRecord, Store
from catchup_eval.results.study import StudyInfo

Records = Mapping[tuple[str, str], ResultRecord]


def records(info: StudyInfo, store: Store) -> dict[tuple[str, str], ResultRecord]:
    """The sidecars that can be read, by (model key, analysis)."""
    pairs = [(model.key, analysis) for model in info.models for analysis in info.analyses]
    found = {}
    for pair in pairs:
        with suppress(BadFile):  # :func:`check_files` says so
            found[pair] = store.record(*pair)
    return {pair: record for pair, record in found.items() if record is not None}


def check_files(info: StudyInfo, store: Store) -> list[AuditCheck]:
    """All checks that need no analysis: presence, hashes, and the same models and seed in all."""
    known = records(info, store)
    return [
        _check_complete(info, store, known),
        _study_seal(store.folder),
        *_result_hashes(store, known),
        _check_consistency(info, known),
    ]


def _check_complete(info: StudyInfo, store: Store, known: Records) -> AuditCheck:
    skipped = {(skip.model, skip.analysis) for skip in info.skipped}
    pairs = {(model.key, analysis) for model in info.models for analysis in info.analyses}
    broken = [p for p in pairs - known.keys() if os.path.lexists(store.path(*p, "json"))]
    if broken:
        faults = [f"{_format_pair(pair)}: its record cannot be read" for pair in sorted(broken)]
        return finding("results", faults, "", AuditStatus.CONTRADICTED)
    absent = [f"{_format_pair(pair)} is absent" for pair in sorted(pairs - known.keys() - skipped)]
    return finding("results", absent, f"all {len(known)} are here", AuditStatus.UNKNOWN)


def _study_seal(folder: Path) -> AuditCheck:
    content = json.loads(read_stored(folder, STUDY, MOST_STUDY))
    seal = content.pop("seal", "")
    if not seal:
        return AuditCheck("study.json", AuditStatus.UNKNOWN, "it has no hash")
    if hashes.hash_json(content) == seal:
        return AuditCheck("study.json", AuditStatus.CONFIRMED, "is what was written")
    return AuditCheck("study.json", AuditStatus.CONTRADICTED, "it is not what was written")


def _result_hashes(store: Store, known: Records) -> Iterator[AuditCheck]:
    sealed = {pair: record for pair, record in known.items() if record.hashes is not None}
    if len(sealed) < len(known):
        without = f"{len(known) - len(sealed)} of {len(known)} results have no hash"
        detail = f"{without}: an older version stored them"
        yield AuditCheck("hashes", AuditStatus.UNKNOWN, detail)
    faults = [fault for pair in sealed for fault in _hash_faults(store, pair, sealed[pair])]
    if sealed:
        fine = f"{len(sealed)} records, frames and samples are what was stored"
        yield finding("hashes", faults, fine, AuditStatus.CONTRADICTED)


def _hash_faults(store: Store, pair: tuple[str, str], record: ResultRecord) -> Iterator[str]:
    assert record.hashes is not None
    if record.with_seal().seal != record.seal:
        yield f"{_format_pair(pair)}: its record was changed"
    try:
        samples = hashes.hash_arrays(store.get(*pair).samples)  # first, since it is bounded
        frame = hashes.hash_file(store.path(*pair, "csv"))
    except (BadFile, OSError):
        yield f"{_format_pair(pair)}: its files cannot be read"
        return
    if frame != record.hashes.frame:
        yield f"{_format_pair(pair)}: its frame was changed"
    if samples != record.hashes.samples:
        yield f"{_format_pair(pair)}: its samples were changed"


def _check_consistency(info: StudyInfo, known: Records) -> AuditCheck:
    weights = {model.key: model.fingerprint for model in info.models}
    faults = [
        f"{model}: {analysis}: its {what} {stored!r} are not the study's {own!r}"
        for (model, analysis), record in known.items()
        for what, stored, own in (
            ("weights", record.key.weights, weights[model]),
            ("seeds", record.key.seed, info.seed),
            ("analyses", record.key.analysis, analysis),
        )
        if stored != own
    ]
    fine = "weights and seed are the study's in all results"
    return finding("consistency", faults, fine, AuditStatus.CONTRADICTED)


def _format_pair(pair: tuple[str, str]) -> str:
    return ": ".join(pair)


FOLDERS = ("tables", "figures")
OPTIONS = re.compile(rb'<meta name="options" content="([^"]{1,400})">')  # of a page
PAGES = ("index.html", "report.md", "results.csv", "results.json")
PICTURE = re.compile(rb"data:image/[^\"']*")
DRAWN = (".png", ".pdf", ".svg")


def check_pages(folder: Path, redrawn: Path, *, code: bool, libraries: bool) -> list[AuditCheck]:
    """Compare a report with the same one drawn again, byte for byte.

    Args:
        folder: of the report.
        redrawn: where its results were drawn again.
        code: whether the package is the one that measured; only then does another page contradict.
        libraries: likewise those that write tables and pictures.
    """
    drawing = OPTIONS.search(_content(folder, "index.html"))
    if drawing and not OPTIONS.search(_content(redrawn, "index.html")):
        why = f"the page was drawn with options, which are not repeated: {drawing[1].decode()}"
        return [AuditCheck("page and tables", AuditStatus.UNKNOWN, why)]
    names = sorted(set(_files(folder)) | set(_files(redrawn)))
    texts = [name for name in names if not name.endswith(DRAWN)]
    pictures = [name for name in names if name.endswith(DRAWN)]
    other = [fault for name in texts if (fault := _fault(folder, redrawn, name, text=True))]
    drawn = [fault for name in pictures if (fault := _fault(folder, redrawn, name))]
    if not drawn and (fault := _fault(folder, redrawn, "index.html")) and not other:
        drawn = [f"a picture in {fault}"]
    return [
        _compared("page and tables", other, len(texts), same=code),
        _compared("figures", drawn, len(pictures), same=code and libraries),
    ]


def _content(folder: Path, name: str) -> bytes:
    try:
        return read_stored(folder, name, MOST_PAGE)
    except BadFile:
        return b""


def _compared(check: str, faults: Iterable[str], files: int, *, same: bool) -> AuditCheck:
    """A fault contradicts only where the versions are the same."""
    fine = f"{files} files, redrawn, are the same"
    found = finding(check, faults, fine, AuditStatus.CONTRADICTED)
    if same or found.verdict == AuditStatus.CONFIRMED:
        return found
    why = "; but this is another version of the package or its libraries than measured"
    return found._replace(verdict=AuditStatus.UNKNOWN, detail=found.detail + why)


def _files(folder: Path) -> list[str]:
    members = [path for name in FOLDERS for path in (folder / name).glob("*")]
    pages = [folder / name for name in PAGES if (folder / name).exists()]
    return [path.relative_to(folder).as_posix() for path in [*pages, *members]]


def _fault(folder: Path, redrawn: Path, name: str, *, text: bool = False) -> str:
    """The fault of one file; nothing where it is the same."""
    if not (folder / name).exists():
        return f"{name} is absent"
    if not (redrawn / name).exists():
        return f"{name} is not from these results"
    try:
        stored, own = (read_stored(path, name, MOST_PAGE) for path in (folder, redrawn))
    except BadFile as error:
        return str(error)
    if text:
        stored, own = (PICTURE.sub(b"", content) for content in (stored, own))
    return "" if stored == own else f"{name} differs"


DIGITS = 1e-9  # of a value: what storing may change is nothing, what summing may change is less


def row_links(result: Result, analysis: Analysis) -> Iterator[RowLink]:
    """The rows whose outcomes are stored; two strata of an AUROC are a link each."""
    for headline in analysis.HEADLINES:
        if len(result.rows(headline.metric, **headline.where)):
            for name in headline.outcomes:
                if name in result.samples:
                    outcomes = result.samples[name]
                    yield RowLink(headline.metric, headline.where, outcomes, headline.scale)
    yield from declaration(analysis, "row_links")(result)


def row_faults(result: Result, link: RowLink) -> Iterator[str]:
    """What of a row does not follow from its outcomes, one line each."""
    rows = result.rows(link.metric, **link.where)
    name = " ".join([link.metric, *(f"{key}={value}" for key, value in link.where.items())])
    if len(rows) != 1:
        yield f"{name}: {len(rows)} rows, expected one"
        return
    row, values = rows.iloc[0], link.scale * np.asarray(link.outcomes, float)
    if not np.isclose(row["value"], values.mean(), rtol=DIGITS, atol=DIGITS):
        yield f"{name} is {row['value']:.6g}, its outcomes give {values.mean():.6g}"
    own, limits = _interval(link, row), [row["low"], row["high"]]
    if own is None or np.allclose(limits, own, rtol=DIGITS, atol=DIGITS, equal_nan=True):
        return
    stored = f"{limits[0]:.6g} to {limits[1]:.6g}"
    yield f"{name} has the interval {stored}, its outcomes give {own[0]:.6g} to {own[1]:.6g}"


def _interval(link: RowLink, row: pd.Series) -> Interval | None:
    """Wilson's of outcomes, the bootstrap's of numbers; None where it is about more samples."""
    n = int(row["n"])
    if len(link.outcomes) != n:
        return None
    if link.outcomes.dtype == bool:
        return wilson(int(link.outcomes.sum()), n)
    return bootstrap_mean(link.scale * link.outcomes, bounds=RANGES.get(str(row["unit"])))
