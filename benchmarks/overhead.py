"""What a training step of each method costs more than a baseline step.

    python benchmarks/overhead.py                             # a few minutes on one CPU core
    python benchmarks/overhead.py --methods catchup cutmix --layers
    python benchmarks/overhead.py --device cuda --width 64 --rounds 50

A step is forward, loss, backward and SGD update of PreActResNet-18, interleaved with baseline
steps (catchup_eval/trainers/overhead.py). Printed: the median ratio, its quartiles, n, and the full
forward and backward passes of a step. The last line is a baseline step against its neighbours: the
noise. `--layers` adds Catch-up Mix at each layer k alone (0 is the input, 1 the stem).
"""

import argparse
import os
import platform
from pathlib import Path

import torch

from catchup_eval.models.classifier import Classifier, wrap
from catchup_eval.models.preactresnet import PreActResNet, preactresnet18
from catchup_eval.randomness import generator, isolated, torch_generator
from catchup_eval.trainers.methods import METHODS, Method, baseline, build, catchup
from catchup_eval.trainers.overhead import overhead

CLASSES = 100


def main() -> None:
    """Read the arguments, measure, print."""
    options = parser().parse_args()
    torch.set_num_threads(options.threads)
    print(machine(options))
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


def parser() -> argparse.ArgumentParser:
    """The arguments; `--help` shows the text above."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = arguments.add_argument
    known = [name for name in METHODS if name != "baseline"]
    add("--methods", nargs="+", default=known, choices=known, help="which (default all)")
    add("--layers", action="store_true", help="also Catch-up Mix at each layer alone")
    add("--width", type=int, default=16, help="channels of the stem; the paper's is 64")
    add("--batch", type=int, default=100, help="images in a batch (default 100)")
    add("--side", type=int, default=32, help="pixels of an image's side (default 32)")
    add("--rounds", type=int, default=12, help="measured steps of each kind (default 12)")
    add("--threads", type=int, default=1, help="CPU threads (more would wait for each other)")
    add("--device", default="cpu", help="cpu or cuda (default cpu)")
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
    """A fresh PreActResNet-18 on the device, in training mode."""
    with isolated(generator(0, "weights")):
        net = preactresnet18(classes=CLASSES, width=options.width)
    return wrap(net, stages=PreActResNet.STAGES).to(options.device)


def batch(options: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 3, H, W) of noise and labels (N,), on the device."""
    source = torch_generator(generator(0, "batch"))
    images = torch.rand(options.batch, 3, options.side, options.side, generator=source)
    labels = torch.randint(CLASSES, (options.batch,), generator=source)
    return images.to(options.device), labels.to(options.device)


if __name__ == "__main__":
    main()
