"""What a training step of one method costs, as a multiple of a baseline step.

Both sides are measured in one run, interleaved (A B A B A ...): each measured step stands between
two baseline steps and is divided by their mean, so that what else the machine does slows both.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, process_time

import numpy as np
import torch
from torch import Tensor, nn

from catchup_eval.core.rng import generator
from catchup_eval.trainers.base import Method
from catchup_eval.trainers.mixing.baseline import baseline

Step = Callable[[Method], float]  # one training step with a method; the seconds it took


@dataclass(frozen=True)
class Overhead:
    """One method's step beside the baseline's.

    Args:
        ratios: (rounds,) step time as a multiple of the baseline's.
        forwards, backwards: full passes through the network, mean over the rounds; baseline: 1, 1.
    """

    ratios: np.ndarray
    forwards: float
    backwards: float

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """Lower quartile, median, upper quartile of the ratios."""
        low, median, high = np.percentile(self.ratios, [25, 50, 75])
        return float(low), float(median), float(high)


def overhead(
    model: nn.Module,
    methods: Mapping[str, Method],
    images: Tensor,
    labels: Tensor,
    *,
    rounds: int,
    seed: int = 0,
) -> dict[str, Overhead]:
    """Measure each method on the same batch, model and optimiser.

    On a CPU the processor time of all threads counts, on an accelerator the wall clock.

    Args:
        model: in training mode; it is trained a little.
        methods: built on `model`, by name.
        images: (N, 3, H, W) in [0, 1], on the model's device.
        labels: (N,).
        rounds: measured steps of each method.
    """
    step = _stepper(model, images, labels, seed)
    reference = baseline(model)
    for method in (reference, *methods.values()):
        step(method)  # first calls allocate
    ratios: dict[str, list[float]] = {name: [] for name in methods}
    passes = {name: Passes() for name in methods}
    before = step(reference)
    for _ in range(rounds):
        for name, method in methods.items():
            with passes[name].counted(model):
                seconds = step(method)
            after = step(reference)
            ratios[name].append(2 * seconds / (before + after))
            before = after
    return {
        name: Overhead(
            np.array(ratios[name]), passes[name].forwards / rounds, passes[name].backwards / rounds
        )
        for name in methods
    }


def _stepper(model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Step:
    parameters = list(model.parameters())
    optimiser = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)
    draw = generator(seed, "overhead")

    def train(method: Method) -> None:
        loss = method(images, labels, draw)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return lambda method: seconds_of(lambda: train(method), images.device)


def seconds_of(work: Callable[[], None], device: torch.device) -> float:
    """What `work` takes, what it leaves the device to do included.

    On a CPU the processor time of all threads, on an accelerator the time on the wall.
    """
    clock = process_time if device.type == "cpu" else perf_counter
    _wait(device)
    start = clock()
    work()
    _wait(device)
    return clock() - start


def _wait(device: torch.device) -> None:
    """Let the device finish, so that the clock sees its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Passes:
    """Counts full passes through a network."""

    def __init__(self) -> None:
        self.forwards = self.backwards = 0

    @contextmanager
    def counted(self, model: nn.Module) -> Iterator[None]:
        """While this is open, each forward pass of `model` counts, and each backward pass of it."""

        def back(_gradient: Tensor) -> None:
            self.backwards += 1

        def hook(_model: nn.Module, _inputs: tuple[Tensor, ...], logits: Tensor) -> None:
            self.forwards += 1
            if logits.requires_grad:
                logits.register_hook(back)  # type: ignore[no-untyped-call]

        handle = model.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()
