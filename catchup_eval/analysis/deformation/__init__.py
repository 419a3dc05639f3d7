"""How accurate is the network when images are rotated, sheared, enlarged or shrunk?

All test images under the eight conditions of the paper's Table 2. The angles are uniform, one for
each image, the same for every model; the nearest pixel is taken, black fills what is left.
Columns: `deformation` ("none", "rotation", "shear", "zoom"), `strength` (largest angle in degrees,
or zoom in percent), then `metric`, `value`, `unit` (percent), `n` images, `low` and `high` (95 %
interval) and `protocol`, which names the convention: `manifold8@1` or `patchup8@1`; `logits8@1`
where the logits come from a file. Metrics:

- `mean_accuracy`: plain mean over the eight conditions, in percent; bootstrap over images
- `accuracy`: under one condition, in percent; Wilson interval

The two conventions define zoom in opposite directions; see
:mod:`catchup_eval.analysis.deformation.transforms`. The paper does not say which one it ran. It
prints the second shear as 57.2 degrees; one radian is 57.3.

Sanity checks: a zoom of 100 % changes nothing; an image's angle does not depend on its batch.

Samples: `index` (N,), `clean` (N,) bool, `correct` (N, 8) bool and the predicted labels
`prediction` (N, 8) in the order of the `accuracy` rows after "none", and `accuracy` (N,), the
fraction of conditions in which each image is correct. Older results lack `prediction`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from catchup_eval.analysis import conventions
from catchup_eval.analysis.base import PerSample, Recheck, Work
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.analysis.deformation.transforms import (
    AFFINE_CONVENTIONS,
    DEFORMATIONS,
    Deformation,
    deform,
)
from catchup_eval.core.settings import one_of, validate_settings
from catchup_eval.datasets.dataset import Split
from catchup_eval.plotting import figure, style
from catchup_eval.plotting.curves import Curve, band_alpha, curve, draw
from catchup_eval.results.headline import Condition, Headline, RowLink
from catchup_eval.results.result import Result, Rows, group_by_model

TITLE = "Deformations"
DESCRIPTION = "What is the accuracy on rotated, sheared, enlarged or shrunk images?"
INTERPRETATION = (
    "Each panel has the untouched images (none), too; the flatter the line, the less the "
    "deformation matters. Angles are uniform up to the strength. What a zoom below 100 % does "
    "depends on the convention, which the title names."
)
REFERENCE = (
    "Verma et al. 2019 (Manifold Mixup), Tables 4 and 9; eight conditions as in Catch-up Mix"
)
NEEDS = frozenset({"test"})
VERSION = 1
COST = 3
HEADLINES = (
    Headline("mean_accuracy", "accuracy under deformation", "higher", outcomes=("accuracy",)),
)
PER_SAMPLE: PerSample = {"test": ("clean", "correct", "prediction")}
RECHECK = Recheck()
SEVERAL_LABELS = True
PANELS = {
    "rotation": "rotation up to (degrees)",
    "shear": "shear up to (degrees)",
    "zoom": "zoom (%)",
}
UNTOUCHED = {"rotation": 0.0, "shear": 0.0, "zoom": 100.0}  # the strength of "none"
USERS = {"manifold": "Manifold Mixup", "patchup": "PatchUp"}  # of a convention
BELOW = {"manifold": "enlarges", "patchup": "shrinks"}  # what a zoom below 100 % does


@validate_settings()
def measure(
    context: EvaluationContext,
    *,
    convention: Annotated[str, one_of("convention", AFFINE_CONVENTIONS)] = "manifold",
) -> Result:
    """The rows and samples described above.

    Args:
        convention: "manifold", whose paper Catch-up Mix follows in words, or "patchup", whose eight
            settings it prints.

    Raises:
        UnknownName: no such convention.
    """
    split = context.data.split("test")
    change = partial(_deform_split, seed=context.seed, convention=convention)
    columns = [
        context.outcomes(
            split,
            partial(change, deformation=deformation),
            f"deformation/{deformation.kind}/{deformation.strength:g}",
        )
        for deformation in context.track(DEFORMATIONS, len(DEFORMATIONS))
    ]
    prediction, correct = (np.stack(each, axis=1) for each in zip(*columns, strict=True))
    clean, accuracy = context.clean_correct, correct.mean(1)
    rows = Rows(f"{context.origin or convention}{len(DEFORMATIONS)}@{VERSION}")
    rows.mean("mean_accuracy", 100 * accuracy, unit="%")
    rows.rate("accuracy", clean, deformation="none", strength=0.0)
    for column, (kind, strength, _) in zip(correct.T, DEFORMATIONS, strict=True):
        rows.rate("accuracy", column, deformation=kind, strength=float(strength))
    if not context.origin:
        _add_checks(rows, split[:8], change)
    index = split.index.numpy()
    samples = {"index": index, "clean": clean, "correct": correct, "accuracy": accuracy}
    return Result(rows.frame(), {**samples, "prediction": prediction})


def work(settings: Mapping[str, Any], images: Mapping[str, int]) -> Work:
    """Each image as it is and under each deformation."""
    return Work((1 + len(DEFORMATIONS)) * images.get("test", 0))


def row_links(result: Result) -> Iterator[RowLink]:
    """Rows beyond the headlines, and the samples that each is the mean of."""
    yield RowLink("accuracy", {"deformation": "none"}, result.samples["clean"])
    yield RowLink("mean_accuracy", {}, result.samples["correct"].mean(1))
    for column, (kind, strength, _) in enumerate(DEFORMATIONS):
        where = {"deformation": kind, "strength": float(strength)}
        yield RowLink("accuracy", where, result.samples["correct"][:, column])


def conditions(result: Result) -> Iterator[Condition]:
    """All deformations, and each."""
    correct, prediction = result.samples["correct"], result.samples.get("prediction")
    yield Condition("all deformations", correct.mean(1), prediction)
    for column, (kind, strength, _) in enumerate(DEFORMATIONS):
        own = None if prediction is None else prediction[:, [column]]
        name = f"{kind} {strength:g} {'%' if kind == 'zoom' else 'degrees'}"
        yield Condition(name, correct[:, column], own)


def _deform_split(split: Split, deformation: Deformation, seed: int, convention: str) -> Tensor:
    return deform(split.images, deformation, index=split.index, seed=seed, convention=convention)


def _add_checks(rows: Rows, split: Split, change: Callable[..., Tensor]) -> None:
    n, first = len(split), DEFORMATIONS[0]
    unchanged = torch.equal(change(split, Deformation("zoom", 100, 1.0)), split.images)
    rows.check("a zoom of 100 % changes nothing", unchanged, n)
    alone = torch.cat([change(split[i : i + 1], first) for i in range(n)])
    same = torch.equal(alone, change(split, first))
    rows.check("an image's draw does not depend on its batch", same, n)


def _deformation_conventions(
    name: str, metric: str, **where: Any
) -> Iterator[conventions.Convention]:
    users = {
        "manifold": (
            "Manifold Mixup's paper and code: a zoom below 100 % enlarges",
            "one pixel off the true centre, shear in radians as in Keras",
        ),
        "patchup": (
            "PatchUp, whose eight settings Catch-up Mix prints: a zoom below 100 % shrinks",
            "torchvision's RandomAffine, about the true centre",
        ),
    }
    for convention, (used_by, how) in users.items():
        rerun = conventions.rerun_hint(f"deformation.convention={convention}")
        of = conventions.row(metric, rerun, sample="" if where else "accuracy", **where)
        of = conventions.for_protocol(convention, of, rerun)
        yield conventions.Convention(f"{convention}{name}", used_by, how, "deformation", of)


def _zoom_family(zoom: int) -> conventions.ConventionFamily:
    where = {"deformation": "zoom", "strength": float(zoom)}
    zooms = tuple(_deformation_conventions("", "accuracy", **where))
    return conventions.ConventionFamily("zoom", zooms, about=f"{zoom} %")


CONVENTIONS: conventions.Conventions = (
    conventions.ConventionFamily(
        "deformation",
        tuple(_deformation_conventions(", mean of eight", "mean_accuracy")),
        also=("mean_accuracy",),
    ),
    *map(_zoom_family, (60, 80, 120, 140)),
)


@style.styled
def plot(result: Result) -> dict[str, Figure]:
    """Accuracy over the strength of each deformation, untouched images included."""
    models = group_by_model(result)
    looks = style.plot_styles(list(models))
    abreast = figure.abreast(len(PANELS))
    lines = -(-len(PANELS) // abreast)
    fig = figure.figure(style.PAGE, 0.5 + 1.8 * lines + 0.17 * -(-(len(models) - 1) // 5))
    grid = fig.subplots(lines, abreast, sharey=True, squeeze=False)
    panels, shade = grid.ravel(), band_alpha(len(models))
    for axes, kind in zip(panels, PANELS, strict=False):
        for name, results in models.items():
            line, look = _curve_with_clean(results, kind), looks[name]
            draw(axes, line, look, dash=look.dash, shade=shade, marker=look.marker, label=name)
        names = ["none" if x == UNTOUCHED[kind] else f"{x:g}" for x in line.x]
        axes.set_xticks(line.x, names)
        axes.set_xlabel(PANELS[kind])
        axes.margins(x=0.08)
    for axes in panels[len(PANELS) :]:
        axes.set_axis_off()
    figure.zoom(*panels)
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy (%)")
    convention = str(result.frame["protocol"].iloc[0]).split(f"{len(DEFORMATIONS)}@")[0]
    below = BELOW.get(convention, "is that of whoever computed them")
    title = f"{USERS.get(convention, convention)} convention: a zoom below 100 % {below}"
    fig.suptitle(title, fontsize=8)
    if len(models) > 1:
        figure.legend_below(fig, panels[len(PANELS) - 1], columns=5)
    return {"deformation": fig}


def _curve_with_clean(results: Sequence[Result], kind: str) -> Curve:
    """One kind's accuracies by strength, with the untouched images at their strength."""
    none = curve(results, "accuracy", "strength", deformation="none")
    untouched = none._replace(x=np.array([UNTOUCHED[kind]]))
    line = curve(results, "accuracy", "strength", deformation=kind)
    columns = [np.concatenate(pair) for pair in zip(untouched, line, strict=True)]
    order = np.argsort(columns[0])
    return Curve(*(column[order] for column in columns))
