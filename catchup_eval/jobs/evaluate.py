"""Ask every question of every candidate, skipping what is done."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from catchup_eval.analysis import ANALYSES, setting_defaults
from catchup_eval.analysis.context import EvaluationContext, require
from catchup_eval.core.errors import Missing
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.jobs.display import SILENT, Display
from catchup_eval.jobs.networks import LazyCheckpoints, ModelUnderTest
from catchup_eval.models.modes import full_precision
from catchup_eval.results.result import Result
from catchup_eval.results.store import (
    Key,
    Provenance,
    ResultRecord,
    Store,
    provenance,
    to_json_types,
)
from catchup_eval.results.study import SkippedAnalysis, Study, StudyInfo


@dataclass(frozen=True)
class EvaluationSettings:
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

    def key(self, candidate: ModelUnderTest, data: AnySet, name: str) -> Key:
        """What the result of one analysis depends on; a default counts as if it were given."""
        seen = data if "cscores" in ANALYSES[name].NEEDS else data.without_cscores
        return Key(
            weights=candidate.info.fingerprint,
            data=seen.transform_fingerprint(preprocessing_for(candidate, data, name)),
            analysis=name,
            version=ANALYSES[name].VERSION,
            seed=self.seed,
            settings=to_json_types(
                setting_defaults(ANALYSES[name]) | dict(self.settings.get(name, {}))
            ),
            network=candidate.info.network,
            network_code=candidate.info.code,
            data_code=data.code,
        )


@dataclass(frozen=True)
class TaskResult:
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
    candidates: Sequence[ModelUnderTest],
    data: AnySet,
    questions: EvaluationSettings,
    *,
    jobs: Display = SILENT,
    done: Callable[[ModelUnderTest, str], bool] = lambda _candidate, _name: False,
) -> Iterator[TaskResult]:
    """All questions of all networks, one after the other; what is `done` is passed over."""
    for candidate in candidates:
        subjects: dict[Preprocess | None, EvaluationContext] = {}
        for name in questions.names:
            if done(candidate, name):
                jobs.skip()
                continue
            way = preprocessing_for(candidate, data, name)
            if way not in subjects:
                subjects[way] = _make_context(candidate, data, questions, way)
            subject = subjects[way]
            with jobs.job(f"{candidate.info.key}: {name}") as subject.progress:
                answer = measure_analysis(subject, name, questions, candidate.info.key)
            yield answer
        candidate.model.cpu()


def preprocessing_for(candidate: ModelUnderTest, data: AnySet, name: str) -> Preprocess | None:
    """How images are shown to a network for a question; None where they have their size.

    Where boxes count, the whole photograph is: a crop would cut objects (Choe et al. 2020).
    """
    way = data.preprocessing_for(candidate.model.preprocess)
    return way.without_crop if way and "boxes" in ANALYSES[name].NEEDS else way


def preprocessing(candidate: ModelUnderTest, data: AnySet) -> str:
    """What is done to these images before the network sees them, one line."""
    assumed = candidate.model.preprocess is None and data.preprocessing_for(None)
    told = candidate.info.preprocessing
    return f"{assumed} (assumed); {told}" if assumed else told


def _make_context(
    candidate: ModelUnderTest, data: AnySet, questions: EvaluationSettings, way: Preprocess | None
) -> EvaluationContext:
    def tell(done: int, total: int) -> None:
        if subject.progress:  # of the question that first asks for what is decoded
            subject.progress(done, total)

    subject = EvaluationContext(
        candidate.model.to(questions.device),
        data.transform(way, tell),
        device=questions.device,
        batch_size=questions.batch_size,
        seed=questions.seed,
        checkpoints=LazyCheckpoints(candidate.kept),
        history=candidate.history,
        data_root=questions.data_root,
    )
    return subject


def measure_analysis(
    subject: EvaluationContext, name: str, questions: EvaluationSettings, model: str
) -> TaskResult:
    """One question asked of one model: the answer, or what it lacks."""
    started = monotonic()
    try:
        require(subject, ANALYSES[name].NEEDS)
        with full_precision():
            result = ANALYSES[name].measure(subject, **questions.settings.get(name, {}))
    except Missing as missing:
        return TaskResult(model, name, reason=f"needs {missing}")
    return TaskResult(model, name, result, provenance(monotonic() - started, questions.device))


def fill(
    store: Store,
    candidates: Sequence[ModelUnderTest],
    data: AnySet,
    questions: EvaluationSettings,
    *,
    fresh: bool = False,
    jobs: Display = SILENT,
) -> tuple[SkippedAnalysis, ...]:
    """Put what is missing into a store, each answer at once; gives what was skipped."""
    keys = {
        (candidate.info.key, name): questions.key(candidate, data, name)
        for candidate in candidates
        for name in questions.names
    }

    def done(candidate: ModelUnderTest, name: str) -> bool:
        model = candidate.info.key
        return not fresh and store.has(model, keys[model, name])

    skipped = []
    for answer in answers(candidates, data, questions, jobs=jobs, done=done):
        if answer.result is None or answer.provenance is None:
            skipped.append(
                SkippedAnalysis(model=answer.model, analysis=answer.name, reason=answer.reason)
            )
            continue
        record = ResultRecord(key=keys[answer.model, answer.name], provenance=answer.provenance)
        store.put(answer.model, answer.result, record)
    return tuple(skipped)


def in_memory(
    candidates: Sequence[ModelUnderTest],
    data: AnySet,
    questions: EvaluationSettings,
    info: StudyInfo,
) -> Study:
    """A study that is on no disk yet."""
    given = list(answers(candidates, data, questions))
    skipped = [
        SkippedAnalysis(model=answer.model, analysis=answer.name, reason=answer.reason)
        for answer in given
        if answer.result is None
    ]
    results = {(a.model, a.name): a.result for a in given if a.result is not None}
    how = {(a.model, a.name): a.provenance for a in given if a.provenance is not None}
    return Study(info.model_copy(update={"skipped": tuple(skipped)}), results, how)
