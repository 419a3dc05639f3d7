"""How often is the network right when images are rotated, sheared, enlarged or shrunk?

All test images under the eight conditions of the paper's Table 2. The angles are uniform, one fixed
draw for each image, the same for every model; the nearest pixel is taken, black fills what is left.
Columns: `deformation` ("none", "rotation", "shear", "zoom"), `strength` (largest angle in degrees,
or zoom in percent), then `metric`, `value`, `unit` (percent), `n` images, `low` and `high` (95 %
interval) and `protocol`, which names the convention: `manifold8@1` or `patchup8@1`. Metrics:

- `mean_accuracy`: plain mean over the eight conditions, in percent; bootstrap over images
- `accuracy`: under one condition, in percent; Wilson interval

The two conventions take zoom the opposite way; see
:mod:`catchup_eval.analysis.deformation.transforms`. The paper does not say which one it ran. It
prints the second shear as 57.2 degrees; one radian is 57.3.

Self-checks: a zoom of 100 % changes nothing; an image's draw does not depend on its batch.

Samples: `index` (N,), `clean` (N,) bool, `correct` (N, 8) bool in the order of the `accuracy` rows
after "none", and `accuracy` (N,), each image's share of right conditions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from catchup_eval.analysis.base import PerSample, Recheck
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.analysis.deformation.conventions import CONVENTIONS as CONVENTIONS
from catchup_eval.analysis.deformation.transforms import (
    AFFINE_CONVENTIONS,
    DEFORMATIONS,
    Deformation,
    deform,
)
from catchup_eval.core.settings import one_of, validate_settings
from catchup_eval.datasets.dataset import Split
from catchup_eval.plotting import figure, style
from catchup_eval.plotting.curves import Curve, curve, draw
from catchup_eval.results.headline import Headline, RowLink
from catchup_eval.results.result import Result, Rows, group_by_model

TITLE = "Deformations"
DESCRIPTION = "How often is it right when images are rotated, sheared, enlarged or shrunk?"
INTERPRETATION = (
    "Each panel leaves from the untouched images (none); the flatter the line, the less the "
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
PER_SAMPLE: PerSample = {"test": ("clean", "correct")}
RECHECK = Recheck()
PANELS = {
    "rotation": "rotation up to (degrees)",
    "shear": "shear up to (degrees)",
    "zoom": "zoom (%)",
}
UNTOUCHED = {"rotation": 0.0, "shear": 0.0, "zoom": 100.0}  # where "none" stands
BELOW = {"manifold": "enlarges", "patchup": "shrinks"}  # what a zoom below 100 % does


@validate_settings()
def measure(
    subject: EvaluationContext,
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
    part = subject.data.split("test")
    change = partial(_deform_split, seed=subject.seed, convention=convention)
    columns = [
        subject.correct(part, partial(change, deformation=deformation))
        for deformation in subject.track(DEFORMATIONS, len(DEFORMATIONS))
    ]
    correct = np.stack(columns, axis=1)
    samples = {
        "index": part.index.numpy(),
        "clean": subject.clean_correct,
        "correct": correct,
        "accuracy": correct.mean(1),
    }
    rows = _rows(samples, f"{convention}{len(DEFORMATIONS)}@{VERSION}")
    _checks(rows, part[:8], change)
    return Result(rows.frame(), samples)


def row_links(result: Result) -> Iterator[RowLink]:
    """Rows beyond the headlines, and the samples that each is the mean of."""
    yield RowLink("accuracy", {"deformation": "none"}, result.samples["clean"])
    yield RowLink("mean_accuracy", {}, result.samples["correct"].mean(1))
    for column, (kind, strength, _) in enumerate(DEFORMATIONS):
        where = {"deformation": kind, "strength": float(strength)}
        yield RowLink("accuracy", where, result.samples["correct"][:, column])


def _deform_split(part: Split, deformation: Deformation, seed: int, convention: str) -> Tensor:
    return deform(part.images, deformation, index=part.index, seed=seed, convention=convention)


def _rows(samples: Mapping[str, np.ndarray], protocol: str) -> Rows:
    rows = Rows(protocol)
    share = 100 * samples["accuracy"]
    rows.mean("mean_accuracy", share, unit="%")
    rows.rate("accuracy", samples["clean"], deformation="none", strength=0.0)
    for right, (kind, strength, _) in zip(samples["correct"].T, DEFORMATIONS, strict=True):
        rows.rate("accuracy", right, deformation=kind, strength=float(strength))
    return rows


def _checks(rows: Rows, part: Split, change: Callable[..., Tensor]) -> None:
    whole = change(part, deformation=Deformation("zoom", 100, 1.0))
    rows.check("a zoom of 100 % changes nothing", torch.equal(whole, part.images), len(part))
    alone = [change(part[i : i + 1], deformation=DEFORMATIONS[0]) for i in range(len(part))]
    together = change(part, deformation=DEFORMATIONS[0])
    rows.check(
        "an image's draw does not depend on its batch",
        torch.equal(torch.cat(alone), together),
        len(part),
    )


def plot(result: Result) -> dict[str, Figure]:
    """Accuracy over the strength of each deformation, untouched images included."""
    with style.figure_style():
        models = group_by_model(result)
        looks = style.plot_styles(list(models))
        fig = figure.figure(style.PAGE, 2.3 + 0.17 * -(-(len(models) - 1) // 5))
        panels = fig.subplots(1, len(PANELS), sharey=True, width_ratios=(3, 3, 4))
        for axes, kind in zip(panels, PANELS, strict=True):
            for name, results in models.items():
                line = _curve_with_clean(results, kind)
                draw(axes, line, looks[name], dash=looks[name].dash, marker=looks[name].marker)
            _name(axes, kind, line.x)
        panels[0].set(ylabel="accuracy (%)", ylim=(-3, 103))
        convention = str(result.frame["protocol"].iloc[0]).split(f"{len(DEFORMATIONS)}@")[0]
        fig.suptitle(f"{convention} convention: a zoom below 100 % {BELOW[convention]}", fontsize=8)
        if len(models) > 1:
            figure.names_below(fig, looks)
        return {"deformation": fig}


def _curve_with_clean(results: Sequence[Result], kind: str) -> Curve:
    """One kind's accuracies by strength, with the untouched images where they belong."""
    none = curve(results, "accuracy", "strength", deformation="none")
    untouched = none._replace(x=np.array([UNTOUCHED[kind]]))
    line = curve(results, "accuracy", "strength", deformation=kind)
    columns = [np.concatenate(pair) for pair in zip(untouched, line, strict=True)]
    order = np.argsort(columns[0])
    return Curve(*(column[order] for column in columns))


def _name(axes: Axes, kind: str, strengths: np.ndarray) -> None:
    names = ["none" if x == UNTOUCHED[kind] else f"{x:g}" for x in strengths]
    axes.set_xticks(strengths, names)
    axes.set_xlabel(PANELS[kind])
    axes.margins(x=0.08)
