"""Carry out a plan of simulations: simulate, store, report; what is done is passed over."""

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import torch

from catchup_eval import analysis, feature_learning
from catchup_eval.analysis.base import declaration
from catchup_eval.app import evaluate as evaluation
from catchup_eval.app.console import Console, ProgressBars
from catchup_eval.app.options import Options
from catchup_eval.app.run import print_plan_changes
from catchup_eval.core import environment, errors
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.files import write_text
from catchup_eval.feature_learning import SIMULATIONS
from catchup_eval.jobs import plan as plans
from catchup_eval.jobs.evaluate import EvaluationSettings
from catchup_eval.jobs.plan import Plan
from catchup_eval.results import study
from catchup_eval.results.result import members
from catchup_eval.results.store import Key, ResultRecord, Store, provenance, to_json_types
from catchup_eval.results.study import (
    DataInfo,
    ModelInfo,
    SkippedAnalysis,
    StudyInfo,
    seconds_before,
)

DATA = "feature-noise"
ABOUT = "synthetic points of a few patches, one of them a feature; drawn anew for each seed"
TRAINING = ("data", "recipe", "methods", "seeds", "epochs", "models", "seed")  # of other plans


class SimulateTask(NamedTuple):
    """One simulation of a plan.

    Args:
        name: one of `SIMULATIONS`.
        settings: all of them, also those left at their defaults.
    """

    name: str
    settings: Mapping[str, Any]

    @property
    def pairs(self) -> list[tuple[str, int]]:
        """(method, seed) of each network."""
        seeds = range(self.settings["seeds"])
        return [(method, seed) for method in SIMULATIONS[self.name].METHODS for seed in seeds]

    @property
    def weight(self) -> float:
        """Its cost, relative to that of others."""
        cost = declaration(SIMULATIONS[self.name], "COST")
        return float(cost * self.settings["seeds"] * self.settings["iterations"])

    @property
    def key(self) -> Key:
        """What each of its results depends on; on `seeds`, how many others there are, none does."""
        settings = {key: value for key, value in self.settings.items() if key != "seeds"}
        version = SIMULATIONS[self.name].VERSION
        return Key(
            weights="",
            data=DATA,
            analysis=self.name,
            version=version,
            seed=0,
            settings=to_json_types(settings),
        )

    def is_done(self, store: Store) -> bool:
        """Whether all of its results are stored."""
        return all(store.has(_model_key(*pair), self.key) for pair in self.pairs)

    def run(self, store: Store, device: torch.device, progress: Callable[..., None]) -> None:
        """Simulate, and store the result of each network; each took its share of the time."""
        started = monotonic()
        result = SIMULATIONS[self.name].measure(device, progress, **self.settings)
        share = provenance((monotonic() - started) / len(self.pairs), device)
        record = ResultRecord(key=self.key, provenance=share)
        for member in members(result):
            store.put(_model_key(member.model, member.seed), member.result, record)


def _model_key(method: str, seed: int) -> str:
    return f"{method}-s{seed}"


def run_simulations(plan: Plan, options: Options, *, command: str) -> int:
    """Simulate what the plan names and is not done, and write the page; gives the exit code."""
    console = Console(quiet=options.quiet, verbose=options.verbose)
    plan = plans.override_plan(
        plan, {"name": options.name, "only": tuple(options.only), "skip": tuple(options.skip)}
    )
    check(plan, options)
    known = {name: SIMULATIONS[name] for name in plan.simulations}
    questions = evaluation.evaluation_settings(options, plan, known)
    simulations = [_simulation(name, questions) for name in questions.names]
    info = study_info(plan, command, simulations, questions)
    folder = options.out / plan.name
    print_plan_changes(console, plan, folder)
    for simulation in simulations:
        console.detail(f"{simulation.name}: {_format_settings(simulation.settings)}")
    if options.dry_run:
        return dry_run(console, simulations, folder, fresh=options.fresh)
    write_text(folder / "plan.toml", plans.write(plan))
    started = monotonic()
    info = info.model_copy(update={"seconds": seconds_before(folder)})
    with console.jobs([simulation.weight for simulation in simulations]) as jobs:
        fill(info, folder, simulations, questions.device, jobs, fresh=options.fresh)
    evaluation.finish(info, folder, info.skipped, monotonic() - started)
    finished = study.load(folder, feature_learning.analysis_versions())
    return evaluation.print_summary(console, finished, folder, page=True, requested=options.only)


