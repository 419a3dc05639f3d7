"""Ask every question of every candidate, skipping what is done."""

import inspect
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from catchup_eval import checkpoints
from catchup_eval.analysis import ANALYSES
from catchup_eval.analysis.feature_learning import SIMULATIONS
from catchup_eval.app.candidates import Candidate, Kept
from catchup_eval.app.console import SILENT, Jobs
from catchup_eval.datasets import AnySet
from catchup_eval.errors import Missing, UnknownName, UserError
from catchup_eval.lending import full_precision
from catchup_eval.preprocess import Preprocess
from catchup_eval.question import Analysis
from catchup_eval.results import Result
from catchup_eval.settings import check_keywords
from catchup_eval.store import Key, Provenance, Record, Store, plain
from catchup_eval.study import DataInfo, Skip, Study, StudyInfo
from catchup_eval.subject import Subject, require

KNOWN: dict[str, Analysis] = {**ANALYSES, **SIMULATIONS}  # all that a report can show

# Shares of a run on two cores, for the clock alone.
WEIGHTS: dict[str, float] = {
    "clean": 1,
    "adversarial": 8,
    "corruption": 13,
    "deformation": 3,
    "ood": 2,
    "cscore": 0.3,
}
WEIGHTS |= {"feature_drop": 2, "filters": 2, "localization": 4, "landscape": 14, "training": 0.1}


@dataclass(frozen=True)
class Questions:
    """What is asked, and how.

    Args:
        names: the analyses, in order.
        settings: by analysis; what is not named has the analysis's default.
        seed: of what they draw.
        device: where they compute.
        batch_size: of evaluation.
        data_root: where downloaded data lie.
    """

    names: Sequence[str]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch_size: int = 100
    data_root: Path | None = None

    def key(self, candidate: Candidate, data: AnySet, name: str) -> Key:
        """What the result of one question depends on."""
        seen = data if "cscores" in ANALYSES[name].NEEDS else data.unscored
        return Key(
            weights=candidate.info.fingerprint,
            data=seen.view_fingerprint(shown(candidate, data, name)),
            analysis=name,
            version=ANALYSES[name].VERSION,
            seed=self.seed,
            settings=plain(self.settings.get(name, {})),
        )


def versions() -> dict[str, int]:
    """Which version of each question this is."""
    return {name: analysis.VERSION for name, analysis in KNOWN.items()}


def choose(
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    known: Mapping[str, Analysis] = ANALYSES,
) -> list[str]:
    """The names of those to ask, in their own order.

    Raises:
        UnknownName: a name that is none of them.
    """
    for name in (*only, *skip):
        if name not in known:
            raise UnknownName("question", name, known)
    return [name for name in known if (not only or name in only) and name not in skip]


def check_settings(
    settings: Mapping[str, Mapping[str, Any]], known: Mapping[str, Analysis] = ANALYSES
) -> None:
    """Refuse what no analysis can be given, before anything is trained or computed.

    Raises:
        UnknownName: an analysis or a setting that does not exist.
        UserError: a value of another type or out of range.
    """
    choose(tuple(settings), known=known)
    for name, values in settings.items():
        check_keywords(known[name].measure, values, name)


