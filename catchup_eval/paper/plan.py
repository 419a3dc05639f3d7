"""What has to be trained and evaluated for a table or figure of the paper, setting by setting.

FOLDER/SETTING/            a report of its own: models, results, page
FOLDER/index.html          the paper's layout: its numbers and ours, side by side
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catchup_eval.core.errors import UserError
from catchup_eval.core.files import safe_filename
from catchup_eval.datasets import SIZES, DatasetSize
from catchup_eval.jobs.cost import dataset_size
from catchup_eval.jobs.data import DataSource
from catchup_eval.jobs.networks import ModelSource
from catchup_eval.jobs.timing import EpochTimes, TimingTask, read_times
from catchup_eval.jobs.train import TrainTask
from catchup_eval.models import catalogue
from catchup_eval.models.sources import WeightsAccess
from catchup_eval.paper.reproduction import (
    NetworkSpec,
    Reproduction,
    ReproductionSetting,
)
from catchup_eval.trainers.recipe import Recipe, load_recipe, scale_epochs


@dataclass(frozen=True)
class ReproductionStage:
    """All that is trained and evaluated in one setting.

    Args:
        name: the setting's.
        setting: how and on what.
        networks: which.
        seeds: each network that is trained is trained once with each.
        analyses: of each network.
        scale: of the epochs, 1 for the recipe's.
        folder: of the setting's report.
        timed: whether an epoch of each training is timed.
        analysis_settings: by analysis, where they are not its defaults.
    """

    name: str
    setting: ReproductionSetting
    networks: Sequence[NetworkSpec]
    seeds: Sequence[int]
    analyses: Sequence[str]
    scale: float
    folder: Path
    timed: bool = False
    analysis_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def recipe(self, network: NetworkSpec) -> Recipe:
        """How one network is trained; elsewhere, with only the regularizers of a row's recipe."""
        base, changes = self.setting.recipe, dict(self.setting.changes)
        if network.recipe.startswith(base):
            base = network.recipe
        elif network.recipe:
            own = load_recipe(network.recipe).regularizers
            changes["regularizers"] = {name: {} for name in own}
        if network.regularizers:
            changes["regularizers"] = network.regularizers
        return scale_epochs(load_recipe(base, changes), self.scale)

    @property
    def trained(self) -> list[NetworkSpec]:
        """The networks whose weights nobody has."""
        return [one for one in self.networks if not (one.published or one.weights)]

    @property
    def missing_weights(self) -> list[str]:
        """A sentence for each network whose weights must be given."""
        entries = {one.name: one.published for one in self.networks if one.published}
        return [
            f"{name} stays empty: its weights must be got by hand from "
            f"{catalogue.entries()[published].page}; give them as --weights {name!r}=SPEC"
            for name, published in entries.items()
            if not catalogue.entries()[published].is_at_hand
        ]

    def trainings(self, data: DataSource) -> list[TrainTask]:
        """Seed by seed, so that an interrupted run has compared something."""
        return [
            TrainTask(
                self.recipe(network),
                network.method,
                seed,
                data,
                self.folder / "models",
                group=network.name,
                stem=f"{safe_filename(network.name)}-s{seed}",
                settings=network.options,
            )
            for seed in self.seeds
            for network in self.trained
        ]

    def timings(self, trainings: Sequence[TrainTask]) -> list[TimingTask]:
        """An epoch of each network's first training, timed; none where the table has no times."""
        first: dict[str, TrainTask] = {}
        for task in trainings:
            first.setdefault(task.model.group, task)
        return [TimingTask(task, self.folder / "timing") for task in first.values() if self.timed]

    def times(self) -> dict[str, EpochTimes]:
        """What was timed, by network."""
        tasks = self.timings(self.trainings(DataSource(self.setting.data, Path())))
        files = {task.model.group: task.outputs[0] for task in tasks}
        return {name: read_times(path) for name, path in files.items() if path.is_file()}

    def models(
        self, trainings: Sequence[TrainTask], data: DataSource, access: WeightsAccess
    ) -> tuple[list[ModelSource], list[str]]:
        """The networks in the paper's order, and a sentence for each that cannot be had."""
        models: list[ModelSource] = []
        missing: list[str] = []
        for network in self.networks:
            models += [task.model for task in trainings if task.model.group == network.name]
            if not (network.published or network.weights):
                continue
            where = network.weights or f"{catalogue.CATALOGUE}{network.published}"
            spec = f"{network.name}={where}"
            data.given  # noqa: B018 (raises where the data are not here)
            try:
                models += ModelSource.of_specs([spec], data, access)
            except UserError as error:
                if network.weights:  # the user's own
                    raise
                missing.append(f"{network.name} is left out: {error}")
        return models, missing

    def data_size(self, data: DataSource) -> DatasetSize:
        """Known without the files, so that one learns the cost before one gets them."""
        if data.name in SIZES:
            return SIZES[data.name]
        return dataset_size(data.given)


def expect_classes(wanted: Reproduction, data: DataSource) -> None:
    """Raise `UserError` where other data have another number of classes than a table's own."""
    classes = len(data.given.classes)
    for name, setting in wanted.settings.items():
        own = SIZES[setting.data].classes
        if wanted.networks(name) and own != classes:
            columns = [one.heading for one in wanted.columns if one.setting in ("", name)]
            raise UserError(
                f"expected data of {own} classes in place of {setting.data}, {data.name} has "
                f"{classes}; choose columns by --columns, without {' and '.join(columns)}"
            )


def plan_reproduction(
    wanted: Reproduction, folder: Path, *, scale: float = 1.0
) -> Iterator[ReproductionStage]:
    """The settings that a table or figure needs, in order.

    Args:
        folder: of the whole reproduction.
        scale: of all epochs.
    """
    for name, setting in wanted.settings.items():
        networks = list(wanted.networks(name).values())
        if networks:
            analyses = wanted.analyses(name)
            yield ReproductionStage(
                name,
                setting,
                networks,
                wanted.seeds,
                analyses,
                scale,
                folder / name,
                wanted.times(name),
                wanted.analysis_settings,
            )
