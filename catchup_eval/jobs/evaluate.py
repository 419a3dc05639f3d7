"""Evaluate models: one task is one model and one analysis."""

import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from catchup_eval import analysis
from catchup_eval.analysis import ANALYSES, setting_defaults
from catchup_eval.analysis.base import Analysis, declaration
from catchup_eval.analysis.context import EvaluationContext, name_need, require
from catchup_eval.analysis.from_logits import context_for
from catchup_eval.core import environment
from catchup_eval.core.errors import (
    BadFile,
    CatchupError,
    InvalidOutput,
    Missing,
    UnknownName,
    UserError,
)
from catchup_eval.datasets.cscores import was_trained_on
from catchup_eval.datasets.dataset import AnySet, Split
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.jobs.cost import StepTimes, analysis_seconds, dataset_size
from catchup_eval.jobs.data import DataSource
from catchup_eval.jobs.networks import LazyCheckpoints, ModelSource, ModelUnderTest
from catchup_eval.jobs.task import AnyStore, Progress, Task, TaskResult, Worker
from catchup_eval.models.complexity import Complexity, measure_complexity
from catchup_eval.models.memory_format import reorder
from catchup_eval.models.modes import full_precision
from catchup_eval.results import agreement, study
from catchup_eval.results.result import Result
from catchup_eval.results.store import (
    Key,
    MemoryStore,
    ResultRecord,
    provenance,
    to_json_types,
)
from catchup_eval.results.study import SkippedAnalysis, Study, StudyInfo

SINGLE_LABEL = "one correct class for each image"
LOG = "errors.log"  # in the folder of a report: tracebacks of the analyses that failed


@dataclass(frozen=True)
class EvaluationSettings:
    """Which analyses, and how.

    Args:
        names: the analyses, in order.
        settings: by analysis; what is not named has the analysis's default.
        seed: of their random numbers.
        device: where they compute.
        batch_size: of evaluation.
        data_root: where downloaded datasets lie.
        left_out: analyses that are too expensive to be evaluated unasked.
    """

    names: Sequence[str]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch_size: int = 100
    data_root: Path | None = None
    left_out: Sequence[str] = ()

    def key(self, model: ModelUnderTest, data: AnySet, name: str) -> Key:
        """What the result of one analysis depends on; a default counts as if it were given."""
        used = data if "cscores" in ANALYSES[name].NEEDS else data.without_cscores
        return Key(
            weights=model.info.fingerprint,
            data=used.transform_fingerprint(preprocessing_for(model, data, name)),
            analysis=name,
            version=ANALYSES[name].VERSION,
            seed=self.seed,
            settings=to_json_types(
                setting_defaults(ANALYSES[name]) | dict(self.settings.get(name, {}))
            ),
            network=model.info.network,
            network_code=model.info.code,
            data_code=data.code,
        )


def evaluation_settings(
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    known: Mapping[str, Analysis] = ANALYSES,
    most: float = inf,
    include: Sequence[str] = (),
    device: str = "auto",
    **rest: Any,
) -> EvaluationSettings:
    """Settings by the names that a user gave.

    Args:
        only, skip: names of analyses; all of them where neither is given.
        known: the analyses to choose from.
        most: the `COST` up to which one is evaluated that is not named in `include`; of those
            that `only` names, any.
        device: "auto" takes a GPU if there is one.
        rest: of :class:`EvaluationSettings`.

    Raises:
        UnknownName: an analysis or a setting that does not exist.
        UserError: a value that a setting cannot have, no such device, or nothing is left.
    """
    analysis.check_settings(settings or {}, known)
    every = analysis.choose(only, skip, known)
    names = analysis.choose(only, skip, known, most=most, include=include)
    if every and not names:
        raise UserError(f"none of {', '.join(every)} is quick; --with NAME evaluates one")
    return EvaluationSettings(
        names,
        settings or {},
        device=environment.resolve_device(device),
        left_out=[name for name in every if name not in names],
        **rest,
    )


