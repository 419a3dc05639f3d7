"""Carry out a plan: train, question, report; go on where it was stopped."""

from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from catchup_eval import study
from catchup_eval.app import evaluate as evaluation
from catchup_eval.app import plan as plans
from catchup_eval.app import questions as asking
from catchup_eval.app.candidates import Candidate, from_specs
from catchup_eval.app.console import Console, Jobs
from catchup_eval.app.options import Options
from catchup_eval.app.plan import Plan
from catchup_eval.datasets import ImageSet
from catchup_eval.errors import BadFile, UserError
from catchup_eval.files import write_text
from catchup_eval.store import Store
from catchup_eval.trainers.methods import check as check_method
from catchup_eval.trainers.recipe import Recipe, load_recipe
from catchup_eval.trainers.train import Training, Wish, train

TRAINING_WEIGHT = 33.0  # of one 30-epoch training, on the scale of `asking.WEIGHTS`


def run(plan: Plan, options: Options, *, command: str) -> int:
    """Train what the plan names, question it, and write the page; gives the exit code."""
    console = Console(quiet=options.quiet, verbose=options.verbose)
    plan = resolved(plan, options)
    data = evaluation.load_data(plan.data, options)
    recipe = recipe_of(plan)
    questions = evaluation.questions_of(options, plan.settings, plan.seed)
    for method in plan.methods:
        check_method(method)
    if not (plan.methods or plan.models):
        raise UserError("the plan names no methods to train and no models to question")
    folder = options.out / plan.name
    warn_of_change(console, plan, folder)
    wishes = [
        Wish(recipe, method, seed, folder / "models")
        for method in plan.methods
        for seed in plan.seeds
    ]
    if options.dry_run:
        return foresee(console, plan, wishes, data, folder)
    write_text(folder / "plan.toml", plans.write(plan))
    started = monotonic()
    weights = [TRAINING_WEIGHT * recipe.epochs / 30] * len(wishes)
    networks = len(wishes) + len(plan.models)
    weights += [asking.WEIGHTS.get(name, 5.0) for name in questions.names] * networks
    with console.jobs(weights) as jobs:
        trained = [train_one(wish, data, questions.device, options.fresh, jobs) for wish in wishes]
        candidates = from_specs([*specs_of(trained), *plan.models], len(data.classes))
        info = evaluation.study_info(
            plan.name, command, plan.reference, candidates, data, questions
        )
        info = info.model_copy(update={"seconds": seconds_before(folder)})
        skipped = evaluation.answer_and_save(
            info, folder, candidates, data, questions, options, jobs
        )
    evaluation.finish(info, folder, skipped, monotonic() - started)
    return evaluation.tell(console, study.load(folder), folder, page=True)
