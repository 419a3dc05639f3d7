"""Figures as files: the same numbers give the same bytes."""

import warnings
from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from catchup_eval.core.files import atomic_path
from catchup_eval.plotting import style
from catchup_eval.plotting.figure import figure_data

METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
SCREEN_PIXELS = 110  # for an inch of figure: 8 pt text is then 12 px high


@dataclass(frozen=True)
class SavedFigure:
    """A saved figure, as a page shows it."""

    name: str  # of its files, without suffix
    alt: str  # description for screen readers
    width: int  # in screen pixels
    height: int
    png: bytes
    formats: tuple[str, ...]

    @property
    def data_uri(self) -> str:
        """The picture as part of a page."""
        return "data:image/png;base64," + b64encode(self.png).decode()

    @property
    def links(self) -> list[tuple[str, str]]:
        """(kind, path) of each file, relative to the report's folder."""
        return [(suffix.upper(), f"figures/{self.name}.{suffix}") for suffix in self.formats]


def save(figure: Figure, folder: Path, name: str, alt: str) -> SavedFigure:
    """Write `figures/NAME.png`, the style's other formats and `.csv`, what the figure shows."""
    formats: tuple[str, ...] = tuple(dict.fromkeys(["png", *style.current_style().formats]))
    contents = {}
    with warnings.catch_warnings():
        # what no font has was replaced in names; elsewhere the figure has an empty box
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        contents["png"] = draw_png(figure)
        figure.set_layout_engine("none")  # laid out once, not once for each file
        contents |= {suffix: draw_vectors(figure, suffix) for suffix in formats[1:]}
    data = figure_data(figure)
    contents |= {"csv": data.encode()} if data.count("\n") > 1 else {}  # not of photographs
    for suffix, content in contents.items():
        with atomic_path(folder / "figures" / f"{name}.{suffix}") as temporary:
            temporary.write_bytes(content)
    width, height = (round(SCREEN_PIXELS * inches) for inches in figure.get_size_inches())
    return SavedFigure(name, alt, width, height, contents["png"], tuple(contents))


def draw_vectors(figure: Figure, suffix: str) -> bytes:
    """The figure as SVG or PDF; `savefig` would draw the SVG twice."""
    buffer = BytesIO()
    canvas: Any = FigureCanvasSVG(figure)
    if suffix == "svg":
        canvas.print_svg(buffer, metadata=METADATA[suffix])
    else:
        figure.savefig(buffer, format=suffix, metadata=METADATA[suffix])
    return buffer.getvalue()


def draw_png(figure: Figure) -> bytes:
    """The picture with 256 colours: a third of the bytes, to the eye the same."""
    canvas: Any = FigureCanvasAgg(figure)
    buffer = BytesIO()
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    few = picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(buffer, "png", compress_level=6, dpi=(figure.dpi, figure.dpi))
    return buffer.getvalue()
