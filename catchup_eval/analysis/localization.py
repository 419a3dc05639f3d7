"""Does the network look at the object? Boxes from class activation maps.

The map of the *true* class (Zhou et al. 2016: the head's weights times the map that it pools, bias
ignored) is brought to the image's size (bicubic), scaled to [0, 1], cut at 0.2 of its maximum;
the tight box of the largest connected component (8 neighbours) is compared with the image's own.
A hit is an intersection over union (IoU) of 0.5 or more. The head must average one feature map.

One row per number, all in percent but the last:

- `gt_known`: hits, whatever the network answers
- `top1_localization`: hits among right answers, of all images (then the true class's map is the
  predicted class's, too); `accuracy`: right answers
- `mean_iou`: IoU on average, bootstrap over images
- `centred_box`: hits of one box in the middle that knows no image, the yardstick; its sides
  `centred_width` and `centred_height`, of the image's, are the mean of the boxes of the part
  `train`, or 80 where it has none
- `whole_image`: hits of the whole image as a box
- `gt_known_at`: hits at another `threshold` (a column, 0 to 1; empty in all other rows);
  `max_box_accuracy` the best of these, chosen on the very images and therefore optimistic;
  `best_threshold` where it lies, a share of the maximum

The paper says "a threshold of 0.2" and no more. `normalise="minmax"`, as in the code of its
sources, takes each map's minimum away first; `"max"` does not, as in Zhou et al., and draws other
boxes: on random maps 63 % of the pairs overlap by less than half. A map that is constant, or has no
pixel above the cut, gives an empty box.

Common columns: `metric`, `value`, `unit`, `n` images, `low` and `high` (95 %; Wilson for a rate),
`protocol`. Samples: `gt_known`, `top1_localization`, `max_box`,
`correct`, `iou`, `index`, each (N,);
`predicted` and `truth`, boxes (N, 4) `x0 y0 x1 y1`, ends exclusive; `threshold` (1,); and of the
contact sheet `sheet_images` (12, H, W, 3) uint8, `sheet_maps` (12, H, W), `sheet_rows` (12,): nine
random images, the same for every model, then the three of smallest IoU among the others.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor
from torch.nn import functional as F

from catchup_eval.errors import UnknownName
from catchup_eval.metrics import boxes
from catchup_eval.question import Headline
from catchup_eval.randomness import generator
from catchup_eval.report import figures
from catchup_eval.report.curves import by_model, curve, draw, mean_value
from catchup_eval.results import Result, Rows
from catchup_eval.statistics import bootstrap_mean
from catchup_eval.subject import Subject, require

TITLE = "Weakly supervised localization"
QUESTION = "Does the network look at the object that it names?"
READING = (
    "GT-known is the share of images whose class activation map draws a box that overlaps the "
    "object by half or more. A box in the middle of every image reaches the dotted line without "
    "looking: only what lies above it was seen. A model whose curve peaks elsewhere than at the "
    "marked threshold is judged by a scale that does not suit it."
)
SOURCE = "Zhou et al. 2016, Learning Deep Features for Discriminative Localization"
NEEDS = frozenset({"test", "boxes"})
VERSION = 1
HEADLINES = (
    Headline(
        "gt_known",
        "GT-known localization",
        "higher",
        outcomes=("gt_known",),
        chance="centred_box",
    ),
    Headline("top1_localization", "Top-1 localization", "higher", outcomes=("top1_localization",)),
)
SWEEP = tuple(round(0.05 * step, 2) for step in range(1, 19))
HIT = 0.5
SIDE = 0.8  # of the centred box where no training box says better
RANDOM, WORST = 9, 3  # images on the contact sheet


class Seen(NamedTuple):
    """What one pass over the images gives; the first dimension is the image."""

    maps: np.ndarray  # (N, h, w) class activation maps of the true class
    found: np.ndarray  # (N, T, 4) their boxes at each threshold
    truth: np.ndarray  # (N, 4)
    correct: np.ndarray  # (N,) bool
    error: np.ndarray  # (N,) |mean of the map + bias - logit|
    numbers: np.ndarray  # (N,) of the images


def measure(
    subject: Subject,
    *,
    threshold: float = 0.2,  # the paper's
    normalise: str = "minmax",
    sweep: Sequence[float] = SWEEP,
) -> Result:
    """The rows and samples described above.

    Args:
        threshold: share of a map's maximum above which a pixel counts.
        normalise: "minmax" or "max".
        sweep: the thresholds of `gt_known_at`.

    Raises:
        Missing: no boxes, or a head that does not average one feature map.
        UnknownName: another `normalise`.
    """
    require(subject, NEEDS)
    if normalise not in SCALES:
        raise UnknownName("normalisation", normalise, SCALES)
    seen = _look(subject, (threshold, *sweep), normalise)
    overlaps = np.stack([boxes.iou(found, seen.truth) for found in seen.found.swapaxes(0, 1)])
    hits, overlap = overlaps >= HIT, overlaps[0]
    samples = {
        "gt_known": hits[0],
        "top1_localization": hits[0] & seen.correct,
        "correct": seen.correct,
        "iou": overlap,
        "index": seen.numbers,
        "predicted": seen.found[:, 0],
        "truth": seen.truth,
        "max_box": hits[1:][hits[1:].mean(1).argmax()],
        "threshold": np.array([threshold]),
    }
    rows = Rows(f"cam-{normalise}@1")
    _outcome_rows(rows, samples)
    _yardstick_rows(rows, subject, seen.truth)
    _sweep_rows(rows, sweep, hits[1:])
    explained = bool(seen.error.max() < 1e-3)
    rows.check("mean of the map + bias is the logit to 0.001", explained, len(overlap))
    return Result(rows.frame(), samples | _sheet(subject, seen.maps, overlap, normalise))


SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # what is done to maps (N, H, W) first
    "minmax": boxes.minmax,
    "max": np.asarray,
}


def activation_maps(maps: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """(N, h, w) the class activation map of each label, whose mean is its logit less the bias.

    Args:
        maps: (N, D, h, w) what the head pools.
        weight: (K, D) of the head.
        labels: (N,).
    """
    return torch.einsum("nd,ndhw->nhw", weight[labels], maps)


def upsampled(maps: Tensor, size: tuple[int, int]) -> np.ndarray:
    """(N, H, W) maps (N, h, w) brought to the size of the image, bicubic."""
    resized = F.interpolate(maps[:, None], size, mode="bicubic", align_corners=False)
    return np.asarray(resized[:, 0].cpu().numpy())


@torch.no_grad()
def _look(subject: Subject, thresholds: Sequence[float], normalise: str) -> Seen:
    head, passes = subject.model.head, []
    total = -(-len(subject.data.part("test")) // subject.batch_size)
    for batch, maps, logits in subject.track(subject.maps("test"), total):
        cams = activation_maps(maps, head.weight, batch.labels)
        heat = SCALES[normalise](upsampled(cams, _size(batch.images)))
        found = [boxes.largest_component_boxes(boxes.above(heat, t)) for t in thresholds]
        error = _error(cams, logits, batch.labels, head.bias)
        assert batch.boxes is not None  # `require` has seen them
        rows = (cams, batch.boxes, logits.argmax(1) == batch.labels, error, batch.index)
        first, *others = (tensor.cpu().numpy() for tensor in rows)
        passes.append(Seen(first, np.stack(found, axis=1), *others))
    return Seen(*(np.concatenate(column) for column in zip(*passes, strict=True)))


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]


def _error(cams: Tensor, logits: Tensor, labels: Tensor, bias: Tensor | None) -> Tensor:
    """(N,) how far the mean of a map and the bias are from the logit; relative above 1."""
    explained = cams.mean((1, 2)) + (0 if bias is None else bias[labels])
    logit = logits.gather(1, labels[:, None])[:, 0]
    return (explained - logit).abs() / logit.abs().clamp(min=1)


def _outcome_rows(rows: Rows, samples: dict[str, np.ndarray]) -> None:
    rows.rate("gt_known", samples["gt_known"])
    rows.rate("top1_localization", samples["top1_localization"])
    rows.rate("accuracy", samples["correct"])
    percent = 100 * samples["iou"]
    interval = bootstrap_mean(percent)
    rows.add("mean_iou", percent.mean(), unit="%", n=len(percent), interval=interval)


def _yardstick_rows(rows: Rows, subject: Subject, truth: np.ndarray) -> None:
    size = _size(subject.data.part("test").images)
    width, height = _mean_sides(subject)
    for metric, sides in (("centred_box", (width, height)), ("whole_image", (1.0, 1.0))):
        box = boxes.centred(*sides, size)
        rows.rate(metric, boxes.iou(np.broadcast_to(box, truth.shape), truth) >= HIT)
    rows.add("centred_width", 100 * width, unit="%", n=len(truth))
    rows.add("centred_height", 100 * height, unit="%", n=len(truth))


def _mean_sides(subject: Subject) -> tuple[float, float]:
    """Width and height of a training box, as shares of the image's."""
    train = subject.data.parts.get("train")
    if train is None or train.boxes is None:
        return SIDE, SIDE
    height, width = _size(train.images)
    sides = (train.boxes[:, 2:] - train.boxes[:, :2]).mean(0).tolist()
    return sides[0] / width, sides[1] / height


