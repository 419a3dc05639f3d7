"""Audit a report: its files, its numbers, its pages, and a sample of its outcomes asked again."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from catchup_eval import checkpoints, datasets, factory, study
from catchup_eval.app import questions as asking
from catchup_eval.app import reasked
from catchup_eval.app.candidates import Candidate, from_specs
from catchup_eval.app.console import Console
from catchup_eval.app.drawing import draw
from catchup_eval.app.reask import Again, Audit, whole
from catchup_eval.datasets import AnySet
from catchup_eval.errors import BadFile, UserError
from catchup_eval.files import write_text
from catchup_eval.models import sources
from catchup_eval.models import spec as specs
from catchup_eval.results import Result
from catchup_eval.store import Record, Store
from catchup_eval.study import ModelInfo, StudyInfo
from catchup_eval.verification import follows, hashes, integrity, power
from catchup_eval.verification.pages import check_pages
from catchup_eval.verification.verdict import Finding, Verdict, finding, overall

CODES = {Verdict.CONFIRMED: 0, Verdict.NEAR: 0, Verdict.CONTRADICTED: 1}
CANNOT_TELL = 3
SHOWN = 20  # differing samples that the terminal lists


@dataclass(frozen=True)
class Request:
    """What one verification is asked to do.

    Args:
        folder: of the report.
        samples: how many pairs of network and image are asked again, of each part of the data.
        seed: of drawing them.
        device: where to compute.
        batch_size: of asking again.
        models: a folder that holds the weights; else where the report says, or its own `models`.
        data: an image set by name or file, instead of the one that the report names.
        data_root: where downloaded data lie.
        full: whether everything is also asked again whole.
        trust_code: whether the `.py` files that the report names as networks may be run.
        out: a file for all findings; nothing is written where it is None.
    """

    folder: Path
    samples: int = power.needed()
    seed: int = 0
    device: str = "auto"
    batch_size: int = 100
    models: Path | None = None
    data: str = ""
    data_root: Path = Path("data")
    full: bool = False
    trust_code: bool = False
    out: Path | None = None


def verify(request: Request, console: Console) -> int:
    """Audit, print what was found, and give the exit code.

    0: confirmed, also within hardware tolerance. 1: contradicted. 3: cannot tell.

    Raises:
        BadFile: the folder holds no report.
    """
    findings = list(audit(request))
    verdict = overall(findings)
    tell(console, findings, verdict)
    if request.out:
        write_text(request.out, json.dumps(told(findings, verdict), indent=1, default=str))
    return CODES.get(verdict, CANNOT_TELL)


def audit(request: Request) -> Iterator[Finding]:
    """All findings, the cheap ones first."""
    info = study.load_info(request.folder)
    store = Store(request.folder)
    yield from integrity.check_files(info, store)
    known = integrity.records(info, store)
    results = dict(_readable(store, known))
    yield _follow(results)
    yield from _redrawn(request.folder, known)
    yield _versions(known)
    current = {pair: record for pair, record in known.items() if _current(pair[1], record)}
    asked = {pair: results[pair] for pair in current if pair in results}
    yield from _again(request, info, current, asked)


def _readable(store: Store, known: integrity.Records) -> Iterator[tuple[tuple[str, str], Result]]:
    for pair in known:
        try:
            yield pair, store.get(*pair)
        except BadFile:
            continue  # the hashes tell


def _follow(results: Mapping[tuple[str, str], Result]) -> Finding:
    faults, rows = [], 0
    for (model, question), result in results.items():
        try:
            links = list(_links(question, result))
            told = follows.faults(result, links)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            links, told = [], [f"its outcomes do not fit its frame ({error})"]
        rows += len(links)
        faults += [f"{model}: {question}: {fault}" for fault in told]
    fine = f"{rows} rows follow from their outcomes"
    return finding("numbers", faults, fine, Verdict.CONTRADICTED)


def _links(question: str, result: Result) -> Iterator[follows.Link]:
    if question in asking.KNOWN:
        yield from follows.headline_links(result, asking.KNOWN[question])
    yield from reasked.links(question, result)


def _redrawn(folder: Path, known: integrity.Records) -> list[Finding]:
    measured = [record.hashes for record in known.values()]
    code = all(one is not None and one.code == hashes.of_code() for one in measured)
    libraries = all(one is not None and one.libraries == hashes.libraries() for one in measured)
    if not (folder / "index.html").exists():
        return []  # `evaluate` writes no page
    with TemporaryDirectory() as temporary:
        shutil.copytree(folder / "results", Path(temporary, "results"))  # the page links to them
        try:
            draw(study.load(folder, asking.versions()), Path(temporary))
        except Exception as error:  # whatever drawing altered numbers may raise
            reason = f"cannot be drawn from the results: {type(error).__name__}: {error}"
            return [Finding("page and tables", Verdict.CONTRADICTED, reason)]
        return check_pages(folder, Path(temporary), code=code, libraries=libraries)


def _current(question: str, record: Record) -> bool:
    return asking.versions().get(question) == record.key.version


def _versions(known: integrity.Records) -> Finding:
    faults = [
        f"{question} was measured by version {record.key.version}, here is "
        f"{asking.versions().get(question, 'none')}; get catchup-eval "
        f"{record.provenance.versions.get('catchup-eval', '')}"
        for (_, question), record in known.items()
        if not _current(question, record)
    ]
    return finding("versions", faults, "the questions are those of here", Verdict.UNKNOWN)


def _again(
    request: Request,
    info: StudyInfo,
    records: integrity.Records,
    results: Mapping[tuple[str, str], Result],
) -> Iterator[Finding]:
    """Look whether data and weights are those of the report; then ask again."""
    if not any(model.fingerprint for model in info.models):
        yield Finding("asked again", Verdict.UNKNOWN, "simulations are not: run their plan anew")
        return
    data = _data(request, info)
    if isinstance(data, Finding):
        yield data
        return
    yield Finding("data", Verdict.CONFIRMED, f"{data.name}: {data.fingerprint}")
    candidates, found = _weights(request, info, len(data.classes))
    yield found
    device = asking.device_of(request.device)
    again = Again(candidates, data, device, request.batch_size, request.seed, records, results)
    yield from Audit(again, info).sampled(request.samples)
    if request.full:
        yield from whole(again)


def _data(request: Request, info: StudyInfo) -> AnySet | Finding:
    if factory.named(info.data.name) and not request.data:
        detail = f"the report names code, {info.data.name}; look at it, then give it as --data"
        return Finding("data", Verdict.UNKNOWN, detail)
    try:
        data = datasets.load(request.data or info.data.name, request.data_root)
    except UserError as error:
        return Finding("data", Verdict.UNKNOWN, str(error))
    data = data.for_questions()
    cuts = re.findall(r"(\S+) n=(\d+)", info.data.subset)
    limits = [int(number) for part, number in cuts if part != "train"]
    data = data.limited(max(limits)) if limits else data
    here = data.unscored.fingerprint
    if here == info.data.fingerprint:
        return data
    detail = f"the images here are {here}, the report's {info.data.fingerprint}"
    return Finding("data", Verdict.CONTRADICTED, detail)


def _weights(request: Request, info: StudyInfo, classes: int) -> tuple[list[Candidate], Finding]:
    """The networks whose weights are the report's, and what became of the others."""
    found, absent, other = [], [], []
    for model in info.models:
        try:
            (candidate,) = from_specs([_harmless(_located(model, request), request)], classes)
        except UserError as error:
            absent.append(f"{model.key}: {error}")
            continue
        here = candidate.info.fingerprint
        if here == model.fingerprint:
            found.append(replace(candidate, info=model))
        else:
            other.append(
                f"{model.key}: the weights here are {here}, those of the report {model.fingerprint}"
            )
    if other:
        return found, finding("weights", other, "", Verdict.CONTRADICTED)
    fine = f"{len(found)} networks have the report's weights"
    return found, finding("weights", absent, fine, Verdict.UNKNOWN)


