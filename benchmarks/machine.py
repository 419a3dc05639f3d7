"""Common to the benchmarks: their arguments, the machine in words, the network."""

import argparse
import os
import platform
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

import torch

from catchup_eval.core.rng import fork_global_rng, generator, torch_generator
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.wrapping import wrap
from catchup_eval.models.zoo.preactresnet import PreActResNet, preactresnet18
from catchup_eval.trainers.mixing import METHODS

CLASSES = 100


def parser(text: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """The arguments of all; `--help` shows the text.

    Args:
        rounds: how often each is measured by default.
    """
    arguments = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = arguments.add_argument
    known = [name for name in METHODS if name != "baseline"]
    add("--methods", nargs="*", default=known, choices=known, help="which (default all)")
    add("--width", type=int, default=16, help="channels of the stem; the paper's is 64")
    add("--batch", type=int, default=100, help="images in a batch (default 100)")
    add("--side", type=int, default=32, help="pixels of an image's side (default 32)")
    add("--rounds", type=int, default=rounds, help=f"measurements of each (default {rounds})")
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
        f"PreActResNet-18, width {options.width}, batch {options.batch}, {options.side} px"
    )


def processor() -> str:
    """The processor's name, where Linux has it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "processor unknown"


def network(options: argparse.Namespace) -> Classifier:
    """A fresh PreActResNet-18 on the device, in training mode."""
    with fork_global_rng(generator(0, "weights")):
        net = preactresnet18(classes=CLASSES, width=options.width)
    return wrap(net, stages=PreActResNet.STAGES).to(options.device)


def batch(options: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 3, H, W) of noise and labels (N,), on the device."""
    source = torch_generator(generator(0, "batch"))
    images = torch.rand(options.batch, 3, options.side, options.side, generator=source)
    labels = torch.randint(CLASSES, (options.batch,), generator=source)
    return images.to(options.device), labels.to(options.device)


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
    """Let the device finish, so that its work is measured."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
