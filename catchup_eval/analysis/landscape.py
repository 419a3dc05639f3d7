"""How steeply does the loss rise around the network's weights?

The cross-entropy of one fixed batch, in evaluation mode, on the plane w + a v1 + b v2: v1 and v2
are the Hessian's top two unit eigenvectors over all parameters jointly (largest magnitude first), a
and b go from -`reach` to `reach`. Each direction points to where the loss rises more.

One row per number, without a condition:

- `loss_rise`: how much higher the loss is than at the centre, in nats, averaged over the square by
  the trapezoid rule and over the images; bootstrap over images
- `loss`: at the centre, in nats; bootstrap over images
- `top_eigenvalue`, `second_eigenvalue`: in nats per squared unit of the parameters; negative where
  the loss falls on both sides
- `eigenvector_residual`: |Hv - lambda v| / |lambda| of the worse of the two, in percent; 0 is exact
- `trace`: sum of all eigenvalues, in the same unit; mean of `n` random probes (Hutchinson), with
  Student's interval over them: few probes say little
- `parameter_norm`: |w|, over the same parameters

**What is not comparable.** A step of 0.5 along a unit vector is not the same for two networks:
batch norm lets a layer's weights be scaled without changing the network, and the curvature scales
with them. So `parameter_norm` stands beside, and a flatter plane of a network with larger weights
proves nothing.

What the paper leaves open. It says "following Yao et al." and no more. PyHessian's recipe is used
here: top eigenvectors, reach 0.5, 21 points a side, one batch. PyHessian takes training images;
the default here is `part="test"`, which every set has and no network was fitted to, however it
mixed its images, but at which the weights are no minimum. `part="train"` is the recipe to the
letter. The batch is balanced over the classes and the same for every network and seed. The
protocol names the part: `hessian-plane-test@1`.

Common columns: `metric`, `value`, `unit`, `n` images, probes or parameters, `low` and `high`
(95 %), `protocol`. Samples: `axis` (P,), the steps; `surface` (P, P), the loss at a (first) and b;
`cuts` (2, P, N), each image's loss along v1 and v2; `rise` (N,), its mean over the square;
`index` (N,); `probes`; and, where `lanczos` is not 0, `nodes` and `weights` (lanczos,) of the
eigenvalue density.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from catchup_eval import hessian
from catchup_eval.datasets.imageset import Batch
from catchup_eval.errors import UserError
from catchup_eval.question import Headline
from catchup_eval.randomness import generator
from catchup_eval.report import figures
from catchup_eval.report.curves import Curve, by_model, draw, mean_value
from catchup_eval.results import Result, Rows
from catchup_eval.statistics import bootstrap_mean, over_seeds
from catchup_eval.subject import Subject

TITLE = "Loss landscape"
QUESTION = "How steeply does the loss rise around the network's weights?"
READING = (
    "All models share the levels. Wide rings mean that the loss stays low when the weights are "
    "moved along the two directions of strongest curvature; the cross is the network itself. The "
    "plane is not scale-invariant: compare the parameter norms before the flatness."
)
SOURCE = "Yao et al. 2020, PyHessian: Neural Networks Through the Lens of the Hessian"
NEEDS = frozenset({"test"})
VERSION = 1
HEADLINES = (
    Headline("loss_rise", "Mean loss rise on the plane", "lower", outcomes=("rise",), scale=1.0),
    Headline("top_eigenvalue", "Top Hessian eigenvalue", "lower"),
    Headline("trace", "Hessian trace", "lower"),
)
CHUNK = 100  # images at once: on a CPU 1.4 times faster than 200


def measure(
    subject: Subject,
    *,
    part: str = "test",
    samples: int = 200,  # PyHessian's example
    points: int = 21,  # PyHessian's tutorial, and most likely the paper's
    reach: float = 0.5,  # likewise
    tolerance: float = 1e-3,  # PyHessian's; a last step makes it good to 0.1 % (measured)
    probes: int = 30,
    lanczos: int = 0,
) -> Result:
    """The rows and samples described above.

    Args:
        part: "test" or "train".
        samples: images in the batch.
        points: on each side of the grid; odd, so that the centre is one of them.
        reach: how far the plane goes, in units of the parameters.
        tolerance: relative change at which an eigenvalue's iteration ends.
        probes: of the trace.
        lanczos: steps towards the eigenvalue density, each as dear as a probe; 0: no density.

    Raises:
        Missing: there is no such part.
        UserError: `points` is even or below 3, or `samples`, `probes` below 2.
    """
    if points < 3 or points % 2 == 0 or min(samples, probes) < 2:
        raise UserError(
            "expected an odd number of points from 3 and two samples and probes or more, "
            f"got points={points}, samples={samples}, probes={probes}"
        )
    batch = _batch(subject, part, samples)
    asked = (subject.model, batch.images, batch.labels)
    draw = subject.generator("landscape")
    pairs = hessian.top_eigenvectors(*asked, tolerance=tolerance, generator=draw)
    estimates = hessian.trace(*asked, probes=probes, generator=draw)
    axis = np.linspace(-reach, reach, points)
    losses = _uphill(_plane_losses(subject, batch, pairs.vectors, axis))
    arrays = _arrays(axis, losses) | {"probes": estimates, "index": batch.index.cpu().numpy()}
    if lanczos:
        density = hessian.density(*asked, steps=lanczos, generator=draw)
        arrays |= {"nodes": density.nodes[0], "weights": density.weights[0]}
    rows = Rows(f"hessian-plane-{part}@1")
    _loss_rows(rows, arrays)
    _curvature_rows(rows, pairs, estimates, samples=len(batch.labels))
    norm = float(parameters_to_vector(subject.model.parameters()).detach().norm())
    rows.add("parameter_norm", norm, unit="norm", n=pairs.vectors.shape[1])
    _check_centre(rows, subject, batch, losses[points // 2, points // 2].mean())
    return Result(rows.frame(), arrays)


def _arrays(axis: np.ndarray, losses: np.ndarray) -> dict[str, np.ndarray]:
    middle = len(axis) // 2
    return {
        "axis": axis,
        "surface": losses.mean(2),
        "cuts": np.stack([losses[:, middle], losses[middle]]),
        "rise": _mean_over_square(losses) - losses[middle, middle],
    }


def _check_centre(rows: Rows, subject: Subject, batch: Batch, centre: float) -> None:
    """The copy's loss, unmoved, against that of the model which was lent."""
    logits = subject.logits(batch.images)
    plain = float(F.cross_entropy(logits, batch.labels.cpu()))
    same = math.isclose(plain, centre, rel_tol=1e-3, abs_tol=1e-5)
    rows.check("the loss at the centre is the network's", same, len(logits))


