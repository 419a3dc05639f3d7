"""Carry out a plan: train, evaluate, report; go on where it was stopped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from catchup_eval import datasets, feature_learning
from catchup_eval.app import cscores
from catchup_eval.app import evaluate as evaluation
from catchup_eval.app.console import Console, ProgressBars, access
from catchup_eval.app.options import Options
from catchup_eval.core import environment, errors
from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.files import write_text
from catchup_eval.core.words import count_noun
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.jobs import plan as plans
from catchup_eval.jobs.evaluate import EvaluationSettings
from catchup_eval.jobs.networks import ModelUnderTest, load_models
from catchup_eval.jobs.plan import Plan
from catchup_eval.models.sources import WeightsAccess
from catchup_eval.results import shards, study
from catchup_eval.results.shards import WHOLE, Shard
from catchup_eval.results.study import seconds_before
from catchup_eval.trainers import mixing
from catchup_eval.trainers.recipe import Recipe, load_recipe, with_epochs
from catchup_eval.trainers.train import TrainingOutput, train

EPOCH_WEIGHT = 1.1  # of one epoch, on the scale of the analyses' `COST`; for the clock alone


@dataclass(frozen=True)
class TrainTask:
    """The trainings of one command, in order.

    Args:
        recipe: how.
        methods, seeds: each method is trained once with each seed.
        data: all of it; a subset is for questions only.
        folder: where the checkpoints go.
        shard: which of them.
    """

    recipe: Recipe
    methods: Sequence[str]
    seeds: Sequence[int]
    data: AnySet
    folder: Path
    shard: Shard = WHOLE

    @property
    def pairs(self) -> list[tuple[str, int]]:
        """Seed by seed, so that an interrupted run has compared something."""
        return self.shard.select([(method, seed) for seed in self.seeds for method in self.methods])

    def checkpoint(self, method: str, seed: int) -> Path:
        """Where one training ends."""
        return self.folder / f"{method}-s{seed}.safetensors"

    @property
    def weights(self) -> list[float]:
        """Relative costs, for the clock."""
        return [EPOCH_WEIGHT * self.recipe.epochs] * len(self.pairs)

    def run(
        self, questions: EvaluationSettings, jobs: ProgressBars, *, fresh: bool
    ) -> list[TrainingOutput]:
        """Train what is not trained yet."""
        trained = []
        for method, seed in self.pairs:
            if self.checkpoint(method, seed).exists() and not fresh:
                jobs.skip()
                trained.append(self._train(method, seed, questions, None, fresh=False))
                continue
            with jobs.job(f"{method}-s{seed}: training") as progress:
                trained.append(self._train(method, seed, questions, progress, fresh=fresh))
        return trained

    def _train(
        self, method: str, seed: int, questions: EvaluationSettings, progress: Any, *, fresh: bool
    ) -> TrainingOutput:
        return train(
            self.recipe,
            method,
            self.data,
            folder=self.folder,
            seed=seed,
            device=questions.device,
            fresh=fresh,
            progress=progress,
        )


def plan_train(
    recipe: str,
    names: Sequence[str],
    seeds: Sequence[int],
    epochs: int | None,
    data: AnySet,
    folder: Path,
    shard: Shard = WHOLE,
) -> TrainTask:
    """The trainings that a command asks for.

    Raises:
        UnknownName: no such recipe or method.
        UserError: the data have no training images.
    """
    for name in names:
        mixing.default_settings(name)
    if names and not data.has("train"):
        raise UserError(f"expected training images to learn from, {data.name} has none")
    return TrainTask(with_epochs(load_recipe(recipe), epochs), names, seeds, data, folder, shard)


def run_plan(plan: Plan, options: Options, *, command: str) -> int:
    """Train what the plan names, evaluate it, and write the page; gives the exit code."""
    console = Console(quiet=options.quiet, verbose=options.verbose)
    plan = plans.override_plan(
        plan, {"name": options.name, "only": tuple(options.only), "skip": tuple(options.skip)}
    )
    if not (plan.methods or plan.models):
        raise UserError("the plan names no methods to train and no models to evaluate")
    given = datasets.load(plan.data, options.data_root)
    full = given.without_cscores  # a training does not depend on C-scores
    data = given.evaluation_subset()
    data = data if options.limit is None else data.subsample(options.limit)
    shard = shards.parse(options.shard)
    folder = options.out / f"{plan.name}{shard.suffix}"
    trainings = plan_train(
        plan.recipe, plan.methods, plan.seeds, plan.epochs, full, folder / "models", shard
    )
    models = shard.select(plan.models)
    groups = [*plan.methods, *_names(plan.models)]
    questions = evaluation.evaluation_settings(options, plan)
    if plan.methods:
        evaluation.check_reference(plan.reference, groups)
    print_plan_changes(console, plan, folder)
    estimation = cscores.plan_cscores(plan, given, questions, folder)
    if estimation is not None:
        console.info(estimation.cost)
    if options.dry_run:
        return dry_run(console, trainings, questions, len(models), folder)
    write_text(folder / "plan.toml", plans.write(plan))
    started = monotonic()
    weights = [*trainings.weights, *(estimation.weights if estimation else [])]
    weights += evaluation.weights(questions, len(trainings.pairs) + len(models))
    with console.jobs(weights) as jobs:
        trained = trainings.run(questions, jobs, fresh=options.fresh)
        if estimation is not None:
            scored = estimation.run(questions.device, jobs, fresh=options.fresh)
            data = scored if options.limit is None else scored.subsample(options.limit)
        candidates = gather(trainings, trained, models, data, access(options, console))
        evaluation.print_notes(console, candidates)
        evaluation.print_details(console, candidates, data)
        info = evaluation.study_info(
            folder.name, command, plan.reference, candidates, data, questions
        )
        update = {"seconds": seconds_before(folder), **shard.study_fields(groups)}
        info = info.model_copy(update=update)
        skipped = evaluation.fill(info, folder, candidates, data, questions, options, jobs)
    evaluation.finish(info, folder, skipped, monotonic() - started)
    finished = study.load(folder, feature_learning.analysis_versions())
    return evaluation.print_summary(console, finished, folder, page=True, requested=options.only)


def _names(specs: Sequence[str]) -> list[str]:
    from catchup_eval.models.spec import names

    return [name for text in specs for name in names(text)]


def gather(
    trainings: TrainTask,
    trained: Sequence[TrainingOutput],
    models: Sequence[str],
    data: AnySet,
    how: WeightsAccess,
) -> list[ModelUnderTest]:
    """The trained networks, method by method, then the plan's other models."""
    specs = {pair: one.checkpoint for pair, one in zip(trainings.pairs, trained, strict=True)}
    asked = [(method, seed) for method in trainings.methods for seed in trainings.seeds]
    own = [f"{pair[0]}={specs[pair]}" for pair in asked if pair in specs]
    return load_models([*own, *models], len(data.classes), data=data.name, access=how)


