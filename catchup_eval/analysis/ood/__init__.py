"""Does the network's confidence separate in-distribution from out-of-distribution images?

ID is the split `test`; each split whose name is "out" or starts with "out:" is one OOD dataset.
**OOD is the positive class**: a score is high where an image looks like none of the classes.

Two protocols. `hendrycks200`, the paper's for ImageNet-O (Hendrycks et al. 2021): only test images
of the 200 classes that ImageNet-O's folders name count, and only these 200 of 1,000 logits, in the
softmax too. `full`: all test images and all logits. The default is `hendrycks200` if there is
a split "out" and no group, the dataset names its classes by WordNet numbers with the 200 among them
and the network gives 1,000 logits (of which those 200 are taken where the dataset has no other
classes), and else `full`. The column `protocol` names it; `recall="first"` puts `-first` after it.

One row per OOD dataset, score and number; all are in percent:

- `out`: the OOD dataset: "out", or what follows the colon, such as "letters" or "near/tin"; and
  "near/mean", the plain mean over the sets of the group "near", as OpenOOD has it, "far/mean"
  likewise; "mean" over the sets without a group where none of them is "out". Its `protocol` names
  the sets. Of a mean the AUROC alone has an interval
- `score`: `msp`, minus the largest softmax probability p (Hendrycks & Gimpel 2017; the paper's),
  ranked by log(1 - p), which is in the same order and does not tie where p is rounded to 1;
  `max_logit`, minus the largest logit (Hendrycks et al. 2022); `energy`, minus the log of the
  summed exponentials, the free energy at temperature 1 (Liu et al. 2020); with `scores`, those of
  :mod:`catchup_eval.analysis.ood.detectors`, whose settings stand in `protocol`, behind a plus
- `metric`: `auroc`; `aupr_out`, average precision as a step sum; `aupr_in`, the same with ID as the
  positive class; `fpr95_out`, the fraction of *ID* images flagged where 95 % of the OOD images are
  found, the paper's FPR95; `fpr95_in`, the fraction of *OOD* images accepted where 95 % of the ID
  images are (ODIN's, Liang et al. 2018)
- each followed by its chance level: `auroc_chance`, `aupr_out_chance` (the fraction of OOD images),
  `aupr_in_chance`, `fpr95_out_chance`, `fpr95_in_chance`

The code of Hendrycks et al. takes the recall *closest* to 95 %, perhaps below; `recall="first"`
takes the first threshold that reaches it, as OpenOOD does. OpenOOD and pytorch-ood draw trapezoids
under precision and recall; their AUPR is another number.

What cannot be known here: whether the logits come in the order of the sorted WordNet numbers, as
in every published network; whether images were cropped as there (shorter side 256, centre 224). The
paper names no protocol. Its AUPR of 16 % at an AUROC of 53 % fits `hendrycks200` alone: chance is
2,000 of 12,000. ImageNet-O's images were chosen because a ResNet-50 is confident of them: a plain
ResNet-50 is evaluated on its own mistakes.

Common columns: `value`, `unit`, `n` images of both sides, `low` and `high` (95 %, in closed form:
:mod:`catchup_eval.metrics.detection`), `protocol`. Samples, all of the score `msp`, as log(1 - p):
`score_in`, `index`; and for each OOD dataset, with its name at the end (none for "out"):
`score_out`, `placement_out`, `placement_in` (the means of both are the AUROC: the strata of
DeLong's test); for each mean the latter two, of which the OOD sets' weigh as much as each other.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field
from scipy.special import logsumexp
from sklearn.metrics import average_precision_score, roc_auc_score

from catchup_eval.analysis.base import PerSample, Recheck
from catchup_eval.analysis.context import EvaluationContext, require
from catchup_eval.analysis.ood.conventions import CONVENTIONS as CONVENTIONS
from catchup_eval.analysis.ood.conventions import MEAN, estimate
from catchup_eval.analysis.ood.detectors import (
    DETECTORS,
    VARIANTS,
    FeatureSource,
    library,
)
from catchup_eval.analysis.ood.figures import name_suffix
from catchup_eval.analysis.ood.figures import plot as plot
from catchup_eval.core.errors import Missing, UserError
from catchup_eval.core.settings import (
    Count,
    EachOnce,
    NonNegative,
    Positive,
    PositiveFraction,
    one_of,
    validate_settings,
)
from catchup_eval.datasets.dataset import is_ood
from catchup_eval.datasets.readers import imagenet
from catchup_eval.metrics import calibration, detection
from catchup_eval.metrics.intervals import NO_INTERVAL, Interval
from catchup_eval.results.headline import Headline
from catchup_eval.results.result import Result, Rows

TITLE = "Out-of-distribution detection"
DESCRIPTION = "Does its confidence separate in-distribution from out-of-distribution images?"
INTERPRETATION = (
    "The OOD images are the positive class. The further the ROC curve bends to the upper left, the "
    "better; FPR95 is the fraction of ID images above the threshold that 95 % of the OOD images "
    "exceed; the table has the reverse, too. AUPR depends on the number of images of each side: "
    "compare it with its chance level only."
)
REFERENCE = "Hendrycks & Gimpel 2017, A Baseline for Detecting Misclassified and OOD Examples"
NEEDS = frozenset({"test", "out"})
VERSION = 3
COST = 2


def _headlines(out: str, label: str) -> tuple[Headline, ...]:
    where, end = {"out": out, "score": "msp"}, name_suffix(out)
    strata, optional = (f"placement_out{end}", f"placement_in{end}"), out != "out"
    return (
        Headline("auroc", f"{label} AUROC", "higher", where, strata, 100.0, 50.0, optional),
        Headline("fpr95_out", f"{label} FPR95", "lower", where, chance=95.0, optional=optional),
        Headline(
            *("aupr_out", f"{label} AUPR", "higher", where),
            chance="aupr_out_chance",
            optional=optional,
        ),
    )


HEADLINES = (
    *_headlines("out", "OOD"),
    *_headlines(f"near/{MEAN}", "near-OOD")[:2],
    *_headlines(f"far/{MEAN}", "far-OOD")[:2],
    *_headlines(MEAN, "mean OOD")[:2],
)
PER_SAMPLE: PerSample = {"test": ("score_in",), "out": ("score_out",), "out:*": ("score_out_{}",)}
RECHECK = Recheck(settings={"scores": ()})
PROTOCOLS = ("hendrycks200", "full")
METRICS = ("auroc", "aupr_out", "aupr_in", "fpr95_out", "fpr95_in")
SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # of logits (N, K)
    "msp": calibration.log_doubt,
    "max_logit": lambda logits: -logits.max(1),
    "energy": lambda logits: np.asarray(-logsumexp(logits, axis=1)),
}


class ClassSelection(NamedTuple):
    """Which ID images and which logits count."""

    protocol: str
    images: np.ndarray  # (N,) bool, of the split "test"
    logits: np.ndarray  # (K,) bool

    def select(self, context: EvaluationContext, split: str) -> np.ndarray:
        """(n, k) the logits of a split that count; float64, in which few softmaxes tie at 1."""
        logits = context.outputs(split).logits.double().numpy()[:, self.logits]
        return np.asarray(logits[self.images] if split == "test" else logits)


class RowNumbers(NamedTuple):
    """One number, in percent."""

    value: float
    chance: float
    interval: Interval


Numbers = dict[str, RowNumbers]  # by metric


class SplitScores(NamedTuple):
    """One score of every image that counts."""

    protocol: str  # what it adds to the name of the protocol
    values: Mapping[str, np.ndarray]  # by split


class OodSet(NamedTuple):
    """What a mean over OOD sets is of."""

    name: str
    numbers: Numbers
    placed: detection.Placements


@validate_settings()
def measure(
    context: EvaluationContext,
    *,
    protocol: Annotated[str, one_of("protocol", PROTOCOLS)] | None = None,
    recall: Annotated[str, one_of("recall rule", detection.RULES)] = "nearest",
    scores: Annotated[Sequence[Annotated[str, one_of("OOD score", DETECTORS)]], EachOnce] = (),
    fit_images: Count = 10_000,
    odin_temperature: Positive = 1000.0,
    odin_epsilon: NonNegative = 0.0014,
    knn_k: Count = 50,
    vim_dimensions: Count | None = None,
    react_percentile: PositiveFraction = 0.9,
    ash_variant: Annotated[str, one_of("variant of ASH", VARIANTS)] = "ash-s",
    ash_percentile: Annotated[float, Field(ge=0, lt=1)] = 0.65,
) -> Result:
    """The rows and samples described above.

    Args:
        protocol: "hendrycks200" or "full"; None is the paper's where the dataset allows it.
        recall: "nearest" to 95 %, as Hendrycks et al. take it, or the "first" that reaches it.
        scores: further ones, of :data:`catchup_eval.analysis.ood.detectors.DETECTORS`. One that
            the model or the data do not allow is left out; a note says why.
        fit_images: how many training images they are fitted on, at most.
        odin_temperature, odin_epsilon: OpenOOD's and pytorch-ood's, as all that follow.
        knn_k: of neighbours; its paper takes 50 for CIFAR-10, 200 for CIFAR-100, 1,000 for
            ImageNet, of all training images.
        vim_dimensions: of the principal subspace; None is 1,000 for more than 1,500 features, 512
            for more than 512, else half of them.
        react_percentile, ash_percentile: fractions of the features, at which those above are
            clipped, and below which an image's are set to 0.

    Raises:
        Missing: there is no OOD split.
        UnknownName: another `protocol` or `recall`, or no such score.
        UserError: "hendrycks200" where the dataset or the network is not ImageNet-1k's; `scores`
            without pytorch-ood; an OOD dataset called "mean".
    """
    settings = {name: value for name, value in locals().items() if name != "context"}
    for name in scores:
        library(name)
    require(context, NEEDS)
    outs = [name for name in context.data.parts if is_ood(name)]
    if any(name.rpartition(":")[2].rpartition("/")[2] == MEAN for name in outs):
        raise UserError(f"no OOD dataset may be called {MEAN}, which is what means over them are")
    selection = _select_classes(context, protocol)
    base = f"{selection.protocol}{'-first' if recall == 'first' else ''}"
    rows, agree = Rows(f"{base}@{VERSION}"), True
    source = FeatureSource(context, selection.logits, fit_images, settings)
    fitted, notes = _fit(source, selection, ["test", *outs], scores)
    groups: dict[tuple[str, str], list[OodSet]] = {}
    index = context.outputs("test").index.numpy()[selection.images]
    samples = {"score_in": fitted["msp"].values["test"], "index": index}
    for split in outs:
        name = split.removeprefix("out:")
        group, end = name.rpartition("/")[0], name_suffix(name)
        for score, (detail, values) in fitted.items():
            sides = values["test"], values[split]
            numbers, same = _compare(*sides, recall)
            agree &= same
            placed = detection.placements(*sides)
            _add_rows(rows, numbers, sum(map(len, sides)), f"{base}{detail}", name, score)
            groups.setdefault((group, score), []).append(OodSet(name, numbers, placed))
            if score == "msp":
                samples |= {f"score_out{end}": sides[1]} | _name_placements(placed, end)
    for (group, score), sets in groups.items():
        if not group and "out" in outs:
            continue
        name = f"{group}/{MEAN}" if group else MEAN
        numbers, placed = _mean(sets)
        names = "+".join(each.name.rpartition("/")[2] for each in sets)
        detail = f"{fitted[score].protocol}-mean-of-{names}"
        _add_rows(rows, numbers, len(index) + len(placed.ood), f"{base}{detail}", name, score)
        if score == "msp":
            samples |= _name_placements(placed, name_suffix(name))
    rows.check("scikit-learn's AUROC and AUPR are those of the bootstrap", agree, len(index))
    return Result(rows.frame(), samples, notes)


def _fit(
    source: FeatureSource, selection: ClassSelection, splits: Sequence[str], scores: Sequence[str]
) -> tuple[dict[str, SplitScores], tuple[str, ...]]:
    """Every score of every split, and a sentence for each that is left out."""
    logits = {split: selection.select(source.context, split) for split in splits}
    found = {
        name: SplitScores("", {split: of(values) for split, values in logits.items()})
        for name, of in SCORES.items()
    }
    notes = []
    for name in scores:
        try:
            detail, of = DETECTORS[name](source)
            values = {split: of(split).cpu().numpy() for split in splits}
            if not all(np.isfinite(each).all() for each in values.values()):
                raise Missing("features of which it is a finite number")
            values["test"] = values["test"][selection.images]
            found[name] = SplitScores(f"+{name}-{detail}", values)
        except Missing as error:
            notes.append(f"the OOD score {name} is left out: it needs {error}")
    return found, tuple(notes)


def _mean(sets: Sequence[OodSet]) -> tuple[Numbers, detection.Placements]:
    """The means over OOD sets, with the interval of the AUROC alone; and that AUROC's strata."""
    placed = detection.mean_placements([each.placed for each in sets])
    numbers = {
        metric: RowNumbers(
            float(np.mean([each.numbers[metric].value for each in sets])),
            float(np.mean([each.numbers[metric].chance for each in sets])),
            NO_INTERVAL,
        )
        for metric in METRICS
    }
    interval = detection.placements_interval(placed)
    numbers["auroc"] = numbers["auroc"]._replace(interval=_to_percent(interval))
    return numbers, placed