class EvaluateTask(Task):
    """One analysis of one model.

    Args:
        model: which; of a training, its checkpoint is an input.
        data: what on.
        analysis: by name.
        settings: how.
    """

    kind = "evaluate"

    def __init__(
        self, model: ModelSource, data: DataSource, analysis: str, settings: EvaluationSettings
    ):
        self.model, self.data, self.settings = model, data, settings
        self.unit, self.name = model.key, analysis
        self.cost = declaration(ANALYSES[analysis], "COST")
        self.inputs = (*model.inputs, *data.inputs)

    def key(self) -> Key:
        """What its result depends on."""
        return self.settings.key(self.model.load(), self.data.evaluation, self.name)

    def is_done(self, store: AnyStore) -> bool:
        if not all(path.exists() for path in self.inputs):
            return False
        try:
            if store.record(self.unit, self.name) is None:  # known without the model
                return False
        except BadFile:
            return False
        return store.has(self.unit, self.key())

    def missing_need(self) -> str:
        if not all(path.exists() for path in self.inputs):
            return ""
        model, data = self.model.load(), self.data.evaluation
        there = {"history": model.history is not None, "checkpoints": bool(model.epoch_checkpoints)}
        there["gradients"] = not model.model.without_gradients
        needs = list_needs(self.name, data)
        lacking = next((need for need in needs if not there.get(need, data.has(need))), "")
        return name_need(lacking, model.model)

    def seconds(self, times: StepTimes) -> float:
        data, limit = self.data.given, self.data.limit
        images = {name: min(len(part), limit or len(part)) for name, part in data.parts.items()}
        weights = next(iter(self.model.inputs), None)
        side = dataset_size(data).side
        if weights is not None and weights in times.planned:
            forward = times.forward_untrained(*times.planned[weights])
        else:
            model = self.model.load()
            transform = preprocessing_for(model, data, self.name)
            side = transform.size if transform else side
            forward = times.forward(self.unit, side, lambda: model.model)
        own = self.settings.settings.get(self.name, {})
        return analysis_seconds(self.name, own, images, side, forward)

    def run(self, worker: Worker, progress: Progress, *, fresh: bool = False) -> TaskResult:
        context = self._context(worker)
        context.progress = progress
        started = monotonic()
        try:
            own_notes = self._check_unseen(context.data.name)
            result = measure_analysis(context, self.name, self.settings)
        except Missing as missing:
            return self._result("skipped", f"needs {missing}")
        except InvalidOutput as error:
            return self._result("failed", f"failed: {error}")
        except CatchupError:
            raise
        except (Exception, SystemExit) as error:  # whatever one meets, the others go on
            return self._result("failed", f"failed: {_log(error, self, worker.store)}")
        seconds = monotonic() - started
        flops, latency = _complexity(worker, context)
        how = provenance(seconds, worker.device, (*context.notes, *own_notes, *result.notes))
        how = how.model_copy(update={"flops": flops, "latency": latency})
        record = ResultRecord(key=self.key(), provenance=how)
        worker.store.put(self.unit, result, record)
        return self._result("done")

    def _check_unseen(self, data: str) -> tuple[str, ...]:
        """Notes on whether the network learned from the images, where its mistakes must be new.

        Raises:
            Missing: it did.
        """
        if "cscores" not in ANALYSES[self.name].NEEDS:
            return ()
        trained = str(self.model.load().info.card.get("data", ""))
        seen = was_trained_on(data, trained)
        if seen:
            raise Missing(f"a network that did not learn from these images, as it did on {trained}")
        return ("whether the network learned from these images is not known",) * (seen is None)

    def reuse(self, worker: Worker) -> TaskResult:
        return self._result("cached")

    def _result(self, status: Any, reason: str = "") -> TaskResult:
        model, data = self.model.load(), self.data.evaluation
        info = model.info.model_copy(update={"preprocessing": preprocessing(model, data)})
        return TaskResult(status, reason, (info,), study.data_info(data), model.notes)

    def _context(self, worker: Worker) -> EvaluationContext:
        """That of this model and preprocessing, common to its analyses; others are dropped."""
        if worker.cache.get("model") is not self.model:
            if "model" in worker.cache:
                worker.cache["model"].release()
            worker.cache.clear()
            worker.cache["model"] = self.model
        model, data = self.model.load(), self.data.evaluation
        transform = preprocessing_for(model, data, self.name)
        if transform not in worker.cache:
            settings = replace(self.settings, device=worker.device)
            worker.cache[transform] = _make_context(model, data, settings, transform)
        context: EvaluationContext = worker.cache[transform]
        return context


def _log(error: BaseException, task: Task, store: AnyStore) -> str:
    """The error in one line; its traceback goes to a file in the report's folder."""
    text = f"{type(error).__name__}: {error}".partition("\n")[0]
    if isinstance(store, MemoryStore):
        return text
    log = store.folder / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{task.label}\n{''.join(traceback.format_exception(error))}\n")
    return f"{text} ({LOG} has the traceback)"


def plan_evaluate(
    models: Sequence[ModelSource], data: DataSource, settings: EvaluationSettings
) -> list[EvaluateTask]:
    """All analyses of each model, model by model.

    Raises:
        UserError: two groups have names that differ only in characters that no file name has.
    """
    keys = Counter(model.key for model in models)
    doubled = [key for key, count in keys.items() if count > 1]
    if doubled:
        raise UserError(f"two models would both be stored as {doubled[0]}; give them other names")
    settings = replace(settings, settings=resolve_settings(settings, data))
    names = settings.names
    return [EvaluateTask(model, data, name, settings) for model in models for name in names]


def resolve_settings(
    settings: EvaluationSettings, data: DataSource
) -> Mapping[str, Mapping[str, Any]]:
    """The settings of each analysis, with what the dataset and the data root decide."""
    return {
        name: declaration(ANALYSES[name], "resolve")(
            settings.settings.get(name, {}), data.name, settings.data_root
        )
        for name in settings.names
    }


