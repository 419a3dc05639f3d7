"""`reproduce`: train and evaluate what a table or figure of the paper needs, setting by setting.

FOLDER/SETTING/            a report of its own: models, results, page
FOLDER/index.html          the paper's layout: its numbers and ours, side by side
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from catchup_eval import datasets, feature_learning
from catchup_eval.app import evaluate as evaluation
from catchup_eval.app.console import Console, ProgressBars, access
from catchup_eval.app.drawing import write_report
from catchup_eval.app.options import Options
from catchup_eval.app.run import EPOCH_WEIGHT
from catchup_eval.core import environment, errors
from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.core.files import safe_filename
from catchup_eval.datasets import SIZES, DatasetSize
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.jobs.cost import seconds_per_image
from catchup_eval.jobs.evaluate import EvaluationSettings
from catchup_eval.jobs.networks import ModelUnderTest, load_models
from catchup_eval.paper.page import write
from catchup_eval.paper.reproduction import NetworkSpec, Reproduction, ReproductionSetting
from catchup_eval.report import formatting
from catchup_eval.results import study
from catchup_eval.results.study import Study
from catchup_eval.trainers.recipe import RECIPES, Recipe, load_recipe, scale_epochs
from catchup_eval.trainers.train import TrainingOutput, train

# The recipe of a table's design on other data than the paper's.
ELSEWHERE: Mapping[str, str] = {
    "cifar10": "cifar100-preactresnet18",
    "cifar100": "cifar100-preactresnet18",
    "tiny-imagenet": "tiny-imagenet-preactresnet18",
    "cub": "cub-resnet18",
    "cars": "cars-resnet18",
    "aircraft": "aircraft-resnet18",
    "imagenet": "imagenet-resnet50",
}


@dataclass(frozen=True)
class ReproductionStage:
    """All that is trained and asked in one setting.

    Args:
        name: the setting's.
        setting: how and on what.
        networks: whom.
        seeds: each network that is trained is trained once with each.
        questions: what they are asked.
        scale: of the epochs, 1 for the recipe's.
        folder: of the setting's report.
    """

    name: str
    setting: ReproductionSetting
    networks: Sequence[NetworkSpec]
    seeds: Sequence[int]
    questions: Sequence[str]
    scale: float
    folder: Path

    @property
    def trainings(self) -> list[tuple[NetworkSpec, int]]:
        """Seed by seed, so that an interrupted run has compared something."""
        trained = [network for network in self.networks if not network.published]
        return [(network, seed) for seed in self.seeds for network in trained]

    def recipe(self, network: NetworkSpec) -> Recipe:
        """How one network is trained; a row's own recipe lends its regularizers elsewhere."""
        base, changes = self.setting.recipe, dict(self.setting.changes)
        if network.recipe.startswith(base):
            base = network.recipe
        elif network.recipe:
            own = load_recipe(network.recipe).regularizers
            changes["regularizers"] = {name: {} for name in own}
        return scale_epochs(load_recipe(base, changes), self.scale)

    def train(
        self,
        network: NetworkSpec,
        seed: int,
        data: AnySet,
        questions: EvaluationSettings,
        **how: Any,
    ) -> TrainingOutput:
        """One training; one that is finished is only looked at."""
        return train(
            self.recipe(network),
            network.method,
            data,
            folder=self.folder / "models",
            seed=seed,
            device=questions.device,
            name=f"{safe_filename(network.name)}-s{seed}",
            settings=network.options,
            **how,
        )


def plan_reproduction(
    wanted: Reproduction, folder: Path, *, scale: float = 1.0, on: str = ""
) -> Iterator[ReproductionStage]:
    """The settings that a table or figure needs, in order.

    Args:
        folder: of the whole reproduction.
        scale: of all epochs.
        on: an image set, and a recipe for it, in place of the paper's.

    Raises:
        UnknownName: no recipe for these data.
    """
    for name, setting in wanted.settings.items():
        networks = list(wanted.networks(name).values())
        if networks:
            own = transfer_setting(setting, on) if on else setting
            asked = wanted.analyses(name)
            yield ReproductionStage(name, own, networks, wanted.seeds, asked, scale, folder / name)


def transfer_setting(setting: ReproductionSetting, on: str) -> ReproductionSetting:
    """The setting's design on other data: the share of the images and the epochs kept stay."""
    recipe = ELSEWHERE.get(on, on)
    if recipe not in RECIPES:
        raise UnknownName("data set with a recipe", on, ["digits", *ELSEWHERE])
    share = {key: value for key, value in setting.changes.items() if key == "share"}
    return setting.model_copy(update={"recipe": recipe, "data": on, "changes": share})


