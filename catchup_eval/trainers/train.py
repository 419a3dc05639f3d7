"""From a recipe, a method and a dataset to a checkpoint; finished work is not repeated.

FOLDER/NAME.safetensors              the last epoch's weights, with their card; written last
FOLDER/NAME.history.csv              the history, after every epoch
FOLDER/NAME-epoch010.safetensors     the epochs that the recipe keeps
FOLDER/NAME.samples.json             which images it learned from, where these are only a fraction
FOLDER/NAME.resume.pt                during the training
FOLDER/NAME.tensorboard/             event files, where the command is asked for them

One process trains NAME at a time, or several together (:mod:`~catchup_eval.trainers.distributed`),
of which the first writes; another one is refused, and none changes what is finished.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from catchup_eval.core.errors import UserError
from catchup_eval.core.files import locked
from catchup_eval.core.readers import code_label, hash_user_code, names_code
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.datasets.dataset import AnySet, TensorDataset
from catchup_eval.datasets.subset import class_fraction, digest_of, write_list
from catchup_eval.models import checkpoints
from catchup_eval.models.checkpoints import ModelCard
from catchup_eval.models.classifier import Classifier
from catchup_eval.trainers import mixing
from catchup_eval.trainers.callbacks import Callback
from catchup_eval.trainers.distributed import PROCESSES, current_processes, synchronise_norms
from catchup_eval.trainers.history import History, read_history
from catchup_eval.trainers.initialization import first_weights, weights_digest
from catchup_eval.trainers.loop import Progress, compile_settings, compiled, fit
from catchup_eval.trainers.optimization import WeightAverage
from catchup_eval.trainers.recipe import Recipe, load_recipe
from catchup_eval.trainers.regularizers import fill_defaults, regularize
from catchup_eval.trainers.regularizers.base import Regularizers
from catchup_eval.trainers.state import expect_same


@dataclass(frozen=True)
class TrainingOutput:
    """A finished training on disk.

    Args:
        checkpoint: its file; a model spec by itself.
        skipped: it was finished before.
        resumed: it went on from where an earlier call had stopped.
    """

    checkpoint: Path
    skipped: bool = False
    resumed: bool = False

    @property
    def history_path(self) -> Path:
        """The CSV of the history."""
        return self.checkpoint.with_suffix(".history.csv")

    @property
    def history(self) -> History:
        """Read from its file."""
        return read_history(self.history_path)

    @property
    def resume_path(self) -> Path:
        """The path of the state during a training."""
        return self.checkpoint.with_suffix(".resume.pt")

    @property
    def samples_path(self) -> Path:
        """Which images it learned from, where the recipe takes a fraction of each class."""
        return self.checkpoint.with_suffix(".samples.json")

    def epoch_path(self, epoch: int) -> Path:
        """Where the checkpoint saved after this epoch lies."""
        return self.checkpoint.with_name(f"{self.checkpoint.stem}-epoch{epoch:03d}.safetensors")

    @property
    def epoch_checkpoints(self) -> dict[int, Path]:
        """The checkpoints that were saved, by epoch."""
        paths = {row.epoch: self.epoch_path(row.epoch) for row in self.history.epochs}
        return {epoch: path for epoch, path in paths.items() if path.is_file()}


def train(
    recipe: Recipe | str | Path,
    method: str,
    data: AnySet,
    *,
    folder: Path | str,
    seed: int = 0,
    device: torch.device | str = "cpu",
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    fresh: bool = False,
    callbacks: Sequence[Callback] = (),
    progress: Progress | None = None,
) -> TrainingOutput:
    """Train one network, go on with it, or find it finished.

    Args:
        recipe: or its name, or the path of its file.
        method: one of `METHODS`, or `FILE.py:NAME`, a function of your own.
        data: its split "train" is learned from; "test", if there is one, is only watched. Images
            of varying size are preprocessed as in the recipe, else as in the dataset.
        folder: of the checkpoint and all that belongs to it.
        seed: of the first weights and of all random numbers.
        name: of the files; `METHOD-sSEED` where it is not given.
        settings: of the method; they win over the recipe's.
        fresh: start over, whatever lies there.
        callbacks: told of each step and each epoch; they cannot change what is trained.
        progress: called after each step with steps done, steps in all, and words.

    Raises:
        Interrupted: by SIGINT or SIGTERM; the same call goes on.
        UserError: what lies there was trained otherwise, or is being trained by another process,
            the labels do not fit the classes, or the loss is no number any more, or torch cannot
            compile; or several processes cannot train so together.
        UnknownName: no such recipe, method, regularizer, setting, architecture or normalisation.
        Missing: the data has no training split.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    # With every setting of its regularizers, so that a card has also what was a default.
    regularizers = _to_json_types(fill_defaults(recipe.regularizers))
    recipe = recipe.model_copy(update={"regularizers": regularizers})
    name = name or f"{mixing.short_name(method)}-s{seed}"
    files = TrainingOutput(Path(folder) / f"{name}.safetensors")
    claims = _identity(recipe, method, data, seed, settings or {})
    if not fresh and _is_finished(files, claims):
        return replace(files, skipped=True)

    processes = current_processes()
    if processes.first:
        splits = _transform_splits(data, recipe, seed, progress)
    processes.ask_first(lambda: None)  # has decoded what the others read
    if not processes.first:
        splits = _transform_splits(data, recipe, seed, None)
    model, card = first_weights(recipe, splits, seed)
    if recipe.sync_norm:
        synchronise_norms(model, torch.device(device), processes)
    model.preprocess = data.preprocessing_for(recipe.preprocessing_by_split["test"])
    card = card.model_copy(update={**claims, "preprocess": model.preprocess})
    if processes.size > 1:
        card = card.model_copy(update={"recipe": {**card.recipe, PROCESSES: processes.size}})
    with fork_global_rng(generator(seed, "method")):
        on = regularize(model, recipe.regularizers)
        learner = compiled(model) if recipe.compile else model
        plain = mixing.build(method, learner, criterion=on.criterion, **card.settings)
        built = on.wrap(plain)
    alone = _alone(files) if processes.first else nullcontext()
    with closing(built), alone:
        # By a process that has just ended.
        if processes.ask_first(lambda: not fresh and _is_finished(files, claims)):
            return replace(files, skipped=True)
        if fresh and processes.first:
            _clear(files)
        resumed = processes.ask_first(files.resume_path.exists)
        average = WeightAverage(model, recipe.ema) if recipe.ema else None
        if recipe.share < 1 and processes.first:
            split = splits.split("train")
            write_list(files.samples_path, data.name, split, recipe.share, seed)
            card = card.model_copy(update={"samples": digest_of(split.index)})

        def save_epoch(history: History) -> None:
            _expect_unfinished(files)
            history.write(files.history_path)
            if len(history.epochs) in recipe.keep:
                _save(files.epoch_path(len(history.epochs)), model, card, history, on, average)

        compiling = compile_settings() if recipe.compile else nullcontext()
        with _without_leftover(files), compiling, mixing.guard(method, surely=False):
            history = fit(
                model,
                built,
                splits.split("train"),
                splits.split("test") if splits.has("test") else None,
                recipe,
                seed=seed,
                device=device,
                resume=files.resume_path,
                identity={
                    **{key: claims[key] for key in ("method", "settings")},
                    **code_digests(recipe, method),
                },
                average=average,
                after_epoch=save_epoch,
                callbacks=callbacks,
                progress=progress,
            )
        if processes.first:
            _expect_unfinished(files)
            _save(files.checkpoint, model, card, history, on, average)
            files.resume_path.unlink(missing_ok=True)
        processes.ask_first(lambda: None)  # has written the checkpoint
    return replace(files, resumed=resumed)


