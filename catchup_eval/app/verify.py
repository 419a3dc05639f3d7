"""Audit a report: its files, its numbers, its pages, and a sample of its outcomes asked again."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from catchup_eval import datasets, feature_learning
from catchup_eval.api import write_report
from catchup_eval.audit import checks
from catchup_eval.audit.checks import check_pages
from catchup_eval.audit.findings import AuditCheck, AuditStatus, finding, overall_status
from catchup_eval.audit.remeasure import Remeasurement, SampleAudit, remeasure_all
from catchup_eval.cli.console import Console
from catchup_eval.core import environment, readers
from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.files import write_text
from catchup_eval.core.words import count_noun
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.jobs.networks import ModelUnderTest, load_models
from catchup_eval.metrics import power
from catchup_eval.models import sources
from catchup_eval.models import spec as specs
from catchup_eval.results import hashes, study
from catchup_eval.results.result import Result
from catchup_eval.results.store import ResultRecord, Store
from catchup_eval.results.study import ModelInfo, StudyInfo

CODES = {AuditStatus.CONFIRMED: 0, AuditStatus.NEAR: 0, AuditStatus.CONTRADICTED: 1}
CANNOT_TELL = 3
SHOWN = 20  # differing samples that the terminal lists


@dataclass(frozen=True)
class AuditRequest:
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
    samples: int = power.required_samples()
    seed: int = 0
    device: str = "auto"
    batch_size: int = 100
    models: Path | None = None
    data: str = ""
    data_root: Path = Path("data")
    full: bool = False
    trust_code: bool = False
    out: Path | None = None


def verify_report(request: AuditRequest, console: Console) -> int:
    """Audit, print what was found, and give the exit code.

    0: confirmed, also within hardware tolerance. 1: contradicted. 3: cannot tell.

    Raises:
        BadFile: the folder holds no report.
    """
    findings = list(audit(request))
    verdict = overall_status(findings)
    print_checks(console, findings, verdict)
    if request.out:
        write_text(request.out, json.dumps(to_json(findings, verdict), indent=1, default=str))
    return CODES.get(verdict, CANNOT_TELL)


def audit(request: AuditRequest) -> Iterator[AuditCheck]:
    """All findings, the cheap ones first."""
    info = study.load_info(request.folder)
    store = Store(request.folder)
    yield from checks.check_files(info, store)
    known = checks.records(info, store)
    results = dict(_load_results(store, known))
    yield _check_rows(results)
    yield from _check_redrawn_pages(request.folder, known)
    yield _versions(known)
    current = {
        pair: record for pair, record in known.items() if _is_current_version(pair[1], record)
    }
    asked = {pair: results[pair] for pair in current if pair in results}
    yield from _check_measurements(request, info, current, asked)


def _load_results(store: Store, known: checks.Records) -> Iterator[tuple[tuple[str, str], Result]]:
    for pair in known:
        try:
            yield pair, store.get(*pair)
        except BadFile:
            continue  # the hashes tell


def _check_rows(results: Mapping[tuple[str, str], Result]) -> AuditCheck:
    faults, rows = [], 0
    for (model, question), result in results.items():
        if question not in feature_learning.KNOWN:
            continue
        try:
            links = list(checks.row_links(result, feature_learning.KNOWN[question]))
            told = checks.faults(result, links)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            links, told = [], [f"its outcomes do not fit its frame ({error})"]
        rows += len(links)
        faults += [f"{model}: {question}: {fault}" for fault in told]
    fine = f"{rows} rows follow from their outcomes"
    return finding("numbers", faults, fine, AuditStatus.CONTRADICTED)


def _check_redrawn_pages(folder: Path, known: checks.Records) -> list[AuditCheck]:
    measured = [record.hashes for record in known.values()]
    code = all(one is not None and one.code == hashes.hash_package() for one in measured)
    libraries = all(one is not None and one.libraries == hashes.libraries() for one in measured)
    if not (folder / "index.html").exists():
        return []  # `evaluate` writes no page
    with TemporaryDirectory() as temporary:
        shutil.copytree(folder / "results", Path(temporary, "results"))  # the page links to them
        try:
            write_report(study.load(folder, feature_learning.analysis_versions()), Path(temporary))
        except Exception as error:  # whatever drawing altered numbers may raise
            reason = f"cannot be drawn from the results: {type(error).__name__}: {error}"
            return [AuditCheck("page and tables", AuditStatus.CONTRADICTED, reason)]
        return check_pages(folder, Path(temporary), code=code, libraries=libraries)


def _is_current_version(question: str, record: ResultRecord) -> bool:
    return feature_learning.analysis_versions().get(question) == record.key.version


def _versions(known: checks.Records) -> AuditCheck:
    faults = [
        f"{question} was measured by version {record.key.version}, here is "
        f"{feature_learning.analysis_versions().get(question, 'none')}; get catchup-eval "
        f"{record.provenance.versions.get('catchup-eval', '')}"
        for (_, question), record in known.items()
        if not _is_current_version(question, record)
    ]
    return finding("versions", faults, "the analyses are those of here", AuditStatus.UNKNOWN)


def _check_measurements(
    request: AuditRequest,
    info: StudyInfo,
    records: checks.Records,
    results: Mapping[tuple[str, str], Result],
) -> Iterator[AuditCheck]:
    """Look whether data and weights are those of the report; then ask again."""
    if not any(model.fingerprint for model in info.models):
        yield AuditCheck(
            "asked again", AuditStatus.UNKNOWN, "simulations are not: run their plan anew"
        )
        return
    data = _data(request, info)
    if isinstance(data, AuditCheck):
        yield data
        return
    yield AuditCheck("data", AuditStatus.CONFIRMED, f"{data.name}: {data.fingerprint}")
    candidates, found = _weights(request, info, len(data.classes))
    yield found
    device = environment.resolve_device(request.device)
    again = Remeasurement(
        candidates, data, device, request.batch_size, request.seed, records, results
    )
    yield from SampleAudit(again, info).check_sample(request.samples)
    if request.full:
        yield from remeasure_all(again)


def _data(request: AuditRequest, info: StudyInfo) -> AnySet | AuditCheck:
    if readers.names_code(info.data.name) and not request.data:
        detail = f"the report names code, {info.data.name}; look at it, then give it as --data"
        return AuditCheck("data", AuditStatus.UNKNOWN, detail)
    try:
        data = datasets.load(request.data or info.data.name, request.data_root)
    except UserError as error:
        return AuditCheck("data", AuditStatus.UNKNOWN, str(error))
    data = data.evaluation_subset()
    cuts = re.findall(r"(\S+) n=(\d+)", info.data.subset)
    limits = [int(number) for part, number in cuts if part != "train"]
    data = data.subsample(max(limits)) if limits else data
    here = data.without_cscores.fingerprint
    if here == info.data.fingerprint:
        return data
    detail = f"the images here are {here}, the report's {info.data.fingerprint}"
    return AuditCheck("data", AuditStatus.CONTRADICTED, detail)


def _weights(
    request: AuditRequest, info: StudyInfo, classes: int
) -> tuple[list[ModelUnderTest], AuditCheck]:
    """The networks whose weights are the report's, and what became of the others."""
    found, absent, other = [], [], []
    for model in info.models:
        try:
            (candidate,) = load_models(
                [_harmless(_locate_weights(model, request), request)], classes
            )
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
        return found, finding("weights", other, "", AuditStatus.CONTRADICTED)
    fine = f"{count_noun(len(found), 'model')} found with the report's weights"
    return found, finding("weights", absent, fine, AuditStatus.UNKNOWN)