def _located(model: ModelInfo, request: Request) -> str:
    """The network's spec, with its weights where they lie here."""
    weights = specs.parse(model.spec).weights
    name = Path(weights).name
    folders = (
        [request.models] if request.models else [Path(weights).parent, request.folder / "models"]
    )
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    return model.spec if path is None or not name else model.spec.replace(weights, str(path), 1)


def _harmless(spec: str, request: Request) -> str:
    """The same spec, which a report may have from a stranger.

    Raises:
        UserError: it would run code or ask a foreign server.
    """
    for asked in specs.expand(spec):  # also those that a list of models names
        if factory.named(asked.architecture) and not request.trust_code:
            raise UserError(
                f"its network is built by {asked.architecture}, code that the report names; look "
                "at it, then say --trust-code"
            )
        if sources.is_remote(asked.weights):
            raise UserError(f"get {asked.weights} yourself, and name its folder with --models")
    return spec


def tell(console: Console, findings: list[Finding], verdict: Verdict) -> None:
    """Print a line for each check, the samples that differ, and the verdict."""
    rows = [(one.check, str(one.verdict), one.detail) for one in findings]
    console.table(pd.DataFrame(rows, columns=["Check", "Verdict", "What was seen"]), "")
    differing = [each for one in findings for each in one.differences]
    differing.sort(key=lambda each: each.verdict != Verdict.CONTRADICTED)
    for each in differing[:SHOWN]:
        console.say(
            f"{each.verdict}: {each.model}: {each.question}: {each.samples}, {each.part} image "
            f"{each.image}: stored {_short(each.stored)}, found {_short(each.found)}"
        )
    if len(differing) > SHOWN:
        console.say(f"and {len(differing) - SHOWN} more; --out FILE has all")
    console.result(str(verdict))


def _short(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def told(findings: list[Finding], verdict: Verdict) -> dict[str, object]:
    """All that was found, as JSON has it."""
    each = [
        one._asdict() | {"differences": [d._asdict() for d in one.differences]} for one in findings
    ]
    return {
        "verdict": verdict,
        "date": asking.now(),
        "versions": checkpoints.versions(),
        "findings": each,
    }
