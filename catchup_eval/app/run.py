"""Carry out a plan: train, question, report; go on where it was stopped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from catchup_eval import datasets, study
from catchup_eval.app import evaluate as evaluation
from catchup_eval.app import plan as plans
from catchup_eval.app import questions as asking
from catchup_eval.app import regularity, shards
from catchup_eval.app.candidates import Candidate, access, from_specs
from catchup_eval.app.console import Console, Jobs
from catchup_eval.app.options import Options
from catchup_eval.app.plan import Plan
from catchup_eval.app.questions import Questions
from catchup_eval.app.shards import WHOLE, Shard
from catchup_eval.datasets import AnySet
from catchup_eval.errors import BadFile, UserError
from catchup_eval.files import write_text
from catchup_eval.models.sources import Access
from catchup_eval.settings import check
from catchup_eval.trainers import methods
from catchup_eval.trainers.recipe import Recipe, load_recipe
from catchup_eval.trainers.train import Trained, train

EPOCH_WEIGHT = 1.1  # of one epoch, on the scale of `asking.WEIGHTS`; for the clock alone


@dataclass(frozen=True)
class Course:
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
        return self.shard.of([(method, seed) for seed in self.seeds for method in self.methods])

    def checkpoint(self, method: str, seed: int) -> Path:
        """Where one training ends."""
        return self.folder / f"{method}-s{seed}.safetensors"

    @property
    def weights(self) -> list[float]:
        """Relative costs, for the clock."""
        return [EPOCH_WEIGHT * self.recipe.epochs] * len(self.pairs)

    def follow(self, questions: Questions, jobs: Jobs, *, fresh: bool) -> list[Trained]:
        """Train what is not trained yet."""
        trained = []
        for method, seed in self.pairs:
            if self.checkpoint(method, seed).exists() and not fresh:
                jobs.pass_over()
                trained.append(self._train(method, seed, questions, None, fresh=False))
                continue
            with jobs.job(f"{method}-s{seed}: training") as progress:
                trained.append(self._train(method, seed, questions, progress, fresh=fresh))
        return trained

    def _train(
        self, method: str, seed: int, questions: Questions, progress: Any, *, fresh: bool
    ) -> Trained:
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


def course(
    recipe: str,
    names: Sequence[str],
    seeds: Sequence[int],
    epochs: int | None,
    data: AnySet,
    folder: Path,
    shard: Shard = WHOLE,
) -> Course:
    """The trainings that a command asks for.

    Raises:
        UnknownName: no such recipe or method.
    """
    for name in names:
        methods.default_settings(name)
    return Course(shortened(load_recipe(recipe), epochs), names, seeds, data, folder, shard)


def shortened(recipe: Recipe, epochs: int | None) -> Recipe:
    """The recipe with another number of epochs."""
    if epochs is None:
        return recipe
    kept = [epoch for epoch in recipe.keep if epoch <= epochs]
    values = recipe.model_dump() | {"epochs": epochs, "keep": kept}
    return check(Recipe, values, "--epochs")


def run(plan: Plan, options: Options, *, command: str) -> int:
    """Train what the plan names, question it, and write the page; gives the exit code."""
    console = Console(quiet=options.quiet, verbose=options.verbose)
    plan = plans.overridden(
        plan, {"name": options.name, "only": tuple(options.only), "skip": tuple(options.skip)}
    )
    if not (plan.methods or plan.models):
        raise UserError("the plan names no methods to train and no models to question")
    given = datasets.load(plan.data, options.data_root)
    full = given.unscored  # a training does not depend on C-scores
    data = given.for_questions()
    data = data if options.limit is None else data.limited(options.limit)
    shard = shards.parse(options.shard)
    folder = options.out / f"{plan.name}{shard.suffix}"
    trainings = course(
        plan.recipe, plan.methods, plan.seeds, plan.epochs, full, folder / "models", shard
    )
    models = shard.of(plan.models)
    groups = [*plan.methods, *_names(plan.models)]
    questions = evaluation.questions_of(options, plan)
    if plan.methods:
        evaluation.check_reference(plan.reference, groups)
    tell_changes(console, plan, folder)
    estimation = regularity.needed(plan, given, questions, folder)
    if estimation is not None:
        console.say(estimation.cost)
    if options.dry_run:
        return foresee(console, trainings, questions, len(models), folder)
    write_text(folder / "plan.toml", plans.write(plan))
    started = monotonic()
    weights = [*trainings.weights, *(estimation.weights if estimation else [])]
    weights += evaluation.weights(questions, len(trainings.pairs) + len(models))
    with console.jobs(weights) as jobs:
        trained = trainings.follow(questions, jobs, fresh=options.fresh)
        if estimation is not None:
            scored = estimation.follow(questions.device, jobs, fresh=options.fresh)
            data = scored if options.limit is None else scored.limited(options.limit)
        candidates = gather(trainings, trained, models, data, access(options, console))
        evaluation.tell_notes(console, candidates)
        info = evaluation.study_info(
            folder.name, command, plan.reference, candidates, data, questions
        )
        update = {"seconds": seconds_before(folder), **shard.told(groups)}
        info = info.model_copy(update=update)
        skipped = evaluation.fill(info, folder, candidates, data, questions, options, jobs)
    evaluation.finish(info, folder, skipped, monotonic() - started)
    finished = study.load(folder, asking.versions())
    return evaluation.tell(console, finished, folder, page=True)


def _names(specs: Sequence[str]) -> list[str]:
    from catchup_eval.models.spec import names

    return [name for text in specs for name in names(text)]


def gather(
    trainings: Course,
    trained: Sequence[Trained],
    models: Sequence[str],
    data: AnySet,
    how: Access,
) -> list[Candidate]:
    """The trained networks, method by method, then the plan's other models."""
    specs = {pair: one.checkpoint for pair, one in zip(trainings.pairs, trained, strict=True)}
    asked = [(method, seed) for method in trainings.methods for seed in trainings.seeds]
    own = [f"{pair[0]}={specs[pair]}" for pair in asked if pair in specs]
    return from_specs([*own, *models], len(data.classes), data=data.name, access=how)


