"""The agreement plot, and images that one model alone gets right.

The plot asks: are two networks wrong on the same images? Of the images a few are kept, so that a
page is drawn without the data.

FOLDER/results/pictures.npz    images (M, C, H, W) uint8, numbers (M,) int64 the sample numbers
"""

from collections.abc import Mapping
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from catchup_eval.plotting import figure, style
from catchup_eval.plotting.style import escape_label
from catchup_eval.results.agreement import Agreement

CELL = 0.45  # inches
FEW = 12  # groups up to which each number is written


def agreement_plot(agreement: Agreement) -> Figure:
    """Cohen's kappa between the groups, lower triangle; the diagonal holds a group's own seeds."""
    groups, kappa = agreement.groups, agreement.kappa
    first = 0 if np.isfinite(np.diag(kappa)).any() else 1  # without seeds the diagonal is empty
    columns = groups[: len(groups) - first]
    values = np.where(np.tri(len(groups), dtype=bool), kappa, np.nan)[first:, : len(columns)]
    with style.figure_style():
        side = CELL * len(columns)
        fig = figure.figure(min(style.PAGE, 1.6 + side), min(style.PAGE, 0.9 + side))
        axes = fig.subplots()
        image = _cells(axes, values)
        if len(columns) <= FEW:
            _numbers(axes, image, values)
        else:
            fig.colorbar(image, ax=axes, shrink=0.5, label="kappa")
        turn = {"rotation": 30, "ha": "right"} if len(columns) <= FEW else {"rotation": 90}
        axes.set_xticks(range(len(columns)), map(escape_label, columns), **turn)
        axes.set_yticks(range(len(columns)), map(escape_label, groups[first:]))
        return fig


def _cells(axes: Axes, values: np.ndarray) -> AxesImage:
    lowest = min(0.0, float(np.nanmin(values)))
    image = axes.imshow(values, cmap=style.SEQUENTIAL, vmin=lowest, vmax=1)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return image


def _numbers(axes: Axes, image: AxesImage, values: np.ndarray) -> None:
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            ink = _ink(np.asarray(image.to_rgba(value)))
            axes.text(column, row, f"{value:.2f}", color=ink, size=7, ha="center", va="center")


def _ink(paper: np.ndarray) -> str:
    red, green, blue = paper[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


ABREAST = 6

SIDE, TITLE = 1.05, 0.3  # inches

SHORT = 16  # letters of a name over an image


def alone_plot(right: Mapping[int, str], images: Mapping[int, np.ndarray]) -> Figure:
    """The images (C, H, W), each with the model that is right and the sample's number above."""
    rows, columns = ceil(len(images) / ABREAST), min(ABREAST, len(images))
    with style.figure_style():
        fig = figure.figure(columns * SIDE + 0.2, rows * (SIDE + TITLE))
        grid = list(fig.subplots(rows, columns, squeeze=False).flat)
        for axes, (number, image) in zip(grid, images.items()):
            pixels = image.transpose(1, 2, 0)
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_title(f"{_truncate_name(right[number])}\n{number}", fontsize=6.5)
        for axes in grid:
            axes.set_axis_off()
        return fig


def _truncate_name(name: str) -> str:
    return escape_label(name if len(name) <= SHORT else f"{name[: SHORT - 3]}...")
