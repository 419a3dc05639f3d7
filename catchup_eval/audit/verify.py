"""Audit a report: its files, its numbers, its pages, and a sample of its outcomes."""

import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from catchup_eval import datasets, feature_learning
from catchup_eval.analysis import ANALYSES
from catchup_eval.audit import checks
from catchup_eval.audit.findings import (
    AuditCheck,
    AuditRequest,
    AuditStatus,
    finding,
    worst_status,
)
from catchup_eval.audit.remeasure import Remeasurement, check_sample, remeasure_all
from catchup_eval.core import environment, readers
from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.words import count_noun
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.datasets.ood import with_ood
from catchup_eval.jobs.networks import ModelUnderTest, load_models
from catchup_eval.models import sources
from catchup_eval.models import spec as specs
from catchup_eval.results import hashes, stored, study
from catchup_eval.results.agreement import EXAMPLES, MOST
from catchup_eval.results.folder import read_stored
from catchup_eval.results.result import Result
from catchup_eval.results.store import Store
from catchup_eval.results.study import ModelInfo, Study, StudyInfo

Draw = Callable[[Study, Path], Path]  # writes a study's page into a folder
Results = Mapping[tuple[str, str], Result]  # by model and analysis


def audit(request: AuditRequest, draw: Draw) -> Iterator[AuditCheck]:
    """All checks, the fast ones first.

    Args:
        draw: writes the page of a study.

    Raises:
        BadFile: the folder holds no report.
    """
    info = study.load_info(request.folder)
    store = Store(request.folder)
    yield from checks.check_files(info, store)
    known = checks.records(info, store)
    results: dict[tuple[str, str], Result] = {}
    for pair in known:
        try:
            results[pair] = store.get(*pair)
        except BadFile:
            continue  # the hashes show it
    numbers, results = _check_numbers(results)
    yield numbers
    if (request.folder / "index.html").exists():  # `evaluate` writes no page
        yield from _check_pages(request.folder, known, draw)
    yield _check_versions(known)
    yield from _check_measurements(request, info, known, results)


def _check_numbers(results: Results) -> tuple[AuditCheck, dict[tuple[str, str], Result]]:
    """Whether rows follow from their outcomes, and the results that can be evaluated again."""
    faults, rows, sound = [], 0, {}
    for (model, analysis), result in results.items():
        if analysis in feature_learning.KNOWN:
            try:
                known = feature_learning.KNOWN[analysis]
                stored.check_use(result, known)
                links = list(checks.row_links(result, known))
                with warnings.catch_warnings():
                    warnings.simplefilter("error", RuntimeWarning)  # of numpy, about what is none
                    found = [fault for link in links for fault in checks.row_faults(result, link)]
                sound[model, analysis] = result
            except Exception as error:  # whatever altered numbers may raise
                links, found = [], [f"its outcomes do not fit its frame ({error})"]
            rows += len(links)
            faults += [f"{model}: {analysis}: {fault}" for fault in found]
    fine = f"{rows} rows follow from their outcomes"
    return finding("numbers", faults, fine, AuditStatus.CONTRADICTED), sound


def _check_pages(folder: Path, known: checks.Records, draw: Draw) -> list[AuditCheck]:
    measured = [record.hashes for record in known.values()]
    code = all(one is not None and one.code == hashes.hash_package() for one in measured)
    libraries = all(one is not None and one.libraries == hashes.libraries() for one in measured)
    with TemporaryDirectory() as temporary:
        for model, name in known:  # the page links to them
            link = Path(temporary, "results", model, f"{name}.csv")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.touch()
        examples = Path(temporary, EXAMPLES)
        examples.parent.mkdir(exist_ok=True)
        try:
            if os.path.lexists(folder / EXAMPLES):
                examples.write_bytes(read_stored(folder, EXAMPLES.as_posix(), MOST))
            draw(study.load(folder, feature_learning.KNOWN), Path(temporary))
        except Exception as error:  # whatever drawing altered numbers may raise
            reason = f"cannot be redrawn from the results: {type(error).__name__}: {error}"
            return [AuditCheck("page and tables", AuditStatus.CONTRADICTED, reason)]
        return checks.check_pages(folder, Path(temporary), code=code, libraries=libraries)


