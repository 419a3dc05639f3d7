"""What one Catch-up Mix training step costs more than a baseline step.

    python benchmarks/step.py                          # about a minute on one CPU core
    python benchmarks/step.py --width 64 --rounds 5    # the paper's network
    python benchmarks/step.py --device cuda --width 64 --rounds 50

A step is forward, loss, backward and SGD update of PreActResNet-18. Each measured step stands
between two baseline steps of the same run and is divided by their mean (A B A B A ...), so that
what else the machine does slows both sides. On the CPU it is the processor time of one thread
that counts, on an accelerator the wall clock. Printed: the median ratio, its quartiles, and n,
for each layer k (0 is CutMix at the input, 1 the stem, 2 to 5 the stages) and for the paper's
uniform mix of all k. The last line is a baseline step against its neighbours: the noise.
"""

import argparse
import os
import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import torch

from catchup_eval.models.classifier import Classifier, wrap
from catchup_eval.models.preactresnet import PreActResNet, preactresnet18
from catchup_eval.randomness import generator, isolated, torch_generator
from catchup_eval.trainers.methods import Method, baseline, catchup

CLASSES = 100
Step = Callable[[Method], float]


def main() -> None:
    """Read the arguments, measure, print."""
    options = parser().parse_args()
    torch.set_num_threads(options.threads)
    print(machine(options))
    model = network(options)
    sides = {f"catchup, k = {k}": catchup(model, layers=k) for k in range(6)}
    sides |= {"catchup, mix of k": catchup(model), "baseline again": baseline(model)}
    step = stepper(model, options)
    for name, ratios in measure(baseline(model), sides, step, options.rounds).items():
        low, median, high = np.percentile(ratios, [25, 50, 75])
        print(f"{name:18} {median:6.3f}   [{low:.3f}, {high:.3f}]   n = {len(ratios)}")


def parser() -> argparse.ArgumentParser:
    """The arguments; `--help` shows the text above."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = partial(arguments.add_argument, type=int)
    add("--width", default=16, help="channels of the stem; the paper's is 64 (default 16)")
    add("--batch", default=100, help="images in a batch (default 100)")
    add("--side", default=32, help="pixels of an image's side (default 32)")
    add("--rounds", default=12, help="measured steps of each kind (default 12)")
    add("--threads", default=1, help="CPU threads (default 1: more would wait for each other)")
    add("--device", type=str, default="cpu", help="cpu or cuda (default cpu)")
    return arguments


def machine(options: argparse.Namespace) -> str:
    """What the numbers below were measured on and with."""
    where = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, {processor()}"
    if options.device != "cpu":
        where += f", {torch.cuda.get_device_name()}"
    return (
        f"{where}, {torch.get_num_threads()} threads, torch {torch.__version__}\n"
        f"PreActResNet-18, width {options.width}, batch {options.batch}, {options.side} px: "
        "step time as a multiple of the baseline's, median [quartiles]"
    )


def processor() -> str:
    """The processor's name, where Linux tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "processor unknown"


def network(options: argparse.Namespace) -> Classifier:
    """A fresh PreActResNet-18 on the device."""
    with isolated(generator(0, "weights")):
        net = preactresnet18(classes=CLASSES, width=options.width)
    return wrap(net, stages=PreActResNet.STAGES).to(options.device)


def stepper(model: Classifier, options: argparse.Namespace) -> Step:
    """A function that does one training step with a method and gives the seconds it took."""
    source = torch_generator(generator(0, "batch"))
    images = torch.rand(options.batch, 3, options.side, options.side, generator=source)
    labels = torch.randint(CLASSES, (options.batch,), generator=source)
    images, labels = images.to(options.device), labels.to(options.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    draw = generator(0, "draws")
    clock = process_time if options.device == "cpu" else perf_counter

    def step(method: Method) -> float:
        synchronize(options.device)
        start = clock()
        loss = method(images, labels, draw)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        synchronize(options.device)
        return clock() - start

    return step


def synchronize(device: str) -> None:
    """Wait for the device, so that the clock sees its work."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def measure(
    reference: Method, sides: dict[str, Method], step: Step, rounds: int
) -> dict[str, list[float]]:
    """Each side's step time over the mean of the reference steps before and after it."""
    ratios: dict[str, list[float]] = {name: [] for name in sides}
    for method in (reference, *sides.values()):
        step(method)  # first calls allocate
    before = step(reference)
    for _ in range(rounds):
        for name, method in sides.items():
            seconds, after = step(method), step(reference)
            ratios[name].append(2 * seconds / (before + after))
            before = after
    return ratios


if __name__ == "__main__":
    main()
