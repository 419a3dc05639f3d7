"""Figures as files: the same numbers give the same bytes."""

from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from catchup_eval.core.files import atomic_path
from catchup_eval.plotting import style

# Without dates; PNG also without the name of the program, which carries its version.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}
SCREEN_PIXELS = 110  # for an inch of figure: 8 pt text is then 12 px high


@dataclass(frozen=True)
class SavedFigure:
    """A saved figure, as a page shows it."""

    name: str  # of its files, without suffix
    alt: str  # description for screen readers
    width: int  # in screen pixels
    height: int
    png: bytes

    @property
    def data_uri(self) -> str:
        """The picture as part of a page."""
        return "data:image/png;base64," + b64encode(self.png).decode()

    @property
    def links(self) -> list[tuple[str, str]]:
        """(kind, path) of each file, relative to the report's folder."""
        return [(suffix.upper(), f"figures/{self.name}.{suffix}") for suffix in METADATA]


def save(figure: Figure, folder: Path, name: str, alt: str) -> SavedFigure:
    """Write `figures/NAME.png`, `.pdf` and `.svg` into the report's folder."""
    contents = {}
    with style.figure_style():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, not once for each file
        for suffix, metadata in METADATA.items():
            buffer = BytesIO()
            figure.savefig(buffer, format=suffix, metadata=metadata)
            contents[suffix] = _quantize(buffer) if suffix == "png" else buffer.getvalue()
            with atomic_path(folder / "figures" / f"{name}.{suffix}") as temporary:
                temporary.write_bytes(contents[suffix])
    width, height = (round(SCREEN_PIXELS * inches) for inches in figure.get_size_inches())
    return SavedFigure(name, alt, width, height, contents["png"])


def _quantize(png: BytesIO) -> bytes:
    """The picture with 256 colours: a third of the bytes, to the eye the same."""
    buffer = BytesIO()
    with Image.open(png) as picture:
        method, dither = Image.Quantize.MEDIANCUT, Image.Dither.NONE
        few = picture.convert("RGB").quantize(256, method, dither=dither)
        few.save(buffer, "png", optimize=True, dpi=picture.info["dpi"])
    return buffer.getvalue()
