"""The figures of :mod:`catchup_eval.analysis.localization`, from its results alone."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from catchup_eval.plotting import figure
from catchup_eval.plotting.curves import curve, draw, mean_value
from catchup_eval.plotting.style import GREY, PAGE, SEQUENTIAL, figure_style, plot_styles
from catchup_eval.results.result import Result, group_by_model

WORST = 3  # images at the end of the contact sheet


def plot(result: Result) -> dict[str, Figure]:
    """GT-known against the threshold, and a contact sheet of maps and boxes."""
    models = group_by_model(result)
    with figure_style():
        return {"localization": _thresholds(models), "contact_sheet": _contact_sheet(models)}


def _thresholds(models: dict[str, list[Result]]) -> Figure:
    fig = figure.figure(figure.COLUMN, 2.7 + 0.16 * len(models))
    axes = fig.subplots()
    looks = plot_styles(list(models))
    for name, results in models.items():
        look, at = looks[name], float(results[0].samples["threshold"][0])
        protocol = _protocol(results[0])
        other = "max" if protocol.startswith("cam-minmax") else "minmax"
        value, otherwise = (mean_value(results, m) for m in ("gt_known", f"gt_known_{other}"))
        label = f"{name}: {value:.1f} % at {at:g} ({other}: {otherwise:.1f} %)"
        line = curve(results, "gt_known_at", "threshold")
        draw(axes, line, look, dash=look.dash, label=label)
        axes.plot(at, value, look.marker, color=look.color)
        axes.plot(at, otherwise, look.marker, color=look.color, fillstyle="none")
        axes.axvline(at, color=GREY, linewidth=0.8, zorder=0)
    _draw_baselines(axes, next(iter(models.values()))[0])
    axes.set(xlabel="threshold (fraction of the map's maximum)", ylabel="GT-known (%)")
    axes.set(ylim=(0, 100), title=f"protocol {protocol}; hollow: {other}")
    figure.legend_below(fig, axes, columns=1)
    return fig


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
    side = PAGE / columns
    fig = figure.figure(PAGE, 0.3 + len(models) * (lines * side + 0.2))
    fig.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    panels = fig.subplots(len(models) * lines, columns, squeeze=False)
    for panel in panels.ravel():
        panel.set(xticks=(), yticks=(), frame_on=False)
    for (name, result), line in zip(firsts.items(), panels.reshape(len(models), -1), strict=True):
        for place, axes in zip(range(len(result.samples["sheet_rows"])), line, strict=False):
            _example(axes, result, place)
        if len(models) > 1:
            line[0].set_title(name, loc="left", pad=2)
    marks = f"solid: object; dashed: box of the map; number: IoU; last {WORST}: the worst others"
    title = f"protocol {_protocol(next(iter(firsts.values())))}; {marks}"
    seeds = "; first seed" if max(map(len, models.values())) > 1 else ""
    fig.suptitle(title + seeds, fontsize=8)
    return fig


def _example(axes: Axes, result: Result, place: int) -> None:
    samples = result.samples
    row = int(samples["sheet_rows"][place])
    axes.imshow(samples["sheet_images"][place])
    heat = samples["sheet_maps"][place].astype(float)
    axes.imshow(heat, cmap=SEQUENTIAL, alpha=0.5)
    outline = [withStroke(linewidth=2.4, foreground="black")]
    _rectangle(axes, samples["truth"][row], edgecolor="white", linewidth=1.2, path_effects=outline)
    dashed = {"linestyle": (0, (3, 2)), "linewidth": 1.2, "path_effects": outline}
    _rectangle(axes, samples["predicted"][row], edgecolor="#FFD24D", **dashed)
    text = axes.text(0.04, 0.96, f"{samples['iou'][row]:.2f}", transform=axes.transAxes)
    text.set(color="white", fontsize=6.5, va="top", path_effects=outline)


def _rectangle(axes: Axes, box: np.ndarray, **style: Any) -> None:
    """The box in pixel edges; `imshow` has the first pixel's centre at 0."""
    x0, y0, x1, y1 = box.astype(float) - 0.5
    axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, clip_on=False, **style))
