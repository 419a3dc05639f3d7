"""What trainings will cost, from a few measured steps on this device, before the first real one.

Each network takes three steps with each method, on noise of the data's size; the fastest counts,
by the image. On a CPU the batch is small, which makes an image cost a little more than it will, and
so does what else the machine does. The data need not be here: their sizes are known.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch

from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.datasets import DatasetSize
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.spec import parse
from catchup_eval.models.zoo import build
from catchup_eval.trainers import mixing
from catchup_eval.trainers.recipe import Recipe

ON_A_CPU = 8  # images of a measured batch; a GPU is given the recipe's
STEPS = 3


def seconds_per_image(
    recipe: Recipe, method: str, options: Mapping[str, Any], size: DatasetSize, device: torch.device
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
    with (
        fork_global_rng(generator(0, "cost")),
        closing(mixing.build(method, model, **own)) as built,
    ):
        step = _step(model, lambda rng: built(images, labels, rng))
        return min(step() for _ in range(STEPS)) / batch


@dataclass
class StepTimes:
    """Seconds by the image, measured once for each network, method and size."""

    device: torch.device
    known: dict[str, float] = field(default_factory=dict)

    def __call__(
        self, recipe: Recipe, method: str, options: Mapping[str, Any], size: DatasetSize
    ) -> float:
        """Of one training."""
        what = recipe.architecture or recipe.weights, recipe.options, recipe.batch_size, size.side
        key = repr((*what, method, options))
        if key not in self.known:
            self.known[key] = seconds_per_image(recipe, method, options, size, self.device)
        return self.known[key]


def _network(recipe: Recipe, size: DatasetSize) -> Classifier:
    """With fresh weights also where the recipe goes on from others."""
    architecture = recipe.architecture or parse(recipe.weights).architecture
    ones = (1.0, 1.0, 1.0)
    with fork_global_rng(generator(0, "cost")):
        return build(architecture, classes=size.classes, mean=ones, std=ones, **recipe.options)


def _step(model: Classifier, loss: Callable[..., torch.Tensor]) -> Callable[[], float]:
    """One training step; gives its seconds."""
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    rng = generator(0, "cost")

    def step() -> float:
        started = perf_counter()
        optimiser.zero_grad()
        loss(rng).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return perf_counter() - started

    return step
