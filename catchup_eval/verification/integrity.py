"""Whether the files of a report are those that were stored, and speak of the same thing."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from catchup_eval.errors import BadFile
from catchup_eval.store import Record, Store
from catchup_eval.study import StudyInfo
from catchup_eval.verification import hashes
from catchup_eval.verification.verdict import Finding, Verdict, finding

Records = Mapping[tuple[str, str], Record]


def records(info: StudyInfo, store: Store) -> dict[tuple[str, str], Record]:
    """The sidecars that can be read, by (model key, analysis)."""
    pairs = [(model.key, analysis) for model in info.models for analysis in info.analyses]
    found = {pair: store.record(*pair) for pair in pairs}
    return {pair: record for pair, record in found.items() if record is not None}


def check_files(info: StudyInfo, store: Store) -> list[Finding]:
    """All checks that need no analysis: presence, hashes, and one story in all files."""
    known = records(info, store)
    return [
        _complete(info, store, known),
        _study_seal(store.folder),
        *_result_hashes(store, known),
        _one_story(info, known),
    ]


def _complete(info: StudyInfo, store: Store, known: Records) -> Finding:
    skipped = {(skip.model, skip.analysis) for skip in info.skipped}
    pairs = {(model.key, analysis) for model in info.models for analysis in info.analyses}
    broken = [p for p in pairs - known.keys() if store.path(*p, "json").exists()]
    if broken:
        faults = [f"{_named(pair)}: its record cannot be read" for pair in sorted(broken)]
        return finding("results", faults, "", Verdict.CONTRADICTED)
    absent = [f"{_named(pair)} is absent" for pair in sorted(pairs - known.keys() - skipped)]
    return finding("results", absent, f"all {len(known)} are here", Verdict.UNKNOWN)


def _study_seal(folder: Path) -> Finding:
    content = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    seal = content.pop("seal", "")
    if not seal:
        return Finding("study.json", Verdict.UNKNOWN, "it has no hash")
    faults = [] if hashes.of_json(content) == seal else ["it is not what was written"]
    return finding("study.json", faults, "is what was written", Verdict.CONTRADICTED)


def _result_hashes(store: Store, known: Records) -> Iterator[Finding]:
    without = [_named(pair) for pair, record in known.items() if record.hashes is None]
    if without:
        detail = (
            f"{len(without)} of {len(known)} results have no hash: an older version stored them"
        )
        yield Finding("hashes", Verdict.UNKNOWN, detail)
    sealed = {pair: record for pair, record in known.items() if record.hashes is not None}
    faults = [fault for pair, record in sealed.items() for fault in _unsealed(store, pair, record)]
    if sealed:
        fine = f"{len(sealed)} records, frames and samples are what was stored"
        yield finding("hashes", faults, fine, Verdict.CONTRADICTED)


def _unsealed(store: Store, pair: tuple[str, str], record: Record) -> Iterator[str]:
    """What of one result is not what its hashes say."""
    assert record.hashes is not None  # those without are told apart before
    if record.sealed().seal != record.seal:
        yield f"{_named(pair)}: its record was changed"
    try:
        frame = hashes.of_file(store.path(*pair, "csv"))
        samples = hashes.of_arrays(store.get(*pair).samples)
    except (BadFile, OSError):
        yield f"{_named(pair)}: its files cannot be read"
        return
    if frame != record.hashes.frame:
        yield f"{_named(pair)}: its frame was changed"
    if samples != record.hashes.samples:
        yield f"{_named(pair)}: its samples were changed"


def _one_story(info: StudyInfo, known: Records) -> Finding:
    weights = {model.key: model.fingerprint for model in info.models}
    faults = [
        f"{_named((model, analysis))}: its {what} {told!r} are not the study's {own!r}"
        for (model, analysis), record in known.items()
        for what, told, own in (
            ("weights", record.key.weights, weights[model]),
            ("seeds", record.key.seed, info.seed),
            ("questions", record.key.analysis, analysis),
        )
        if told != own
    ]
    fine = "weights and seed are the study's in all results"
    return finding("one story", faults, fine, Verdict.CONTRADICTED)


def _named(pair: tuple[str, str]) -> str:
    return ": ".join(pair)
