"""Carry out a plan of simulations: simulate, store, report; what is done is passed over."""

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import torch

from catchup_eval import checkpoints, study
from catchup_eval.analysis.feature_learning import SIMULATIONS
from catchup_eval.app import evaluate as evaluation
from catchup_eval.app import plan as plans
from catchup_eval.app import questions as asking
from catchup_eval.app.console import Console, Jobs
from catchup_eval.app.options import Options
from catchup_eval.app.plan import Plan
from catchup_eval.app.questions import Questions
from catchup_eval.app.run import seconds_before, tell_changes
from catchup_eval.errors import UnknownName, UserError
from catchup_eval.files import write_text
from catchup_eval.results import members
from catchup_eval.store import Key, Record, Store, plain
from catchup_eval.study import DataInfo, ModelInfo, Skip, StudyInfo

DATA = "feature-noise"
ABOUT = "synthetic points of a few patches, one of them a feature; drawn anew for each seed"
TRAINING = ("data", "recipe", "methods", "seeds", "epochs", "models", "seed")  # of other plans
COSTS = {"feature_learning": 1, "filter_learning": 4}  # of a seed's iteration; for the clock alone


class Simulation(NamedTuple):
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
        return float(COSTS[self.name] * self.settings["seeds"] * self.settings["iterations"])

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
            settings=plain(settings),
        )

    def done(self, store: Store) -> bool:
        """Whether all of its results are stored."""
        return all(store.has(_stored(*pair), self.key) for pair in self.pairs)

    def follow(self, store: Store, device: torch.device, progress: Callable[..., None]) -> None:
        """Simulate, and store the result of each network; each took its share of the time."""
        started = monotonic()
        result = SIMULATIONS[self.name].measure(device, progress, **self.settings)
        share = asking.provenance((monotonic() - started) / len(self.pairs), device)
        record = Record(key=self.key, provenance=share)
        for member in members(result):
            store.put(_stored(member.model, member.seed), member.result, record)


def _stored(method: str, seed: int) -> str:
    return f"{method}-s{seed}"


def run_simulations(plan: Plan, options: Options, *, command: str) -> int:
    """Simulate what the plan names and is not done, and write the page; gives the exit code."""
    console = Console(quiet=options.quiet, verbose=options.verbose)
    plan = plans.overridden(
        plan, {"name": options.name, "only": tuple(options.only), "skip": tuple(options.skip)}
    )
    check(plan, options)
    known = {name: SIMULATIONS[name] for name in plan.simulations}
    questions = evaluation.questions_of(options, plan, known)
    simulations = [_simulation(name, questions) for name in questions.names]
    info = study_info(plan, command, simulations, questions)
    folder = options.out / plan.name
    tell_changes(console, plan, folder)
    for simulation in simulations:
        console.detail(f"{simulation.name}: {_spelled(simulation.settings)}")
    if options.dry_run:
        return foresee(console, simulations, folder, fresh=options.fresh)
    write_text(folder / "plan.toml", plans.write(plan))
    started = monotonic()
    info = info.model_copy(update={"seconds": seconds_before(folder)})
    with console.jobs([simulation.weight for simulation in simulations]) as jobs:
        fill(info, folder, simulations, questions.device, jobs, fresh=options.fresh)
    evaluation.finish(info, folder, info.skipped, monotonic() - started)
    finished = study.load(folder, asking.versions())
    return evaluation.tell(console, finished, folder, page=True)


def check(plan: Plan, options: Options) -> None:
    """Raise `UserError` where a plan or a command wants what simulations do not have."""
    for name in plan.simulations:
        if name not in SIMULATIONS:
            raise UnknownName("simulation", name, SIMULATIONS)
    foreign = [key for key in TRAINING if key in plan.model_fields_set]
    if foreign:
        raise UserError(
            f"a plan of simulations neither trains nor questions other networks, but this one has "
            f"{', '.join(foreign)}; change a simulation as in --set feature_learning.seeds=3"
        )
    if options.limit is not None:
        raise UserError("simulations have no images, so there is nothing to --limit")


def _simulation(name: str, questions: Questions) -> Simulation:
    defaults = asking.setting_defaults(SIMULATIONS[name])
    return Simulation(name, {**defaults, **questions.settings.get(name, {})})


def study_info(
    plan: Plan, command: str, simulations: Sequence[Simulation], questions: Questions
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
        skipped=tuple(_not_simulated(simulations, pairs)),
        machine=asking.machine(questions.device),
        versions=checkpoints.versions(),
        date=asking.now(),
    )


def _model(method: str, seed: int) -> ModelInfo:
    """No fingerprint, since each simulation has a network of its own of this name."""
    return ModelInfo(
        key=_stored(method, seed),
        group=method,
        seed=seed,
        spec="",
        fingerprint="",
        preprocessing="",
        parameters=0,
    )


def _data(simulations: Sequence[Simulation], questions: Questions) -> DataInfo:
    """Reports on other settings have another fingerprint, so that they are not merged."""
    every = [_simulation(name, questions).key.model_dump() for name in SIMULATIONS]
    told = [f"{one.name}: {_spelled(one.settings)}" for one in simulations]
    return DataInfo(
        name=DATA,
        about=". ".join([ABOUT, *told]),
        subset="",
        fingerprint=sha256(json.dumps(every).encode()).hexdigest()[:16],
        classes=2,
        parts={},
    )


def _spelled(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in settings.items())


def _not_simulated(
    simulations: Sequence[Simulation], pairs: Sequence[tuple[str, int]]
) -> list[Skip]:
    """Methods that only another simulation has."""
    return [
        Skip(
            model=_stored(method, seed),
            analysis=simulation.name,
            reason=f"is about {', '.join(SIMULATIONS[simulation.name].METHODS)} alone",
            by_design=True,
        )
        for simulation in simulations
        for method, seed in pairs
        if method not in SIMULATIONS[simulation.name].METHODS
    ]


def foresee(
    console: Console, simulations: Sequence[Simulation], folder: Path, *, fresh: bool
) -> int:
    """Say what would be done."""
    for one in simulations:
        done = one.done(Store(folder)) and not fresh
        methods = ", ".join(SIMULATIONS[one.name].METHODS)
        cost = f"{methods}; {one.settings['seeds']} seeds, {one.settings['iterations']} iterations"
        console.result(f"simulate {one.name}: {'done already' if done else cost}")
    console.result(f"then write {folder / 'index.html'}")
    return evaluation.DONE


def fill(
    info: StudyInfo,
    folder: Path,
    simulations: Sequence[Simulation],
    device: torch.device,
    jobs: Jobs,
    *,
    fresh: bool,
) -> None:
    """Store what is missing; after each simulation, the study tells of those that are done."""
    store = Store(folder)
    for number, simulation in enumerate(simulations, 1):
        if simulation.done(store) and not fresh:
            jobs.pass_over()
        else:
            with jobs.job(simulation.name) as progress:
                simulation.follow(store, device, progress)
        study.save(info.model_copy(update={"analyses": info.analyses[:number]}), folder)