def _name_placements(placed: detection.Placements, end: str) -> dict[str, np.ndarray]:
    return {f"placement_out{end}": placed.ood, f"placement_in{end}": placed.id}


def _to_percent(interval: Interval) -> Interval:
    return Interval(*(100 * limit for limit in interval))


def _select_classes(context: EvaluationContext, protocol: str | None) -> ClassSelection:
    outputs, classes = context.outputs("test"), context.data.classes
    known = imagenet.in_imagenet_o(classes)
    images = known[outputs.labels.numpy()]
    logits = np.zeros(outputs.logits.shape[1], bool)
    fits = known.sum() == len(imagenet.PLACES) and images.any()
    grouped = any(is_ood(split) and "/" in split for split in context.data.parts)
    if protocol is None and (grouped or "out" not in context.data.parts):
        protocol = "full"  # hendrycks200 is for ImageNet-O alone
    if fits and len(logits) == imagenet.LOGITS and protocol != "full":
        places = known.nonzero()[0] if context.model.columns else list(imagenet.PLACES.values())
        logits[places] = True  # of a matched network, the dataset's classes are the first outputs
        return ClassSelection("hendrycks200", images, logits)
    masked = set(context.model.columns) == set(imagenet.PLACES.values())
    if fits and masked and protocol != "full":  # the dataset has no other classes
        return ClassSelection("hendrycks200", images, np.ones_like(logits))
    if protocol == "hendrycks200":
        raise UserError(
            "expected, for the protocol hendrycks200, images of ImageNet-O's 200 classes, named by "
            f"WordNet numbers, and {imagenet.LOGITS} logits; {context.data.name} has "
            f"{known.sum()} of these classes and {images.sum()} such images, "
            f"{context.model.name} gives {len(logits)} logits"
        )
    return ClassSelection("full", np.ones_like(images), np.ones_like(logits))


