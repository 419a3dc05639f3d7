"""`reproduce`: train and question what a table or figure of the paper needs, setting by setting.

FOLDER/SETTING/            a report of its own: models, results, page
FOLDER/index.html          the paper's layout: its numbers and ours, side by side
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from catchup_eval import datasets, study
from catchup_eval.app import evaluate as evaluation
from catchup_eval.app import questions as asking
from catchup_eval.app import reproduced
from catchup_eval.app.candidates import Candidate, access, from_specs, slug
from catchup_eval.app.console import Console, Jobs
from catchup_eval.app.cost import SIZES, Size, seconds_per_image
from catchup_eval.app.drawing import draw
from catchup_eval.app.options import Options
from catchup_eval.app.questions import Questions
from catchup_eval.app.reproduction import Network, Reproduction, Setting
from catchup_eval.app.run import EPOCH_WEIGHT
from catchup_eval.datasets import AnySet
from catchup_eval.errors import BadFile, UnknownName, UserError
from catchup_eval.report import numbers
from catchup_eval.study import Study
from catchup_eval.trainers.recipe import RECIPES, Recipe, load_recipe, scaled
from catchup_eval.trainers.train import Trained, train

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
class Stage:
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
    setting: Setting
    networks: Sequence[Network]
    seeds: Sequence[int]
    questions: Sequence[str]
    scale: float
    folder: Path

    @property
    def trainings(self) -> list[tuple[Network, int]]:
        """Seed by seed, so that an interrupted run has compared something."""
        trained = [network for network in self.networks if not network.published]
        return [(network, seed) for seed in self.seeds for network in trained]

    def recipe(self, network: Network) -> Recipe:
        """How one network is trained; a row's own recipe lends its regularizers elsewhere."""
        base, changes = self.setting.recipe, dict(self.setting.changes)
        if network.recipe.startswith(base):
            base = network.recipe
        elif network.recipe:
            own = load_recipe(network.recipe).regularizers
            changes["regularizers"] = {name: {} for name in own}
        return scaled(load_recipe(base, changes), self.scale)

    def train(
        self, network: Network, seed: int, data: AnySet, questions: Questions, **how: Any
    ) -> Trained:
        """One training; one that is finished is only looked at."""
        return train(
            self.recipe(network),
            network.method,
            data,
            folder=self.folder / "models",
            seed=seed,
            device=questions.device,
            name=f"{slug(network.name)}-s{seed}",
            settings=network.options,
            **how,
        )


def stages(
    wanted: Reproduction, folder: Path, *, scale: float = 1.0, on: str = ""
) -> Iterator[Stage]:
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
            own = elsewhere(setting, on) if on else setting
            asked = wanted.questions(name)
            yield Stage(name, own, networks, wanted.seeds, asked, scale, folder / name)


def elsewhere(setting: Setting, on: str) -> Setting:
    """The setting's design on other data: the share of the images and the epochs kept stay."""
    recipe = ELSEWHERE.get(on, on)
    if recipe not in RECIPES:
        raise UnknownName("data set with a recipe", on, ["digits", *ELSEWHERE])
    share = {key: value for key, value in setting.changes.items() if key == "share"}
    return setting.model_copy(update={"recipe": recipe, "data": on, "changes": share})


def narrowed(wanted: Reproduction, only: Sequence[str], seeds: Sequence[int]) -> Reproduction:
    """Only the rows of these names or methods, with these seeds.

    Raises:
        UnknownName: a name that no row has.
    """
    names = {name for text in only for name in text.split(",")}
    known = {label for row in wanted.rows for label in (row.name, row.method) if label}
    for name in names - known:
        raise UnknownName(f"row of {wanted.title}", name, known)
    rows = [row for row in wanted.rows if not names or {row.name, row.method} & names]
    changes: dict[str, Any] = {"rows": tuple(rows)}
    if seeds:
        changes["seeds"] = tuple(seeds)
    return wanted.model_copy(update=changes)


