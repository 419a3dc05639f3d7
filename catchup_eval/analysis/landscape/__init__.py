"""How steeply does the loss rise around the network's weights?

The cross-entropy of one fixed batch, or several, in evaluation mode: on the plane w + a v1 + b v2,
and along random lines that do not depend on the weights' scale. v1 and v2 are the Hessian's top two
unit eigenvectors over all parameters jointly (largest magnitude first), on the first batch; a and b
go from -`reach` to `reach`. Each direction points to where the loss rises more; where both ends are
equal to rounding, to where the vector's entry of largest magnitude is positive. Metrics:

- `loss_rise`: how much higher the loss is than at the centre, in nats, averaged over the square by
  the trapezoid rule and over the images; bootstrap over images
- `batch_rise`: the same with Student's interval over the batches, from two batches on
- `filter_rise`: how much higher the loss is, in nats, averaged over steps from -1 to 1 along
  filter-normalised random directions (Li et al. 2018): a step of 1 moves each filter by its own
  length. Student's interval over the `n` directions. Its protocol is `filter-normalised-...`
- `loss`: at the centre, in nats; bootstrap over images
- `top_eigenvalue`, `second_eigenvalue`, `third_eigenvalue`: the largest in magnitude, in nats per
  squared unit of the parameters; negative where the loss falls on both sides
- `top_residual`, `second_residual`, `third_residual`: |Hv - lambda v| / |lambda| of each, in
  percent (of an eigenvalue that is zero to rounding: over 1000 roundings of the largest); 0 is
  exact, and some eigenvalue of the Hessian is at most as far away. `eigenvector_residual`: the
  worst of them
- `trace`: sum of all eigenvalues, in the same unit; the known ones exactly, the rest by the mean of
  `n` random probes (:func:`catchup_eval.analysis.landscape.hessian.trace`), with Student's interval
  over them
- `parameter_norm`: |w|, over the same parameters

Sanity checks: the loss at the centre is the network's. The eigenvalues have converged: where a
residual stays above 5 %, the other solver follows, the better vectors of both are taken, and
`solver` names both; this check fails where that does not help either. The plane is unique: where
the second and third eigenvalue differ by less than 1 % of their magnitude, it is one of many, and
its numbers with it. The axes are unique: where the first two do so, sign included, they may be
turned within the plane.

**What is not comparable.** A step of 0.5 along a unit vector is not the same for two networks:
batch norm lets a layer's weights be scaled without changing the network, and the curvature scales
with them. So a flatter plane of a network with larger weights proves nothing. `filter_rise` does
not change with that scale, and `parameter_norm` is reported, too.

The paper says "following Yao et al." and no more. This is PyHessian's recipe: top eigenvectors,
reach 0.5, 21 points a side, one batch. PyHessian takes training images; the default here is
`part="test"`, which every dataset has and no network was fitted to, however it mixed its images,
but at which the weights are no minimum. `part="train"` is the recipe to the letter. A batch is
balanced over the classes and the same for every network and seed. The protocol names the split:
`hessian-plane-test@3`.

Columns: `solver` of eigenvalues and residuals: "scipy" (Lanczos), "pyhessian" (power iteration),
both, or "dense" (all columns of a small Hessian); then the common ones: `metric`, `value`, `unit`,
`n` images, batches, directions, probes or parameters, `low` and `high` (95 %), `protocol`.

Samples, N images in all: `axis` (P,), the steps; `surface` (P, P), the loss at a (first) and b;
`cuts` (2, P, N), each image's loss along v1 and v2; `rise` (N,), its mean over the square;
`filter_axis` (P,), `filter_cuts` (D, P) and `filter_rise_by_image` (N,), the same for the D random
directions; `index` and `batch` (N,), the image's number and its batch's; `probes`; and, where
`lanczos` is not 0, `nodes` and `weights` (lanczos,) of the eigenvalue density.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from catchup_eval.analysis.base import Work
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.analysis.landscape import hessian, losses
from catchup_eval.analysis.landscape.figures import AXES, CLUSTER, PLANE, SETTLED
from catchup_eval.analysis.landscape.figures import plot as plot
from catchup_eval.analysis.landscape.losses import mean_over_axis
from catchup_eval.core.errors import Missing, UserError
from catchup_eval.core.settings import MOST, Few, validate_settings
from catchup_eval.datasets.dataset import Batch
from catchup_eval.metrics.intervals import t_interval
from catchup_eval.results.headline import Headline
from catchup_eval.results.result import Result, Rows

TITLE = "Loss landscape"
DESCRIPTION = "How steeply does the loss rise around the network's weights?"
INTERPRETATION = (
    "All models have the same levels. Wide rings mean that the loss stays low when the weights are "
    "changed along the two directions of strongest curvature; the cross is the network itself. The "
    "plane depends on the scale of the weights, and the filter-normalised cut does not: compare "
    "networks by that cut, and see the parameter norms."
)
REFERENCE = (
    "Yao et al. 2020, PyHessian: Neural Networks Through the Lens of the Hessian; "
    "filter-normalised directions: Li et al. 2018, Visualizing the Loss Landscape of Neural Nets"
)
NEEDS = frozenset({"test", "gradients"})
VERSION = 3
COST = 20
HEADLINES = (
    Headline("loss_rise", "Mean loss rise on the plane", "lower", outcomes=("rise",), scale=1.0),
    Headline(
        "filter_rise",
        "Mean loss rise, filter-normalised",
        "lower",
        outcomes=("filter_rise_by_image",),
        scale=1.0,
    ),
    Headline("top_eigenvalue", "Top Hessian eigenvalue", "lower"),
    Headline("trace", "Hessian trace", "lower"),
)
FILTER_REACH = 1.0  # Li et al.'s
FILTER_VERSION = 2
RANKS = ("top", "second", "third")  # eigenvalues; the third shows whether the plane is unique


SOLVER_PRODUCTS, PRODUCT = 100, 9  # products that a solver takes; passes of a product
MOST_LOSSES = 2 * 10**8  # that are kept, 1.6 GB
AtLeastTwo = Annotated[int, Field(ge=2, le=1000)]


def _check_points(settings: Mapping[str, Any]) -> None:
    points = settings["points"]
    if points % 2 == 0:
        raise UserError(f"expected an odd number of points from 3, got {points}")
    steps = points**2 + settings["directions"] * points
    losses = steps * settings["samples"] * settings["batches"]
    if losses > MOST_LOSSES:
        raise UserError(
            f"expected {MOST_LOSSES:,} losses at most, got {losses:,}: "
            "(points^2 + directions * points) * samples * batches"
        )


@validate_settings(_check_points)
def measure(
    context: EvaluationContext,
    *,
    part: Literal["train", "test"] = "test",
    samples: Annotated[int, Field(ge=2, le=MOST)] = 200,  # PyHessian's example
    batches: Few = 1,
    # PyHessian's tutorial, and most likely the paper's
    points: Annotated[int, Field(ge=3, le=501)] = 21,
    reach: Annotated[float, Field(gt=0, le=1000)] = 0.5,  # likewise
    directions: AtLeastTwo = 5,
    solver: hessian.Solver = "scipy",
    tolerance: Annotated[float, Field(ge=1e-12, le=1)] = 1e-4,
    probes: AtLeastTwo = 30,
    lanczos: Annotated[int, Field(ge=0, le=1000)] = 0,
) -> Result:
    """The rows and samples described above.

    Args:
        part: "test" or "train".
        samples: images in a batch.
        batches: of different images, each on the same grid; the eigenvectors, the trace and the
            density are of the first.
        points: on each side of the grid; odd, so that the centre is one of them.
        reach: how far the plane goes, in units of the parameters.
        directions: filter-normalised random lines, each of `points` points.
        solver: of the eigenvectors: "scipy", or "pyhessian", which needs more products.
        tolerance: relative, of an eigenvalue.
        probes: of the trace.
        lanczos: steps towards the eigenvalue density, each as expensive as a probe; 0: no density.

    Raises:
        Missing: there is no such split; the loss is not finite, has no finite Hessian or depends on
            fewer than two parameters.
        UserError: `points` is even or below 3; `batches` is more than the split has images for.
    """
    chosen = losses.disjoint_batches(context.data.split(part), samples, batches)
    batch, n = losses.concatenate_splits(chosen, context.device), len(chosen[0])
    rng = context.generator("landscape")
    curvature: dict[str, np.ndarray] = {}
    with hessian.hessian_product(context.model, batch.images[:n], batch.labels[:n]) as product:
        pairs = hessian.top_eigenvectors(
            product, count=len(RANKS), solver=solver, tolerance=tolerance, generator=rng
        )
        if len(pairs.values) < 2:
            raise Missing("a loss that depends on two parameters or more")
        curvature["probes"] = hessian.trace(product, probes=probes, known=pairs, generator=rng)
        if lanczos:
            curvature |= hessian.density(product, steps=lanczos, generator=rng)._asdict()
    arrays = _loss_surface(context, batch, pairs, points=points, reach=reach, directions=directions)
    arrays |= {"batch": np.repeat(np.arange(batches), n)} | curvature
    rows = Rows(f"hessian-plane-{part}@{VERSION}")
    _add_losses(rows, arrays, f"filter-normalised-{part}@{FILTER_VERSION}")
    _add_curvature(rows, pairs, arrays["probes"], samples=n)
    norm = float(losses.flatten(context.model.parameters()).norm())
    rows.add("parameter_norm", norm, unit="norm", n=pairs.vectors.shape[1])
    check_eigenpairs(rows, pairs, samples=n)
    _check_centre(rows, context, batch, float(arrays["surface"][points // 2, points // 2]))
    return Result(rows.frame(), arrays)


def work(settings: Mapping[str, Any], images: Mapping[str, int]) -> Work:
    """A pass for each step, and products with the Hessian, of which the solver's are a guess."""
    n = min(settings["samples"], images.get(settings["part"], 0))
    points = settings["points"]
    steps = (points**2 + settings["directions"] * points) * settings["batches"]
    products = SOLVER_PRODUCTS + settings["probes"] + settings["lanczos"]
    return Work(float(n * (steps + PRODUCT * products)))