def _batch(subject: Subject, part: str, samples: int) -> Batch:
    """The same images for every model and seed, as evenly over the classes as they allow."""
    return subject.data.part(part).limited(samples).to(subject.device).batch(slice(None))


@torch.no_grad()
def _plane_losses(
    subject: Subject, batch: Batch, directions: Tensor, axis: np.ndarray
) -> np.ndarray:
    """(P, P, N) each image's loss at each point, in nats; the subject's model stays as it is."""
    twin = copy.deepcopy(subject.model).eval()
    centre = parameters_to_vector(twin.parameters()).detach()
    losses = np.empty((len(axis), len(axis), len(batch.labels)))
    for i in subject.track(range(len(axis)), len(axis)):
        for j, step in enumerate(axis):
            moved = centre + float(axis[i]) * directions[0] + float(step) * directions[1]
            vector_to_parameters(moved, twin.parameters())
            losses[i, j] = _losses(twin, batch)
    return losses


def _losses(model: nn.Module, batch: Batch) -> np.ndarray:
    chunks = zip(torch.split(batch.images, CHUNK), torch.split(batch.labels, CHUNK), strict=True)
    rows = [F.cross_entropy(model(images), labels, reduction="none") for images, labels in chunks]
    return np.asarray(torch.cat(rows).cpu().numpy())


def _uphill(losses: np.ndarray) -> np.ndarray:
    """Both axes turned so that the loss is higher at their end than at their start."""
    middle = len(losses) // 2
    for axis, cut in ((0, losses[:, middle]), (1, losses[middle])):
        if cut[-1].mean() < cut[0].mean():
            losses = np.flip(losses, axis)
    return losses


def _mean_over_square(losses: np.ndarray) -> np.ndarray:
    """(N,) the trapezoid rule over losses (P, P, N): nearly the same for any number of points."""
    weights = np.ones(len(losses))
    weights[[0, -1]] = 0.5
    weights /= weights.sum()
    return np.asarray(np.einsum("i,j,ijn->n", weights, weights, losses))


