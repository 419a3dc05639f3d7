"""Does the network decide by shape or by texture, where the two are in conflict?

Cue-conflict images have the shape of one of sixteen categories and the texture of another (Geirhos
et al. 2019; :mod:`catchup_eval.datasets.readers.cue_conflict`). The protocol is that of
bethgelab/model-vs-human: the probability of a category is the *mean* of the probabilities of its
ImageNet classes, and the most probable of the sixteen is the decision. Images whose shape and
texture are of one category do not count, and a decision for neither counts for neither side. Rows,
all in percent, with Wilson intervals:

- `shape_bias`: decisions for the shape among those for the shape or the texture; `n` counts these.
  Of all images (`category` "all"), and of those of each category's shape where there are decisions
- `shape_decisions`, `texture_decisions`: decisions for the shape, and for the texture, of all
  images whose cues are in conflict. (model-vs-human divides by all images here, which leaves the
  bias as it is.)
- `accuracy`: the decision is the shape's category, of all images, also those without conflict

Columns: `category`, then `metric`, `value`, `unit`, `n`, `low` and `high` (95 % interval),
`protocol`. Samples, each (N,), categories by their place in the sorted list: `shape`, `texture`,
`decision`; and `index`.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import softmax

from catchup_eval.analysis.base import PerSample, Recheck
from catchup_eval.analysis.context import EvaluationContext, require
from catchup_eval.core.errors import Missing
from catchup_eval.core.settings import validate_settings
from catchup_eval.datasets.classes import imagenet_wnids
from catchup_eval.datasets.readers.cue_conflict import CATEGORIES
from catchup_eval.plotting import figure
from catchup_eval.plotting.style import GREY, plot_styles, styled
from catchup_eval.results.headline import Headline, RowLink
from catchup_eval.results.result import Result, Rows, group_by_model, interval_of
from catchup_eval.results.summary import estimate

TITLE = "Shape bias"
DESCRIPTION = "Does it decide by shape or by texture, where the two are in conflict?"
INTERPRETATION = (
    "On the right of 50 %, decisions follow the shape, as 96 % of people's do, on the left the "
    "texture. Images that are classified as neither do not count: read it with how many are left."
)
REFERENCE = (
    "Geirhos et al. 2019, ImageNet-trained CNNs are biased towards texture; protocol of "
    "model-vs-human (Geirhos et al. 2021)"
)
NEEDS = frozenset({"cue"})
VERSION = 1
COST = 1
ALL = "all"
FEW = 4  # models up to which intervals are drawn
HEADLINES = (
    Headline("shape_bias", "shape bias", "higher", where={"category": ALL}, chance=50.0),
    Headline("accuracy", "accuracy of shapes", "higher", where={"category": ALL}, chance=100 / 16),
)
PER_SAMPLE: PerSample = {"cue": ("shape", "texture", "decision")}
RECHECK = Recheck()


@validate_settings()
def measure(context: EvaluationContext) -> Result:
    """The rows and samples described above.

    Raises:
        Missing: there are no such images, the dataset's classes are not ImageNet's, or no image is
            classified as its shape or its texture.
    """
    require(context, NEEDS)
    places = {name: place for place, name in enumerate(context.data.classes)}
    wnids = imagenet_wnids()
    outputs = context.outputs("cue")
    try:
        columns = [[places[wnids[k]] for k in several] for several in CATEGORIES.values()]
    except KeyError:
        raise Missing("classes that are ImageNet's, by WordNet number") from None
    probabilities = softmax(outputs.logits.double().numpy(), axis=1)
    categories = np.stack([probabilities[:, some].mean(1) for some in columns], axis=1)
    shape, texture = np.divmod(outputs.labels.numpy(), len(CATEGORIES))
    samples = {
        "index": outputs.index.numpy(),
        "shape": shape,
        "texture": texture,
        "decision": categories.argmax(1),
    }
    rows = Rows(f"modelvshuman16@{VERSION}")
    for link in row_links(Result(pd.DataFrame(), samples)):
        rows.rate(link.metric, link.outcomes, **link.where)
    return Result(rows.frame(), samples)


def row_links(result: Result) -> Iterator[RowLink]:
    """Every row, and the samples that it is the mean of."""
    shape, texture, decision = (result.samples[n] for n in ("shape", "texture", "decision"))
    conflict, by_shape, by_texture = shape != texture, decision == shape, decision == texture
    decided = conflict & (by_shape | by_texture)
    if not decided.any():
        raise Missing("an image that is classified as its shape or its texture")
    everywhere = {"category": ALL}
    yield RowLink("shape_bias", everywhere, by_shape[decided])
    yield RowLink("shape_decisions", everywhere, by_shape[conflict])
    yield RowLink("texture_decisions", everywhere, by_texture[conflict])
    yield RowLink("accuracy", everywhere, by_shape)
    for place, category in enumerate(CATEGORIES):
        some = decided & (shape == place)
        if some.any():
            yield RowLink("shape_bias", {"category": category}, by_shape[some])


@styled
def plot(result: Result) -> dict[str, Figure]:
    """Shape bias by category of the shape, a row for each; the line is that of all images."""
    models = group_by_model(result)
    names = [*CATEGORIES, ALL]
    step = min(0.22, 0.75 / len(models))  # models are a little below each other
    fig = figure.figure(figure.COLUMN, 3.4 + 0.16 * len(models))
    axes = fig.subplots()
    looks = plot_styles(list(models))
    for row, (model, results) in enumerate(models.items()):
        look, shift = looks[model], step * (row - (len(models) - 1) / 2)
        for height, category in enumerate(names):
            found = pd.concat([one.rows("shape_bias", category=category) for one in results])
            if found.empty:
                continue
            value = estimate(found["value"].tolist(), interval_of(found.iloc[0]), "%")
            at = height + shift
            axes.plot(value.mean, at, look.marker, color=look.color, clip_on=False)
            if len(models) <= FEW:
                axes.hlines(at, *value.interval, color=look.color, linewidth=0.7)
        label = f"{model}: {value.mean:.1f} %"
        axes.axvline(value.mean, color=look.color, linestyle=look.dash, label=label)
    axes.axvline(50, color=GREY, linewidth=0.8, zorder=0)
    axes.axhline(len(names) - 1.5, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlim=(0, 100), ylim=(len(names) - 0.4, -0.6))
    axes.set_xlabel("decisions for the shape (%)")
    figure.legend_below(fig, axes, columns=1)
    return {"shape_bias": fig}