def _sweep_rows(rows: Rows, sweep: Sequence[float], hits: np.ndarray) -> None:
    for threshold, row in zip(sweep, hits, strict=True):
        rows.rate("gt_known_at", row, threshold=threshold)
    best = int(hits.mean(1).argmax())
    rows.rate("max_box_accuracy", hits[best])
    rows.add("best_threshold", sweep[best], unit="share", n=hits.shape[1])


def _sheet(
    subject: Subject, maps: np.ndarray, overlap: np.ndarray, normalise: str
) -> dict[str, np.ndarray]:
    drawn = generator(0, "contact sheet").permutation(len(overlap))[:RANDOM]
    others = np.setdiff1d(np.arange(len(overlap)), drawn)
    worst = others[np.argsort(overlap[others], kind="stable")][:WORST]
    rows = np.concatenate([np.sort(drawn), worst])
    images = subject.data.part("test").images[torch.from_numpy(rows)]
    heat = SCALES[normalise](upsampled(torch.from_numpy(maps[rows]), _size(images)))
    return {
        "sheet_images": images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).cpu().numpy(),
        "sheet_maps": heat.astype(np.float16),
        "sheet_rows": rows,
    }


def plot(result: Result) -> dict[str, Figure]:
    """GT-known against the threshold, and a contact sheet of maps and boxes."""
    models = by_model(result)
    with figures.style():
        return {"localization": _thresholds(models), "contact_sheet": _contact_sheet(models)}