def _compare(id_scores: np.ndarray, ood_scores: np.ndarray, recall: str) -> tuple[Numbers, bool]:
    """All numbers of one score; whether scikit-learn and our own formulas agree."""
    sizes = len(id_scores), len(ood_scores)
    curve = detection.sweep(id_scores, ood_scores)
    own = {metric: estimate(curve, metric, recall) for metric in METRICS}
    truth, scores = np.repeat([0, 1], sizes), np.append(id_scores, ood_scores)
    values = {metric: value for metric, (value, _) in own.items()} | {
        "auroc": float(roc_auc_score(truth, scores)),
        "aupr_out": float(average_precision_score(truth, scores)),
        "aupr_in": float(average_precision_score(1 - truth, -scores)),
    }
    level, ood_fraction = 100 * detection.RECALL, sizes[1] / sum(sizes)
    chances = (50.0, 100 * ood_fraction, 100 * (1 - ood_fraction), level, level)
    numbers = {
        metric: RowNumbers(100 * value, chance, _to_percent(own[metric][1]))
        for (metric, value), chance in zip(values.items(), chances, strict=True)
    }
    ours = [value for value, _ in own.values()]
    return numbers, bool(np.allclose(ours, list(values.values()), rtol=0, atol=1e-9))


def _add_rows(rows: Rows, numbers: Numbers, n: int, protocol: str, out: str, score: str) -> None:
    facts: dict[str, Any] = {"unit": "%", "n": n, "protocol": f"{protocol}@{VERSION}"}
    for metric, (value, chance, interval) in numbers.items():
        rows.add(metric, value, interval=interval, out=out, score=score, **facts)
        rows.add(f"{metric}_chance", chance, out=out, score=score, **facts)