def print_plan_changes(console: Console, plan: Plan, folder: Path) -> None:
    """Say how the plan differs from the one that filled the folder."""
    try:
        before = plans.find(str(folder / "plan.toml"))
    except (BadFile, UserError):
        return
    for change in plans.differences(plan, before):
        console.info(f"the plan differs from the folder's: {change}; what still fits is kept")


def dry_run(
    console: Console, trainings: TrainTask, questions: EvaluationSettings, others: int, folder: Path
) -> int:
    """Say what would be done."""
    steps = -(-len(trainings.data.split("train")) // trainings.recipe.batch_size)
    for method, seed in trainings.pairs:
        done = trainings.checkpoint(method, seed).exists()
        cost = f"{trainings.recipe.epochs} epochs of {steps} steps"
        console.result(f"train {method}, seed {seed}: {'done already' if done else cost}")
    if questions.names:
        models = count_noun(len(trainings.pairs) + others, "model")
        console.result(f"then evaluate {models}: {', '.join(questions.names)}")
        console.result(f"then write {folder / 'index.html'}")
    return errors.DONE


def train_networks(
    recipe: str,
    names: Sequence[str],
    seeds: Sequence[int],
    epochs: int | None,
    data_name: str,
    options: Options,
) -> int:
    """Train and stop there; gives the exit code."""
    console = Console(quiet=options.quiet, verbose=options.verbose)
    data_name = data_name or load_recipe(recipe).data
    if not data_name:
        raise UserError(f"the recipe {recipe} names no dataset; expected --data, or data in it")
    data = datasets.load(data_name, options.data_root).without_cscores
    folder = options.out / (options.name or Path(recipe).stem)
    shard = shards.parse(options.shard)  # its files have names of their own, in one folder
    trainings = plan_train(recipe, names, seeds, epochs, data, folder, shard)
    questions = EvaluationSettings((), device=environment.resolve_device(options.device))
    if options.dry_run:
        return dry_run(console, trainings, questions, 0, folder)
    with console.jobs(trainings.weights) as jobs:
        trained = trainings.run(questions, jobs, fresh=options.fresh)
    for one in trained:
        last = one.history.summary
        shown = ", ".join(f"{name} {value:.1f} %" for name, value in last.items())
        console.result(f"{one.checkpoint}  {shown}")
    return errors.DONE