def setting_defaults(analysis: Analysis) -> dict[str, Any]:
    """The settings of an analysis with their defaults."""
    parameters = inspect.signature(analysis.measure).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def device_of(name: str) -> torch.device:
    """The device that `--device` names.

    Raises:
        UserError: torch does not have it here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"no device {name!r} here: {str(error).splitlines()[0]}") from error
    return device


@dataclass(frozen=True)
class Answer:
    """What one question of one network came to.

    Args:
        model: the network's key.
        name: of the question.
        result: None where it could not be asked.
        provenance: likewise.
        reason: why not: "needs boxes".
    """

    model: str
    name: str
    result: Result | None = None
    provenance: Provenance | None = None
    reason: str = ""


def answers(
    candidates: Sequence[Candidate],
    data: AnySet,
    questions: Questions,
    *,
    jobs: Jobs = SILENT,
    done: Callable[[Candidate, str], bool] = lambda _candidate, _name: False,
) -> Iterator[Answer]:
    """All questions of all networks, one after the other; what is `done` is passed over."""
    for candidate in candidates:
        subjects: dict[Preprocess | None, Subject] = {}
        for name in questions.names:
            if done(candidate, name):
                jobs.pass_over()
                continue
            way = shown(candidate, data, name)
            if way not in subjects:
                subjects[way] = _subject(candidate, data, questions, way)
            subject = subjects[way]
            with jobs.job(f"{candidate.info.key}: {name}") as subject.progress:
                answer = _answer(subject, name, questions, candidate.info.key)
            yield answer
        candidate.model.cpu()


def shown(candidate: Candidate, data: AnySet, name: str) -> Preprocess | None:
    """How images are shown to a network for a question; None where they have their size.

    Where boxes count, the whole photograph is: a crop would cut objects (Choe et al. 2020).
    """
    way = data.shown(candidate.model.preprocess)
    return way.squashed if way and "boxes" in ANALYSES[name].NEEDS else way


def preprocessing(candidate: Candidate, data: AnySet) -> str:
    """What is done to these images before the network sees them, one line."""
    assumed = candidate.model.preprocess is None and data.shown(None)
    told = candidate.info.preprocessing
    return f"{assumed} (assumed); {told}" if assumed else told


def _subject(
    candidate: Candidate, data: AnySet, questions: Questions, way: Preprocess | None
) -> Subject:
    def tell(done: int, total: int) -> None:
        if subject.progress:  # of the question that first asks for what is decoded
            subject.progress(done, total)

    subject = Subject(
        candidate.model.to(questions.device),
        data.view(way, tell),
        device=questions.device,
        batch_size=questions.batch_size,
        seed=questions.seed,
        checkpoints=Kept(candidate.kept),
        history=candidate.history,
        data_root=questions.data_root,
    )
    return subject


def _answer(subject: Subject, name: str, questions: Questions, model: str) -> Answer:
    started = monotonic()
    try:
        require(subject, ANALYSES[name].NEEDS)
        with full_precision():
            result = ANALYSES[name].measure(subject, **questions.settings.get(name, {}))
    except Missing as missing:
        return Answer(model, name, reason=f"needs {missing}")
    return Answer(model, name, result, provenance(monotonic() - started, questions.device))


def provenance(seconds: float, device: torch.device) -> Provenance:
    """How a result that was just measured came about."""
    return Provenance(
        seconds=round(seconds, 3),
        device=str(device),
        versions=checkpoints.versions(),
        date=now(),
    )


def now() -> str:
    """UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def machine(device: torch.device) -> str:
    """What computes here, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def fill(
    store: Store,
    candidates: Sequence[Candidate],
    data: AnySet,
    questions: Questions,
    *,
    fresh: bool = False,
    jobs: Jobs = SILENT,
) -> tuple[Skip, ...]:
    """Put what is missing into a store, each answer at once; gives what was skipped."""
    keys = {
        (candidate.info.key, name): questions.key(candidate, data, name)
        for candidate in candidates
        for name in questions.names
    }

    def done(candidate: Candidate, name: str) -> bool:
        model = candidate.info.key
        return not fresh and store.has(model, keys[model, name])

    skipped = []
    for answer in answers(candidates, data, questions, jobs=jobs, done=done):
        if answer.result is None or answer.provenance is None:
            skipped.append(Skip(model=answer.model, analysis=answer.name, reason=answer.reason))
            continue
        record = Record(key=keys[answer.model, answer.name], provenance=answer.provenance)
        store.put(answer.model, answer.result, record)
    return tuple(skipped)


def in_memory(
    candidates: Sequence[Candidate], data: AnySet, questions: Questions, info: StudyInfo
) -> Study:
    """A study that is on no disk yet."""
    given = list(answers(candidates, data, questions))
    skipped = [
        Skip(model=answer.model, analysis=answer.name, reason=answer.reason)
        for answer in given
        if answer.result is None
    ]
    results = {(a.model, a.name): a.result for a in given if a.result is not None}
    how = {(a.model, a.name): a.provenance for a in given if a.provenance is not None}
    return Study(info.model_copy(update={"skipped": tuple(skipped)}), results, how)


def data_info(data: AnySet) -> DataInfo:
    """What a report says about an image set."""
    return DataInfo(
        name=data.name,
        about=data.about,
        subset=data.subset,
        fingerprint=data.unscored.fingerprint,
        classes=len(data.classes),
        parts={name: len(part) for name, part in data.parts.items()},
    )