def reproduce(
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
    parts = list(stages(wanted, folder, scale=scale, on=on))
    if options.dry_run:
        return foresee(console, parts, options)
    studies, lacking = {}, []
    for stage in parts:
        try:
            studies[stage.name], missing = carry_out(stage, options, console, command=command)
            lacking += missing
        except BadFile as error:
            lacking.append(f"{stage.name} is left out: {error}")
            console.say(lacking[-1])
    page = reproduced.write(
        name,
        wanted,
        studies,
        folder,
        facts=facts(wanted, studies, command),
        warnings=[*warnings(wanted, parts, scale, on, options), *lacking],
    )
    console.result(str(page))
    return evaluation.IN_PART if lacking else evaluation.DONE


def facts(
    wanted: Reproduction, studies: Mapping[str, Study], command: str
) -> list[tuple[str, str]]:
    """What was done, for the head of the page."""
    infos = [one.info for one in studies.values()]
    told = [("Source", f"Kang, Kang and Kim 2024, {wanted.title}")]
    if infos:
        spent = numbers.seconds(sum(info.seconds for info in infos))
        machines = ", ".join(dict.fromkeys(info.machine for info in infos))
        seeds = " ".join(map(str, wanted.seeds))
        told += [("Seeds", seeds), ("Time", spent), ("Machine", machines)]
        told += [("Date", max(info.date for info in infos)[:10])]
    return [*told, ("Command", command)]


def warnings(
    wanted: Reproduction, parts: Sequence[Stage], scale: float, on: str, options: Options
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
        told.append(f"Questions are asked on at most {options.limit} test images.")
    return told


def carry_out(
    stage: Stage, options: Options, console: Console, *, command: str
) -> tuple[Study, list[str]]:
    """Train and question one setting; its study, and which networks are missing, and why.

    Raises:
        BadFile: the data are not here; the message says what to put where.
    """
    given = datasets.load(stage.setting.data, options.data_root)
    data = given.for_questions()
    data = data if options.limit is None else data.limited(options.limit)
    questions = evaluation.questions_of(replace(options, only=[*stage.questions], skip=[]))
    started = monotonic()
    weights = [EPOCH_WEIGHT * stage.recipe(network).epochs for network, _ in stage.trainings]
    networks = sum(1 if one.published else len(stage.seeds) for one in stage.networks)
    weights += evaluation.weights(questions, networks)
    with console.jobs(weights) as jobs:
        files = _trained(stage, given.unscored, questions, jobs, fresh=options.fresh)
        candidates, lacking = _candidates(stage, files, data, options, console)
        if not candidates:
            raise BadFile("none of its networks is here; " + "; ".join(lacking))
        info = evaluation.study_info(stage.name, command, "", candidates, data, questions)
        skipped = evaluation.fill(info, stage.folder, candidates, data, questions, options, jobs)
    evaluation.finish(info, stage.folder, skipped, monotonic() - started)
    finished = study.load(stage.folder, asking.versions())
    draw(finished, stage.folder)
    return finished, lacking


def _trained(
    stage: Stage, data: AnySet, questions: Questions, jobs: Jobs, *, fresh: bool
) -> dict[str, list[Path]]:
    """The checkpoints of each network that is trained, by name."""
    files: dict[str, list[Path]] = {}
    for network, seed in stage.trainings:
        with jobs.job(f"{stage.name}: {network.name}, seed {seed}: training") as progress:
            done = stage.train(network, seed, data, questions, fresh=fresh, progress=progress)
        files.setdefault(network.name, []).append(done.checkpoint)
    return files


def _candidates(
    stage: Stage,
    files: Mapping[str, Sequence[Path]],
    data: AnySet,
    options: Options,
    console: Console,
) -> tuple[list[Candidate], list[str]]:
    """The networks in the paper's order, and a sentence for each that cannot be had."""
    candidates: list[Candidate] = []
    lacking: list[str] = []
    how = access(options, console)
    for network in stage.networks:
        specs = [f"{network.name}={path}" for path in files.get(network.name, ())]
        specs += [f"{network.name}=catalogue:{network.published}"] if network.published else []
        try:
            candidates += from_specs(specs, len(data.classes), data=data.name, access=how)
        except UserError as error:
            lacking.append(f"{network.name} is left out: {error}")
            console.say(lacking[-1])
    return candidates, lacking


def foresee(console: Console, parts: Sequence[Stage], options: Options) -> int:
    """Say what would be trained and asked, and what the trainings will cost on this device."""
    device = asking.device_of(options.device)
    console.say(f"measuring a few steps of each network on {asking.machine(device)}")
    price = Prices(device)
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
                f"{images / 1e6:.2f} million images, {numbers.seconds(seconds)}"
            )
        names = ", ".join(one.name for one in stage.networks)
        console.result(f"{stage.name}: ask {names}: {', '.join(stage.questions)}")
    console.result(f"all trainings: {numbers.seconds(total)} on this device, the questions beside")
    return evaluation.DONE


@dataclass
class Prices:
    """Seconds by the image, measured once for each network, method and size."""

    device: torch.device
    known: dict[str, float] = field(default_factory=dict)

    def __call__(self, recipe: Recipe, network: Network, size: Size) -> float:
        """Of one training."""
        what = recipe.architecture or recipe.weights, recipe.options, recipe.batch_size, size.side
        key = repr((*what, network.method, network.options))
        if key not in self.known:
            self.known[key] = seconds_per_image(
                recipe, network.method, network.options, size, self.device
            )
        return self.known[key]


def _size(name: str, options: Options) -> Size:
    """Known without the files, so that one learns the cost before one gets them."""
    if name in SIZES:
        return SIZES[name]
    data = datasets.load(name, options.data_root)
    return Size(
        len(data.parts["train"]), data.view().part("train").images.shape[-1], len(data.classes)
    )
