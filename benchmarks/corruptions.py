"""What a corrupted image costs, beside a plain implementation that takes one image at a time.

    python benchmarks/corruptions.py                          # two minutes on one CPU core
    python benchmarks/corruptions.py --side 224 --severity 5
    python benchmarks/corruptions.py --fidelity resnet20@net.th?norm=imagenet \\
        --data cifar10 --photographs data/frost               # a quarter of an hour

The other side is tests/analysis/corruption/reference.py: numpy, scipy, Pillow and OpenCV as the
original script uses them, on the same images and with the same random numbers. Both sides run
interleaved in one thread. Printed for each type: milliseconds of the processor per image on both
sides (median of the rounds), the median ratio and its quartiles. The reference's fog and shot noise
use a slower algorithm than the original: they have no ratio, and the last line leaves them out.

`--fidelity` prints the accuracy of a network on the first 2,000 test images of CIFAR-10, mean over
the severities, beside what it was when the original script corrupted them (one draw, hendrycks/
robustness, make_cifar_c.py; akamaster's published ResNet-20).
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np
import torch
from PIL import Image

from catchup_eval import datasets
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.analysis.corruption.cache import CorruptionVariant, corrupt_split
from catchup_eval.analysis.corruption.registry import CORRUPTIONS, corrupt, preset_for
from catchup_eval.analysis.corruption.transforms import frost
from catchup_eval.core.rng import generator
from catchup_eval.jobs.networks import load_models

sys.path.append(str(Path(__file__).parents[1] / "tests" / "analysis" / "corruption"))
import reference  # type: ignore[import-not-found]

BATCH = {32: 100, 64: 50, 224: 16}  # images that are corrupted at once
ALONE = {32: 5, 64: 3, 224: 1}  # images that the reference is timed on
UNFAIR = ("fog", "shot_noise")
ORIGINAL = {
    "gaussian_noise": 43.8,
    "shot_noise": 54.8,
    "impulse_noise": 52.2,
    "defocus_blur": 80.0,
    "glass_blur": 47.6,
    "zoom_blur": 73.3,
    "frost": 70.7,
    "fog": 84.0,
    "brightness": 90.2,
    "contrast": 69.8,
    "elastic_transform": 79.3,
    "pixelate": 68.2,
    "jpeg_compression": 76.4,
    "speckle_noise": 58.6,
    "gaussian_blur": 70.2,
    "spatter": 79.5,
    "saturate": 88.4,
}


def main() -> None:
    """Read the arguments, measure, print."""
    options = parser().parse_args()
    torch.set_num_threads(1)
    if options.fidelity:
        fidelity(options)
        return
    for side in options.side:
        speed(side, options)


def parser() -> argparse.ArgumentParser:
    """The arguments; `--help` shows the text above."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = arguments.add_argument
    add("--side", nargs="+", type=int, default=[32, 224], choices=BATCH, help="pixels of a side")
    add("--severity", type=int, default=3, help="1 to 5 (default 3)")
    add("--rounds", type=int, default=5, help="measurements of each type (default 5)")
    add("--fidelity", metavar="MODEL", help="a network as `evaluate` takes it; see above")
    add("--data", default="cifar10", help="dataset of --fidelity, in its official order")
    add("--data-root", default="data", help="where downloaded data sets lie")
    add("--photographs", type=Path, help="folder of the official photographs of frost")
    return arguments


def speed(side: int, options: argparse.Namespace) -> None:
    """One table: all types at one size and severity."""
    photographs = frost.photographs(options.photographs) if options.photographs else blank_ice()
    images, preset = smooth_images(BATCH[side], side), preset_for(side)
    print(f"\n{side} px, severity {options.severity}, batch {BATCH[side]}: ms per image")
    sums = np.zeros((3, options.rounds))
    for name in CORRUPTIONS:
        ours, theirs = sides(name, images, options.severity, preset, photographs)
        times = np.array([interleaved(ours, theirs) for _ in range(options.rounds)]).T
        fair = name not in UNFAIR
        sums += times[0], fair * times[0], fair * times[1]
        print(line(name, times) if fair else f"{name:18} {np.median(times[0]):8.3f}")
    print(f"{'all 19':18} {np.median(sums[0]):8.3f}")
    print(line("without those", sums[1:]))


