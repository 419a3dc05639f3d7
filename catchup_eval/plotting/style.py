"""How every figure looks: sizes, fonts, colours, markers, and a user's own :class:`Style`.

Figures are `matplotlib.figure.Figure`, never `pyplot`: no global state, no display needed.
The palettes keep their order in grey print and for colour-blind readers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.colors import is_color_like
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from pydantic import AfterValidator, Field

from catchup_eval.core import toml
from catchup_eval.core.settings import Settings, Several, check
from catchup_eval.results.result import Result, rearrange

PAGE = 6.875  # inches: its full width
COLUMN = 3.25  # inches: one column of a two-column paper
FEW = ("#000000", "#004488", "#BB5566", "#DDAA33")
SIX = ("#1e1776", "#6e2b43", "#b7191c", "#a157f0", "#0aada4", "#f6ab77")
GREY = "#9a9a9a"
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p", "h", "*")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 3)), (0, (8, 2)))
SEQUENTIAL, DIVERGING = "cividis", "PuOr"
SHORT = 26  # letters of a name in a figure
# The page's sans-serif, then those that have the letters of Chinese, Japanese and Korean.
FONTS = (
    *("Arial", "Helvetica", "Liberation Sans", "DejaVu Sans"),
    *(
        "Noto Sans CJK SC",
        "Noto Sans CJK JP",
        "Noto Sans CJK KR",
        "Noto Sans SC",
        "Source Han Sans",
    ),
    *("PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic"),
    *("Malgun Gothic", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback"),
)

STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a model may be called $x$
    "legend.frameon": False,
    "figure.dpi": 200,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # text stays text: journals require it
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "catchup-eval",  # the same picture is the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
}


def _color(text: str) -> str:
    if not is_color_like(text):
        raise ValueError(f"expected a colour such as '#004488' or 'tab:blue', got {text!r}")
    return text


class Style(Settings):
    """How a user wants the figures; a TOML file has these keys.

    Attributes:
        width: inches of every figure; 0 for those it is designed for, 3.25 or 6.875.
        columns: instead of the width: 1 or 2 columns of a two-column paper.
        font: family; letters that it lacks are taken from others.
        font_size: points; smaller texts scale with it.
        formats: of the files, beside the PNG that the page shows.
        names: of models, by the name that they have in the report.
        order: of models, by their names in the report; others come last.
        colors: of models, likewise.
        highlighted: of seven models and more, those that are not grey; a report takes the best two.
    """

    width: Annotated[float, Field(ge=0, le=40)] = 0
    columns: Literal[0, 1, 2] = 0
    font: str = ""
    font_size: Annotated[float, Field(ge=4, le=24)] = 8
    formats: Several[Literal["png", "svg", "pdf"]] = ("png", "svg")
    names: dict[str, str] = {}
    order: Several[str] = ()
    colors: dict[str, Annotated[str, AfterValidator(_color)]] = {}
    highlighted: Several[str] = ()

    @property
    def inches(self) -> float:
        """The width of every figure; 0 for each its own."""
        return self.width or {0: 0.0, 1: COLUMN, 2: PAGE}[self.columns]

    @property
    def parameters(self) -> dict[Any, Any]:
        """matplotlib's settings."""
        size, small = self.font_size, self.font_size * 7 / 8
        return STYLE | {
            "font.family": fonts(self.font),
            **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), size),
            **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), small),
        }


DEFAULT_STYLE = Style()
_current: ContextVar[Style] = ContextVar("style", default=DEFAULT_STYLE)


def read_style(path: str | Path) -> Style:
    """The style of a TOML file.

    Raises:
        BadFile: as :func:`catchup_eval.core.toml.read`.
        UserError: a key that there is none of, or a value that it cannot have.
    """
    return check(Style, toml.read("style", path), str(path))


def current_style() -> Style:
    """The style of the enclosing :func:`figure_style`."""
    return _current.get()


@cache
def fonts(first: str = "") -> list[str]:
    """The families to take letters from, in order, as far as they are installed."""
    there = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in (first, *FONTS) if name in there]


@cache
def _letters(families: tuple[str, ...]) -> frozenset[int]:
    paths = [font_manager.findfont(name) for name in families]
    return frozenset(code for path in paths for code in FT2Font(path).get_charmap())


