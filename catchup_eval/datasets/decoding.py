"""From the bytes of an image file to pixels.

Pixels are those that torchvision's reader gives: the first frame, without transparency, and as they
lie in the file, whatever orientation a camera noted (EXIF), since published accuracies were
measured so. Images of 16 bits are scaled to 8; those of floating point are refused.

Pillow looks at every file. JPEG files of one or three channels then go to torchvision's operator,
which gives the same pixels in fewer copies; all others, and what it refuses, to Pillow, whose
sentences about damaged files are the ones that users get. torchvision 0.29 has announced that it
will drop its decoders: without them Pillow decodes all, to the same pixels.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets.preprocessing import Preprocess

DEEPEST = 65_535  # the largest value of 16 bits
JPEG = ("JPEG", "MPO")  # MPO has more images behind the first
RGB = 3  # torchvision's number for three channels


def decode(content: np.ndarray, preprocess: Preprocess | None, border: int = 0) -> Tensor:
    """(3, h, w) uint8 of a file's bytes (n,) uint8; of its own size where there is no `preprocess`.

    Args:
        border: pixels that are cut off at each side first.

    Raises:
        Exception: of many types, where the bytes are damaged or no image.
    """
    with Image.open(BytesIO(content.data)) as opened:
        image = None
        if opened.format in JPEG and opened.mode in ("L", "RGB"):
            import torchvision.io  # noqa: F401 (it brings the operator, and takes a second)

            with suppress(AttributeError, RuntimeError):  # no operator; such as a cut file
                image = torch.ops.image.decode_jpeg(torch.from_numpy(content), RGB)
        if image is None:
            rgb = to_eight_bits(opened).convert("RGB")
            image = torch.from_numpy(np.array(rgb)).permute(2, 0, 1)
    if border:
        image = image[:, border:-border, border:-border]
    return preprocess.pixels(image) if preprocess else image


def decode_file(path: Path, preprocess: Preprocess | None, border: int = 0) -> Tensor:
    """The same of a file.

    Raises:
        BadFile: it is absent, damaged or no image; the message names it.
    """
    with name_in_errors(path):
        return decode(np.fromfile(path, np.uint8), preprocess, border)


def decode_images(
    paths: list[Path], preprocess: Preprocess | None, border: int = 0
) -> list[Tensor]:
    """The same of several files, in order."""
    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(lambda path: decode_file(path, preprocess, border), paths))


def cores() -> int:
    """The cores that this process may use."""
    mine = hasattr(os, "sched_getaffinity")
    return (len(os.sched_getaffinity(0)) if mine else os.cpu_count()) or 1


def to_eight_bits(image: Image.Image) -> Image.Image:
    """An image of 16 bits scaled to 8, which PIL would clip; one of 8 bits as it is.

    Raises:
        ValueError: pixels of floating point or 32 bits, whose range is not known.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > DEEPEST:
        raise ValueError(f"expected 8 or 16 bits a channel, got the mode {image.mode}")
    return Image.fromarray(np.round(values / (DEEPEST / 255)).astype(np.uint8))


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) from the first bytes of a file.

    Raises:
        BadFile: it is absent, damaged or no image.
    """
    with name_in_errors(path), Image.open(path) as image:
        return image.height, image.width


@contextmanager
def name_in_errors(path: Path) -> Iterator[None]:
    """While a file is decoded: what goes wrong becomes one sentence.

    Raises:
        BadFile: in place of any other error.
    """
    try:
        yield
    except UnidentifiedImageError as error:  # which names the bytes
        raise BadFile(f"{path} cannot be decoded: it is no image of a known format") from error
    except Exception as error:  # a damaged image can raise many types
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadFile(f"{path} cannot be decoded: {reason}") from error