def _loss_surface(
    context: EvaluationContext,
    batch: Batch,
    pairs: hessian.Eigenpairs,
    *,
    points: int,
    reach: float,
    directions: int,
) -> dict[str, np.ndarray]:
    """The losses of all steps, as the samples have them."""
    axis, filter_axis = (np.linspace(-end, end, points) for end in (reach, FILTER_REACH))
    rng = context.generator("landscape", "directions")

    def steps() -> Iterator[Tensor]:
        first, second = pairs.vectors[:2]
        for a in axis:
            for b in axis:
                yield float(a) * first + float(b) * second
        for _ in range(directions):
            direction = losses.filter_normalized_direction(context.model, rng)
            yield from (float(step) * direction for step in filter_axis)

    tracked = context.track(
        losses.losses_at(context.model, batch, steps()), points**2 + directions * points
    )
    values = np.stack(list(tracked))
    square = losses.orient_axes(values[: points**2].reshape(points, points, -1))
    along = values[points**2 :].reshape(directions, points, -1)
    middle = points // 2
    centre = square[middle, middle]
    return {
        "axis": axis,
        "surface": square.mean(2),
        "cuts": np.stack([square[:, middle], square[middle]]),
        "rise": mean_over_axis(mean_over_axis(square)) - centre,
        "filter_axis": filter_axis,
        "filter_cuts": along.mean(2),
        "filter_rise_by_image": mean_over_axis(along.mean(0)) - centre,
        "index": batch.index.cpu().numpy(),
    }


