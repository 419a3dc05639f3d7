"""The figures of :mod:`catchup_eval.analysis.localization`, from its results alone."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from PIL import Image

from catchup_eval.plotting import figure
from catchup_eval.plotting.curves import curve, draw, mean_value
from catchup_eval.plotting.style import GREY, plot_styles, styled
from catchup_eval.results.result import Result, group_by_model

BASELINES = ("centred_box", "whole_image")
WORST = 3  # images at the end of the contact sheet


@styled
def plot(result: Result) -> dict[str, Figure]:
    """GT-known against the threshold, and a contact sheet of maps and boxes."""
    models = group_by_model(result)
    return {"localization": _thresholds(models), "contact_sheet": _contact_sheet(models)}


def _thresholds(models: dict[str, list[Result]]) -> Figure:
    fig = figure.figure(figure.COLUMN, 2.6 + 0.16 * min(len(models), 6))
    axes = fig.subplots()
    looks = plot_styles(list(models))
    for name, results in models.items():
        look, at = looks[name], float(results[0].samples["threshold"][0])
        protocol = _protocol(results[0])
        other = "max" if protocol.startswith("cam-minmax") else "minmax"
        value, otherwise = (mean_value(results, m) for m in ("gt_known", f"gt_known_{other}"))
        label = f"{name}: {value:.1f} % at {at:g} ({_scaling(other)}: {otherwise:.1f} %)"
        line = curve(results, "gt_known_at", "threshold")
        draw(axes, line, look, dash=look.dash, label=label)
        axes.plot(at, value, look.marker, color=look.color)
        axes.plot(at, otherwise, look.marker, color=look.color, fillstyle="none")
        axes.axvline(at, color=GREY, linewidth=0.8, zorder=0)
    _draw_baselines(axes, next(iter(models.values()))[0])
    axes.set(xlabel="threshold (fraction of the map's maximum)", ylabel="GT-known (%)")
    figure.zoom(axes, also=[next(iter(models.values()))[0].value(name) for name in BASELINES])
    axes.set_title(f"maps scaled by {_scaling(protocol)}; hollow: by {_scaling(other)}")
    figure.legend_below(fig, axes, columns=1)
    return fig


def _scaling(protocol: str) -> str:
    """How a map is scaled before the threshold."""
    return "min-max" if "minmax" in protocol else "max"


def _protocol(result: Result) -> str:
    return str(result.frame["protocol"].iloc[0])


def _draw_baselines(axes: Axes, result: Result) -> None:
    width, height = (result.value(side) for side in ("centred_width", "centred_height"))
    for metric, name, dash in (
        ("centred_box", f"centred box, {width:.0f} x {height:.0f} %", (0.0, (1.0, 1.5))),
        ("whole_image", "whole image", (0.0, (1.0, 4.0))),
    ):
        value = result.value(metric)
        label = f"{name}: {value:.1f} %"
        axes.axhline(value, color="#606060", linestyle=dash, linewidth=1, label=label)


def _contact_sheet(models: dict[str, list[Result]]) -> Figure:
    """One model: two lines of images; several: one line each, so that columns can be compared."""
    firsts = {name: results[0] for name, results in models.items()}
    count = max(len(result.samples["sheet_rows"]) for result in firsts.values())
    lines = 2 if len(models) == 1 else 1
    columns = -(-count // lines)
    marks = f"solid: object; dashed: box of the map; number: IoU; last {WORST}: the worst others"
    seeds = "; first seed" if max(map(len, models.values())) > 1 else ""
    names = len(models) * (len(models) > 1)
    sheet = figure.Sheet(len(models) * lines, columns, lines=names, title=marks + seeds)
    top = sheet.top
    for name, result in firsts.items():
        if names:
            sheet.axes.text(0.02, top + sheet.line / 2, name, va="center")
            top += sheet.line
        for place in range(len(result.samples["sheet_rows"])):
            _example(sheet, result, place, place % columns, top + place // columns)
        top += lines
    return sheet.finish()


def _example(sheet: figure.Sheet, result: Result, place: int, left: float, top: float) -> None:
    samples = result.samples
    row = int(samples["sheet_rows"][place])
    image, axes = samples["sheet_images"][place], sheet.axes
    heat = figure.in_color(samples["sheet_maps"][place].astype(float))
    heat = np.asarray(Image.fromarray((255 * heat).astype(np.uint8)).resize(image.shape[1::-1]))
    sheet.put((image / 255 + heat / 255) / 2, left, top)
    at = _Place(left + 0.02, top + 0.02, 0.96 / image.shape[1], 0.96 / image.shape[0])
    outline = [withStroke(linewidth=2.4, foreground="black")]
    _rectangle(
        axes, at, samples["truth"][row], edgecolor="white", linewidth=1.2, path_effects=outline
    )
    dashed = {"linestyle": (0, (3, 2)), "linewidth": 1.2, "path_effects": outline}
    _rectangle(axes, at, samples["predicted"][row], edgecolor="#FFD24D", **dashed)
    text = axes.text(left + 0.06, top + 0.06, f"{samples['iou'][row]:.2f}")
    text.set(color="white", fontsize=6.5, va="top", path_effects=outline)


class _Place(NamedTuple):
    """Where an image is drawn, and how large its pixels are."""

    left: float
    top: float
    width: float
    height: float


def _rectangle(axes: Axes, at: _Place, box: np.ndarray, **style: Any) -> None:
    """The box, in pixel edges."""
    x0, x1 = at.left + at.width * box[[0, 2]].astype(float)
    y0, y1 = at.top + at.height * box[[1, 3]].astype(float)
    axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, **style))
