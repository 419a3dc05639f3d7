"""Simulations of feature learning: one task is one simulation, with all methods and seeds."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from time import monotonic
from typing import Any

import torch

from catchup_eval.analysis import setting_defaults
from catchup_eval.analysis.base import declaration
from catchup_eval.core.errors import UserError
from catchup_eval.feature_learning import SIMULATIONS
from catchup_eval.jobs.cost import StepTimes
from catchup_eval.jobs.evaluate import EvaluationSettings, describe_study
from catchup_eval.jobs.task import AnyStore, Progress, Task, TaskResult, Worker
from catchup_eval.results.result import members
from catchup_eval.results.store import Key, ResultRecord, provenance, to_json_types
from catchup_eval.results.study import DataInfo, ModelInfo, SkippedAnalysis, StudyInfo

TRIALS = (10, 30)  # iterations by which a dry run tells the time
DATA = "feature-noise"
ABOUT = "synthetic points of a few patches, one of them a feature; new ones for each seed"
ASSUMED = (
    "the noise levels are recalled from the paper, whose text was not at hand, and the limits from "
    "which a feature counts as learned are ours; under other noise levels CutMix need not have the "
    "highest accuracy"
)


class SimulateTask(Task):
    """One simulation.

    Args:
        name: one of `SIMULATIONS`.
        settings: all of them, also those left at their defaults.
    """

    kind = "simulate"
    unit = ""  # the seeds run at once: there is nothing to divide

    def __init__(self, name: str, settings: Mapping[str, Any]):
        self.name, self.settings = name, {**setting_defaults(SIMULATIONS[name]), **settings}
        cost = declaration(SIMULATIONS[name], "COST")
        self.cost = float(cost * self.settings["seeds"] * self.settings["iterations"])

    @property
    def models(self) -> list[ModelInfo]:
        """A network of each method and seed."""
        seeds = range(self.settings["seeds"])
        return [_model(method, seed) for method in SIMULATIONS[self.name].METHODS for seed in seeds]

    def key(self) -> Key:
        """What each of its results depends on; on `seeds`, how many others there are, none does."""
        settings = {key: value for key, value in self.settings.items() if key != "seeds"}
        return Key(
            weights="",
            data=DATA,
            analysis=self.name,
            version=SIMULATIONS[self.name].VERSION,
            seed=0,
            settings=to_json_types(settings),
        )

    def is_done(self, store: AnyStore) -> bool:
        return all(store.has(model.key, self.key()) for model in self.models)

    def run(self, worker: Worker, progress: Progress, *, fresh: bool = False) -> TaskResult:
        started = monotonic()
        result = SIMULATIONS[self.name].measure(worker.device, progress, **self.settings)
        seconds = (monotonic() - started) / len(self.models)  # each network took its fraction
        record = ResultRecord(key=self.key(), provenance=provenance(seconds, worker.device))
        for member in members(result):
            worker.store.put(_model(member.model, member.seed).key, member.result, record)
        return TaskResult("done", models=tuple(self.models))

    def reuse(self, worker: Worker) -> TaskResult:
        return TaskResult("cached", models=tuple(self.models))

    def seconds(self, times: StepTimes) -> float:
        few, more = (self._trial(times.device, iterations) for iterations in TRIALS)
        step = max(0.0, more - few) / (TRIALS[1] - TRIALS[0])
        return float(few + step * max(0, self.settings["iterations"] - TRIALS[0]))

    def _trial(self, device: torch.device, iterations: int) -> float:
        """Seconds of the simulation with fewer iterations."""
        started, few = monotonic(), min(iterations, self.settings["iterations"])
        own = {**self.settings, "iterations": few, "records": min(few, self.settings["records"])}
        SIMULATIONS[self.name].measure(device, None, **own)
        return monotonic() - started

    def describe(self) -> str:
        methods = ", ".join(SIMULATIONS[self.name].METHODS)
        seeds, iterations = self.settings["seeds"], self.settings["iterations"]
        return f"{methods}; {seeds} seeds, {iterations} iterations"


def _model(method: str, seed: int) -> ModelInfo:
    """No fingerprint, since each simulation has a network of its own of this name."""
    return ModelInfo(
        key=f"{method}-s{seed}",
        group=method,
        seed=seed,
        spec="",
        fingerprint="",
        preprocessing="",
        parameters=0,
    )


def plan_simulate(settings: EvaluationSettings) -> list[SimulateTask]:
    """The simulations of these names.

    Raises:
        UserError: none is left.
    """
    if not settings.names:
        raise UserError(f"no simulation is left; there are {', '.join(SIMULATIONS)}")
    return [SimulateTask(name, settings.settings.get(name, {})) for name in settings.names]


def describe_simulations(
    name: str,
    command: str,
    tasks: Sequence[SimulateTask],
    settings: EvaluationSettings,
    reference: str = "",
) -> StudyInfo:
    """What is known of a study before the first simulation.

    Raises:
        UnknownName: the reference is none of the methods.
    """
    models = {model.key: model for task in tasks for model in task.models}
    groups = list(dict.fromkeys(model.group for model in models.values()))
    data = _describe_data(tasks, settings)
    info = describe_study(name, command, groups, data, settings, reference)
    skipped = [
        SkippedAnalysis(
            model=model.key,
            analysis=task.name,
            reason=_why_not(task, model),
            by_design=True,
        )
        for task in tasks
        for model in models.values()
        if model not in task.models
    ]
    return info.model_copy(update={"skipped": tuple(skipped)})


def _why_not(task: SimulateTask, model: ModelInfo) -> str:
    methods = SIMULATIONS[task.name].METHODS
    if model.group not in methods:
        return f"is about {', '.join(methods)} alone"
    return f"has {task.settings['seeds']} seeds alone"


def _describe_data(tasks: Sequence[SimulateTask], settings: EvaluationSettings) -> DataInfo:
    """Reports on other settings have another fingerprint, so that they are not merged."""
    every = [SimulateTask(name, settings.settings.get(name, {})).key() for name in SIMULATIONS]
    texts = [f"{task.name}: {format_settings(task.settings)}" for task in tasks]
    content = json.dumps([key.model_dump() for key in every])
    return DataInfo(
        name=DATA,
        about=". ".join([ABOUT, *texts]),
        subset="",
        fingerprint=sha256(content.encode()).hexdigest()[:16],
        classes=2,
        parts={},
        notes=(ASSUMED,),
    )


def format_settings(settings: Mapping[str, Any]) -> str:
    """Settings in one line."""
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in settings.items())