def _is_finished(files: TrainingOutput, claims: Mapping[str, Any]) -> bool:
    path = files.checkpoint
    if not path.exists():
        return False
    _, card = checkpoints.read(path)
    if card is None:
        raise UserError(f"{path} has no card, so it is not from here; choose another name")
    there = {name: value for name, value in card.model_dump().items() if name in claims}
    # How many trained it is recorded, and does not make it another training's.
    there["recipe"] = {key: there["recipe"][key] for key in there["recipe"] if key != PROCESSES}
    expect_same(there, claims, f"{path} was trained otherwise")
    return True


@contextmanager
def _alone(files: TrainingOutput) -> Iterator[None]:
    """While no other process trains these files; raises `UserError` where one does."""
    with locked(files.checkpoint, wait=False) as alone:
        if alone is False:
            raise UserError(
                f"another process is training {files.checkpoint} at this moment; wait until it "
                "ends, or choose another name or folder"
            )
        yield


def _expect_unfinished(files: TrainingOutput) -> None:
    """Where the file system has no locks, the slower of two processes ends here."""
    if files.checkpoint.exists():
        raise UserError(
            f"another process has finished {files.checkpoint} meanwhile; this one leaves it "
            "as it is"
        )


@contextmanager
def _without_leftover(files: TrainingOutput) -> Iterator[None]:
    """Leave no resume file beside what another process has finished meanwhile."""
    try:
        yield
    finally:
        if files.checkpoint.exists():
            files.resume_path.unlink(missing_ok=True)


