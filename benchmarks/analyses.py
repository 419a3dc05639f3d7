"""The cost of an analysis, as a multiple of the passes that it cannot avoid.

    python benchmarks/analyses.py                       # some minutes on one CPU core
    python benchmarks/analyses.py --network resnet20 --images 1000
    python benchmarks/analyses.py --device cuda --images 10000 --batch 500 --width 64

An analysis is run on a fresh network and digits; then a plain loop makes as many passes with the
same batch sizes, forward and, where the analysis takes a gradient, backward; both again,
interleaved in one run. Each analysis starts without the outputs of the others. Printed: the median
ratio, its quartiles, n, and the forward passes that each test image takes. Making corrupted and
deformed images is left out of the ratio and printed as a multiple of the same passes: it is common
to many models. Products with the Hessian count as they are, by the time that they take.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter, process_time
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from machine import machine
from torch.nn import functional as F

from catchup_eval.analysis import ANALYSES
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.analysis.landscape.hessian import HessianProduct
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.datasets.readers.digits import digits
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.memory_format import reorder
from catchup_eval.models.zoo import build

FORWARD_ONLY = ("clean", "ood", "feature_drop", "localization", "deformation", "corruption")
NAMES = (*FORWARD_ONLY, "adversarial", "filters", "landscape")
SLOW = ("landscape",)  # some hundred passes of each image, and products with the Hessian
Pass = tuple[int, bool]  # images, and whether their gradient is taken


@dataclass
class Timed(EvaluationContext):
    """A context that measures how long the making of changed images took."""

    making: float = 0.0

    def outcomes(
        self, split: Split, change: Any, condition: str = ""
    ) -> tuple[np.ndarray, np.ndarray]:
        """As a context does it."""

        def timed(some: Split) -> torch.Tensor:
            started = clock(self.device)
            images = change(some)
            self.making += clock(self.device) - started
            return images

        return super().outcomes(split, timed, condition)


def main() -> None:
    """Read the arguments, measure, print."""
    options = parser().parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    options.side = 32
    print(machine(options).splitlines()[0])
    wide = {} if options.network == "resnet20" else {"width": options.width}
    width = f", width {options.width}" if wide else ""
    print(f"{options.network}{width}, {options.images} digits, batch {options.batch}")
    data = many_digits(options.images)
    with fork_global_rng(generator(0, "weights")):
        model = build(options.network, classes=10, mean=data.mean, std=data.std, **wide)
    model = model.eval().to(device)
    reorder(model.net)
    for name in options.analyses:
        ratios, making, passes = measured(name, model, data, options)
        low, median, high = np.percentile(ratios, [25, 50, 75])
        made = f"   making the images {np.median(making):.2f}" if max(making) > 0.01 else ""
        print(
            f"{name:14} {median:6.3f}   [{low:.3f}, {high:.3f}]   n = {options.rounds}"
            f"   forward passes {passes:.1f}{made}"
        )


def many_digits(count: int) -> TensorDataset:
    """As many test images; those of the digits are repeated where they do not suffice."""
    data = digits()
    test = data.split("test")
    rows = torch.arange(count) % len(test)
    again = replace(test[rows], index=torch.arange(count))
    return replace(data, parts={**data.parts, "test": again})


def parser() -> argparse.ArgumentParser:
    """The arguments; `--help` shows the text above."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = arguments.add_argument
    add(
        "--analyses",
        nargs="+",
        default=[name for name in NAMES if name not in SLOW],
        choices=NAMES,
        help="which (default all but the landscape)",
    )
    add("--network", default="preactresnet18", help="preactresnet18 (default) or resnet20")
    add("--images", type=int, default=200, help="test images (default 200)")
    add("--batch", type=int, default=100, help="images in a batch (default 100)")
    add("--width", type=int, default=16, help="channels of the stem; the paper's is 64")
    add("--rounds", type=int, default=5, help="measured rounds of each analysis (default 5)")
    add("--threads", type=int, default=1, help="CPU threads (more would wait for each other)")
    add("--device", default="cpu", help="cpu or cuda (default cpu)")
    return arguments


def measured(
    name: str, model: Classifier, data: TensorDataset, options: argparse.Namespace
) -> tuple[list[float], list[float], float]:
    """Ratios, the making of images as the same multiple, and forward passes per test image."""
    ratios, making, passes = [], [], 0.0
    for round_number in range(options.rounds + 1):  # the first warms up
        context = Timed(model, data, torch.device(options.device), options.batch)
        with recorded_passes(context.device) as record:
            started = clock(context.device)
            ANALYSES[name].measure(context)
            total = clock(context.device) - started
        plain = plain_passes(context, record.passes) + record.products
        passes = sum(n for n, _ in record.passes) / len(data.split("test"))
        if round_number:
            ratios.append((total - context.making) / plain)
            making.append(context.making / plain)
    return ratios, making, passes


@dataclass
class Record:
    """What an analysis asked of its networks."""

    passes: list[Pass]
    products: float = 0.0  # seconds of products with the Hessian


@contextmanager
def recorded_passes(device: torch.device) -> Iterator[Record]:
    """What is asked of every classifier, copies included, and the products with its Hessian."""
    record = Record([])
    forward, product = Classifier.forward, HessianProduct.__call__

    def counted(self: Classifier, pixels: torch.Tensor) -> torch.Tensor:
        record.passes.append((len(pixels), torch.is_grad_enabled() and pixels.requires_grad))
        return forward(self, pixels)

    def timed(self: HessianProduct, *args: Any) -> Any:
        started = clock(device)
        found = product(self, *args)
        record.products += clock(device) - started
        return found

    with (
        patch.object(Classifier, "forward", counted),
        patch.object(HessianProduct, "__call__", timed),
    ):
        yield record


def plain_passes(context: EvaluationContext, passes: list[Pass]) -> float:
    """Seconds that so many passes take by themselves."""
    most = max(n for n, _ in passes)
    images = context.data.split("test").images[:most].to(context.device).float() / 255
    labels = torch.zeros(most, dtype=torch.long, device=context.device)
    context.model.requires_grad_(False)
    started = clock(context.device)
    for n, gradient in passes:
        if gradient:
            points = images[:n].clone().requires_grad_()
            torch.autograd.grad(F.cross_entropy(context.model(points), labels[:n]), points)
        else:
            with torch.no_grad():
                context.model(images[:n])
    passed = clock(context.device) - started
    context.model.requires_grad_(True)
    return passed


def clock(device: torch.device) -> float:
    """Processor time of all threads on a CPU, else the wall clock once the device is done."""
    if device.type == "cpu":
        return process_time()
    torch.cuda.synchronize(device)
    return perf_counter()


if __name__ == "__main__":
    main()
