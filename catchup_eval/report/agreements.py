"""The agreement plot: are two networks wrong on the same images?"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from catchup_eval.agreement import Agreement
from catchup_eval.report import figures
from catchup_eval.report.figures import drawn

CELL = 0.45  # inches
FEW = 12  # groups up to which each number is written


def agreement_plot(agreement: Agreement) -> Figure:
    """Cohen's kappa between the groups, lower triangle; the diagonal holds a group's own seeds."""
    groups, kappa = agreement.groups, agreement.kappa
    first = 0 if np.isfinite(np.diag(kappa)).any() else 1  # without seeds the diagonal is empty
    columns = groups[: len(groups) - first]
    values = np.where(np.tri(len(groups), dtype=bool), kappa, np.nan)[first:, : len(columns)]
    with figures.style():
        side = CELL * len(columns)
        fig = figures.figure(min(figures.PAGE, 1.6 + side), min(figures.PAGE, 0.9 + side))
        axes = fig.subplots()
        image = _cells(axes, values)
        if len(columns) <= FEW:
            _numbers(axes, image, values)
        else:
            fig.colorbar(image, ax=axes, shrink=0.5, label="kappa")
        turn = {"rotation": 30, "ha": "right"} if len(columns) <= FEW else {"rotation": 90}
        axes.set_xticks(range(len(columns)), map(drawn, columns), **turn)
        axes.set_yticks(range(len(columns)), map(drawn, groups[first:]))
        return fig


def _cells(axes: Axes, values: np.ndarray) -> AxesImage:
    lowest = min(0.0, float(np.nanmin(values)))
    image = axes.imshow(values, cmap=figures.SEQUENTIAL, vmin=lowest, vmax=1)
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
