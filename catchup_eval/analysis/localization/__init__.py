"""Does the network look at the object? Boxes from class activation maps.

The map of the *true* class (Zhou et al. 2016: the head's weights times the map that it pools, bias
ignored; a closed form, no gradient) is brought to the image's size (bicubic) and cut at 0.2 of its
maximum; the tight box of the largest connected component (8 neighbours) is compared with the
image's own. A hit is an intersection over union (IoU) of 0.5 or more. The head must average one
feature map, or read a class token beside one; :mod:`catchup_eval.analysis.localization.cam` says
what the map is then, and the column `protocol` ends with `-patches`.

The paper says "a threshold of 0.2" and no more. `protocol="minmax"`, as the code of its sources has
it, scales each map to [0, 1] first; `"max"` does not, as in Zhou et al., and draws other boxes: on
random maps 63 % of the pairs overlap by less than half. The column `protocol` is `cam-minmax` or
`cam-max`. A map that is constant, or has no pixel above the cut, gives an empty box.

One row per number, all in percent but `best_threshold`:

- `gt_known`: hits, whatever the network predicts; `centred_box`: hits of one box in the middle that
  does not depend on the image, the baseline; `whole_image`: hits of the whole image as a box
- `top1_localization`: hits among correct predictions, of all images (then the true class's map is
  the predicted class's, too); `centred_box_top1`: correct predictions whose object the centred box
  hits; `accuracy`: correct predictions
- `mean_iou`, `centred_box_mean_iou`: IoU on average, bootstrap over images
- `gt_known_minmax`, `gt_known_max`, `top1_localization_minmax`, `top1_localization_max`: both
  interpretations of "0.2", side by side
- `centred_width`, `centred_height`: sides of the centred box, of the image's: the mean of the boxes
  of the split `train`, or 70 where it has none
- `gt_known_at`: hits at another `threshold` (a column, 0 to 1; empty in all other rows);
  `max_box_accuracy` the best of these (Choe et al. 2020), chosen on the very images and therefore
  optimistic; `best_threshold` where it lies, a fraction of the maximum
- `max_box_accuracy_v2_at`: images where *any* component's box reaches an IoU of `overlap` (a
  column; .3, .5, .7), at the best threshold for that IoU; `max_box_accuracy_v2` their mean, as
  optimistic (wsolevaluation); `centred_box_at`, `centred_box_v2`: the same of the centred box

Choe et al. try 1,000 thresholds, here it is `sweep`: the maxima may be a little lower. What cannot
be known here: the effect of resizing on the boxes that come with the images (see
:func:`catchup_eval.metrics.boxes.resize_boxes`); on images that were cropped hits mean less.

Common columns: `metric`, `value`, `unit`, `n` images, `low` and `high` (95 %; Wilson for a rate),
`protocol`. Samples: `gt_known`, `top1_localization`, `max_box`, `correct`, `iou`, `index`, each
(N,); `predicted` and `truth`, boxes (N, 4) `x0 y0 x1 y1`, ends exclusive; `threshold` (1,); and of
the contact sheet `sheet_images` (12, H, W, 3) uint8, `sheet_maps` (12, H, W), `sheet_rows` (12,):
nine random images, the same for every model, then the three of smallest IoU among the others.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from catchup_eval.analysis.base import PerSample, Recheck
from catchup_eval.analysis.context import EvaluationContext, require
from catchup_eval.analysis.localization import cam
from catchup_eval.analysis.localization.conventions import CONVENTIONS as CONVENTIONS
from catchup_eval.analysis.localization.conventions import PATCHES
from catchup_eval.analysis.localization.figures import WORST
from catchup_eval.analysis.localization.figures import plot as plot
from catchup_eval.core.rng import generator
from catchup_eval.core.settings import (
    EachOnce,
    Fraction,
    PositiveFraction,
    one_of,
    validate_settings,
)
from catchup_eval.metrics import boxes
from catchup_eval.results.headline import Headline, RowLink
from catchup_eval.results.result import Result, Rows

TITLE = "Weakly supervised localization"
DESCRIPTION = "Do class activation maps locate the object?"
INTERPRETATION = (
    "GT-known is the fraction of images whose class activation map draws a box that overlaps the "
    "object by half or more. A box in the middle of every image reaches the dotted line without "
    "using the image: only what exceeds it is localization. If a model's curve peaks far from the "
    "marked threshold, that threshold does not suit its maps. Hollow marks are the other "
    "interpretation of the threshold."
)
REFERENCE = "Zhou et al. 2016, Learning Deep Features for Discriminative Localization"
NEEDS = frozenset({"test", "boxes"})
VERSION = 2
COST = 4
HEADLINES = tuple(
    Headline(metric, f"{name} localization", "higher", outcomes=(metric,), chance=chance)
    for metric, name, chance in (
        ("gt_known", "GT-known", "centred_box"),
        ("top1_localization", "Top-1", "centred_box_top1"),
    )
)
PER_SAMPLE: PerSample = {
    "test": ("correct", "gt_known", "top1_localization", "iou", "predicted", "truth"),
}
RECHECK = Recheck()
SWEEP = tuple(round(0.05 * step, 2) for step in range(1, 19))
HIT = 0.5
OVERLAPS = (0.3, 0.5, 0.7)  # of MaxBoxAccV2
SIDE = 0.7  # of the centred box where there are no training boxes
RANDOM = 9  # images on the contact sheet, and the worst of the others


@validate_settings()
def measure(
    context: EvaluationContext,
    *,
    protocol: Annotated[str, one_of("protocol", cam.NORMALIZATIONS)] = "minmax",
    threshold: Fraction = 0.2,  # the paper's
    centred: PositiveFraction | None = None,
    sweep: Annotated[Sequence[Fraction], Field(min_length=1, max_length=1000), EachOnce] = SWEEP,
) -> Result:
    """The rows and samples described above.

    Args:
        protocol: "minmax" or "max", of which a threshold is a fraction.
        threshold: fraction of a map's maximum above which a pixel counts.
        centred: fraction of the image's sides that the centred box takes; None is that of the
            training boxes, or 0.7 where there are none.
        sweep: the thresholds of `gt_known_at` and of the maxima.

    Raises:
        Missing: no boxes, or a head that does not average one feature map.
        UnknownName: another `protocol`.
        UserError: `centred` is no fraction.
    """
    require(context, NEEDS)
    output = cam.compute_cams(context, (threshold, *sweep), protocol)
    truth, correct = output.truth, output.correct
    overlaps = np.stack([boxes.iou(found, truth) for found in output.found.swapaxes(0, 1)])
    hits, overlap = overlaps >= HIT, overlaps[0]
    samples = {
        "gt_known": hits[0],
        "top1_localization": hits[0] & correct,
        "correct": correct,
        "iou": overlap,
        "index": output.numbers,
        "predicted": output.found[:, 0],
        "truth": truth,
        "max_box": hits[1:][hits[1:].mean(1).argmax()],
        "threshold": np.array([threshold]),
    }
    patches = PATCHES if context.model.class_token else ""
    rows = Rows(f"cam-{protocol}{patches}@{VERSION}")
    sides, size = _sides(context, centred), cam.size_of(context.data.split("test").images)
    middle, whole = (
        boxes.iou(np.broadcast_to(boxes.centre_box(*box, size), truth.shape), truth)
        for box in (sides, (1.0, 1.0))
    )
    _add_outcomes(rows, samples, middle)
    other_hits = boxes.iou(output.other, truth) >= HIT
    each = {protocol: hits[0], cam.other(protocol): other_hits}
    _add_normalizations(rows, each, correct, patches)
    rows.rate("whole_image", whole >= HIT)
    for metric, side in zip(("centred_width", "centred_height"), sides, strict=True):
        rows.add(metric, 100 * side, unit="%", n=len(whole))
    _add_sweep(rows, sweep, hits[1:])
    _add_version_2(rows, output.best[:, 1:], middle)
    if not patches:
        explained = bool(output.error.max() < 1e-3)
        rows.check("mean of the map + bias is the logit to 0.001", explained, len(overlap))
    return Result(rows.frame(), samples | _sheet(context, output.maps, overlap, protocol))


def row_links(result: Result) -> Iterator[RowLink]:
    """Rows beyond the headlines, and the samples that each is the mean of."""
    yield RowLink("accuracy", {}, result.samples["correct"])
    yield RowLink("mean_iou", {}, result.samples["iou"])
    yield RowLink("max_box_accuracy", {}, result.samples["max_box"])


def _sides(context: EvaluationContext, centred: float | None) -> tuple[float, float]:
    """Width and height of the centred box, as fractions of the image's."""
    if centred is not None:
        return centred, centred
    train = context.data.parts.get("train")
    if train is None or train.boxes is None:
        return SIDE, SIDE
    height, width = cam.size_of(train.images)
    sides = (train.boxes[:, 2:] - train.boxes[:, :2]).mean(0).tolist()
    return sides[0] / width, sides[1] / height


