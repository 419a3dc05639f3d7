"""How often is the network wrong when images are corrupted as cameras, weather and files do it?

All test images at each type and severity: the same image has the same corruption for every model.
Columns: `corruption` (the type), `severity` (1 to 5), then `metric`, `value`, `unit` (percent), `n`
images, `low` and `high` (95 % interval) and `protocol`. Metrics:

- `mean_error`: plain mean of the error over all types and severities, in percent; bootstrap over
  images. The mixup papers print it as "mCE"; it is not ImageNet-C's, which divides by AlexNet's.
- `mean_error_15`: the same over the 15 types that their authors test on, without the four for
  validation, as AugMix and RobustBench report it; absent where one of them was not asked
- `mce_alexnet`: ImageNet-C's mCE, in percent: the mean over the 15 types of each one's error as a
  share of AlexNet's on the released files. Only with the constants for 224 pixels, ImageNet's 1,000
  classes and all severities
- `corruption_error`: mean error of one `corruption` over its severities
- `error`: of one `corruption` at one `severity`, in percent; Wilson interval
- `clean_error`: without corruption, in percent; Wilson interval

The paper's figure is over all 19 types of the released CIFAR-100-C files, which were drawn without
a seed. `protocol` says what was asked here: `cifar19of19@2` is all types with the constants for 32
pixels; a choice of one's own is marked (`cifar2of19-3fa9@2`), as are fewer severities (`s135`).
With `files` the released images are shown: `released19of19@2`.
Frost needs `photographs` that are not part of this package; without them it is procedural, another
corruption than the official one, and the protocol says so: `cifar19of19-proceduralfrost@2`.

The images are kept in `corrupted` in the subject's data root, where there is one, so that the
second model does not wait for them; not so many that they would take most of its free disk.

Self-check: an image's corruption does not depend on its batch; of released files, that they show
these images.

Samples: `index` (N,), `clean` (N,) bool, `correct` (N, cells) bool in the order of the `error`
rows, and `error` (N,), each image's share of wrong cells.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from zlib import crc32

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from catchup_eval.corruptions import (
    CORRUPTIONS,
    FAMILIES,
    NAMES,
    PRESETS,
    alexnet,
    frost,
    preset_for,
)
from catchup_eval.corruptions.kept import Variant, kept, roomy, shown
from catchup_eval.corruptions.official import LOOKED_AT, Released, belongs, released
from catchup_eval.datasets.imageset import Part
from catchup_eval.errors import UnknownName, UserError
from catchup_eval.question import Headline
from catchup_eval.report import figures
from catchup_eval.report.curves import by_model
from catchup_eval.results import Result, Rows
from catchup_eval.settings import one_of, validate_settings
from catchup_eval.statistics import over_seeds
from catchup_eval.subject import Subject

TITLE = "Common corruptions"
QUESTION = "How often is it wrong when images are noisy, blurred, snowy, pale or compressed?"
READING = (
    "Each row is a type of corruption, averaged over its severities; further left is better. The "
    "heat map has the error in percent at each severity and, at its margins, the means."
)
SOURCE = (
    "Hendrycks and Dietterich 2019; the plain mean as in the mixup literature (PuzzleMix's code)"
)
NEEDS = frozenset({"test"})
VERSION = 2
HEADLINES = (Headline("mean_error", "corruption error", "lower", outcomes=("error",)),)
Source = Variant | Released  # where corrupted images come from
ALL_SEVERITIES = (1, 2, 3, 4, 5)
FEW = 4  # models up to which intervals are drawn
ABREAST = 3  # heat maps beside each other
ROW = 0.2  # inches
MEAN = "mean"


def _check(settings: Mapping[str, Any]) -> None:
    corruptions, severities = settings["corruptions"], settings["severities"]
    for name in corruptions:
        if name not in CORRUPTIONS:
            raise UnknownName("corruption", name, CORRUPTIONS)
    for what, chosen in (("corruptions", corruptions), ("severities", severities)):
        if not chosen or len(set(chosen)) < len(chosen):
            raise UserError(f"expected {what}, each once, got {list(chosen)}")
    if not set(severities) <= set(ALL_SEVERITIES):
        raise UserError(f"expected severities from 1 to 5, got {list(severities)}")


@validate_settings(_check)
def measure(
    subject: Subject,
    *,
    corruptions: Sequence[str] = NAMES,
    severities: Sequence[int] = ALL_SEVERITIES,
    preset: Annotated[str, one_of("preset", PRESETS)] | None = None,
    photographs: str | None = None,
    files: str | None = None,
) -> Result:
    """The rows and samples described above.

    Args:
        corruptions: of :data:`catchup_eval.corruptions.CORRUPTIONS`.
        severities: of 1 to 5; the paper takes all.
        preset: whose constants; those for the images' size where not given.
        photographs: folder of the official photographs of frost; without it frost is procedural.
        files: folder of the released CIFAR-10-C, CIFAR-100-C or ImageNet-C, whose images are then
            shown as they are, in place of corrupting; the part's `index` must be their rows.

    Raises:
        UnknownName: no such type or preset.
        UserError: nothing to do, something twice, or another severity; images cannot be kept.
        BadFile: a photograph is absent, or `files` do not belong to these images.
    """
    part = subject.data.part("test")
    preset = preset or preset_for(part.images.shape[-1])
    ice = frost.photographs(Path(photographs)) if photographs and "frost" in corruptions else ()
    variant = Variant(subject.seed, preset, ice)
    source = None if files is None else released(Path(files), part)
    cells = [(name, severity) for name in corruptions for severity in severities]
    answer = partial(_correct, subject, part, source or variant)
    columns = [answer(*cell) for cell in subject.track(cells, len(cells))]
    correct = np.stack(columns, axis=1)
    samples = {
        "index": part.index.numpy(),
        "clean": subject.clean,
        "correct": correct,
        "error": 1 - correct.mean(1),
    }
    rows = _rows(cells, samples, _protocol(source or variant, corruptions, severities))
    if preset == "imagenet" and len(subject.data.classes) == 1000:
        _add_alexnets(rows, cells, correct)
    _add_check(rows, part, source or variant, corruptions, severities[0])
    return Result(rows.frame(), samples)


def _add_check(
    rows: Rows, part: Part, source: Source, corruptions: Sequence[str], severity: int
) -> None:
    if isinstance(source, Released):
        some = part[:LOOKED_AT]
        same = [belongs(some, source.shown(some, name, severity)) for name in corruptions]
        rows.check("the files show these images, in their order", all(same), len(some))
        return
    same = [_independent(part[:3], partial(shown, variant=source), name) for name in corruptions]
    claim = "an image's corruption does not depend on its batch"
    rows.check(claim, all(same), len(part[:3]))


def _correct(subject: Subject, part: Part, source: Source, name: str, severity: int) -> np.ndarray:
    if isinstance(source, Released):
        return subject.correct(part, partial(source.shown, name=name, severity=severity))
    root = subject.data_root
    if root is None or not root.is_dir() or not roomy(root, part):
        return subject.correct(part, partial(shown, name=name, severity=severity, variant=source))
    images = kept(root / "corrupted", part, name, severity, source)
    return subject.correct(images, lambda some: some.images)


def _independent(part: Part, change: Callable[..., Tensor], name: str) -> bool:
    alone = [change(part[i : i + 1], name, 3) for i in range(len(part))]
    return torch.equal(change(part, name, 3), torch.cat(alone))


def _rows(
    cells: Sequence[tuple[str, int]], samples: Mapping[str, np.ndarray], protocol: str
) -> Rows:
    rows = Rows(protocol)
    wrong = ~samples["correct"]
    names = np.array([name for name, _ in cells])
    mean = partial(_add_mean, rows, wrong)
    mean("mean_error", np.full(len(names), True))
    if alexnet.ERRORS.keys() <= set(names):
        mean("mean_error_15", np.isin(names, list(alexnet.ERRORS)))
    rows.rate("clean_error", ~samples["clean"])
    for name in dict.fromkeys(names.tolist()):
        mean("corruption_error", names == name, corruption=name)
    for column, (name, severity) in zip(wrong.T, cells, strict=True):
        rows.rate("error", column, corruption=name, severity=severity)
    return rows


def _add_mean(
    rows: Rows, wrong: np.ndarray, metric: str, columns: np.ndarray, **condition: str
) -> None:
    """The mean of these columns of wrong (N, cells), with its bootstrap over images."""
    errors = 100 * wrong[:, columns].mean(1)
    rows.mean(metric, errors, unit="%", **condition)


def _add_alexnets(rows: Rows, cells: Sequence[tuple[str, int]], correct: np.ndarray) -> None:
    """ImageNet-C's mCE, where all of its cells were asked."""
    asked = {cell: column for column, cell in enumerate(cells)}
    needed = [(name, severity) for name in alexnet.ERRORS for severity in ALL_SEVERITIES]
    if not set(needed) <= set(asked):
        return
    wrong = ~correct[:, [asked[cell] for cell in needed]]
    shares = alexnet.relative(wrong, [name for name, _ in needed])
    rows.mean("mce_alexnet", shares, unit="% of AlexNet")