def check(plan: Plan, options: Options) -> None:
    """Raise `UserError` where a plan or a command wants what simulations do not have."""
    for name in plan.simulations:
        if name not in SIMULATIONS:
            raise UnknownName("simulation", name, SIMULATIONS)
    foreign = [key for key in TRAINING if key in plan.model_fields_set]
    if foreign:
        raise UserError(
            f"a plan of simulations neither trains nor evaluates other networks, but this one has "
            f"{', '.join(foreign)}; change a simulation as in --set feature_learning.seeds=3"
        )
    if options.shard:
        raise UserError("the seeds of a simulation run at once, so there is nothing to --shard")
    if options.limit is not None:
        raise UserError("simulations have no images, so there is nothing to --limit")


def _simulation(name: str, questions: EvaluationSettings) -> SimulateTask:
    defaults = analysis.setting_defaults(SIMULATIONS[name])
    return SimulateTask(name, {**defaults, **questions.settings.get(name, {})})


def study_info(
    plan: Plan, command: str, simulations: Sequence[SimulateTask], questions: EvaluationSettings
) -> StudyInfo:
    """What is known of the study before the first simulation.

    Raises:
        UserError: no simulation is left, or the reference is none of the methods.
    """
    pairs = list(dict.fromkeys(pair for simulation in simulations for pair in simulation.pairs))
    if not pairs:
        raise UserError(f"no simulation is left; the plan has {', '.join(plan.simulations)}")
    methods = [method for method, _ in pairs]
    evaluation.check_reference(plan.reference, list(dict.fromkeys(methods)))
    return StudyInfo(
        name=plan.name,
        command=command,
        reference=plan.reference or methods[0],
        analyses=tuple(questions.names),
        models=tuple(_model(*pair) for pair in pairs),
        data=_data(simulations, questions),
        skipped=tuple(_skip_unsupported(simulations, pairs)),
        machine=environment.machine(questions.device),
        versions=environment.package_versions(),
        date=environment.utc_timestamp(),
    )


def _model(method: str, seed: int) -> ModelInfo:
    """No fingerprint, since each simulation has a network of its own of this name."""
    return ModelInfo(
        key=_model_key(method, seed),
        group=method,
        seed=seed,
        spec="",
        fingerprint="",
        preprocessing="",
        parameters=0,
    )


def _data(simulations: Sequence[SimulateTask], questions: EvaluationSettings) -> DataInfo:
    """Reports on other settings have another fingerprint, so that they are not merged."""
    every = [_simulation(name, questions).key.model_dump() for name in SIMULATIONS]
    told = [f"{one.name}: {_format_settings(one.settings)}" for one in simulations]
    return DataInfo(
        name=DATA,
        about=". ".join([ABOUT, *told]),
        subset="",
        fingerprint=sha256(json.dumps(every).encode()).hexdigest()[:16],
        classes=2,
        parts={},
    )


def _format_settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in settings.items())


def _skip_unsupported(
    simulations: Sequence[SimulateTask], pairs: Sequence[tuple[str, int]]
) -> list[SkippedAnalysis]:
    """Methods that only another simulation has."""
    return [
        SkippedAnalysis(
            model=_model_key(method, seed),
            analysis=simulation.name,
            reason=f"is about {', '.join(SIMULATIONS[simulation.name].METHODS)} alone",
            by_design=True,
        )
        for simulation in simulations
        for method, seed in pairs
        if method not in SIMULATIONS[simulation.name].METHODS
    ]


def dry_run(
    console: Console, simulations: Sequence[SimulateTask], folder: Path, *, fresh: bool
) -> int:
    """Say what would be done."""
    for one in simulations:
        done = one.is_done(Store(folder)) and not fresh
        methods = ", ".join(SIMULATIONS[one.name].METHODS)
        cost = f"{methods}; {one.settings['seeds']} seeds, {one.settings['iterations']} iterations"
        console.result(f"simulate {one.name}: {'done already' if done else cost}")
    console.result(f"then write {folder / 'index.html'}")
    return errors.DONE


def fill(
    info: StudyInfo,
    folder: Path,
    simulations: Sequence[SimulateTask],
    device: torch.device,
    jobs: ProgressBars,
    *,
    fresh: bool,
) -> None:
    """Store what is missing; after each simulation, the study tells of those that are done."""
    store = Store(folder)
    for number, simulation in enumerate(simulations, 1):
        if simulation.is_done(store) and not fresh:
            jobs.skip()
        else:
            with jobs.job(simulation.name) as progress:
                simulation.run(store, device, progress)
        study.save(info.model_copy(update={"analyses": info.analyses[:number]}), folder)