def _add_outcomes(rows: Rows, samples: dict[str, np.ndarray], middle: np.ndarray) -> None:
    rows.rate("gt_known", samples["gt_known"])
    rows.rate("centred_box", middle >= HIT)
    rows.rate("top1_localization", samples["top1_localization"])
    rows.rate("centred_box_top1", (middle >= HIT) & samples["correct"])
    rows.rate("accuracy", samples["correct"])
    rows.mean("mean_iou", 100 * samples["iou"], unit="%")
    rows.mean("centred_box_mean_iou", 100 * middle, unit="%")


def _add_normalizations(
    rows: Rows, hits: dict[str, np.ndarray], correct: np.ndarray, patches: str
) -> None:
    for metric, among in (("gt_known", np.ones_like(correct)), ("top1_localization", correct)):
        for name in cam.NORMALIZATIONS:
            protocol = f"cam-{name}{patches}@{VERSION}"
            rows.rate(f"{metric}_{name}", hits[name] & among, protocol=protocol)


def _add_sweep(rows: Rows, sweep: Sequence[float], hits: np.ndarray) -> None:
    for threshold, row in zip(sweep, hits, strict=True):
        rows.rate("gt_known_at", row, threshold=threshold)
    best = int(hits.mean(1).argmax())
    rows.rate("max_box_accuracy", hits[best])
    rows.add("best_threshold", sweep[best], unit="share", n=hits.shape[1])