def _check_versions(known: checks.Records) -> AuditCheck:
    here = feature_learning.analysis_versions()
    faults = [
        f"{analysis} was measured by version {record.key.version}, here is "
        f"{here.get(analysis, 'none')}; get catchup-eval "
        f"{record.provenance.versions.get('catchup-eval', '')}"
        for (_, analysis), record in known.items()
        if here.get(analysis) != record.key.version
    ]
    return finding("versions", faults, "the analyses are those of here", AuditStatus.UNKNOWN)


def _check_measurements(
    request: AuditRequest, info: StudyInfo, known: checks.Records, results: Results
) -> Iterator[AuditCheck]:
    """Check that data and weights are those of the report; then evaluate again."""
    if not any(model.fingerprint for model in info.models):
        detail = "simulations are not: run their plan again"
        yield AuditCheck("evaluated again", AuditStatus.UNKNOWN, detail)
        return
    data = _load_data(request, info)
    if isinstance(data, AuditCheck):
        yield data
        return
    yield AuditCheck("data", AuditStatus.CONFIRMED, f"{data.name}: {data.fingerprint}")
    candidates, found = _load_weights(request, info, data)
    yield found
    versions = feature_learning.analysis_versions()
    again = [
        Remeasurement(
            candidate,
            analysis,
            data,
            known[model, analysis],
            result,
            environment.resolve_device(request.device),
            request.batch_size,
            request.seed,
            request.data_root,
        )
        for candidate in candidates
        for (model, analysis), result in results.items()
        if model == candidate.info.key and analysis in ANALYSES
        if versions[analysis] == known[model, analysis].key.version
    ]
    yield from check_sample(again, info, data, request.samples, request.seed)
    if request.full:
        yield from map(remeasure_all, again)


def _load_data(request: AuditRequest, info: StudyInfo) -> AnySet | AuditCheck:
    if readers.names_code(info.data.name) and not request.data:
        detail = f"the report names code, {info.data.name}; look at it, then give it as --data"
        return AuditCheck("data", AuditStatus.UNKNOWN, detail)
    try:
        data = datasets.load(request.data or info.data.name, request.data_root)
        data = with_ood(data.evaluation_subset(), info.data.ood, request.data_root)
    except UserError as error:
        return AuditCheck("data", AuditStatus.UNKNOWN, str(error))
    cuts = re.findall(r"(\S+) n=(\d+)", info.data.subset)
    limits = [int(number) for split, number in cuts if split != "train"]
    data = data.subsample(max(limits)) if limits else data
    here = data.without_cscores.fingerprint
    if here == info.data.fingerprint:
        return data
    detail = f"the images here are {here}, the report's {info.data.fingerprint}"
    return AuditCheck("data", AuditStatus.CONTRADICTED, detail)


def _load_weights(
    request: AuditRequest, info: StudyInfo, data: AnySet
) -> tuple[list[ModelUnderTest], AuditCheck]:
    """The models whose weights are the report's, and what became of the others."""
    found, absent, other = [], [], []
    for model in info.models:
        spec = _locate_weights(model, request)
        try:
            _check_harmless(spec, request)
            (candidate,) = load_models([spec], data)
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
    """The model's spec, with its weights where they lie here."""
    weights = specs.parse(model.spec).weights
    name = Path(weights).name
    folders = (
        [request.weights] if request.weights else [Path(weights).parent, request.folder / "models"]
    )
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    return model.spec if path is None or not name else model.spec.replace(weights, str(path), 1)


def _check_harmless(spec: str, request: AuditRequest) -> None:
    """Refuse a spec, which may be a stranger's, that would run code or call a server."""
    for one in specs.expand(spec):  # also those that a list of models names
        if readers.names_code(one.architecture) and not request.trust_code:
            raise UserError(
                f"its model is built by {one.architecture}, code that the report names; look at "
                "it, then add --trust-code"
            )
        if sources.is_remote(one.weights):
            raise UserError(f"get {one.weights} yourself, and name its folder with --weights")


def to_json(found: Sequence[AuditCheck]) -> str:
    """All that was found, and the verdict."""
    findings = [
        one._asdict() | {"differences": [each._asdict() for each in one.differences]}
        for one in found
    ]
    content = {
        "verdict": worst_status(one.verdict for one in found),
        "date": environment.utc_timestamp(),
        "versions": environment.package_versions(),
        "findings": findings,
    }
    return json.dumps(content, indent=1, default=str)
