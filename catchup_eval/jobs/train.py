"""Train networks: one task is one method and one seed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from catchup_eval.core.errors import UserError
from catchup_eval.core.words import count_noun
from catchup_eval.jobs.cost import StepTimes, dataset_size
from catchup_eval.jobs.data import DataSource
from catchup_eval.jobs.networks import ModelSource
from catchup_eval.jobs.task import Progress, Task, TaskResult, Worker
from catchup_eval.trainers.callbacks import Callback, EpochInfo, TensorBoard
from catchup_eval.trainers.mixing import short_name
from catchup_eval.trainers.recipe import Recipe, checkpoint_spec
from catchup_eval.trainers.regularizers import split_combination
from catchup_eval.trainers.train import TrainingOutput, train

EPOCH_COST = 1.1  # of one epoch, on the scale of the analyses' `COST`


class EpochLines(Callback):
    """Gives a line for each epoch to a task's progress."""

    def __init__(self, progress: Progress):
        self._progress = progress

    def on_epoch(self, info: EpochInfo) -> None:
        """Give its numbers."""
        steps = info.step // info.epoch * info.epochs
        self._progress(info.step, steps, f"epoch {info.epoch}/{info.epochs}", line=info.describe())


class TrainTask(Task):
    """One training.

    Args:
        recipe: how.
        method: see `METHODS`.
        seed: of all random numbers.
        data: what from, all of it: a subset is for evaluations only.
        folder: of the checkpoint.
        group: how the model is called; the method where it is empty.
        stem: of the checkpoint's file; `METHOD-sSEED` where it is empty.
        settings: of the method; they win over the recipe's.
        tensorboard: write event files beside the checkpoint, into STEM.tensorboard.
    """

    kind = "train"
    divisible = True

    def __init__(
        self,
        recipe: Recipe,
        method: str,
        seed: int,
        data: DataSource,
        folder: Path,
        *,
        group: str = "",
        stem: str = "",
        settings: Mapping[str, Any] | None = None,
        tensorboard: bool = False,
    ):
        self.recipe, self.method, self.seed, self.data = recipe, method, seed, data
        self.settings, self.tensorboard = dict(settings or {}), tensorboard
        self.name = "training"
        self.cost = EPOCH_COST * recipe.epochs
        stem = stem or f"{method}-s{seed}"
        self.outputs = (folder / f"{stem}.safetensors",)
        path = self.outputs[0]
        spec = checkpoint_spec(recipe, path)
        self.model = ModelSource.of_checkpoint(group or method, seed, path, spec)
        self.unit = self.model.key

    def run(self, worker: Worker, progress: Progress, *, fresh: bool = False) -> TaskResult:
        callbacks: list[Callback] = [EpochLines(progress)]
        if self.tensorboard:
            callbacks.append(TensorBoard(self.outputs[0].with_suffix(".tensorboard")))
        self._train(worker, fresh=fresh, progress=progress, callbacks=callbacks)
        return TaskResult("done")

    def reuse(self, worker: Worker) -> TaskResult:
        self._train(worker)  # refuses what was trained otherwise
        return TaskResult("cached")

    def _train(self, worker: Worker, **how: Any) -> TrainingOutput:
        return train(
            self.recipe,
            self.method,
            self.data.training,
            seed=self.seed,
            device=worker.device,
            name=self.outputs[0].stem,
            settings=self.settings,
            **{"folder": self.outputs[0].parent, **how},
        )

    def seconds(self, times: StepTimes) -> float:
        size = dataset_size(self.data.training)
        times.planned[self.outputs[0]] = self.recipe, size
        images = self.recipe.epochs * round(size.train * self.recipe.share)
        return images * times(self.recipe, self.method, self.settings, size)

    def describe(self) -> str:
        steps = -(-len(self.data.training.split("train")) // self.recipe.batch_size)
        return f"{count_noun(self.recipe.epochs, 'epoch')} of {count_noun(steps, 'step')}"


def plan_train(
    recipe: Recipe,
    methods: Sequence[str],
    seeds: Sequence[int],
    data: DataSource,
    folder: Path,
    *,
    tensorboard: bool = False,
) -> list[TrainTask]:
    """Each method with each seed, seed by seed, so that an interrupted run has compared something.

    Args:
        methods: each alone or with regularizers beside the recipe's, as in "cutmix+cutout".
        tensorboard: as of :class:`TrainTask`.

    Raises:
        UnknownName: no such method or regularizer.
        UserError: two methods of different files have one name.
    """
    names = {short_name(name): name for name in methods}
    if len(names) < len({*methods}):
        raise UserError(f"expected methods of different names, got {', '.join(methods)}")
    combined = {short: split_combination(name) for short, name in names.items()}
    return [
        TrainTask(
            _with_regularizers(recipe, beside),
            method,
            seed,
            data,
            folder,
            group=name,
            stem=f"{name}-s{seed}",
            tensorboard=tensorboard,
        )
        for seed in seeds
        for name, (method, beside) in combined.items()
    ]


def _with_regularizers(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """The recipe with these regularizers, with its settings of them or their defaults."""
    added = {name: recipe.regularizers.get(name, {}) for name in names}
    return recipe.model_copy(update={"regularizers": {**recipe.regularizers, **added}})
