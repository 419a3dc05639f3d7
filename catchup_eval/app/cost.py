"""What trainings will cost, from a few measured steps on this device, before the first real one.

Each network takes three steps with each method, on noise of the data's size; the fastest counts,
by the image. On a CPU the batch is small, which makes an image a little dearer than it will be, and
what else the machine does makes it dearer still. The data need not be here: their sizes are known.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from time import perf_counter
from typing import Any, NamedTuple

import torch

from catchup_eval.models.architectures import build
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.spec import parse
from catchup_eval.randomness import generator, isolated
from catchup_eval.trainers import methods
from catchup_eval.trainers.recipe import Recipe

ON_A_CPU = 8  # images of a measured batch; a GPU is given the recipe's
STEPS = 3


class Size(NamedTuple):
    """How much there is of an image set."""

    train: int
    side: int  # of an image as the network is given it, in pixels
    classes: int


SIZES: Mapping[str, Size] = {
    "digits": Size(1_297, 32, 10),
    "cifar10": Size(50_000, 32, 10),
    "cifar100": Size(50_000, 32, 100),
    "tiny-imagenet": Size(100_000, 64, 200),
    "cub": Size(5_994, 224, 200),
    "cars": Size(8_144, 224, 196),
    "aircraft": Size(6_667, 224, 100),
    "imagenet": Size(1_281_167, 224, 1_000),
}


def seconds_per_image(
    recipe: Recipe, method: str, options: Mapping[str, Any], size: Size, device: torch.device
) -> float:
    """Seconds of training by the image, the forward and backward passes and the method's own work.

    Args:
        recipe: how; its regularizers, augmentation and loading are left out.
        method: see `METHODS`.
        options: of the method.
        size: of the data.
    """
    model = _network(recipe, size).to(device).train()
    batch = min(recipe.batch_size, ON_A_CPU) if device.type == "cpu" else recipe.batch_size
    images = torch.rand(batch, 3, size.side, size.side, device=device)
    labels = torch.arange(batch, device=device) % size.classes
    own = {**recipe.methods.get(method, {}), **options}
    with isolated(generator(0, "cost")), closing(methods.build(method, model, **own)) as built:
        step = _step(model, lambda draw: built(images, labels, draw))
        return min(step() for _ in range(STEPS)) / batch


def _network(recipe: Recipe, size: Size) -> Classifier:
    """With fresh weights also where the recipe goes on from others."""
    architecture = recipe.architecture or parse(recipe.weights).architecture
    ones = (1.0, 1.0, 1.0)
    with isolated(generator(0, "cost")):
        return build(architecture, classes=size.classes, mean=ones, std=ones, **recipe.options)


def _step(model: Classifier, loss: Callable[..., torch.Tensor]) -> Callable[[], float]:
    """One training step; gives its seconds."""
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    draw = generator(0, "cost")

    def step() -> float:
        started = perf_counter()
        optimiser.zero_grad()
        loss(draw).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return perf_counter() - started

    return step
