"""C-scores of the test images where none are published: train small networks, predict with each.

They are the scores of these networks: on 3,000 images of CIFAR-10, nine that reach 45 % have a rank
correlation of .49 [.46, .52] with the published scores, .44 to .45 if only three are averaged.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from catchup_eval import datasets
from catchup_eval.analysis import ANALYSES
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.core.errors import UserError
from catchup_eval.core.files import atomic_path, locked
from catchup_eval.core.readers import read_npz
from catchup_eval.datasets.cscores import estimate, with_cscores
from catchup_eval.datasets.dataset import AnySet, TensorDataset
from catchup_eval.jobs.cost import StepTimes, dataset_size
from catchup_eval.jobs.plan import CScoreSettings
from catchup_eval.jobs.task import Progress, SharedInput, Task, TaskResult, Worker
from catchup_eval.models import loading, spec
from catchup_eval.results.shards import WHOLE, Shard
from catchup_eval.trainers.recipe import Recipe, checkpoint_spec, load_recipe
from catchup_eval.trainers.train import code_digests, train

METHOD = "baseline"
STEP_COST = 0.015  # of one training step, on the scale of the analyses' `COST`


@dataclass(frozen=True, eq=False)
class CScoreEstimation(SharedInput):
    """C-scores to be estimated.

    Args:
        settings: how many networks, of which sizes and by which recipe.
        live: the dataset; its training split is learned from, in random subsets; its test split is
            scored.
        folder: where the predictions of each network are saved, so that a stopped estimate goes on.
        origin: name and data root by which another process loads the dataset.
    """

    settings: CScoreSettings
    live: TensorDataset | None
    folder: Path
    origin: tuple[str, Path] | None = None

    @cached_property
    def data(self) -> TensorDataset:
        """The dataset, without C-scores."""
        if self.live is None:
            assert self.origin is not None
            loaded = datasets.load(*self.origin).without_cscores
            assert isinstance(loaded, TensorDataset)
            return loaded
        return self.live

    def spelled(self) -> Mapping[str, Any]:
        if self.origin is None:
            raise UserError("the dataset is in the memory of this process; use the engine inline")
        return {each.name: getattr(self, each.name) for each in fields(self)} | {"live": None}

    @property
    def sizes(self) -> list[int]:
        """How many images each network is trained on; all sizes come early."""
        images, fractions = len(self.data.split("train")), self.settings.shares
        chosen = [fractions[number % len(fractions)] for number in range(self.settings.networks)]
        return [max(1, round(fraction * images)) for fraction in chosen]

    def recipe(self, size: int) -> Recipe:
        """For a subset of this size: as many steps as all training images would take."""
        recipe = load_recipe(self.settings.recipe)
        epochs = ceil(self.steps / ceil(size / recipe.batch_size))
        return recipe.model_copy(update={"epochs": epochs, "keep": ()})

    @property
    def steps(self) -> int:
        """That the recipe takes on all training images."""
        recipe = load_recipe(self.settings.recipe)
        return recipe.epochs * ceil(len(self.data.split("train")) / recipe.batch_size)

    @property
    def description(self) -> str:
        """What it takes, in words."""
        recipe = load_recipe(self.settings.recipe)
        return (
            f"C-scores are estimated from {self.settings.networks} networks, each trained by the "
            f"recipe {self.settings.recipe} for about {self.steps} steps of "
            f"{recipe.batch_size} images"
        )

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The predictions of each network: files named by all that they depend on."""
        return tuple(self._output(number, size) for number, size in enumerate(self.sizes))

    def _output(self, number: int, size: int) -> Path:
        recipe = self.recipe(size)
        depends = {
            "recipe": recipe.training_settings() | code_digests(recipe, METHOD),
            "data": self.data.fingerprint,
            "size": size,
            "seed": number,
        }
        digest = sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
        return self.folder / f"network-{number:03d}-{digest[:8]}.npz"

    def scored(self) -> TensorDataset:
        """The dataset with C-scores of its test images, once all networks have predicted."""
        correct = np.stack([read_npz(path)["correct"] for path in self.outputs])
        scores, errors = estimate(correct, self.sizes)
        percents = ", ".join(f"{100 * fraction:g}" for fraction in self.settings.shares)
        source = (
            f"estimated from {self.settings.networks} small networks trained on {percents} % of "
            f"the training images (mean standard error {errors.mean():.3f})"
        )
        return with_cscores(self.data, torch.from_numpy(scores), source)


class CScoreTask(Task):
    """Train one network of an estimation, and save which test images it classifies correctly."""

    kind = "estimate"
    unit = ""  # every shard needs the scores

    def __init__(self, estimation: CScoreEstimation, number: int):
        self._estimation, self._number = estimation, number
        self.name = f"C-scores: network {number + 1}"
        self.cost = STEP_COST * estimation.steps
        self.outputs = (estimation.outputs[number],)

    def run(self, worker: Worker, progress: Progress, *, fresh: bool = False) -> TaskResult:
        with locked(self.outputs[0]):  # other runs of the same plan need it too
            if not fresh and self.outputs[0].exists():
                return TaskResult("cached")
            return self._train(worker, progress, fresh=fresh)

    def _train(self, worker: Worker, progress: Progress, *, fresh: bool) -> TaskResult:
        data, size = self._estimation.data, self._estimation.sizes[self._number]
        subset = data.split("train").subsample(size, seed=self._number)
        (path,) = self.outputs
        recipe = self._estimation.recipe(size)
        trained = train(
            recipe,
            METHOD,
            replace(data, parts={"train": subset}),
            folder=path.parent,
            seed=self._number,
            device=worker.device,
            name=path.stem,
            fresh=fresh,
            progress=progress,
        )
        found = loading.load(spec.parse(checkpoint_spec(recipe, trained.checkpoint)))
        model = found.model.to(worker.device)
        correct = EvaluationContext(model, data, device=worker.device).clean_correct
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, correct=correct)
        trained.checkpoint.unlink()
        trained.history_path.unlink()
        return TaskResult("done")

    def seconds(self, times: StepTimes) -> float:
        recipe, size = load_recipe(self._estimation.settings.recipe), self._estimation.data
        images = self._estimation.steps * recipe.batch_size
        return images * times(recipe, METHOD, {}, dataset_size(size))

    def describe(self) -> str:
        return f"about {self._estimation.steps} steps each"


def plan_cscores(estimation: CScoreEstimation, shard: Shard = WHOLE) -> list[CScoreTask]:
    """A task for each network; every shard needs all, and begins elsewhere."""
    count = estimation.settings.networks
    first = (shard.number - 1) * count // shard.total
    return [CScoreTask(estimation, (first + number) % count) for number in range(count)]


def needed_estimation(
    settings: CScoreSettings | None,
    data: AnySet,
    analyses: Sequence[str],
    folder: Path,
    origin: tuple[str, Path] | None = None,
) -> CScoreEstimation | None:
    """What has to be estimated before these analyses; None where none needs it, or none can be.

    Args:
        settings: None where nothing is to be estimated.
        folder: of the report.
        origin: of the data, as of :class:`CScoreEstimation`.
    """
    wanted = any("cscores" in ANALYSES[name].NEEDS for name in analyses)
    if settings is None or not wanted or data.has("cscores"):
        return None
    if not (isinstance(data, TensorDataset) and data.has("train") and data.has("test")):
        return None
    return CScoreEstimation(settings, data, folder / "cscores", origin)
