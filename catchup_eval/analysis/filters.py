"""Do the weak filters still learn, or only the strong ones?

The paper's Figure 1 (a and b) and its filter influence, in evaluation mode, without augmentation: a
filter's activation norm is the l2 norm of its map, its gradient norm that of the gradient of the
image's own cross-entropy at that map (summed over the batch, not averaged: a mean would divide each
norm by the batch size). The maps are those of one stage, after its last operation. Columns:
`moment` ("last": the network itself; "epoch 10": a checkpoint of an earlier epoch, where there are
any), then `metric`, `value`, `unit`, `n` images, `low` and `high` (95 %, bootstrap over images) and
`protocol`, which names stage and split. Metrics:

- `filters_for_90`: how many filters carry 90 % of an image's influence, mean over images;
  `share_for_90`: the same in percent of all filters. Influence is a filter's activation norm as a
  fraction of the image's total (equations 4 and 5, before the difference)
- `weak_half_gradient`: gradient norm in percent that goes to the half of the filters that is weaker
  in the image; 50 where strength does not matter
- `activation_norm`, `gradient_norm`: mean over filters and images, plain numbers (unit "norm")
- `silent`: maps that are zero everywhere, in percent

In a transformer a filter is a dimension of the embedding, and its map its values in all tokens,
those before the patches included: after the last block the head may read nothing but a class token,
and a norm over the patches alone would be of what nothing depends on. Pictures show the patches.

The paper leaves open the loss, the images (here `part="train"`: what is scarce there is a gradient
to learn from) and the scale of the axes (here logarithmic). It names the "third layer block" of
ResNet-18: see `stage`. Strongest and weakest maps are those of the
largest and smallest norm; saliency is the sum over channels of the absolute gradient at the pixels.

Sanity check: an image's norms do not depend on its batch.

Samples, of the last moment: `index`, `filters_for_90`, `share_for_90`, `weak_half_gradient` (N,)
each; `norms` (E, P, 2): activation and gradient norms of up to 20,000 pairs of image and filter,
the same ones at each of the `moments` (E,); and of some pictures `images` (M, H, W, 3) uint8,
`saliency` (M, H, W), `strongest` and `weakest` (M, 3, h, w), at the moment `pictured` (1,).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import cross_entropy

from catchup_eval.analysis.base import Work
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.core.errors import Missing, UserError
from catchup_eval.core.settings import Count, Few, validate_settings
from catchup_eval.datasets.dataset import Batch
from catchup_eval.metrics import inequality
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.hooks import StageHooks
from catchup_eval.models.modes import eval_mode, freeze_parameters
from catchup_eval.plotting import figure
from catchup_eval.plotting.style import PAGE, SEQUENTIAL, styled
from catchup_eval.results.headline import Headline
from catchup_eval.results.result import Result, Rows, group_by_model

TITLE = "Filters"
DESCRIPTION = "Do weak filters still get a gradient, or only strong ones?"
INTERPRETATION = (
    "Each point is a filter in one training image: activation norm (horizontal), gradient norm "
    "(vertical). Where the cloud sinks over the epochs while weak filters remain, these get little "
    "gradient. More filters for 90 % of the influence: a more even network. Norms of "
    "different networks are not comparable, fractions are."
)
REFERENCE = "Kang, Kang and Kim, AAAI 2024, Figures 1a and 1b, equations 4 and 5"
NEEDS = frozenset({"train", "gradients"})
VERSION = 2  # 2: channels last and tokens have their filters
COST = 2
HEADLINES: tuple[Headline, ...] = ()  # even is not better
LAST = "last"
PAIRS = 20_000  # saved for the figure
MAPS = 3  # strongest and weakest ones in a figure
MOST = 6  # models in a picture
CELLS = 28  # hexagons across


class StageOutput(NamedTuple):
    """A stage's maps of a batch, and the gradients of each image's loss."""

    maps: Tensor  # (N, C, h, w); of tokens (N, D, T, 1)
    map_gradients: Tensor  # likewise
    pixel_gradients: Tensor  # (N, 3, H, W)


class Norms(NamedTuple):
    """Of each filter in each image, (N, C)."""

    activation: Tensor
    gradient: Tensor


def _check_pictures(settings: Mapping[str, Any]) -> None:
    pictures, samples = settings["pictures"], settings["samples"]
    if not 1 <= pictures <= samples:
        raise UserError(f"expected from 1 to {samples} pictures, got {pictures}")


def work(settings: Mapping[str, Any], images: Mapping[str, int]) -> Work:
    """A gradient of each of its images; of checkpoints that were kept, too, which are not known."""
    return Work(3.0 * min(settings["samples"], images.get(settings["part"], 0)))


@validate_settings(_check_pictures)
def measure(
    context: EvaluationContext,
    *,
    stage: Count = 4,
    part: Literal["train", "test"] = "train",
    samples: Count = 500,
    pictures: Few = 2,
    pictured: Literal["last", "middle"] = "last",
) -> Result:
    """The rows and samples described above.

    Args:
        stage: 1 is the stem. The paper's "third layer block" of ResNet-18 is 4 where it counts
            from the stage after the stem, as the four of torchvision, and 3 where the stem is the
            first block; it does not say.
        part: "train" or "test".
        samples: images, the same for every model, as evenly over the classes as they allow.
        pictures: how many of them the figure has.
        pictured: whose maps they are: of the network itself, or of the middle one of the epochs
            that were kept, as in the paper (epoch 120 of 60, 120 and 150).

    Raises:
        Missing: no such split, or the network's stages have no names.
        UserError: it has no such stage; no picture, or more than samples.
    """
    batch = context.data.split(part).subsample(samples).to(context.device).batch(slice(None))
    _check_stage(context.model, stage)
    rows, norms = Rows(f"stage{stage}-{part}@{VERSION}"), {}
    for moment, model in context.track(_moments(context), len(context.checkpoints) + 1):
        norms[moment] = filter_norms(model, batch, stage, context.batch_size)
        _add_rows(rows, norms[moment], moment)
    few = Batch(batch.images[:pictures], batch.labels[:pictures], batch.index[:pictures])
    alone = filter_norms(context.model, few, stage, 1)
    same = torch.allclose(alone.gradient, norms[LAST].gradient[:pictures], rtol=1e-2, atol=1e-6)
    rows.check("an image's norms do not depend on its batch", same, pictures)
    arrays = {"index": batch.index.cpu().numpy(), **_norm_fractions(norms[LAST]), **_clouds(norms)}
    moment, model = LAST, context.model
    if pictured == "middle" and context.checkpoints:
        epochs = sorted(context.checkpoints)
        moment = f"epoch {epochs[len(epochs) // 2]}"
        model = context.checkpoints[epochs[len(epochs) // 2]].to(context.device)
    arrays |= {"pictured": np.array([moment])} | _pictures(model, few, stage)
    return Result(rows.frame(), arrays)


def _moments(context: EvaluationContext) -> Iterator[tuple[str, Classifier]]:
    """One network after the other, so that no two checkpoints are held at once."""
    for epoch in sorted(context.checkpoints):
        yield f"epoch {epoch}", context.checkpoints[epoch].to(context.device)
    yield LAST, context.model


def _check_stage(model: Classifier, stage: int) -> None:
    if not model.stages:
        raise Missing("a network whose stages are named")
    if not 1 <= stage <= len(model.stages):
        raise UserError(f"expected a stage from 1 to {len(model.stages)}, got {stage}")


def filter_norms(model: Classifier, batch: Batch, stage: int, batch_size: int) -> Norms:
    """Activation and gradient norm of each filter of a stage in each image, on the CPU."""
    norms = [
        [maps.flatten(2).norm(dim=2).cpu() for maps in (output.maps, output.map_gradients)]
        for output in _stage_outputs(model, batch, stage, batch_size)
    ]
    return Norms(*(torch.cat(columns) for columns in zip(*norms)))


def _stage_outputs(
    model: Classifier, batch: Batch, stage: int, batch_size: int
) -> Iterator[StageOutput]:
    chunks = zip(torch.split(batch.images, batch_size), torch.split(batch.labels, batch_size))
    hooks = StageHooks(model.stages)
    try:
        with eval_mode(model), freeze_parameters(model), torch.enable_grad():
            for images, labels in chunks:
                yield _forward_and_gradients(model, hooks, images, labels, stage - 1)
    finally:
        hooks.close()


def _forward_and_gradients(
    model: Classifier, hooks: StageHooks, images: Tensor, labels: Tensor, stage: int
) -> StageOutput:
    pixels, outputs = images.detach().clone().requires_grad_(), []

    def record(output: Tensor) -> Tensor:
        outputs.append(model.layout.to_channels_first(output, pixels))
        return model.layout.restore(outputs[-1])

    with hooks.replace_output(stage, record):
        loss = cross_entropy(model(pixels), labels, reduction="sum")
    if len(outputs) != 1:
        raise Missing("a stage that gives one feature map")
    return StageOutput(outputs[0].detach(), *torch.autograd.grad(loss, [outputs[0], pixels]))


def _norm_fractions(norms: Norms) -> dict[str, np.ndarray]:
    """(N,) each, one value per image."""
    ascending = inequality.sorted_fractions(norms.activation)
    carriers = inequality.min_dims_for_fraction(ascending, 0.9).numpy()
    return {
        "filters_for_90": carriers,
        "share_for_90": 100 * carriers / ascending.shape[1],
        "weak_half_gradient": weak_half(norms).numpy(),
    }


def weak_half(norms: Norms) -> Tensor:
    """(N,): percent of each image's gradient norm that the weaker half of its filters gets.

    Of an odd number of filters the one in the middle counts half; without any gradient, 50.
    """
    order = norms.activation.argsort(dim=1, stable=True)
    sorted_gradient = norms.gradient.double().gather(1, order)
    even = torch.where(sorted_gradient.any(1, keepdim=True), sorted_gradient, 1.0)
    count = even.shape[1]
    weights = (count / 2 - torch.arange(count)).clamp(0, 1)
    return 100 * (even * weights).sum(1) / even.sum(1)


def _add_rows(rows: Rows, norms: Norms, moment: str) -> None:
    values = _norm_fractions(norms) | {
        "activation_norm": norms.activation.mean(1).numpy(),
        "gradient_norm": norms.gradient.mean(1).numpy(),
        "silent": 100 * (norms.activation == 0).double().mean(1).numpy(),
    }
    units = ("filters", "%", "%", "norm", "norm", "%")
    for (metric, per_image), unit in zip(values.items(), units, strict=True):
        rows.mean(metric, per_image, unit=unit, moment=moment)


def _clouds(norms: dict[str, Norms]) -> dict[str, np.ndarray]:
    """The same pairs of image and filter at each moment."""
    total = next(iter(norms.values())).activation.numel()
    chosen = np.linspace(0, total - 1, min(total, PAIRS)).astype(int)
    clouds = [torch.stack(pair, 2).flatten(0, 1).numpy()[chosen] for pair in norms.values()]
    return {"norms": np.stack(clouds).astype(np.float32), "moments": np.array([*norms])}


def _pictures(model: Classifier, few: Batch, stage: int) -> dict[str, np.ndarray]:
    (output,) = _stage_outputs(model, few, stage, len(few.labels))
    order = output.maps.flatten(2).norm(dim=2).argsort(dim=1, descending=True, stable=True)
    maps = model.layout.to_grid(output.maps)
    pixels = few.images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    image = torch.arange(len(order), device=order.device)[:, None]
    arrays = {
        "images": (255 * pixels).round().byte(),
        "saliency": output.pixel_gradients.abs().sum(1),
        "strongest": maps[image, order[:, :MAPS]],
        "weakest": maps[image, order[:, -MAPS:]],
    }
    return {name: array.cpu().numpy() for name, array in arrays.items()}


@styled
def plot(result: Result) -> dict[str, Figure]:
    """Gradient against activation norms at each moment, and strongest and weakest maps."""
    models = group_by_model(result)
    plotted = {name: results[0] for name, results in [*models.items()][:MOST]}
    note = "; first seed of each" if max(map(len, models.values())) > 1 else ""
    note += f"; the first {MOST} of {len(models)} models" if len(models) > MOST else ""
    return {"norms": _norms_figure(plotted, note), "maps": _maps_figure(plotted, note)}


def _norms_figure(models: dict[str, Result], note: str) -> Figure:
    columns = max(len(result.samples["moments"]) for result in models.values())
    width = figure.COLUMN if columns == 1 else PAGE
    fig = figure.figure(width, 0.6 + 1.15 * len(models))
    panels = fig.subplots(len(models), columns, squeeze=False, sharex=True, sharey=True)
    logs = {
        name: [np.log10(cloud[(cloud > 0).all(1)]) for cloud in result.samples["norms"]]
        for name, result in models.items()
    }
    limits = _limits([points for clouds in logs.values() for points in clouds])
    for (name, result), line in zip(models.items(), panels, strict=True):
        for axes, moment, points in zip(line, result.samples["moments"], logs[name]):
            _cloud(axes, points, limits)
            axes.set_title(f"{name}, {moment}", pad=2, fontsize=7)
        for axes in line[len(logs[name]) :]:
            axes.set_axis_off()
    fig.supxlabel("activation norm", fontsize=8)
    fig.supylabel("gradient norm", fontsize=8)
    if note:
        fig.suptitle(note.lstrip("; "), fontsize=7)
    return fig


def _limits(clouds: Sequence[np.ndarray]) -> np.ndarray:
    """(2, 2), low and high of both axes; 1 in 1,000 points may lie beyond, at each end."""
    points = np.concatenate([cloud for cloud in clouds if len(cloud)] or [np.zeros((1, 2))])
    low, high = np.quantile(points, [0.001, 0.999], axis=0)
    return np.stack([low - 0.1, high + 0.1], axis=1)


def _cloud(axes: Axes, points: np.ndarray, limits: np.ndarray) -> None:
    if len(points):
        style: dict[str, Any] = {"bins": "log", "mincnt": 1, "cmap": SEQUENTIAL}
        style["rasterized"] = True  # thousands of hexagons are slow as vectors
        style["extent"] = tuple(limits.ravel())
        axes.hexbin(*points.T, gridsize=CELLS, linewidths=0, **style)
    axes.set(xlim=limits[0], ylim=limits[1])
    for axis, (low, high) in zip((axes.xaxis, axes.yaxis), limits, strict=True):
        axis.set_ticks(*_decades(low, high))


def _decades(low: float, high: float) -> tuple[list[float], list[str]]:
    """Ticks of a logarithm: powers of ten, or, over fewer than two, also 2 and 5 times these."""
    steps = (1, 2, 5) if high - low < 2 else (1,)
    exponents = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    values = [step * 10.0**exponent for exponent in exponents for step in steps]
    ticks = [value for value in values if low <= np.log10(value) <= high]
    labels = [f"{v:g}" if len(steps) > 1 else figure.power_of_ten(v) for v in ticks]
    return [float(np.log10(value)) for value in ticks], labels


def _maps_figure(models: dict[str, Result], note: str) -> Figure:
    count = len(next(iter(models.values())).samples["images"])
    about = f"image, saliency, {MAPS} strongest and {MAPS} weakest maps, each on its own scale"
    sheet = figure.Sheet(len(models) * count, 2 + 2 * MAPS, lines=len(models), title=about + note)
    top = sheet.top
    for name, result in models.items():
        moment = result.samples["pictured"][0] if "pictured" in result.samples else LAST
        after = "" if moment == LAST else f", {moment}"
        sheet.axes.text(0.02, top + sheet.line / 2, name + after, va="center")
        top += sheet.line
        for place in range(count):
            _draw_maps(sheet, top, result.samples, place)
            top += 1
    return sheet.finish()


def _draw_maps(
    sheet: figure.Sheet, top: float, samples: Mapping[str, np.ndarray], place: int
) -> None:
    sheet.put(samples["images"][place], 0, top)
    maps = [samples["saliency"][place], *samples["strongest"][place], *samples["weakest"][place]]
    for left, values in enumerate(maps, 1):
        sheet.put(figure.in_color(values), left, top)