def sides(
    name: str, images: torch.Tensor, severity: int, preset: str, photographs: frost.Photographs
) -> tuple[Callable[[], float], Callable[[], float]]:
    """Our side and the reference's: each runs once and gives its milliseconds per image."""
    setting = CORRUPTIONS[name].severities[preset][severity - 1]
    settings = setting if isinstance(setting, tuple) else (setting,)
    extra = {"photographs": photographs} if name == "frost" else {}
    few = images[: ALONE[images.shape[-1]]].permute(0, 2, 3, 1).contiguous().numpy()
    index = torch.arange(len(images))

    def ours() -> None:
        corrupt(images, name, severity, index=index, preset=preset, photographs=photographs)

    def theirs() -> None:
        for number, image in enumerate(few):
            draw = generator(0, f"{name} {severity}", number)
            getattr(reference, name)(image, draw, *settings, **extra)

    return partial(milliseconds, ours, len(images)), partial(milliseconds, theirs, len(few))


def milliseconds(run: Callable[[], None], images: int) -> float:
    """Of the processor, per image."""
    start = process_time()
    run()
    return 1000 * (process_time() - start) / images


def interleaved(*runs: Callable[[], float]) -> list[float]:
    """Each twice, one after the other; the better one counts, since others use the machine."""
    rounds = [[run() for run in runs] for _ in range(2)]
    return [min(pair) for pair in zip(*rounds)]


def line(name: str, times: np.ndarray) -> str:
    """Both medians, the median ratio, its quartiles."""
    ours, theirs = np.median(times, 1)
    low, middle, high = np.percentile(times[1] / times[0], (25, 50, 75))
    return f"{name:18} {ours:8.3f} {theirs:9.3f}   x {middle:5.1f} [{low:.1f}, {high:.1f}]"


def smooth_images(n: int, side: int) -> torch.Tensor:
    """(N, 3, side, side) uint8: blobs of colour."""
    coarse = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    fine = [
        Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC) for image in coarse
    ]
    return (
        torch.from_numpy(np.stack([np.asarray(image) for image in fine]))
        .permute(0, 3, 1, 2)
        .contiguous()
    )


def blank_ice() -> frost.Photographs:
    """Five pictures as large as the official photographs."""
    sizes = ((600, 900), (315, 560), (315, 560), (350, 527), (495, 660))
    return [np.full((*size, 3), 150, np.uint8) for size in sizes]


def fidelity(options: argparse.Namespace) -> None:
    """The network's accuracies beside the original script's."""
    data = datasets.load(options.data, options.data_root)
    part = data.split("test")[:2000]
    model = load_models([options.fidelity], data)[0].model
    photographs = frost.photographs(options.photographs) if options.photographs else ()
    if not photographs:
        print("frost is procedural: it has no counterpart in the original script")
    subject, variant = EvaluationContext(model, data), CorruptionVariant(photographs=photographs)
    print(f"clean {100 * subject.correct(part, lambda some: some.images).mean():.1f}")
    for name in CORRUPTIONS:
        correct = [
            subject.correct(
                part, partial(corrupt_split, name=name, severity=severity, variant=variant)
            )
            for severity in range(1, 6)
        ]
        accuracy, original = 100 * np.mean(correct), ORIGINAL.get(name)
        beside = f"original {original:5.1f}  {accuracy - original:+.1f}" if original else ""
        print(f"{name:18} {accuracy:5.1f}  {beside}", flush=True)


if __name__ == "__main__":
    main()
