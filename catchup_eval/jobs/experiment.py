"""All tasks of a plan: train, estimate C-scores and evaluate; or simulate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from catchup_eval.analysis.base import Analysis
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.feature_learning import SIMULATIONS
from catchup_eval.jobs.cscores import needed_estimation, plan_cscores
from catchup_eval.jobs.data import DataSource
from catchup_eval.jobs.engine import shard_tasks
from catchup_eval.jobs.evaluate import (
    EvaluationSettings,
    describe_study,
    left_out,
    plan_evaluate,
)
from catchup_eval.jobs.networks import ModelSource
from catchup_eval.jobs.plan import Plan
from catchup_eval.jobs.simulate import describe_simulations, plan_simulate
from catchup_eval.jobs.task import Task
from catchup_eval.jobs.train import plan_train
from catchup_eval.models.sources import WeightsAccess
from catchup_eval.results import study
from catchup_eval.results.shards import WHOLE, Shard
from catchup_eval.results.study import StudyInfo
from catchup_eval.trainers.recipe import load_recipe, with_epochs

TRAINING = ("data", "recipe", "methods", "seeds", "epochs", "models", "seed")  # not of simulations


@dataclass(frozen=True)
class Experiment:
    """What a plan comes to.

    Args:
        tasks: in order.
        info: what is known of the study before the first.
        data: what is evaluated on; None for simulations.
        notes: what was chosen, a sentence each.
    """

    tasks: Sequence[Task]
    info: StudyInfo
    data: DataSource | None = None
    notes: Sequence[str] = ()


def plan_experiment(
    plan: Plan,
    settings: EvaluationSettings,
    folder: Path,
    *,
    command: str,
    root: Path = Path("data"),
    limit: int | None = None,
    ood: Sequence[str] = (),
    access: WeightsAccess = WeightsAccess(),
    shard: Shard = WHOLE,
) -> Experiment:
    """The tasks of a plan.

    Args:
        settings: of its analyses or simulations.
        folder: of the report.
        command: what repeats it.
        root: where downloaded datasets lie.
        limit: evaluate on so many images.
        ood: OOD datasets that are evaluated with the plan's.
        access: how weights of other models are got and read.
        shard: which models.

    Raises:
        UserError: what the plan names is missing or does not fit together.
    """
    if plan.simulations:
        if ood:
            raise UserError("simulations have no images, so there is nothing for --ood")
        return _plan_simulations(plan, settings, folder, command, limit, shard)
    if not (plan.methods or plan.models):
        raise UserError("the plan names no methods to train and no models to evaluate")
    data = DataSource(plan.data, root, limit, ood=ood)
    common = folder.with_name(folder.name.removesuffix(shard.suffix))  # to all shards
    origin = (plan.data, root)
    estimation = needed_estimation(plan.cscores, data.given, settings.names, common, origin)
    if estimation is not None:
        data = replace(data, cscores=estimation)
    recipe = with_epochs(load_recipe(plan.recipe), plan.epochs) if plan.methods else None
    trainings = (
        plan_train(recipe, plan.methods, plan.seeds, data, folder / "models") if recipe else []
    )
    if trainings:
        data.training  # noqa: B018 (raises where there is nothing to learn from)
    others = ModelSource.of_specs(plan.models, data, access)
    methods = len(dict.fromkeys(plan.methods))  # of each seed, in this order
    ordered = [task.model for first in range(methods) for task in trainings[first::methods]]
    models = [*ordered, *others]
    tasks: list[Task] = [*trainings, *(plan_cscores(estimation, shard) if estimation else [])]
    tasks += plan_evaluate(models, data, settings)
    groups = list(dict.fromkeys(model.group for model in models))
    described = study.data_info(replace(data, cscores=None, live=data.given).evaluation)
    info = describe_study(folder.name, command, groups, described, settings, plan.reference)
    own = shard_tasks(tasks, shard)
    skipped = left_out(settings, own)
    info = info.model_copy(update={**shard.study_fields(groups), "skipped": skipped})
    notes = [note for model in others for note in model.load().notes]
    notes += [estimation.description] if estimation else []
    return Experiment(own, info, data, notes)


def _plan_simulations(
    plan: Plan,
    settings: EvaluationSettings,
    folder: Path,
    command: str,
    limit: int | None,
    shard: Shard,
) -> Experiment:
    foreign = [key for key in TRAINING if key in plan.model_fields_set]
    if foreign:
        raise UserError(
            f"a plan of simulations neither trains nor evaluates other networks, but this one has "
            f"{', '.join(foreign)}; change a simulation as in --set feature_learning.seeds=3"
        )
    if shard.total > 1:
        raise UserError("the seeds of a simulation run at once, so there is nothing to --shard")
    if limit is not None:
        raise UserError("simulations have no images, so there is nothing to --limit")
    tasks = plan_simulate(settings)
    info = describe_simulations(folder.name, command, tasks, settings, plan.reference)
    return Experiment(tasks, info)


def known_simulations(plan: Plan) -> dict[str, Analysis]:
    """The simulations that a plan names.

    Raises:
        UnknownName: one does not exist.
    """
    for name in plan.simulations:
        if name not in SIMULATIONS:
            raise UnknownName("simulation", name, SIMULATIONS)
    return {name: SIMULATIONS[name] for name in plan.simulations}