def _thresholds(models: dict[str, list[Result]]) -> Figure:
    fig = figures.figure(figures.COLUMN, 2.5 + 0.16 * len(models))
    axes = fig.subplots()
    looks = figures.looks(list(models))
    for name, results in models.items():
        look, at = looks[name], float(results[0].samples["threshold"][0])
        value = mean_value(results, "gt_known")
        label = f"{name}: {value:.1f} % at {at:g}"
        line = curve(results, "gt_known_at", "threshold")
        draw(axes, line, look, dash=look.dash, label=label)
        axes.plot(at, value, look.marker, color=look.color)
        axes.axvline(at, color=figures.GREY, linewidth=0.8, zorder=0)
    _yardsticks(axes, next(iter(models.values()))[0])
    axes.set(xlabel="threshold (share of the map's maximum)", ylabel="GT-known (%)", ylim=(0, 100))
    figures.legend_below(fig, axes, columns=1)
    return fig


def _yardsticks(axes: Axes, result: Result) -> None:
    for metric, dash in (("centred_box", (0.0, (1.0, 1.5))), ("whole_image", (0.0, (1.0, 4.0)))):
        value = result.value(metric)
        label = f"{metric.replace('_', ' ')}: {value:.1f} %"
        axes.axhline(value, color="#606060", linestyle=dash, linewidth=1, label=label)


def _contact_sheet(models: dict[str, list[Result]]) -> Figure:
    """One model: two lines of images; several: one line each, so that columns can be compared."""
    firsts = {name: results[0] for name, results in models.items()}
    count = max(len(result.samples["sheet_rows"]) for result in firsts.values())
    lines = 2 if len(models) == 1 else 1
    columns = -(-count // lines)
    side = figures.PAGE / columns
    fig = figures.figure(figures.PAGE, 0.3 + len(models) * (lines * side + 0.2))
    fig.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    panels = fig.subplots(len(models) * lines, columns, squeeze=False)
    for panel in panels.ravel():
        panel.set(xticks=(), yticks=(), frame_on=False)
    for (name, result), line in zip(firsts.items(), panels.reshape(len(models), -1), strict=True):
        for place, axes in zip(range(len(result.samples["sheet_rows"])), line, strict=False):
            _example(axes, result, place)
        if len(models) > 1:
            line[0].set_title(name, loc="left", pad=2)
    fig.suptitle(_sheet_title(models), fontsize=8)
    return fig


def _sheet_title(models: dict[str, list[Result]]) -> str:
    title = f"solid: object; dashed: box of the map; number: IoU; last {WORST}: the worst others"
    return title + ("; first seed" if max(map(len, models.values())) > 1 else "")


def _example(axes: Axes, result: Result, place: int) -> None:
    samples = result.samples
    row = int(samples["sheet_rows"][place])
    axes.imshow(samples["sheet_images"][place])
    heat = samples["sheet_maps"][place].astype(float)
    axes.imshow(heat, cmap=figures.SEQUENTIAL, alpha=0.5)
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