def tell_changes(console: Console, plan: Plan, folder: Path) -> None:
    """Say how the plan differs from the one that filled the folder."""
    try:
        before = plans.find(str(folder / "plan.toml"))
    except (BadFile, UserError):
        return
    for change in plans.differences(plan, before):
        console.say(f"the plan differs from the folder's: {change}; what still fits is kept")


def seconds_before(folder: Path) -> float:
    """What earlier calls took."""
    try:
        return study.load(folder).info.seconds
    except BadFile:
        return 0.0


def foresee(
    console: Console, trainings: Course, questions: Questions, others: int, folder: Path
) -> int:
    """Say what would be done."""
    steps = -(-len(trainings.data.part("train")) // trainings.recipe.batch_size)
    for method, seed in trainings.pairs:
        done = trainings.checkpoint(method, seed).exists()
        cost = f"{trainings.recipe.epochs} epochs of {steps} steps"
        console.result(f"train {method}, seed {seed}: {'done already' if done else cost}")
    networks = len(trainings.pairs) + others
    console.result(f"then ask {networks} networks: {', '.join(questions.names)}")
    console.result(f"then write {folder / 'index.html'}")
    return evaluation.DONE


def train_only(
    recipe: str,
    names: Sequence[str],
    seeds: Sequence[int],
    epochs: int | None,
    data_name: str,
    options: Options,
) -> int:
    """Train and stop there; gives the exit code."""
    console = Console(quiet=options.quiet, verbose=options.verbose)
    data = datasets.load(data_name or "digits", options.data_root).unscored
    folder = options.out / (options.name or Path(recipe).stem)
    shard = shards.parse(options.shard)  # its files have names of their own, in one folder
    trainings = course(recipe, names, seeds, epochs, data, folder, shard)
    questions = Questions((), device=asking.device_of(options.device))
    if options.dry_run:
        return foresee(console, trainings, questions, 0, folder)
    with console.jobs(trainings.weights) as jobs:
        trained = trainings.follow(questions, jobs, fresh=options.fresh)
    for one in trained:
        last = one.history.summary
        shown = ", ".join(f"{name} {value:.1f} %" for name, value in last.items())
        console.result(f"{one.checkpoint}  {shown}")
    return evaluation.DONE