def check_eigenpairs(rows: Rows, pairs: hessian.Eigenpairs, *, samples: int) -> None:
    """Add a check of the solver, of the plane and of the axes; for two or three pairs."""

    def differ(value: float, smaller: float) -> bool:
        return abs(value - smaller) >= CLUSTER * abs(value) > 0

    first, second, *rest = pairs.values
    rows.check(SETTLED, pairs.converged, samples)
    # In magnitude, by which the plane's two are chosen; the axes also differ by their sign.
    third = abs(rest[0]) if rest else -abs(second)
    rows.check(PLANE, differ(abs(second), third), samples)
    rows.check(AXES, differ(first, second), samples)


def _check_centre(rows: Rows, context: EvaluationContext, batch: Batch, centre: float) -> None:
    """The copy's loss at the centre against that of the model itself."""
    logits = context.logits(batch.images)
    plain = float(F.cross_entropy(logits, batch.labels.cpu()))
    same = math.isclose(plain, centre, rel_tol=1e-3, abs_tol=1e-5)
    rows.check("the loss at the centre is the network's", same, len(logits))


def _add_losses(rows: Rows, arrays: dict[str, np.ndarray], filter_protocol: str) -> None:
    cut, rise = arrays["cuts"][0], arrays["rise"]
    centre = cut[len(cut) // 2]
    for metric, values in (("loss_rise", rise), ("loss", centre)):
        rows.mean(metric, values, unit="nats")
    means = [rise[arrays["batch"] == number].mean() for number in np.unique(arrays["batch"])]
    if len(means) > 1:
        interval = t_interval(means)  # Student's; the batches are independent draws
        rows.add("batch_rise", np.mean(means), unit="nats", n=len(means), interval=interval)
    lines = mean_over_axis(arrays["filter_cuts"].T) - centre.mean()
    rows.add(
        "filter_rise",
        lines.mean(),
        unit="nats",
        n=len(lines),
        interval=t_interval(list(lines)),
        protocol=filter_protocol,
    )


def _add_curvature(
    rows: Rows, pairs: hessian.Eigenpairs, estimates: np.ndarray, *, samples: int
) -> None:
    unit = "nats per squared unit"
    shared: dict[str, Any] = {"n": samples, "solver": pairs.solver}
    residuals = 100 * pairs.residuals
    for rank, value in zip(RANKS, pairs.values):
        rows.add(f"{rank}_eigenvalue", value, unit=unit, **shared)
    for rank, value in zip(RANKS, residuals):
        rows.add(f"{rank}_residual", value, unit="%", **shared)
    rows.add("eigenvector_residual", residuals.max(), unit="%", **shared)
    interval = t_interval(list(estimates))  # Student's; the probes are independent draws
    rows.add("trace", estimates.mean(), unit=unit, n=len(estimates), interval=interval)