def preprocessing_for(model: ModelUnderTest, data: AnySet, name: str) -> Preprocess | None:
    """How images are preprocessed for a model and an analysis; None where they have their size.

    Where boxes count, the whole image is used: a crop would cut objects (Choe et al. 2020).
    """
    transform = data.preprocessing_for(model.model.preprocess)
    needs_boxes = "boxes" in ANALYSES[name].NEEDS
    return transform.without_crop if transform and needs_boxes else transform


def preprocessing(model: ModelUnderTest, data: AnySet) -> str:
    """The preprocessing of these images, one line."""
    assumed = model.model.preprocess is None and data.preprocessing_for(None)
    declared = model.info.preprocessing
    return f"{assumed} (assumed); {declared}" if assumed else declared


def _complexity(worker: Worker, context: EvaluationContext) -> Complexity:
    """Measured once for each model; 0 where that fails."""
    if _complexity not in worker.cache:
        first = next(iter(context.data.parts.values()))[:1].to(context.device)
        try:
            found = measure_complexity(context.model, first.batch(slice(None)).images)
        except Exception:  # the network is a stranger's
            found = Complexity(0, 0.0)
        worker.cache[_complexity] = found
    cached: Complexity = worker.cache[_complexity]
    return cached


def _make_context(
    model: ModelUnderTest, data: AnySet, settings: EvaluationSettings, transform: Preprocess | None
) -> EvaluationContext:
    def report(done: int, total: int) -> None:
        if context.progress:  # of the analysis that first needs what is decoded
            context.progress(done, total)

    if model.spec is not None:  # the caller's own network stays as it is
        reorder(model.model.net)
    context = context_for(
        model.model.to(settings.device),
        data.transform(transform, report),
        device=settings.device,
        batch_size=settings.batch_size,
        seed=settings.seed,
        checkpoints=LazyCheckpoints(model.epoch_checkpoints, model.model, model.info.spec),
        history=model.history,
        data_root=settings.data_root,
    )
    return context


def measure_analysis(context: EvaluationContext, name: str, settings: EvaluationSettings) -> Result:
    """One analysis of one model.

    Raises:
        Missing: what the model or the data lack for it.
        InvalidOutput: what the network answers and nothing can be computed from.
    """
    require(context, list_needs(name, context.data))
    with full_precision():
        if "history" not in ANALYSES[name].NEEDS:  # that analysis evaluates no network
            context.inspect()
        result = ANALYSES[name].measure(context, **settings.settings.get(name, {}))
    if not isinstance(result, Result):
        raise TypeError(f"expected a Result from {name}, got {type(result).__name__}")
    protocol = context.model.class_protocol
    if not protocol or "history" in ANALYSES[name].NEEDS:
        return result
    named = result.frame.assign(protocol=result.frame["protocol"] + f"+{protocol}")
    return replace(result, frame=named)


def list_needs(name: str, data: AnySet) -> list[str]:
    """What an analysis needs of the context; no dataset has what it cannot use of this one."""
    single = data.has("accepted") and not declaration(ANALYSES[name], "SEVERAL_LABELS")
    return [*[SINGLE_LABEL] * single, *sorted(ANALYSES[name].NEEDS)]


def check_reference(reference: str, groups: Sequence[str]) -> None:
    """Raise `UnknownName` where the reference is none of the groups."""
    if reference and reference not in groups:
        raise UnknownName("model", reference, groups)


def describe_study(
    name: str,
    command: str,
    groups: Sequence[str],
    data: study.DataInfo,
    settings: EvaluationSettings,
    reference: str = "",
) -> StudyInfo:
    """What is known of a study before the first task; the models come with their tasks.

    Args:
        groups: of its models, in order.
        reference: the group that the others are compared with; the first where it is empty.

    Raises:
        UnknownName: the reference is none of the groups.
    """
    check_reference(reference, groups)
    return StudyInfo(
        name=name,
        command=command,
        reference=reference or groups[0],
        analyses=tuple(settings.names),
        models=(),
        data=data,
        seed=settings.seed,
        machine=environment.machine(settings.device),
        versions=environment.package_versions(),
        date=environment.utc_timestamp(),
    )


def left_out(settings: EvaluationSettings, tasks: Iterable[Task]) -> tuple[SkippedAnalysis, ...]:
    """For each model of these tasks, the analyses that are evaluated only where one asks."""
    models = dict.fromkeys(task.unit for task in tasks if task.kind == EvaluateTask.kind)
    return tuple(
        SkippedAnalysis(
            model=model,
            analysis=name,
            reason=f"left out; --with {name} evaluates it",
            by_design=True,
        )
        for model in models
        for name in settings.left_out
    )


def save_examples(finished: Study, data: AnySet, folder: Path) -> None:
    """Save the few images that the page shows, where they are in memory."""
    split = data.parts.get("test")
    if isinstance(split, Split):
        agreement.save_examples(finished, split.images.numpy(), split.index.numpy(), folder)