def unwritable(text: str) -> str:
    """The letters of a text that no installed font has."""
    foreign = [letter for letter in dict.fromkeys(text) if ord(letter) > 0x24F]
    there = _letters(tuple(fonts(current_style().font))) if foreign else frozenset()
    return "".join(letter for letter in foreign if ord(letter) not in there)


class PlotStyle(NamedTuple):
    """How one model is drawn in every figure of a page."""

    color: str
    marker: str
    dash: object
    name: str = ""
    width: float = 1.2  # of its lines, in points


@contextmanager
def figure_style(style: Style | None = None) -> Iterator[None]:
    """matplotlib's settings for all figures; a context around drawing and saving.

    Args:
        style: that of the enclosing context where it is not given.
    """
    token = _current.set(style or current_style())
    try:
        with mpl.rc_context(current_style().parameters):
            yield
    finally:
        _current.reset(token)


Plot = Callable[[Result], dict[str, Figure]]
StyledPlot = Callable[..., dict[str, Figure]]  # (result, style=None)


def styled(plot: Plot) -> StyledPlot:
    """Give a function that draws a result the argument `style`: `plot(result, style)`.

    It draws the models under their names in figures, in the style's order.
    """

    @wraps(plot)
    def draw(result: Result, style: Style | None = None) -> dict[str, Figure]:
        with figure_style(style):
            return plot(_arrange(result))

    return draw


def _arrange(result: Result) -> Result:
    if "model" not in result.frame:
        return result
    models = list(dict.fromkeys(map(str, result.frame["model"])))
    return rearrange(result, figure_names(arrange_models(models)))


def arrange_models(models: Sequence[str]) -> list[str]:
    """The models in the order of the current style."""
    order = [name for name in current_style().order if name in models]
    return [*order, *(name for name in models if name not in order)]


def figure_names(models: Sequence[str]) -> dict[str, str]:
    """Each model's name in figures, all different; long ones in full where short ones collide."""
    names = {model: figure_name(model) for model in models}
    if len(set(names.values())) < len(names):
        names = {model: figure_name(model, short=False) for model in models}
    if len(set(names.values())) < len(names):
        names = {model: f"{names[model]} ({i + 1})" for i, model in enumerate(models)}
    return names


def figure_name(name: str, *, short: bool = True) -> str:
    """A name for a figure: renamed, shortened, not hidden from legends, of letters there are.

    Example:
        >>> figure_name("_a$b$"), figure_name("a-very-long-name-of-a-model")
        (' _a$b$', 'a-very-long-n...of-a-model')
    """
    name = current_style().names.get(name, name)
    if short and len(name) > SHORT:
        name = f"{name[: SHORT // 2]}...{name[3 - SHORT // 2 :]}"
    for letter in unwritable(name):
        name = name.replace(letter, f"\\u{ord(letter):04x}")
    return f" {name}" if name.startswith("_") else name


def group_styles(groups: Sequence[str]) -> dict[str, PlotStyle]:
    """The style of each group of a study, with the name that it has in figures."""
    names = figure_names(groups)
    looks = plot_styles(list(names.values()))
    return {group: looks[name] for group, name in names.items()}


def plot_styles(names: Sequence[str]) -> dict[str, PlotStyle]:
    """Colour, marker and dash for each name, in order.

    Of seven and more, all are thin and grey but the first and the style's highlighted ones.

    Example:
        >>> plot_styles(["baseline", "catchup"])["catchup"].color
        '#004488'
    """
    names = list(dict.fromkeys(names))
    style = current_style()
    colors: Mapping[str, str] = dict(zip(names, FEW if len(names) <= len(FEW) else SIX))
    if len(names) > len(SIX):
        highlighted = [figure_name(name) for name in style.highlighted]
        chosen = [name for name in names if name in highlighted and name != names[0]]
        colors = dict(zip([names[0], *(chosen or names[1:2])], FEW))
    own = {figure_name(name): color for name, color in style.colors.items()}
    found = {}
    for i, name in enumerate(names):
        color = own.get(name, colors.get(name, GREY))
        width = 0.7 if color == GREY else mpl.rcParams["lines.linewidth"]
        marker, dash = MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)]
        found[name] = PlotStyle(color, marker, dash, name, width)
    return found
