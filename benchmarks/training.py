"""What an epoch of training takes, and which part of it the network's passes must take.

    python benchmarks/training.py --methods catchup           # minutes on one CPU core
    python benchmarks/training.py --device cuda --width 64 --images 50000 --precision bfloat16
    ... --batch 500 --compile                                 # the same, otherwise computed

An epoch is one call of `fit`, its set-up included, without validation: bytes on the device, cropped
and flipped there, PreActResNet-18, SGD. The floor is as many bare steps of the same network
(forward, backward, SGD) on one batch that is ready. They are measured in turn: floor, baseline,
floor, method, floor, ... Printed for each: the median seconds and images per second; the median
ratio to the two floors around it and its quartiles; the median ratio to the same round's baseline.
The baseline's ratio to the floor is what the loop itself costs. With `--compile` epochs and floor
are compiled, and a floor that is not is listed among the methods.
"""

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from machine import CLASSES, batch, machine, network, parser, seconds_of
from torch.nn.functional import cross_entropy

from catchup_eval.core.rng import generator
from catchup_eval.core.settings import check
from catchup_eval.datasets.dataset import Split
from catchup_eval.models.classifier import Classifier
from catchup_eval.trainers.loop import compile_settings, compiled, fit
from catchup_eval.trainers.mixing import build
from catchup_eval.trainers.optimization import make_optimiser
from catchup_eval.trainers.recipe import Recipe

Work = Callable[[], None]


@dataclass
class Measured:
    """Epochs of one method: their seconds, and those as multiples of the floor's."""

    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)


def main() -> None:
    """Read the arguments, measure, print."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    steps = options.images // options.batch
    clock = "processor time" if options.device == "cpu" else "time"
    print(
        f"{machine(options)}, {options.precision}, compile {'on' if options.compile else 'off'}: "
        f"{clock} of an epoch of {steps * options.batch} images, n = {options.rounds}"
    )
    with compile_settings() if options.compile else nullcontext():
        measured, floors = measure(options, steps)
    print(f"{'floor':16} {np.median(floors):8.3f} s")
    for name, side in measured.items():
        print(line(name, side, measured["baseline"], steps * options.batch))


def parse_options() -> argparse.Namespace:
    """The arguments, as they were given."""
    arguments = parser(__doc__, rounds=5)
    add = arguments.add_argument
    add("--images", type=int, default=1000, help="in an epoch, cut to whole batches")
    add("--precision", default="float32", choices=["float32", "bfloat16"], help="as in a recipe")
    add("--compile", action="store_true", help="as in a recipe; an epoch to warm up compiles")
    return arguments.parse_args()


def measure(options: argparse.Namespace, steps: int) -> tuple[dict[str, Measured], list[float]]:
    """Every method's epochs, the baseline's first, and the seconds of all floors."""
    recipe, data = recipe_of(options), data_of(options, steps)
    floor = floor_of(recipe, steps, network(options), batch(options))
    names = ("baseline", *options.methods)
    works = {name: epoch_of(recipe, data, network(options), name) for name in names}
    if options.compile:
        eager = recipe.model_copy(update={"compile": False})
        works["floor, eager"] = floor_of(eager, steps, network(options), batch(options))
    for work in (floor, *works.values()):
        work()  # first calls allocate and compile
    measured = {name: Measured() for name in works}
    device = torch.device(options.device)
    floors = [seconds_of(floor, device)]
    for _ in range(options.rounds):
        for name, work in works.items():
            seconds = seconds_of(work, device)
            floors.append(seconds_of(floor, device))
            measured[name].seconds.append(seconds)
            measured[name].ratios.append(2 * seconds / sum(floors[-2:]))
    return measured, floors


def floor_of(
    recipe: Recipe, steps: int, model: Classifier, ready: tuple[torch.Tensor, torch.Tensor]
) -> Work:
    """So many forward passes, backward passes and updates, with nothing in between."""
    images, labels = ready[0].contiguous(memory_format=torch.channels_last), ready[1]
    model.to(memory_format=torch.channels_last)
    optimiser = make_optimiser(model, build("baseline", model), recipe.optimiser)
    learner = compiled(model) if recipe.compile else model
    mixed = recipe.precision == "bfloat16"

    def work() -> None:
        for _ in range(steps):
            with torch.autocast(images.device.type, torch.bfloat16, enabled=mixed):
                loss = cross_entropy(learner(images), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return work


def epoch_of(recipe: Recipe, data: Split, model: Classifier, name: str) -> Work:
    """One epoch of `fit` with this method."""
    method = build(name, compiled(model) if recipe.compile else model)

    def work() -> None:
        fit(model, method, data, None, recipe, device=data.images.device)

    return work


def recipe_of(options: argparse.Namespace) -> Recipe:
    """One epoch with the CIFAR recipe's optimiser and augmentation, at a rate that is harmless."""
    values = {
        "architecture": "preactresnet18",
        "epochs": 1,
        "batch_size": options.batch,
        "precision": options.precision,
        "compile": options.compile,
        "optimiser": {"lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4},
        "schedule": {"kind": "cosine"},
        "augmentation": {"padding": 4, "flip": True},
    }
    return check(Recipe, values, "the benchmark")


def data_of(options: argparse.Namespace, steps: int) -> Split:
    """Noise for so many steps, on the device."""
    draw, n = generator(0, "images"), steps * options.batch
    images = draw.integers(256, size=(n, 3, options.side, options.side), dtype=np.uint8)
    labels = draw.integers(CLASSES, size=n)
    return Split(torch.from_numpy(images), torch.from_numpy(labels)).to(options.device)


def line(name: str, side: Measured, baseline: Measured, images: int) -> str:
    """One method in numbers."""
    seconds = np.median(side.seconds)
    low, median, high = np.percentile(side.ratios, [25, 50, 75])
    beside = np.median(np.divide(side.seconds, baseline.seconds))
    return (
        f"{name:16} {seconds:8.3f} s {images / seconds:9.0f} images/s   "
        f"{median:.3f} [{low:.3f}, {high:.3f}] x floor   {beside:.3f} x baseline"
    )


if __name__ == "__main__":
    main()
