"""Figures, their sizes, their legends, and the data that they show."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from itertools import zip_longest
from textwrap import fill, wrap
from typing import Any
from weakref import WeakKeyDictionary

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike
from PIL import Image

from catchup_eval.plotting import style
from catchup_eval.plotting.style import GREY, PAGE, SIX, PlotStyle, current_style

COLUMN = style.COLUMN
LETTERS = 18  # of a legend, to an inch
TEXT = 0.17  # inches of a line of text
MARGIN = 2  # pixels around a picture of a sheet
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
LABEL, LINE = 6.5, 1.25  # points of a label at the end of a line, and of its height to these
NUMBERS = ("x", "x_end", "y", "low", "high", "value")  # columns of a figure's data
Columns = Mapping[str, Any]  # arrays of one length, by column

# By line: low and high of its interval, and the model that it is of.
intervals: WeakKeyDictionary[Line2D, tuple[np.ndarray, np.ndarray]] = WeakKeyDictionary()
owners: WeakKeyDictionary[Line2D, PlotStyle] = WeakKeyDictionary()
cells: WeakKeyDictionary[Axes, Columns] = WeakKeyDictionary()  # of a map


def figure(width: float = COLUMN, height: float = 2.4) -> Figure:
    """An empty figure whose parts do not overlap; the style may ask for another width."""
    chosen = current_style()
    height *= max(1.0, chosen.font_size / 8)
    return Figure(figsize=(chosen.inches or width, height), layout="constrained")


class Sheet:
    """A figure of small pictures in rows, all of one size, drawn as one image.

    Its axes have the picture's side as unit; y goes down.

    Args:
        lines: of text between the rows.
        title: above all.

    Attributes:
        line: the height of a line of text.
        top: where the first row or line begins.
    """

    def __init__(self, rows: int, columns: int, *, lines: int, title: str):
        side = available() / columns
        wrapped = wrap(title, int(LETTERS * available()))
        self.line = TEXT / side
        self.top = self.line * len(wrapped)
        self._tall = rows + self.line * lines + self.top
        self.figure = Figure(figsize=(side * columns, side * self._tall))
        self.axes = self.figure.add_axes((0, 0, 1, 1), frame_on=False, xticks=(), yticks=())
        self.axes.set(xlim=(0, columns), ylim=(self._tall, 0))
        self.axes.grid(visible=False)
        middle: dict[str, Any] = {"ha": "center", "va": "center"}
        self.axes.text(columns / 2, self.top / 2, "\n".join(wrapped), **middle)
        self._pixels = round(side * self.figure.dpi)  # of a picture's side
        shape = round(self._tall * self._pixels), columns * self._pixels, 3
        self._canvas = np.full(shape, 255, np.uint8)

    def put(self, picture: np.ndarray, left: float, top: float) -> None:
        """Place an RGB image (H, W, 3) in [0, 1] or bytes, with a small margin."""
        if picture.dtype != np.uint8:
            picture = (255 * picture).round().astype(np.uint8)
        side = self._pixels - 2 * MARGIN
        how = Image.Resampling.NEAREST if max(picture.shape) < side else Image.Resampling.BOX
        x, y = (round(self._pixels * place) + MARGIN for place in (left, top))
        small = Image.fromarray(picture).resize((side, side), how)
        self._canvas[y : y + side, x : x + side] = np.asarray(small)

    def finish(self) -> Figure:
        """The figure with all that was placed."""
        extent = (0.0, self._canvas.shape[1] / self._pixels, self._tall, 0.0)
        self.axes.imshow(self._canvas, extent=extent, aspect="auto", interpolation="nearest")
        return self.figure


def in_color(values: np.ndarray) -> np.ndarray:
    """A map (H, W) in colours (H, W, 3), from its lowest value to its highest."""
    span = float(np.ptp(values)) or 1.0
    return np.asarray(mpl.colormaps[style.SEQUENTIAL]((values - values.min()) / span)[..., :3])


def available() -> float:
    """Inches across the page, or a figure where the style has a width."""
    return current_style().inches or PAGE


def abreast(panels: int, wide: float = 1.6) -> int:
    """How many panels of at least so many inches fit beside each other."""
    return max(1, min(panels, int(available() / wide)))


def legend_below(fig: Figure, axes: Axes, columns: int = 3) -> None:
    """One legend for the whole figure, under it, where it covers nothing.

    More models than six are named at the ends of their lines instead.
    """
    handles, labels = axes.get_legend_handles_labels()
    models = [handle for handle in handles if isinstance(handle, Line2D) and handle in owners]
    if len({owners[line].name for line in models}) > len(SIX):
        label_ends(axes, models)
        pairs = [(h, text) for h, text in zip(handles, labels) if h not in models]
        handles, labels = [h for h, _ in pairs], [text for _, text in pairs]
    if labels:
        letters = max(map(len, labels)) + 5
        fit = max(1, min(columns, int(LETTERS * fig.get_figwidth() / letters)))
        wrapped = [fill(text, int(LETTERS * fig.get_figwidth())) for text in labels]
        fig.legend(handles, wrapped, loc="outside lower center", ncols=fit)


def label_ends(axes: Axes, lines: Sequence[Line2D]) -> None:
    """Write each model's name at the right end of its line; names never overlap."""
    axes.get_xlim(), axes.get_ylim()  # as they will be drawn
    ends = [line for line in lines if len(line.get_xdata())]  # type: ignore[arg-type]
    to_axes = axes.transData + axes.transAxes.inverted()
    tips = {line: tuple(to_axes.transform(line.get_xydata()[-1])) for line in ends}  # type: ignore[index]
    root = axes.get_figure(root=True)
    assert root is not None
    step = LINE * LABEL / 72 / (0.85 * axes.bbox.height / root.dpi)  # a layout takes some of it
    order = sorted(ends, key=lambda line: tips[line][1])
    places = np.array([tips[line][1] for line in order])
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + step)
    places -= max(0.0, places[-1] - 1.02) if len(places) else 0
    for line, y in zip(order, places, strict=True):
        look = owners[line]
        axes.annotate(
            look.name, tips[line], (1.06, y), "axes fraction", "axes fraction",
            arrowprops={"arrowstyle": "-", "color": look.color, "linewidth": 0.4, "shrinkA": 1,
                        "shrinkB": 1},
            fontsize=LABEL, va="center", color="black" if look.color == GREY else look.color,
            annotation_clip=False,
        )  # fmt: skip