def _locate_weights(model: ModelInfo, request: AuditRequest) -> str:
    """The network's spec, with its weights where they lie here."""
    weights = specs.parse(model.spec).weights
    name = Path(weights).name
    folders = (
        [request.models] if request.models else [Path(weights).parent, request.folder / "models"]
    )
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    return model.spec if path is None or not name else model.spec.replace(weights, str(path), 1)


def _harmless(spec: str, request: AuditRequest) -> str:
    """The same spec, which a report may have from a stranger.

    Raises:
        UserError: it would run code or ask a foreign server.
    """
    for asked in specs.expand(spec):  # also those that a list of models names
        if readers.names_code(asked.architecture) and not request.trust_code:
            raise UserError(
                f"its model is built by {asked.architecture}, code that the report names; look "
                "at it, then say --trust-code"
            )
        if sources.is_remote(asked.weights):
            raise UserError(f"get {asked.weights} yourself, and name its folder with --models")
    return spec


def print_checks(console: Console, findings: list[AuditCheck], verdict: AuditStatus) -> None:
    """Print a line for each check, the samples that differ, and the verdict."""
    rows = [(one.check, str(one.verdict), one.detail) for one in findings]
    console.table(pd.DataFrame(rows, columns=["Check", "Verdict", "What was seen"]), "")
    differing = [each for one in findings for each in one.differences]
    differing.sort(key=lambda each: each.verdict != AuditStatus.CONTRADICTED)
    for each in differing[:SHOWN]:
        console.info(
            f"{each.verdict}: {each.model}: {each.question}: {each.samples}, {each.part} image "
            f"{each.image}: stored {_truncate(each.stored)}, found {_truncate(each.found)}"
        )
    if len(differing) > SHOWN:
        console.info(f"and {len(differing) - SHOWN} more; --out FILE has all")
    console.result(str(verdict))


def _truncate(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def to_json(findings: list[AuditCheck], verdict: AuditStatus) -> dict[str, object]:
    """All that was found, as JSON has it."""
    each = [
        one._asdict() | {"differences": [d._asdict() for d in one.differences]} for one in findings
    ]
    return {
        "verdict": verdict,
        "date": environment.utc_timestamp(),
        "versions": environment.package_versions(),
        "findings": each,
    }