def _transform_splits(
    data: AnySet, recipe: Recipe, seed: int, progress: Progress | None
) -> TensorDataset:
    """The splits of the training, preprocessed."""

    def report(done: int, total: int) -> None:
        if progress:
            progress(done, total, "decoding images")

    splits = {
        name: data.transform(preprocess, report).split(name)
        for name, preprocess in recipe.preprocessing_by_split.items()
        if name == "train" or data.has(name)
    }
    splits["train"] = class_fraction(splits["train"], recipe.share, seed)
    return TensorDataset(data.name, splits, data.classes, data.mean, data.std)


def _save(
    path: Path,
    model: Classifier,
    card: ModelCard,
    history: History,
    on: Regularizers,
    average: WeightAverage | None,
) -> None:
    facts = {"epoch": len(history.epochs), "history": history.summary}
    card, averaged = card.model_copy(update=facts), None
    if average is not None:
        with average.in_the_network(), on.fold_into_weights():
            averaged = {name: value.clone() for name, value in model.net.state_dict().items()}
    with on.fold_into_weights():  # a file's weights are those of the plain network
        checkpoints.save(path, model, card, averaged)


def _clear(files: TrainingOutput) -> None:
    epochs = files.epoch_checkpoints.values() if files.history_path.exists() else []
    own = (files.checkpoint, files.resume_path, files.samples_path, files.history_path)
    for path in (*own, *epochs):
        path.unlink(missing_ok=True)


def _identity(
    recipe: Recipe, method: str, data: AnySet, seed: int, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What the weights depend on, as the card has it."""
    for known in (method, *recipe.methods):
        mixing.check_name(known)
    own = {**recipe.methods.get(method, {}), **settings}
    mixing.check_settings(method, {key: own[key] for key in own if key != "criterion"})
    # Datasets that only evaluations use may come and go.
    used = {
        name: data.split(name) for name in ("train", "test") if name == "train" or data.has(name)
    }
    return {
        "data": data.name,
        "data_fingerprint": replace(data, parts=used).fingerprint,
        "method": code_label(method) if names_code(method) else method,
        "settings": _to_json_types({**mixing.default_settings(method), **own}),
        "recipe": recipe.training_settings()
        | weights_digest(recipe)
        | code_digests(recipe, method),
        "seed": seed,
    }


def code_digests(recipe: Recipe, method: str) -> dict[str, dict[str, str]]:
    """Hashes of the user's own code, which may change under the same name; empty without any."""
    transforms = (each["name"] for each in recipe.augmentation.transforms)
    targets = (method, recipe.architecture, *transforms)
    code = {code_label(each): hash_user_code(each) for each in targets if names_code(each)}
    return {"code": code} if code else {}


def _to_json_types(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has them, so that they are the same before and after storing; sets become lists."""
    try:
        return json.loads(json.dumps(settings, default=sorted, sort_keys=True))  # type: ignore[no-any-return]
    except TypeError as error:
        raise UserError(
            f"expected settings as plain values, which a checkpoint's card can keep: {error}"
        ) from error
