"""The cost of an analysis, as a multiple of its forward passes.

    python benchmarks/analyses.py                       # some minutes on one CPU core
    python benchmarks/analyses.py --device cuda --images 10000 --batch 500

An analysis is run on PreActResNet-18 and digits; then a plain loop makes as many forward passes
with the same batch sizes, and both again, interleaved in one run. Each analysis starts without the
outputs of the others. Printed: the median ratio, its quartiles, n, and the forward passes that each
test image takes. Making corrupted and deformed images is left out of the ratio and printed as a
multiple of the same forward passes: it is common to many models.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from overhead import machine

from catchup_eval.analysis import ANALYSES
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.datasets.readers.digits import digits
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.zoo import build

FORWARD_ONLY = ("clean", "ood", "feature_drop", "localization", "deformation", "corruption")


@dataclass
class Timed(EvaluationContext):
    """A context that measures how long the making of changed images took."""

    making: float = 0.0

    def correct(self, part: Split, change: Any) -> np.ndarray:
        """As a context does it."""

        def timed(some: Split) -> torch.Tensor:
            started = clock(self.device)
            images = change(some)
            self.making += clock(self.device) - started
            return images

        return super().correct(part, timed)


def main() -> None:
    """Read the arguments, measure, print."""
    options = parser().parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    options.side = 32
    print(machine(options).splitlines()[0])
    print(f"PreActResNet-18, width {options.width}, {options.images} digits, batch {options.batch}")
    data = digits().subsample(options.images)
    with fork_global_rng(generator(0, "weights")):
        model = build(
            "preactresnet18", classes=10, width=options.width, mean=data.mean, std=data.std
        )
    model = model.eval().to(device)
    for name in options.analyses:
        ratios, making, passes = measured(name, model, data, options)
        low, median, high = np.percentile(ratios, [25, 50, 75])
        made = f"   making the images {np.median(making):.2f}" if max(making) > 0.01 else ""
        print(
            f"{name:14} {median:6.3f}   [{low:.3f}, {high:.3f}]   n = {options.rounds}"
            f"   forward passes {passes:.1f}{made}"
        )


def parser() -> argparse.ArgumentParser:
    """The arguments; `--help` shows the text above."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = arguments.add_argument
    add("--analyses", nargs="+", default=FORWARD_ONLY, choices=FORWARD_ONLY, help="which")
    add("--images", type=int, default=200, help="test images (default 200)")
    add("--batch", type=int, default=100, help="images in a batch (default 100)")
    add("--width", type=int, default=64, help="channels of the stem (default 64, the paper's)")
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
        with batch_sizes(model) as sizes:
            started = clock(context.device)
            ANALYSES[name].measure(context)
            total = clock(context.device) - started
        plain, passes = plain_passes(context, sizes), sum(sizes) / len(data.split("test"))
        if round_number:
            ratios.append((total - context.making) / plain)
            making.append(context.making / plain)
    return ratios, making, passes


@contextmanager
def batch_sizes(model: Classifier) -> Iterator[list[int]]:
    """A list that gets the size of each batch of the model."""
    sizes: list[int] = []
    handle = model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    try:
        yield sizes
    finally:
        handle.remove()


@torch.inference_mode()
def plain_passes(context: EvaluationContext, sizes: list[int]) -> float:
    """Seconds that so many forward passes take by themselves."""
    images = context.data.split("test").images[: max(sizes)].to(context.device).float() / 255
    started = clock(context.device)
    for size in sizes:
        context.model(images[:size])
    return clock(context.device) - started


def clock(device: torch.device) -> float:
    """Processor time of all threads on a CPU, else the wall clock once the device is done."""
    if device.type == "cpu":
        return process_time()
    torch.cuda.synchronize(device)
    return perf_counter()


if __name__ == "__main__":
    main()
