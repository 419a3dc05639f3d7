"""What tasks will cost, from a few measured steps on this device, before the first real one.

Each network takes three steps with each method, and three passes, on noise of the data's size; the
fastest counts, by the image. On a CPU the batch is small, which makes an image cost a little more
than it will, and so does what else the machine does. The data need not be here: their sizes are
known. An analysis declares how many images it passes through the network, roughly, and what a
corruption takes is assumed: read the seconds as an order of magnitude.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from heapq import heapreplace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from catchup_eval.analysis import ANALYSES, setting_defaults
from catchup_eval.analysis.base import work_of
from catchup_eval.core.errors import CatchupError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.datasets import DatasetSize
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.loading import build_fresh
from catchup_eval.models.modes import eval_mode
from catchup_eval.models.spec import parse
from catchup_eval.trainers import mixing
from catchup_eval.trainers.recipe import Recipe

NOT_KNOWN = float("nan")
CORRUPTION = 5e-4  # seconds by the image of 32 x 32 pixels on one core, in proportion to its area
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
    """Seconds by the image, measured once for each network, method and size.

    Attributes:
        device: where.
        planned: by the file of its weights, the network that a task is going to train.
    """

    device: torch.device
    known: dict[str, float] = field(default_factory=dict)
    planned: dict[Path, tuple[Recipe, DatasetSize]] = field(default_factory=dict)

    def __call__(
        self, recipe: Recipe, method: str, options: Mapping[str, Any], size: DatasetSize
    ) -> float:
        """Of one training; NaN where a step fails."""
        key = (*_network_key(recipe, size), method, options)
        measure = partial(seconds_per_image, recipe, method, options, size, self.device)
        return self._once(key, measure)

    def _once(self, what: object, measure: Callable[[], float]) -> float:
        """What was measured of this.

        Raises:
            CatchupError: a user's mistake, which the task itself would meet.
        """
        key = repr(what)
        if key not in self.known:
            try:
                self.known[key] = measure()
            except CatchupError:
                raise
            except Exception:  # whatever a network raises at noise
                self.known[key] = NOT_KNOWN
        return self.known[key]

    def forward(self, network: object, side: int, model: Callable[[], Classifier]) -> float:
        """Of a pass without a gradient; NaN where the network fails on noise.

        Args:
            network: what tells it from others that take another time.
            side: of an image, in pixels.
            model: gives it.
        """
        return self._once((network, side), lambda: self._pass(model().to(self.device), side))

    def forward_untrained(self, recipe: Recipe, size: DatasetSize) -> float:
        """The same of a network that a recipe trains."""
        key = _network_key(recipe, size)
        return self.forward(key, size.side, partial(_network, recipe, size))

    @torch.no_grad()
    def _pass(self, model: Classifier, side: int) -> float:
        batch = ON_A_CPU if self.device.type == "cpu" else 100
        images = torch.rand(batch, 3, side, side, device=self.device)

        def step() -> float:
            started = perf_counter()
            model(images).sum().item()  # waits for a GPU
            return perf_counter() - started

        with eval_mode(model):
            return min(step() for _ in range(STEPS)) / batch


def analysis_seconds(
    name: str, settings: Mapping[str, Any], images: Mapping[str, int], side: int, forward: float
) -> float:
    """Of one analysis of one network.

    Args:
        settings: those that are not left at their defaults.
        images: by split, how many there are.
        side: of an image, in pixels.
        forward: seconds of a pass, by the image.
    """
    complete = setting_defaults(ANALYSES[name]) | dict(settings)
    work = work_of(ANALYSES[name], complete, images)
    return work.passes * forward + work.changed * CORRUPTION * (side / 32) ** 2


def parallel_seconds(seconds: Iterable[float], workers: int) -> float:
    """Of tasks that need not wait for each other, the longest first, on equally fast workers.

    Example:
        >>> parallel_seconds([3, 3, 2, 2, 2], 2)
        7.0
    """
    ends = [0.0] * workers
    for each in sorted(seconds, reverse=True):
        heapreplace(ends, ends[0] + each)
    return max(ends)


def dataset_size(data: AnySet) -> DatasetSize:
    """The size of a dataset that is here."""
    train, test = (len(data.split(name)) if data.has(name) else 0 for name in ("train", "test"))
    transform = data.preprocessing_for(None)
    some: Any = next(iter(data.parts.values()))
    side = transform.size if transform else int(some.images.shape[-1])
    return DatasetSize(train, side, len(data.classes), test)


def _network_key(recipe: Recipe, size: DatasetSize) -> tuple[Any, ...]:
    architecture = recipe.architecture or recipe.weights
    return architecture, recipe.options, recipe.batch_size, size.side


def _network(recipe: Recipe, size: DatasetSize) -> Classifier:
    """With fresh weights also where the recipe goes on from others."""
    architecture = recipe.architecture or parse(recipe.weights).architecture
    own = {"mean": (1.0,) * 3, "std": (1.0,) * 3, "classes": size.classes, **recipe.options}
    with fork_global_rng(generator(0, "cost")):
        return build_fresh(architecture, **own)


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
