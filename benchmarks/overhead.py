"""What a training step of each method costs more than a baseline step.

    python benchmarks/overhead.py                             # a few minutes on one CPU core
    python benchmarks/overhead.py --methods catchup cutmix --layers
    python benchmarks/overhead.py --device cuda --width 64 --rounds 50

A step is forward, loss, backward and SGD update of PreActResNet-18. Both sides are measured in one
run, interleaved (A B A B A ...): each measured step is between two baseline steps and is
divided by their mean, so that what else the machine does slows both. Printed: the median ratio, its
quartiles, n, and the full forward and backward passes of a step. The last line is a baseline step
against its neighbours: the noise. `--layers` adds Catch-up Mix at each layer k alone (0 is the
input, 1 the stem).
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from machine import batch, machine, network, parser, seconds_of
from torch import Tensor, nn

from catchup_eval.core.rng import generator
from catchup_eval.trainers.base import Method
from catchup_eval.trainers.mixing import build
from catchup_eval.trainers.mixing.baseline import baseline
from catchup_eval.trainers.mixing.catchup import catchup

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


def main() -> None:
    """Read the arguments, measure, print."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    print(f"{machine(options)}: step time as a multiple of the baseline's, median [quartiles]")
    model = network(options)
    sides: dict[str, Method] = {name: build(name, model) for name in options.methods}
    if options.layers:
        sides |= {f"catchup, k = {k}": catchup(model, layers=k) for k in range(6)}
    sides["baseline again"] = baseline(model)
    images, labels = batch(options)
    for name, cost in overhead(model, sides, images, labels, rounds=options.rounds).items():
        low, median, high = cost.quartiles
        print(
            f"{name:18} {median:6.3f}   [{low:.3f}, {high:.3f}]   n = {options.rounds}"
            f"   forward {cost.forwards:.2f}   backward {cost.backwards:.2f}"
        )


def parse_options() -> argparse.Namespace:
    """The arguments, as they were given."""
    arguments = parser(__doc__, rounds=12)
    arguments.add_argument("--layers", action="store_true", help="also Catch-up Mix at each layer")
    return arguments.parse_args()


if __name__ == "__main__":
    main()