def _protocol(source: Source, corruptions: Sequence[str], severities: Sequence[int]) -> str:
    """A name that two measurements share only where they asked for the same cells."""
    kind = "released" if isinstance(source, Released) else source.preset
    name = f"{kind}{len(corruptions)}of{len(NAMES)}"
    if len(corruptions) < len(NAMES):
        name += f"-{crc32(' '.join(sorted(corruptions)).encode()):08x}"[:5]
    if set(severities) != set(ALL_SEVERITIES):
        name += "s" + "".join(str(severity) for severity in sorted(severities))
    if "frost" in corruptions and isinstance(source, Variant) and not source.photographs:
        name += "-proceduralfrost"
    return f"{name}@{VERSION}"


class Point(NamedTuple):
    """A value with its interval; NaN where there is none."""

    value: float
    low: float
    high: float


def plot(result: Result) -> dict[str, Figure]:
    """Errors of all models by type beside the first one's heat map; differences to the first."""
    with figures.style():
        models = by_model(result)
        pictures = {"corruption": _overview(models)}
        if len(models) > 1:
            pictures["difference"] = _differences(models)
        return pictures


def _overview(models: Mapping[str, Sequence[Result]]) -> Figure:
    first, *others = models
    table = _table(models[first])
    places = _places(table.index)
    fig = figures.figure(figures.PAGE, _height(places) + 0.17 * -(-len(others) // 3))
    dots, heat = fig.subplots(1, 2, sharey=True, width_ratios=(1, 1.1))
    _dots(dots, models, places)
    _heat(heat, table, places, mpl.colormaps[figures.SEQUENTIAL], Normalize(0, 100), "{:.1f}")
    heat.set_title(f"error (%) of {figures.drawn(first)}" if others else "error (%)")
    if others:
        figures.names_below(fig, figures.looks(list(models)))
    return fig


def _differences(models: Mapping[str, Sequence[Result]]) -> Figure:
    """Each model's heat map less the first one's."""
    tables = {name: _table(results) for name, results in models.items()}
    first, *others = tables
    gaps = {name: tables[name] - tables[first] for name in others}
    places = _places(tables[first].index)
    limit = max(1.0, *(float(gap.abs().to_numpy().max()) for gap in gaps.values()))
    abreast = min(ABREAST, len(others))
    lines = -(-len(others) // abreast)
    width = figures.PAGE if abreast > 1 else figures.COLUMN
    fig = figures.figure(width, 0.2 + lines * (_height(places) + 0.1))
    grid = fig.subplots(lines, abreast, sharey=True, squeeze=False).flat
    colors = mpl.colormaps[figures.DIVERGING].reversed()
    for (name, gap), axes in zip(gaps.items(), grid):
        _heat(axes, gap, places, colors, Normalize(-limit, limit), "{:+.1f}")
        axes.set_title(figures.drawn(name))
    for axes in list(grid):  # places left over
        axes.remove()
    title = f"error less that of {figures.drawn(first)}, in points\n(below zero: fewer errors)"
    fig.suptitle(title, fontsize=8)
    return fig


def _table(results: Sequence[Result]) -> pd.DataFrame:
    """Error in percent, mean over seeds: types x severities, with the means at the margins."""
    rows = pd.concat([result.rows("error") for result in results])
    table = rows.pivot_table(index="corruption", columns="severity", values="value")
    table = table.reindex([name for name in NAMES if name in table.index])
    table.columns = table.columns.astype(int).astype(str)
    table[MEAN] = table.mean(axis="columns")
    table.loc[MEAN] = table.mean()
    return table


def _places(names: Sequence[str] | pd.Index) -> dict[str, float]:
    """How far down each row stands: families are set apart, the mean more so."""
    places: dict[str, float] = {}
    down, before = 0.0, ""
    for name in names:
        family = next((key for key, members in FAMILIES.items() if name in members), MEAN)
        down += 0 if not places else 1 if family == before else 1.35
        places[name], before = down, family
    return places


def _height(places: Mapping[str, float]) -> float:
    return 0.75 + ROW * (1 + max(places.values()))


def _dots(axes: Axes, models: Mapping[str, Sequence[Result]], places: Mapping[str, float]) -> None:
    looks = figures.looks(list(models))
    step = min(0.22, 0.75 / len(models))  # models stand a little below each other
    points = {name: _points(results, places) for name, results in models.items()}
    shifts = {name: step * (i - (len(models) - 1) / 2) for i, name in enumerate(models)}
    for row, down in places.items():
        path = [(points[name][row].value, down + shifts[name]) for name in models]
        axes.plot(*zip(*path), color=figures.GREY, linewidth=0.8, zorder=1)
    for name, look in looks.items():
        x = np.array([points[name][row] for row in places])
        y = np.array(list(places.values())) + shifts[name]
        axes.plot(x[:, 0], y, look.marker, color=look.color)
        if len(models) <= FEW:
            axes.hlines(y, x[:, 1].clip(0), x[:, 2].clip(0, 100), color=look.color, linewidth=0.7)
    labels = [row.replace("_", " ") for row in places]
    axes.set_yticks(list(places.values()), labels)
    axes.set_ylim(max(places.values()) + 0.6, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("error (%), mean over severities")


def _points(results: Sequence[Result], rows: Mapping[str, float]) -> dict[str, Point]:
    return {
        row: _point(results, "mean_error")
        if row == MEAN
        else _point(results, "corruption_error", corruption=row)
        for row in rows
    }


def _point(results: Sequence[Result], metric: str, **condition: str) -> Point:
    """One seed: its own interval; several: their mean and Student's."""
    rows = pd.concat([result.rows(metric, **condition) for result in results])
    if len(rows) == 1:
        return Point(*rows[["value", "low", "high"]].iloc[0])
    return Point(float(rows["value"].mean()), *over_seeds(rows["value"].tolist()))


def _heat(
    axes: Axes,
    table: pd.DataFrame,
    places: Mapping[str, float],
    colors: Colormap,
    norm: Normalize,
    text: str,
) -> None:
    across = [float(i) for i in range(len(table.columns) - 1)]
    across.append(across[-1] + 1.2)  # the mean stands apart
    for row, down in places.items():
        for value, x in zip(table.loc[row].to_numpy(float), across, strict=True):
            color = colors(norm(value))
            axes.add_patch(Rectangle((x - 0.5, down - 0.5), 1, 1, color=color, linewidth=0))
            ink = "white" if np.dot(color[:3], (0.299, 0.587, 0.114)) < 0.5 else "black"
            label = text.format(value)
            axes.text(x, down, label, ha="center", va="center", color=ink, fontsize=6.5)
    axes.set_xticks(across, table.columns)
    axes.set_yticks(list(places.values()), [row.replace("_", " ") for row in places])
    axes.set(xlim=(-0.5, across[-1] + 0.5), xlabel="severity")
    axes.set_ylim(max(places.values()) + 0.6, -0.6)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