def select_rows(
    wanted: Reproduction, only: Sequence[str], seeds: Sequence[int], skip: Sequence[str] = ()
) -> Reproduction:
    """Only the rows of these names or methods, without those to skip, with these seeds.

    Raises:
        UnknownName: a name that no row has.
        UserError: no row is left.
    """
    names, others = ({name for text in texts for name in text.split(",")} for texts in (only, skip))
    known = {label for row in wanted.rows for label in (row.name, row.method) if label}
    for name in (names | others) - known:
        raise UnknownName(f"row of {wanted.title}", name, known)
    labels = [(row, {row.name, row.method}) for row in wanted.rows]
    rows = [row for row, own in labels if (not names or own & names) and not own & others]
    if not rows:
        raise UserError(f"no row of {wanted.title} is left; it has {', '.join(sorted(known))}")
    changes: dict[str, Any] = {"rows": tuple(rows)}
    if seeds:
        changes["seeds"] = tuple(seeds)
    return wanted.model_copy(update=changes)


def reproduce_paper(
    name: str,
    wanted: Reproduction,
    options: Options,
    *,
    scale: float = 1.0,
    on: str = "",
    command: str,
) -> int:
    """Carry out a table or figure and lay it out; gives the exit code.

    Args:
        name: of the report's folder, where the options have none.
        wanted: narrowed to what shall be done.
        scale: of all epochs; the page says so.
        on: other data than the paper's; the page says so.
    """
    console = Console(quiet=options.quiet, verbose=options.verbose)
    folder = options.out / (options.name or name)
    parts = list(plan_reproduction(wanted, folder, scale=scale, on=on))
    if options.dry_run:
        return dry_run(console, parts, options)
    studies, lacking = {}, []
    for stage in parts:
        try:
            studies[stage.name], missing = carry_out(stage, options, console, command=command)
            lacking += missing
        except BadFile as error:
            lacking.append(f"{stage.name} is left out: {error}")
            console.info(lacking[-1])
    page = write(
        name,
        wanted,
        studies,
        folder,
        facts=reproduction_facts(wanted, studies, command),
        warnings=[*deviation_warnings(wanted, parts, scale, on, options), *lacking],
    )
    console.result(str(page))
    return errors.IN_PART if lacking else errors.DONE


def reproduction_facts(
    wanted: Reproduction, studies: Mapping[str, Study], command: str
) -> list[tuple[str, str]]:
    """What was done, for the head of the page."""
    infos = [one.info for one in studies.values()]
    told = [("Source", f"Kang, Kang and Kim 2024, {wanted.title}")]
    if infos:
        spent = formatting.format_duration(sum(info.seconds for info in infos))
        machines = ", ".join(dict.fromkeys(info.machine for info in infos))
        seeds = " ".join(map(str, wanted.seeds))
        told += [("Seeds", seeds), ("Time", spent), ("Machine", machines)]
        told += [("Date", max(info.date for info in infos)[:10])]
    return [*told, ("Command", command)]


def deviation_warnings(
    wanted: Reproduction,
    parts: Sequence[ReproductionStage],
    scale: float,
    on: str,
    options: Options,
) -> list[str]:
    """What keeps this from being the paper's own experiment."""
    told = []
    if on:
        told.append(
            f"This is {wanted.title}'s design on {on}, not the paper's data: compare the order of "
            "its rows, not its numbers. Settings that are alike there have alike numbers."
        )
    if scale != 1:
        epochs = sorted({stage.recipe(one).epochs for stage in parts for one, _ in stage.trainings})
        shown = " and ".join(map(str, epochs))
        told.append(f"The epochs are {100 * scale:g} % of the recipe's: {shown}.")
    if options.limit is not None:
        told.append(f"Analyses are run on at most {options.limit} test images.")
    return told