def names_below(fig: Figure, looks: Mapping[str, PlotStyle], columns: int = 0) -> None:
    """A legend of colours and markers under the figure.

    Args:
        columns: of the legend; 0 for as many as fit, up to five.
    """
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle="none", label=look.name)
        for look in looks.values()
    ]
    letters = (
        max((len(look.name) for look in looks.values()), default=0) + 5
    )  # the widest entry, its marker and the gap
    fit = max(1, min(len(handles), 5, int(LETTERS * fig.get_figwidth() / letters)))
    fig.legend(handles=handles, loc="outside lower center", ncols=columns or fit)


def power_of_ten(value: float) -> str:
    """A power of ten as a tick's label.

    Example:
        >>> power_of_ten(0.01), power_of_ten(1e-5)
        ('0.01', '10⁻⁵')
    """
    power = round(np.log10(value)) if value > 0 else 0
    return f"{value:g}" if -2 <= power <= 3 else f"10{str(power).translate(SUPERSCRIPTS)}"


def power_ticks(axis: Axis) -> None:
    """Powers of ten at a logarithmic axis, each labelled."""

    axis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
    axis.get_minor_locator().set_params(subs=[])  # type: ignore[call-arg]


def zoom(*panels: Axes, also: Sequence[float] = ()) -> None:
    """Limit the y axes, in percent, to what the models' lines in them need, and to `also`."""
    lines = [line.get_ydata() for axes in panels for line in axes.lines if line in owners]
    known = np.concatenate([np.asarray(values, float) for values in (*lines, also)])
    known = known[np.isfinite(known)].clip(0, 100)
    if len(known):
        gap = 0.06 * max(np.ptp(known), 5)
        for axes in panels:
            axes.set_ylim(known.min() - gap, known.max() + gap)


def figure_data(fig: Figure) -> str:
    """What a figure shows, as CSV: a row for each point, bin or cell.

    Columns: `panel` (its number and title), the labels of its axes, `series` (a model or what a
    legend calls it), `x`, `y`, with `low` and `high` where there is an interval, `x_end` of a bin,
    and `value` of a cell of a map.
    """
    out = StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    write(["panel", "x_label", "y_label", "series", *NUMBERS])
    for number, axes in enumerate(fig.axes, 1):
        title = " ".join((axes.get_title() or axes.get_title(loc="left")).split())
        panel = [
            f"{number}: {title}" if title else str(number),
            axes.get_xlabel(),
            axes.get_ylabel(),
        ]
        found = [*map(_data_of, axes.get_children()), ("", cells.get(axes, {}))]
        for series, columns in found:
            filled = [columns.get(name, ()) for name in NUMBERS]
            for row in zip_longest(*(map(_write_number, column) for column in filled)):
                write([*panel, series, *row])
    return out.getvalue()


def _write_number(value: object) -> str:
    if not isinstance(value, float | np.floating):
        return str(value)
    return "" if np.isnan(value) else f"{value:.6g}"


def _data_of(artist: Any) -> tuple[str, Columns]:
    """The series and the numbers of one artist; none where it shows no data."""
    label = str(artist.get_label())
    name = "" if label.startswith("_") else label
    if isinstance(artist, Line2D):
        limits = dict(zip(("low", "high"), intervals.get(artist, ())))
        name = owners[artist].name if artist in owners else name
        return name, {"x": artist.get_xdata(), "y": artist.get_ydata(), **limits}
    if isinstance(artist, StepPatch):
        values, edges, _ = artist.get_data()
        return name, {"x": edges[:-1], "x_end": edges[1:], "y": values}
    if type(artist) is PolyCollection:  # hexagons, where they have values
        x, y = np.ma.getdata(artist.get_offsets()).T
        counts = artist.get_array()
        return name, {} if counts is None else {"x": x, "y": y, "value": np.ma.getdata(counts)}
    return "", {}


def table_cells(values: np.ndarray, x: ArrayLike = (), y: ArrayLike = ()) -> Columns:
    """The cells of a map (H, W) for :data:`cells`; by default x and y count from 0."""
    tall, wide = values.shape
    across = np.asarray(x) if np.size(x) else np.arange(wide)
    down = np.asarray(y) if np.size(y) else np.arange(tall)
    return {"x": np.tile(across, tall), "y": np.repeat(down, wide), "value": values.ravel()}