def _add_version_2(rows: Rows, best: np.ndarray, middle: np.ndarray) -> None:
    """MaxBoxAccV2 of the best overlaps (N, S) at each threshold, beside the centred box's."""
    maxima = [hits[:, hits.mean(0).argmax()] for hits in (best >= each for each in OVERLAPS)]
    centred = [middle >= each for each in OVERLAPS]
    for metric, of, outcomes in (
        ("max_box_accuracy_v2", "max_box_accuracy_v2_at", maxima),
        ("centred_box_v2", "centred_box_at", centred),
    ):
        rows.mean(metric, 100 * np.mean(outcomes, axis=0), unit="%")
        for each, outcome in zip(OVERLAPS, outcomes, strict=True):
            rows.rate(of, outcome, overlap=each)


def _sheet(
    context: EvaluationContext, maps: np.ndarray, overlap: np.ndarray, protocol: str
) -> dict[str, np.ndarray]:
    first = generator(0, "contact sheet").permutation(len(overlap))[:RANDOM]
    others = np.setdiff1d(np.arange(len(overlap)), first)
    worst = others[np.argsort(overlap[others], kind="stable")][:WORST]
    rows = np.concatenate([np.sort(first), worst])
    images = context.data.split("test").images[torch.from_numpy(rows)]
    upsampled = cam.upsample(torch.from_numpy(maps[rows]), cam.size_of(images))
    return {
        "sheet_images": images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).cpu().numpy(),
        "sheet_maps": cam.NORMALIZATIONS[protocol](upsampled).astype(np.float16),
        "sheet_rows": rows,
    }