def carry_out(
    stage: ReproductionStage, options: Options, console: Console, *, command: str
) -> tuple[Study, list[str]]:
    """Train and question one setting; its study, and which networks are missing, and why.

    Raises:
        BadFile: the data are not here; the message says what to put where.
    """
    given = datasets.load(stage.setting.data, options.data_root)
    data = given.evaluation_subset()
    data = data if options.limit is None else data.subsample(options.limit)
    questions = evaluation.evaluation_settings(replace(options, only=[*stage.questions], skip=[]))
    started = monotonic()
    weights = [EPOCH_WEIGHT * stage.recipe(network).epochs for network, _ in stage.trainings]
    networks = sum(1 if one.published else len(stage.seeds) for one in stage.networks)
    weights += evaluation.weights(questions, networks)
    with console.jobs(weights) as jobs:
        files = _trained(stage, given.without_cscores, questions, jobs, fresh=options.fresh)
        candidates, lacking = _candidates(stage, files, data, options, console)
        if not candidates:
            raise BadFile("none of its models is here; " + "; ".join(lacking))
        evaluation.print_notes(console, candidates)
        evaluation.print_details(console, candidates, data)
        info = evaluation.study_info(stage.name, command, "", candidates, data, questions)
        skipped = evaluation.fill(info, stage.folder, candidates, data, questions, options, jobs)
    evaluation.finish(info, stage.folder, skipped, monotonic() - started)
    finished = study.load(stage.folder, feature_learning.analysis_versions())
    write_report(finished, stage.folder)
    return finished, lacking


def _trained(
    stage: ReproductionStage,
    data: AnySet,
    questions: EvaluationSettings,
    jobs: ProgressBars,
    *,
    fresh: bool,
) -> dict[str, list[Path]]:
    """The checkpoints of each network that is trained, by name."""
    files: dict[str, list[Path]] = {}
    for network, seed in stage.trainings:
        with jobs.job(f"{stage.name}: {network.name}, seed {seed}: training") as progress:
            done = stage.train(network, seed, data, questions, fresh=fresh, progress=progress)
        files.setdefault(network.name, []).append(done.checkpoint)
    return files


def _candidates(
    stage: ReproductionStage,
    files: Mapping[str, Sequence[Path]],
    data: AnySet,
    options: Options,
    console: Console,
) -> tuple[list[ModelUnderTest], list[str]]:
    """The networks in the paper's order, and a sentence for each that cannot be had."""
    candidates: list[ModelUnderTest] = []
    lacking: list[str] = []
    how = access(options, console)
    for network in stage.networks:
        specs = [f"{network.name}={path}" for path in files.get(network.name, ())]
        specs += [f"{network.name}=catalogue:{network.published}"] if network.published else []
        try:
            candidates += load_models(specs, len(data.classes), data=data.name, access=how)
        except UserError as error:
            lacking.append(f"{network.name} is left out: {error}")
            console.info(lacking[-1])
    return candidates, lacking


def dry_run(console: Console, parts: Sequence[ReproductionStage], options: Options) -> int:
    """Say what would be trained and asked, and what the trainings will cost on this device."""
    device = environment.resolve_device(options.device)
    console.info(f"measuring a few steps of each network on {environment.machine(device)}")
    price = StepTimes(device)
    total = 0.0
    for stage in parts:
        size = _size(stage.setting.data, options)
        for network in (one for one in stage.networks if not one.published):
            recipe = stage.recipe(network)
            images = len(stage.seeds) * recipe.epochs * round(size.train * recipe.share)
            seconds = images * price(recipe, network, size)
            total += seconds
            console.result(
                f"{stage.name}: train {network.name}: {len(stage.seeds)} x {recipe.epochs} epochs, "
                f"{images / 1e6:.2f} million images, {formatting.format_duration(seconds)}"
            )
        names = ", ".join(one.name for one in stage.networks)
        console.result(f"{stage.name}: evaluate {names}: {', '.join(stage.questions)}")
    console.result(
        f"all trainings: {formatting.format_duration(total)} on this device, without the analyses"
    )
    return errors.DONE


@dataclass
class StepTimes:
    """Seconds by the image, measured once for each network, method and size."""

    device: torch.device
    known: dict[str, float] = field(default_factory=dict)

    def __call__(self, recipe: Recipe, network: NetworkSpec, size: DatasetSize) -> float:
        """Of one training."""
        what = recipe.architecture or recipe.weights, recipe.options, recipe.batch_size, size.side
        key = repr((*what, network.method, network.options))
        if key not in self.known:
            self.known[key] = seconds_per_image(
                recipe, network.method, network.options, size, self.device
            )
        return self.known[key]


def _size(name: str, options: Options) -> DatasetSize:
    """Known without the files, so that one learns the cost before one gets them."""
    if name in SIZES:
        return SIZES[name]
    data = datasets.load(name, options.data_root)
    return DatasetSize(
        len(data.parts["train"]),
        data.transform().split("train").images.shape[-1],
        len(data.classes),
    )
