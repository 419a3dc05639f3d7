"""The training loop, for any method.

The order of the samples, crops, flips, colours and the method's random numbers come from one numpy
generator; those of the network itself (dropout) come from torch's global generators, which are
seeded from it and restored.

The recipe's switch `compile` is torch.compile under methods that use hooks of the network. Methods
and regularizers put hooks on the network. torch compiles at the first call, as a rule without
looking for hooks again: neither those that come later nor, since what was compiled is cached by
class, those on the next network of the same class. So a method is built on what :func:`compiled`
gives before any call, and its steps are made inside :func:`compile_settings`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import nan
from pathlib import Path
from typing import Any

import torch
from numpy.random import Generator
from torch import nn
from torch.nn import functional as F

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.datasets.dataset import Split
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.memory_format import memory_format
from catchup_eval.models.modes import eval_mode
from catchup_eval.trainers.augmentation import apply_transforms, augment, recolour
from catchup_eval.trainers.base import Loss
from catchup_eval.trainers.callbacks import Callback, EpochInfo, StepInfo, call_all
from catchup_eval.trainers.distributed import (
    PartGenerator,
    current_processes,
    expect_no_memory,
)
from catchup_eval.trainers.history import History
from catchup_eval.trainers.optimization import WeightAverage
from catchup_eval.trainers.recipe import Recipe
from catchup_eval.trainers.state import Pause, TrainingState, resume_from

Progress = Callable[[int, int, str], None]  # steps done, steps in all, a note

GUARD = 100  # steps between two looks at the loss, because each waits for the device


def fit(
    model: Classifier,
    method: Loss,
    train: Split,
    validation: Split | None,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    resume: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    average: WeightAverage | None = None,
    after_epoch: Callable[[History], None] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: Progress | None = None,
) -> History:
    """Train `model` in place; the weights of the last epoch stay in it.

    Nothing is selected on `validation`: it is only watched. The model moves to `device`; the mode
    of each submodule is restored. On a CPU, a training that was stopped and goes on ends with
    the very weights, bit for bit, of one that was not. The last batch of an epoch may be smaller;
    where it is a single image on which the network's batch norms cannot be trained, it goes with
    the batch before it.

    Where torch's process group has several processes, each takes its part of every batch
    (:mod:`~catchup_eval.trainers.distributed`); files, `after_epoch`, `callbacks` and `progress`
    are the first one's. A last batch of fewer images than processes goes with the one before.

    Args:
        model: trained in training mode.
        method: gives the mean loss of images (N, C, H, W) in [0, 1] and labels (N,). If it is an
            `nn.Module`, its parameters are trained too and its state is saved; its `start_epoch()`
            is called before each epoch if it has one, and its `set_progress(fraction)` before each
            step with the fraction of the training that is done.
        train: held on the device as a whole where it fits into half of the free memory, else where
            it is, from where each batch is moved.
        validation: None: the history has NaN for it.
        recipe: all the settings; its [methods], [regularizers] and `compile` have gone into
            `method`.
        seed: of all random numbers.
        resume: a file to go on from and to save the state in; SIGINT and SIGTERM then end the
            training after a step, with everything saved. The caller deletes it.
        identity: what else a resume file must agree in, such as the method's name and settings.
        average: of the weights of `model`, to read it afterwards; where it is None and the recipe
            has one, it is made.
        after_epoch: called with the history after each epoch.
        callbacks: told of each step and each epoch; they cannot change what is trained.
        progress: called after each step.

    Raises:
        Interrupted: by a signal; the same call goes on.
        UserError: a callback is none, the loss is no number any more or more than one, the resume
            file is another training's, or there is nothing to train on, or only batches of one
            image that the network cannot be trained on; or there are more processes than images in
            a batch, or several while the method remembers earlier steps.
        BadFile: the resume file is damaged.
    """
    if not len(train):
        raise UserError("expected images to train on, got an empty split")
    device = torch.device(device)
    processes = current_processes()
    if processes.size > 1:
        expect_no_memory(method, model)
        identity = {**(identity or {}), "processes": processes.size}
    if not processes.first:
        after_epoch, callbacks, progress = None, (), None
    rng = generator(seed, "training")
    claims = {
        "seed": seed,
        "recipe": recipe.training_settings(),
        "train": train.fingerprint,
        "validation": "" if validation is None else validation.fingerprint,
        **(identity or {}),
    }
    for module in (model, method):
        if isinstance(module, nn.Module):
            module.to(device, memory_format=memory_format(model))  # type: ignore[call-overload]
    train = move_to_device(train, device)
    validation = None if validation is None else move_to_device(validation, device)

    if average is None and recipe.ema:
        average = WeightAverage(model, recipe.ema)
    for each in callbacks:
        if not isinstance(each, Callback):
            raise UserError(f"expected callbacks of the class Callback, got {type(each).__name__}")
    of_steps = [each for each in callbacks if type(each).on_step is not Callback.on_step]
    with fork_global_rng(rng), _train_mode(model), _closing(callbacks):
        run = TrainingState(model, method, recipe, len(train), rng, device, average, processes)
        with resume_from(run, resume, claims) as pause:
            least = _smallest_batch(run, train)
            while run.epoch < recipe.epochs:
                run.begin_epoch()
                batches = run.batches(train.images.device)
                for rows in _join_last(batches, least):
                    with run.measure_time():
                        loss = _step(run, train, rows, seed)
                    if of_steps:
                        call_all(of_steps, "on_step", _step_info(run, loss))
                    _report_progress(run, progress)
                    pause()
                with run.measure_time():  # waits for the device, so that the time is complete
                    run.check_weights()
                run.finish_epoch(*_validate(run, validation, pause))
                if after_epoch:
                    after_epoch(run.history)
                row = run.history.epochs[-1]
                call_all(callbacks, "on_epoch", EpochInfo.of(row, recipe.epochs, run.step))
                _report_progress(run, progress)
                pause()
    return run.history


def move_to_device(split: Split, device: torch.device) -> Split:
    """The split on the device, unless it needs more than half of a GPU's free memory."""
    if device.type == "cuda" and split.images.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return split
    return split.to(device)


