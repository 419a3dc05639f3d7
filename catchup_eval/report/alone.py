"""Images that one model alone gets right: a few are kept, so that a page is drawn without the data.

FOLDER/results/pictures.npz    images (M, C, H, W) uint8, numbers (M,) int64 the sample numbers
"""

from collections.abc import Mapping
from itertools import chain, islice, zip_longest
from math import ceil
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from matplotlib.figure import Figure

from catchup_eval import agreement
from catchup_eval.errors import BadFile
from catchup_eval.files import replacing
from catchup_eval.report import figures
from catchup_eval.report.figures import drawn
from catchup_eval.study import Study

SHOWN = 12  # images in all, and numbers for each model
ABREAST = 6
SIDE, TITLE = 1.05, 0.3  # inches
SHORT = 16  # letters of a name over an image


def choose(found: Mapping[str, np.ndarray]) -> dict[int, str]:
    """Which model is right on which sample: at most :data:`SHOWN`, the models taking turns.

    Args:
        found: for each model, the numbers of the samples that it alone gets right.

    Example:
        >>> choose({"a": np.array([3, 5]), "b": np.array([9])})
        {3: 'a', 9: 'b', 5: 'a'}
    """
    named = [[(int(number), name) for number in numbers] for name, numbers in found.items()]
    turns = chain.from_iterable(zip_longest(*named))
    return dict(islice(filter(None, turns), SHOWN))


def keep(study: Study, images: np.ndarray, index: np.ndarray, folder: Path) -> None:
    """Keep the images that a page of this study shows; nothing where there are none.

    Args:
        images: (N, C, H, W) uint8.
        index: (N,) their sample numbers.
    """
    numbers = list(choose(agreement.alone(study)))
    places = {int(number): place for place, number in enumerate(index)}
    known = [number for number in numbers if number in places]
    if known:
        pixels = images[[places[number] for number in known]]
        with replacing(_path(folder)) as temporary:
            np.savez_compressed(temporary, images=pixels, numbers=np.array(known))


def kept(folder: Path) -> dict[int, np.ndarray]:
    """The images (C, H, W) by sample number; empty where none were kept.

    Raises:
        BadFile: the file is damaged.
    """
    path = _path(folder)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            pairs = zip(found["numbers"], found["images"], strict=True)
            return {int(number): image for number, image in pairs}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise BadFile(f"{path} cannot be read: {error}") from error


def _path(folder: Path) -> Path:
    return folder / "results" / "pictures.npz"


def alone_plot(right: Mapping[int, str], images: Mapping[int, np.ndarray]) -> Figure:
    """The images (C, H, W), each with the model that is right and the sample's number above."""
    rows, columns = ceil(len(images) / ABREAST), min(ABREAST, len(images))
    with figures.style():
        fig = figures.figure(columns * SIDE + 0.2, rows * (SIDE + TITLE))
        grid = list(fig.subplots(rows, columns, squeeze=False).flat)
        for axes, (number, image) in zip(grid, images.items()):
            pixels = image.transpose(1, 2, 0)
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_title(f"{_short(right[number])}\n{number}", fontsize=6.5)
        for axes in grid:
            axes.set_axis_off()
        return fig


def _short(name: str) -> str:
    return drawn(name if len(name) <= SHORT else f"{name[: SHORT - 3]}...")
