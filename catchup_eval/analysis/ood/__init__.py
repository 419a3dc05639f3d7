"""Does the network's confidence separate in-distribution from out-of-distribution images?

ID is the split `test`; each split whose name is "out" or starts with "out:" is one OOD dataset.
**OOD is the positive class**: a score is high where an image looks like none of the classes.

Two protocols. `hendrycks200`, the paper's for ImageNet-O (Hendrycks et al. 2021): only test images
of the 200 classes that ImageNet-O's folders name count, and only these 200 of 1,000 logits, in the
softmax too. `full`: all test images and all logits. The default is `hendrycks200` if the dataset
names its classes by WordNet numbers with the 200 among them and the network gives 1,000 logits (of
which those 200 are taken where the dataset has no other classes), and else `full`. The column
`protocol` names it; `recall="first"` puts `-first` after it.

One row per OOD dataset, score and number; all are in percent:

- `out`: the OOD dataset: "out", or what follows the colon, such as "letters"
- `score`: `msp`, minus the largest softmax probability p (Hendrycks & Gimpel 2017; the paper's),
  ranked by log(1 - p), which is in the same order and does not tie where p is rounded to 1;
  `max_logit`, minus the largest logit (Hendrycks et al. 2022); `energy`, minus the log of the
  summed exponentials, the free energy at temperature 1 (Liu et al. 2020)
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
DeLong's test).
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import numpy as np
from scipy.special import logsumexp
from sklearn.metrics import average_precision_score, roc_auc_score

from catchup_eval.analysis.base import PerSample, Recheck
from catchup_eval.analysis.context import EvaluationContext, require
from catchup_eval.analysis.ood.conventions import CONVENTIONS as CONVENTIONS
from catchup_eval.analysis.ood.conventions import estimate
from catchup_eval.analysis.ood.figures import name_suffix
from catchup_eval.analysis.ood.figures import plot as plot
from catchup_eval.core.errors import UserError
from catchup_eval.core.settings import one_of, validate_settings
from catchup_eval.datasets.readers import imagenet
from catchup_eval.metrics import calibration, detection
from catchup_eval.metrics.intervals import Interval
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
_FAR = {"out": "out", "score": "msp"}
HEADLINES = (
    Headline(
        "auroc",
        "OOD AUROC",
        "higher",
        where=_FAR,
        outcomes=("placement_out", "placement_in"),
        chance=50.0,
    ),
    Headline("fpr95_out", "OOD FPR95", "lower", where=_FAR, chance=95.0),
    Headline("aupr_out", "OOD AUPR", "higher", where=_FAR, chance="aupr_out_chance"),
)
PER_SAMPLE: PerSample = {"test": ("score_in",), "out": ("score_out",), "out:*": ("score_out_{}",)}
RECHECK = Recheck()
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


@validate_settings()
def measure(
    context: EvaluationContext,
    *,
    protocol: Annotated[str, one_of("protocol", PROTOCOLS)] | None = None,
    recall: Annotated[str, one_of("recall rule", detection.RULES)] = "nearest",
) -> Result:
    """The rows and samples described above.

    Args:
        protocol: "hendrycks200" or "full"; None is the paper's where the dataset allows it.
        recall: "nearest" to 95 %, as Hendrycks et al. take it, or the "first" that reaches it.

    Raises:
        Missing: there is no split "out".
        UnknownName: another `protocol` or `recall`.
        UserError: "hendrycks200" where the dataset or the network is not ImageNet-1k's.
    """
    require(context, NEEDS)
    selection = _select_classes(context, protocol)
    rows = Rows(f"{selection.protocol}{'-first' if recall == 'first' else ''}@{VERSION}")
    id_logits = selection.select(context, "test")
    id_scores = {name: function(id_logits) for name, function in SCORES.items()}
    index = context.outputs("test").index.numpy()[selection.images]
    samples = {"score_in": id_scores["msp"], "index": index}
    agree = True
    for split in context.data.parts:
        if split != "out" and not split.startswith("out:"):
            continue
        name, ood_logits = split.removeprefix("out:"), selection.select(context, split)
        for score, function in SCORES.items():
            sides = id_scores[score], function(ood_logits)
            agree &= _add_rows(rows, *sides, recall, out=name, score=score)
            if score == "msp":
                placed, end = detection.placements(*sides), name_suffix(name)
                samples |= {f"score_out{end}": sides[1], f"placement_out{end}": placed.ood}
                samples[f"placement_in{end}"] = placed.id
    rows.check("scikit-learn's AUROC and AUPR are those of the bootstrap", agree, len(id_logits))
    return Result(rows.frame(), samples)


def _select_classes(context: EvaluationContext, protocol: str | None) -> ClassSelection:
    outputs, classes = context.outputs("test"), context.data.classes
    known = imagenet.in_imagenet_o(classes)
    images = known[outputs.labels.numpy()]
    logits = np.zeros(outputs.logits.shape[1], bool)
    fits = known.sum() == len(imagenet.PLACES) and images.any()
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


def _add_rows(
    rows: Rows, id_scores: np.ndarray, ood_scores: np.ndarray, recall: str, **condition: Any
) -> bool:
    """Adds the rows of one score; whether scikit-learn and our own formulas agree."""
    sizes = len(id_scores), len(ood_scores)
    curve = detection.sweep(id_scores, ood_scores)
    own = {metric: estimate(curve, metric, recall) for metric in METRICS}
    truth, scores = np.repeat([0, 1], sizes), np.append(id_scores, ood_scores)
    values = {metric: value for metric, (value, _) in own.items()} | {
        "auroc": float(roc_auc_score(truth, scores)),
        "aupr_out": float(average_precision_score(truth, scores)),
        "aupr_in": float(average_precision_score(1 - truth, -scores)),
    }
    n, level, ood_fraction = sum(sizes), 100 * detection.RECALL, sizes[1] / sum(sizes)
    chances = (50.0, 100 * ood_fraction, 100 * (1 - ood_fraction), level, level)
    for (metric, value), chance in zip(values.items(), chances, strict=True):
        interval = Interval(*(100 * limit for limit in own[metric][1]))
        rows.add(metric, 100 * value, unit="%", n=n, interval=interval, **condition)
        rows.add(f"{metric}_chance", chance, unit="%", n=n, **condition)
    ours = [value for value, _ in own.values()]
    return bool(np.allclose(ours, list(values.values()), rtol=0, atol=1e-9))