def _step(run: TrainingState, train: Split, rows: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """One step; gives its loss ()."""
    count, rng, own = len(rows), run.rng, run.rng
    if run.processes.size > 1:
        rank, parts = run.processes.rank, run.processes.parts(count)
        rows = rows[parts[rank]]
        rng = PartGenerator(run.rng, parts, rank)
        # A method may draw more for a larger part: what comes later does not depend on it. Dropout
        # is another for each process.
        own = PartGenerator(generator(seed, "method", run.step), parts, rank)
        torch.manual_seed(int(generator(seed, "network", run.step, rank).integers(2**62)))
    run.set_learning_rates()
    if hasattr(run.method, "set_progress"):  # for schedules other than the learning rate's
        run.method.set_progress(run.step / run.steps)
    images, labels = _pixels(run, train, rows, rng), train.labels[rows].to(run.device)
    mixed_precision = run.recipe.precision == "bfloat16"
    with torch.autocast(run.device.type, torch.bfloat16, enabled=mixed_precision):
        loss = run.method(images, labels, own)
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        got = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise UserError(f"expected the loss of a batch as one number, got {got}")
    loss = run.take_step(loss, len(rows) / count)
    run.record_step(loss, count)
    if run.step % GUARD == 0:
        run.check_loss()
    return loss


def _step_info(run: TrainingState, loss: torch.Tensor) -> StepInfo:
    return StepInfo(run.step, run.steps, run.epoch + 1, run.learning_rate, loss)


def _pixels(run: TrainingState, train: Split, rows: torch.Tensor, rng: Generator) -> torch.Tensor:
    """(N, C, H, W) in [0, 1]: these images, changed at random."""
    settings = run.recipe.augmentation
    pixels = augment(train.images[rows].to(run.device), settings, rng)  # still bytes
    pixels = apply_transforms(pixels, run.transforms, rng)
    images = pixels.contiguous(memory_format=memory_format(run.model))
    images = images if images.is_floating_point() else images.float() / 255
    return recolour(images, settings, rng)


def _smallest_batch(run: TrainingState, train: Split) -> int:
    """How many images a batch must have: an image for each process, or two.

    Batch norms refuse one value per channel: a single image where its map has come down to 1x1.
    Found by trying, which changes nothing, where there is such a batch.

    Raises:
        UserError: all batches have fewer.
    """
    size, count, parts = min(run.recipe.batch_size, len(train)), len(train), run.processes.size
    if size < parts:
        raise UserError(
            f"expected batches of an image or more for each of {parts} processes, got "
            f"batch_size {run.recipe.batch_size} and {count} images"
        )
    if min(size, count % size or size) >= 2 * parts:
        return parts
    image = _pixels(run, train, torch.zeros(1, dtype=torch.long), generator(0))
    buffers = [(buffer, buffer.clone()) for buffer in run.model.buffers()]
    try:
        with torch.no_grad(), fork_global_rng(generator(0)):
            run.model(image)
    except ValueError as error:
        if size < 2 * parts:
            each = f" for each of {parts} processes" if parts > 1 else ""
            raise UserError(
                f"expected batches of two images or more{each}, which the network's batch norms "
                f"need, got batch_size {run.recipe.batch_size} and {count} images ({error})"
            ) from error
        return 2 * parts
    finally:
        for buffer, before in buffers:
            buffer.copy_(before)
    return parts


def _join_last(batches: Iterator[torch.Tensor], least: int) -> Iterator[torch.Tensor]:
    """The same batches of rows (N,), a last one of too few together with the one before."""
    before: list[torch.Tensor] = []
    for rows in batches:
        if before and len(rows) >= least:
            yield torch.cat(before)
            before = []
        before.append(rows)
    if before:
        yield torch.cat(before)


@torch.no_grad()
def validate(
    model: Classifier, split: Split | None, batch_size: int, pause: Pause = lambda: None
) -> tuple[float, float]:
    """Mean cross-entropy and top-1 in %, in evaluation mode; NaN where there is no split."""
    if split is None or not len(split):
        return nan, nan
    device = model.normalize.mean.device
    loss = torch.zeros((), device=device)
    correct = torch.zeros_like(loss)
    with eval_mode(model):
        for batch in split.batches(batch_size, device):
            logits = model(batch.images).float()
            loss += F.cross_entropy(logits, batch.labels, reduction="sum")
            correct += (logits.argmax(1) == batch.labels).sum()
            pause()
    return float(loss) / len(split), 100 * float(correct) / len(split)


def _validate(run: TrainingState, split: Split | None, pause: Pause) -> tuple[float, float, float]:
    """Cross-entropy and top-1 in %, and the latter of the average of the weights; NaN where none.

    No pause while the network has the average, which the state would be saved with. Several
    processes take a part of the split each, and pause only together.
    """
    wanted, fraction = run.recipe.is_validated(run.epoch + 1), 1.0
    if run.processes.size > 1:
        pause = _never
        if split is not None and len(split):
            part = run.processes.parts(len(split))[run.processes.rank]
            whole, split = len(split), split[part]
            fraction = len(split) / whole
    numbers = nan, nan, nan
    if wanted:
        loss, top1 = validate(run.model, split, run.recipe.batch_size, pause)
        numbers = loss, top1, nan
        if run.average is not None:
            with run.average.in_the_network():
                numbers = loss, top1, validate(run.model, split, run.recipe.batch_size)[1]
    if run.processes.size == 1:
        return numbers
    own = [fraction * number if fraction else 0.0 for number in numbers]
    summed = torch.tensor(own, dtype=torch.float64, device=run.device)
    run.add_up([summed])
    loss, top1, ema_top1 = summed.tolist()
    return loss, top1, ema_top1


def _never() -> None:
    """A pause that neither saves nor stops."""


@contextmanager
def _closing(callbacks: Sequence[Callback]) -> Iterator[None]:
    try:
        yield
    finally:
        call_all(callbacks, "close")


def _report_progress(run: TrainingState, progress: Progress | None) -> None:
    if progress is None:
        return
    words = f"epoch {min(run.epoch + 1, run.recipe.epochs)}/{run.recipe.epochs}"
    top1 = run.history.summary.get("last")
    progress(run.step, run.steps, words if top1 is None else f"{words}, top-1 {top1:.1f} %")


@contextmanager
def _train_mode(model: nn.Module) -> Iterator[None]:
    """Training mode for a while; afterwards no gradients are left, and modes are as they were."""
    with eval_mode(model):  # which restores each submodule's own mode
        model.train()
        try:
            yield
        finally:
            model.zero_grad(set_to_none=True)


def compiled(model: Classifier) -> nn.Module:
    """The model to build a method on: it has all modules of `model`, which stays as it is.

    So weights have the same names, and calls of `model` itself, such as a validation, do not use
    the compiler.
    """
    return torch.compile(model)  # type: ignore[return-value]


SETTINGS = {
    "skip_nnmodule_hook_guards": False,  # look for hooks at each call
    # Graphs of one function; after them torch leaves it as it is. Its own 8 are too few where hooks
    # divide a network into blocks: MobileNetV2 has 17 of one class, each seen in two batch sizes.
    "cache_size_limit": 64,
}


@contextmanager
def compile_settings() -> Iterator[None]:
    """For steps of a method that was built on a compiled model.

    Raises:
        UserError: torch cannot compile; in place of its own error, which is no sentence.
    """
    from torch._dynamo import config, exc  # a second's import, only where it is needed

    with config.patch(SETTINGS):
        try:
            yield
        except exc.TorchDynamoException as error:
            reason = " ".join(str(error).split("\n\n")[0].split())
            raise UserError(
                "expected a network that torch can compile, and a C++ compiler for a CPU or triton "
                f"for a GPU, got {reason!r}; compile = false in the recipe trains without them"
            ) from error
