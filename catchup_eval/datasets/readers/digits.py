"""`digits`: real images that are always here, because scikit-learn and matplotlib ship them.

scikit-learn's 1,797 handwritten digits (UCI Optical Recognition of Handwritten Digits), each
pasted at a random place, size and colour onto a 32x32 crop of one of scikit-learn's two
photographs, dimmed to half. Left halves of the photographs are for training, right halves for
testing, so that no background leaks. `out` holds crops of the right halves without a digit;
`out:letters` is nearer: letters of matplotlib's DejaVu Sans Bold, brought to the digits' 8x8 grid
and pasted the same way (printed, not handwritten: they differ in more than the class).
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont

from catchup_eval.core.rng import generator
from catchup_eval.datasets.dataset import Split, TensorDataset

SIDE = 32
SIZES = (14, 22)  # pixels, both included: of the square that the 8x8 glyph becomes
TEST_PER_CLASS = 50
OUT = 500
INK = 64  # of 255: what a glyph must cover at a pixel to count as its ink
LETTERS = "ACEFHJKMNPRTUVWXY"  # capitals that no digit resembles


def embedded(_root: Path) -> TensorDataset:
    """:func:`digits`, which needs no folder."""
    return digits()


@cache
def digits(seed: int = 0) -> TensorDataset:
    """The embedded dataset: 1,297 training and 500 test images of 10 classes, 32x32.

    Args:
        seed: of the split and of every paste.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    glyphs = np.round(source.images * 255 / 16).astype(np.uint8)
    train, test = _split(source.target, generator(seed, "split"))
    left, right = _photographs()
    parts = {
        "train": _paste_all(glyphs[train], source.target[train], left, generator(seed, "train")),
        "test": _paste_all(glyphs[test], source.target[test], right, generator(seed, "test")),
        "out": _crops(right, generator(seed, "out")),
        "out:letters": _letters(right, generator(seed, "letters")),
    }
    pixels = parts["train"].images.double() / 255
    return TensorDataset(
        name="digits",
        parts=parts,
        classes=tuple("0123456789"),
        mean=tuple(round(float(v), 4) for v in pixels.mean((0, 2, 3))),
        std=tuple(round(float(v), 4) for v in pixels.std((0, 2, 3))),
        about=(
            "handwritten digits of scikit-learn (UCI, CC BY 4.0) on crops of its two photographs "
            "(china.jpg and flower.jpg, CC BY)"
        ),
    )


def _split(labels: np.ndarray, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    test = [
        rng.choice(np.flatnonzero(labels == k), TEST_PER_CLASS, replace=False) for k in range(10)
    ]
    chosen = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def _photographs() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Left and right halves of the two photographs, dimmed to half, each (427, 320, 3)."""
    from sklearn.datasets import load_sample_images

    photographs = [photograph // 2 for photograph in load_sample_images().images]
    middle = photographs[0].shape[1] // 2
    return [p[:, :middle] for p in photographs], [p[:, middle:] for p in photographs]


def _crop(photographs: list[np.ndarray], rng: Generator) -> np.ndarray:
    photograph = photographs[rng.integers(len(photographs))]
    top = rng.integers(photograph.shape[0] - SIDE + 1)
    left = rng.integers(photograph.shape[1] - SIDE + 1)
    return photograph[top : top + SIDE, left : left + SIDE].astype(np.uint8)


def _paste(
    glyph: np.ndarray, photographs: list[np.ndarray], rng: Generator
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """The glyph (8, 8) uint8 in one bright colour on a random crop; integers throughout.

    Gives the image (32, 32, 3) uint8, and x0 y0 x1 y1 of the ink, ends exclusive.
    """
    image = _crop(photographs, rng).astype(int)
    size = int(rng.integers(SIZES[0], SIZES[1] + 1))
    top, left = rng.integers(SIDE - size + 1, size=2)
    colour = rng.integers(160, 256, size=3)  # the photographs end at 127
    cover = np.asarray(Image.fromarray(glyph).resize((size, size), Image.Resampling.BICUBIC), int)
    window = image[top : top + size, left : left + size]
    window += (colour - window) * cover[..., None] // 255
    rows, columns = (np.flatnonzero((cover >= INK).any(axis)) for axis in (1, 0))
    box = (left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1)
    return image.astype(np.uint8), box


def _paste_all(
    glyphs: np.ndarray, labels: np.ndarray, photographs: list[np.ndarray], rng: Generator
) -> Split:
    images, boxes = zip(*(_paste(glyph, photographs, rng) for glyph in glyphs), strict=True)
    return _part(images, torch.from_numpy(labels).long(), torch.tensor(boxes, dtype=torch.float32))


def _crops(photographs: list[np.ndarray], rng: Generator) -> Split:
    crops = [_crop(photographs, rng) for _ in range(OUT)]
    return _part(crops, torch.full((OUT,), -1))


def _letters(photographs: list[np.ndarray], rng: Generator) -> Split:
    glyphs = [_glyph(letter) for letter in LETTERS]
    images = [_paste(glyphs[i % len(glyphs)], photographs, rng)[0] for i in range(OUT)]
    return _part(images, torch.full((OUT,), -1))


def _glyph(letter: str) -> np.ndarray:
    """A letter as the digits are: 8x8, averaged from a bitmap four times as fine."""
    from matplotlib.font_manager import FontProperties, findfont

    path = findfont(FontProperties(family="DejaVu Sans", weight="bold"))
    font = ImageFont.truetype(path, 34)
    canvas = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(canvas).text((SIDE / 2, SIDE / 2), letter, fill=255, font=font, anchor="mm")
    return np.asarray(canvas.resize((8, 8), Image.Resampling.BOX))


def _part(
    images: Sequence[np.ndarray], labels: torch.Tensor, boxes: torch.Tensor | None = None
) -> Split:
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return Split(stacked, labels, boxes=boxes)