def _loss_rows(rows: Rows, arrays: dict[str, np.ndarray]) -> None:
    cut = arrays["cuts"][0]
    for metric, values in (("loss_rise", arrays["rise"]), ("loss", cut[len(cut) // 2])):
        interval = bootstrap_mean(values)
        rows.add(metric, values.mean(), unit="nats", n=len(values), interval=interval)


def _curvature_rows(
    rows: Rows, pairs: hessian.Eigenpairs, estimates: np.ndarray, *, samples: int
) -> None:
    unit = "nats per squared unit"
    for metric, value in zip(("top_eigenvalue", "second_eigenvalue"), pairs.values, strict=True):
        rows.add(metric, value, unit=unit, n=samples)
    rows.add("eigenvector_residual", 100 * pairs.residuals.max(), unit="%", n=samples)
    interval = over_seeds(list(estimates))  # Student's; the probes are independent draws
    rows.add("trace", estimates.mean(), unit=unit, n=len(estimates), interval=interval)


def plot(result: Result) -> dict[str, Figure]:
    """Contours and cuts, the same as a surface, and the eigenvalue density where measured."""
    models = by_model(result)
    with figures.style():
        drawn = {"landscape": _contours(models), "surface": _surfaces(models)}
        dense = {name: rs for name, rs in models.items() if "nodes" in rs[0].samples}
        return drawn | ({"density": _densities(dense, list(models))} if dense else {})


def _first(models: dict[str, list[Result]]) -> dict[str, Result]:
    return {name: results[0] for name, results in models.items()}


def _title(name: str, results: Sequence[Result]) -> str:
    return f"{name} (first seed)" if len(results) > 1 else name


def _levels(models: dict[str, list[Result]]) -> np.ndarray:
    """1, 2, 5, 10 ... around the losses of all models; at most four decades, from the top."""
    surfaces = [result.samples["surface"] for result in _first(models).values()]
    low, high = (float(edge([edge(s) for s in surfaces])) for edge in (np.min, np.max))
    steps = np.array([digit * 10.0**power for power in range(-9, 10) for digit in (1, 2, 5)])
    below = np.searchsorted(steps, max(low, high / 1e4), "right") - 1
    return steps[below : np.searchsorted(steps, high) + 1]


def _contours(models: dict[str, list[Result]]) -> Figure:
    columns = min(len(models), 3)
    lines = -(-len(models) // columns)
    heights = (0.1 + 2.6 * lines, 2.4 + 0.16 * len(models))
    fig = figures.figure(figures.PAGE, sum(heights))
    grid = fig.add_gridspec(2, 1, height_ratios=heights)
    upper, lower = fig.add_subfigure(grid[0]), fig.add_subfigure(grid[1])
    panels = upper.subplots(lines, columns, squeeze=False)
    levels = _levels(models)
    for axes, (name, results) in zip(panels.ravel(), models.items(), strict=False):
        filled = _contour(axes, results[0], levels)
        axes.set(title=_title(name, results), xlabel="step along v2", ylabel="step along v1")
        axes.label_outer()
    for axes in panels.ravel()[len(models) :]:
        axes.set_axis_off()
    beside = panels[0, -1].inset_axes((1.06, 0, 0.06, 1))
    bar = fig.colorbar(filled, beside, label="loss (nats)", ticks=levels, format="%g")
    bar.ax.minorticks_off()
    _cuts(lower.subplots(1, 2, sharey=True), models)
    figures.legend_below(fig, lower.axes[0], columns=1)
    return fig


def _contour(axes: Axes, result: Result, levels: np.ndarray) -> QuadContourSet:
    axis, surface = result.samples["axis"], result.samples["surface"]
    surface = np.clip(surface, levels[0], levels[-1])
    filled = axes.contourf(axis, axis, surface, levels, norm=LogNorm(), cmap=figures.SEQUENTIAL)
    axes.contour(axis, axis, surface, levels, colors="black", linewidths=0.4)
    centre = result.value("loss")
    outline = [withStroke(linewidth=2, foreground="black")]
    axes.plot(0, 0, "+", color="white", markersize=7, path_effects=outline)
    text = axes.annotate(f"{centre:.2g}", (0, 0), (0, 6), textcoords="offset points")
    text.set(color="white", ha="center", path_effects=outline)
    axes.set_aspect("equal")
    axes.grid(visible=False)
    return filled


def _cuts(pair: Sequence[Axes], models: dict[str, list[Result]]) -> None:
    """Mean loss along each direction: 95 % over the images of one network, or the seeds' range."""
    looks = figures.looks(list(models))
    several = max(map(len, models.values())) > 1
    for number, axes in enumerate(pair):
        for name, results in models.items():
            cuts = [result.samples["cuts"][number] for result in results]
            value, low, high = _over_images(cuts[0]) if len(cuts) == 1 else _over_seeds(cuts)
            line = Curve(results[0].samples["axis"], value, low, high)
            draw(axes, line, looks[name], dash=looks[name].dash, label=_label(name, results))
        axes.set(xlabel=f"step along v{number + 1}", yscale="log")
    pair[0].set_ylabel("loss (nats)")
    pair[0].set_title("mean and range over seeds" if several else "bands: 95 % over images")


def _label(name: str, results: Sequence[Result]) -> str:
    rise, first, second, norm = (
        mean_value(results, metric)
        for metric in ("loss_rise", "top_eigenvalue", "second_eigenvalue", "parameter_norm")
    )
    return (
        f"{name}: mean rise {rise:.3g} nats, eigenvalues {first:.3g} and {second:.3g}, "
        f"parameter norm {norm:.3g}"
    )


def _over_images(cut: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and bootstrap limits, each (P,), of a cut (P, N)."""
    drawn = generator(0, "cuts").integers(cut.shape[1], size=(1000, cut.shape[1]))
    low, high = np.quantile([row[drawn].mean(1) for row in cut], [0.025, 0.975], axis=1)
    return cut.mean(1), low, high


def _over_seeds(cuts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    means = np.array([cut.mean(1) for cut in cuts])
    return means.mean(0), means.min(0), means.max(0)


def _surfaces(models: dict[str, list[Result]]) -> Figure:
    columns = min(len(models), 3)
    lines = -(-len(models) // columns)
    fig = figures.figure(figures.PAGE if columns > 1 else figures.COLUMN, 2.3 * lines)
    top = max(float(result.samples["surface"].max()) for result in _first(models).values())
    for place, (name, results) in enumerate(models.items(), 1):
        axes = fig.add_subplot(lines, columns, place, projection="3d")
        _surface(axes, results[0], top)
        axes.set_title(_title(name, results), y=0.95)
    return fig


def _surface(axes: Any, result: Result, top: float) -> None:
    axis, surface = result.samples["axis"], result.samples["surface"]
    x, y = np.meshgrid(axis, axis, indexing="ij")
    mesh = {"rstride": 1, "cstride": 1, "linewidth": 0.2, "edgecolor": "black"}
    axes.plot_surface(x, y, surface, cmap=figures.SEQUENTIAL, vmin=0, vmax=top, **mesh)
    ticks = 0.8 * axis[[0, len(axis) // 2, -1]]  # the ends would run into each other
    axes.set(zlim=(0, top), xticks=ticks, yticks=ticks)
    axes.tick_params(labelsize=6.5, pad=-3)
    for label, name in (("x", "v1"), ("y", "v2"), ("z", "loss (nats)")):
        getattr(axes, f"set_{label}label")(name, labelpad=-7, fontsize=7)
    axes.set_box_aspect(None, zoom=0.8)


def _densities(models: dict[str, list[Result]], names: Sequence[str]) -> Figure:
    """Smoothed spectral density of each model's first seed, on a log axis."""
    fig = figures.figure(figures.COLUMN, 2.2 + 0.16 * len(models))
    axes = fig.subplots()
    found = {
        name: hessian.Density(r.samples["nodes"][None], r.samples["weights"][None])
        for name, r in _first(models).items()
    }
    low = min(density.nodes.min() for density in found.values())
    high = max(density.nodes.max() for density in found.values())
    width = (high - low) / 100
    at = np.linspace(low - 5 * width, high + 5 * width, 500)
    looks, top = figures.looks(names), 0.0
    for name, density in found.items():
        color, _, dash = looks[name]
        values = hessian.gaussian_density(density, at, width)
        axes.plot(at, values, color=color, linestyle=dash, label=_title(name, models[name]))
        top = max(top, float(values.max()))
    axes.set(xlabel="eigenvalue", ylabel="density", yscale="log", ylim=(1e-8 * top, 3 * top))
    figures.legend_below(fig, axes, columns=1)
    return fig
