"""What photographs cost: to decode, and to read back from a memory map that is not in memory.

    python benchmarks/decoding.py                        # 300 made-up photographs, a map of 1.5 GB
    python benchmarks/decoding.py --photographs FOLDER   # those of a folder
    python benchmarks/decoding.py --rows 2000 --folder FOLDER    # a smaller map, on another disk

Decoding: a JPEG file becomes 3 x 224 x 224 pixels (shorter side 256, bilinear, centre crop), on one
core, by Pillow alone and as the package does it; and as it is, like those of ImageNet-C. Reading:
batches of 100 shuffled rows of a memory map that the system has dropped from its memory, row by row
as an index reads them, and ahead by threads. Both sides are measured in one run, interleaved; the
ratio of two neighbours is printed as the median with its quartiles, so that what else the machine
does slows both. Decoding counts processor time, reading the time on the wall, and its ratios
differ with the disk and with whoever else uses it.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
import torch
from machine import processor
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as F

from catchup_eval.datasets import memmap
from catchup_eval.datasets.decoding import decode_file
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.datasets.reading import read_ahead

VIEW = Preprocess(224, resize=256)
SIDES = (500, 375)  # width and height of ImageNet's photographs, mostly
BATCH = 100


def pillow(path: Path) -> Tensor:
    """The view as Pillow decodes and resizes it."""
    with Image.open(path) as image:
        small = F.resize(image.convert("RGB"), [256])
    return F.pil_to_tensor(F.center_crop(small, [224, 224]))


def pillow_plain(path: Path) -> Tensor:
    """A file's own pixels, by Pillow."""
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def make_photographs(folder: Path, count: int) -> list[Path]:
    """JPEG files of blots and some noise, of about 90 kB."""
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        draw = np.random.default_rng(number)
        blots = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        pixels = np.asarray(blots.resize(SIDES, Image.Resampling.BICUBIC)).astype(float)
        pixels += draw.normal(0, 9, pixels.shape)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return paths


def compare(
    sides: Sequence[Callable[[], None]], rounds: int, clock: Callable[[], float]
) -> np.ndarray:
    """(rounds, 2) seconds of two sides, one after the other in each round."""
    seconds = np.empty((rounds, 2))
    for row in seconds:
        for column, side in enumerate(sides):
            start = clock()
            side()
            row[column] = clock() - start
    return seconds


def report(name: str, count: int, seconds: np.ndarray) -> None:
    """One line: images per second of both sides, and how many times as fast the second is."""
    low, median, high = np.percentile(seconds[:, 0] / seconds[:, 1], [25, 50, 75])
    before, after = count / np.median(seconds, axis=0)
    print(
        f"{name:28} {before:7,.0f} to {after:7,.0f} images/s   "
        f"{median:.2f} times [{low:.2f}, {high:.2f}]   n = {len(seconds)}"
    )


def decode_all(decode: Callable[[Path], Tensor], paths: Sequence[Path]) -> Callable[[], None]:
    """What decodes all files."""

    def work() -> None:
        for path in paths:
            decode(path)

    return work


def cold(path: Path) -> Tensor:
    """The map, after the system has dropped what it held of the file."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def row_by_row(images: Tensor, batches: Sequence[Tensor]) -> Iterator[Tensor]:
    """The batches as an index of the map gives them."""
    for rows in batches:
        yield images[rows]


def measure_reading(folder: Path, count: int, rounds: int) -> None:
    """Rows per second of a cold map; the rows are other ones each time."""
    path, shape = folder / "map.npy", (count, 3, 224, 224)
    noise = np.random.default_rng(0).integers(0, 256, (BATCH, *shape[1:]), dtype=np.uint8)
    memmap.write(path, shape, (noise for _ in range(count // BATCH)))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    seconds = np.empty((rounds, 2))
    for number in range(rounds):
        taken = torch.split(torch.roll(order, number * BATCH)[: count // 4], BATCH)
        for column, read in enumerate((row_by_row, read_ahead)):
            images = cold(path)
            start = perf_counter()
            for _ in read(images, taken):
                pass
            seconds[number, column] = perf_counter() - start
            del images  # pages that are mapped would not be dropped
    report("read, cold map", count // 4, seconds)


def main() -> None:
    """Read the arguments, measure, print."""
    options = parse_options()
    torch.set_num_threads(1)
    print(f"{os.cpu_count()} CPU cores, {processor()}, load {os.getloadavg()[0]:.1f}")
    with TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        if options.photographs:
            paths = sorted(options.photographs.rglob("*.[jJ][pP]*[gG]"))[: options.images]
        else:
            paths = make_photographs(folder, options.images)
        pairs = {
            "decode and resize, a core": (pillow, lambda path: decode_file(path, VIEW)),
            "decode, a core": (pillow_plain, lambda path: decode_file(path, None)),
        }
        for label, pair in pairs.items():
            sides = [decode_all(decode, paths) for decode in pair]
            report(label, len(paths), compare(sides, options.rounds, process_time))
        away = [(pillow(path).int() - decode_file(path, VIEW).int()).abs() for path in paths]
        largest, share = (
            max(int(x.max()) for x in away),
            np.mean([x.ne(0).float().mean() for x in away]),
        )
        print(f"{'pixels that differ':28} {100 * share:.2f} %, by at most {largest} of 255 levels")
        measure_reading(folder, options.rows, options.rounds)


def parse_options() -> argparse.Namespace:
    """The arguments, as they were given."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = arguments.add_argument
    add("--photographs", type=Path, help="a folder of JPEG files; default: made up")
    add("--images", type=int, default=300, help="files to decode (default 300)")
    add("--rows", type=int, default=10_000, help="images in the map (default 10,000: 1.5 GB)")
    add("--rounds", type=int, default=7, help="measurements of each side (default 7)")
    add("--folder", type=Path, help="where the files are made (default: that of temporary files)")
    return arguments.parse_args()


if __name__ == "__main__":
    main()
