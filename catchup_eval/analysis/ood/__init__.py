"""Does the network's confidence tell images of its classes from images of none?

The inside is the part `test`; each part whose name is "out" or starts with "out:" is one outside.
**The outside is the positive class**: a score is high where an image looks like no class of it.

Two protocols. `hendrycks200`, the paper's for ImageNet-O (Hendrycks et al. 2021): only test images
of the 200 classes that ImageNet-O's folders name count, and only these 200 of 1,000 logits, in the
softmax too. `full`: all test images and all logits. Where none is asked for, it is `hendrycks200`
if the set names its classes by WordNet numbers with the 200 among them and the network gives 1,000
logits, and else `full`. The column `protocol` says which; `recall="first"` puts `-first` after it.

One row per outside, score and number; all are in percent:

- `out`: the outside: "out", or what follows the colon, such as "letters"
- `score`: `msp`, minus the largest softmax probability p (Hendrycks & Gimpel 2017; the paper's),
  ranked by log(1 - p), which is in the same order and does not tie where p is rounded to 1;
  `max_logit`, minus the largest logit; `energy`, minus the log of the summed exponentials
- `metric`: `auroc`; `aupr_out`, average precision as a step sum; `aupr_in`, the same with the
  inside as the positive class; `fpr95_out`, the share of *inside* images flagged where 95 % of the
  outside is found, the paper's FPR95; `fpr95_in`, the share of *outside* images let through where
  95 % of the inside is kept (ODIN's, Liang et al. 2018)
- each followed by what guessing reaches: `auroc_chance`, `aupr_out_chance` (the share of outside
  images), `aupr_in_chance`, `fpr95_out_chance`, `fpr95_in_chance`

The code of Hendrycks et al. takes the recall *closest* to 95 %, perhaps below; `recall="first"`
takes the first threshold that reaches it, as OpenOOD does. OpenOOD and pytorch-ood draw trapezoids
under precision and recall; their AUPR is another number.

What cannot be known here: whether the logits come in the order of the sorted WordNet numbers, as
in every published network; whether images were cropped as there (shorter side 256, centre 224). The
paper names no protocol. Its AUPR of 16 % at an AUROC of 53 % fits `hendrycks200` alone: chance is
2,000 of 12,000. ImageNet-O's images were chosen because a ResNet-50 is sure of them: a plain
ResNet-50 is judged on its own mistakes.

Common columns: `value`, `unit`, `n` images of both sides, `low` and `high` (95 %, in closed form:
:mod:`catchup_eval.metrics.detection`), `protocol`. Samples, all of the score `msp`, as log(1 - p):
`score_in`, `index`; and for each outside, with its name at the end (none for "out"): `score_out`,
`placement_out`, `placement_in` (the means of both are the AUROC: the strata of DeLong's test).
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any, NamedTuple

import numpy as np
from scipy.special import logsumexp
from sklearn.metrics import average_precision_score, roc_auc_score

from catchup_eval.analysis.base import PerSample, Recheck
from catchup_eval.analysis.context import EvaluationContext, require
from catchup_eval.analysis.ood.conventions import CONVENTIONS as CONVENTIONS
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
DESCRIPTION = "Does the network's confidence tell images of its classes from images of none?"
INTERPRETATION = (
    "The images of none of the classes are the positive class. The further the ROC curve bends to "
    "the upper left, the better; FPR95 is how many images of the classes raise a false alarm "
    "where 95 % of the others are found; the table has the other direction, too. AUPR depends on "
    "how many images each side has: compare it with its chance level only."
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
PER_SAMPLE: PerSample = {
    "test": ("score_in",),
    "out": ("score_out",),
    "out:*": ("score_out_{}",),
}
RECHECK = Recheck()
PROTOCOLS = ("hendrycks200", "full")
LEVEL = 100 * detection.RECALL


def msp(logits: np.ndarray) -> np.ndarray:
    """(N,) log(1 - p) of logits (N, K), p the largest softmax probability: in the order of -p."""
    return calibration.log_doubt(logits)


def max_logit(logits: np.ndarray) -> np.ndarray:
    """(N,) minus the largest logit (Hendrycks et al. 2022)."""
    return np.asarray(-logits.max(1))


def energy(logits: np.ndarray) -> np.ndarray:
    """(N,) the free energy at temperature 1 (Liu et al. 2020)."""
    return np.asarray(-logsumexp(logits, axis=1))


SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "msp": msp,
    "max_logit": max_logit,
    "energy": energy,
}


class ClassSelection(NamedTuple):
    """Which images of the inside and which logits count."""

    protocol: str
    images: np.ndarray  # (N,) bool, of the part "test"
    logits: np.ndarray  # (K,) bool

    def select(self, subject: EvaluationContext, part: str) -> np.ndarray:
        """(n, k) the logits of a part that count; float64, in which few softmaxes tie at 1."""
        logits = subject.outputs(part).logits.double().numpy()[:, self.logits]
        return np.asarray(logits[self.images] if part == "test" else logits)


@validate_settings()
def measure(
    subject: EvaluationContext,
    *,
    protocol: Annotated[str, one_of("protocol", PROTOCOLS)] | None = None,
    recall: Annotated[str, one_of("recall rule", detection.RULES)] = "nearest",
) -> Result:
    """The rows and samples described above.

    Args:
        protocol: "hendrycks200" or "full"; None is the paper's where the set allows it.
        recall: "nearest" to 95 %, as Hendrycks et al. take it, or the "first" that reaches it.

    Raises:
        Missing: there is no part "out".
        UnknownName: another `protocol` or `recall`.
        UserError: "hendrycks200" where the set or the network is not ImageNet-1k's.
    """
    require(subject, NEEDS)
    asked = _select_classes(subject, protocol)
    rows = Rows(f"{asked.protocol}{'-first' if recall == 'first' else ''}@{VERSION}")
    inside = asked.select(subject, "test")
    index = subject.outputs("test").index.numpy()[asked.images]
    samples = {"score_in": msp(inside), "index": index}
    agree = True
    for part, name in _ood_splits(subject):
        outside = asked.select(subject, part)
        samples |= _samples(msp(inside), msp(outside), name)
        for score, function in SCORES.items():
            sides = function(inside), function(outside)
            agree &= _rows(rows, *sides, recall, out=name, score=score)
    rows.check("scikit-learn's AUROC and AUPR are those of the bootstrap", agree, len(inside))
    return Result(rows.frame(), samples)


def _select_classes(subject: EvaluationContext, protocol: str | None) -> ClassSelection:
    outputs, classes = subject.outputs("test"), subject.data.classes
    known = imagenet.in_imagenet_o(classes)
    images = known[outputs.labels.numpy()]
    logits = np.zeros(outputs.logits.shape[1], bool)
    fits = known.sum() == len(imagenet.PLACES) and images.any()
    if fits and len(logits) == imagenet.LOGITS and protocol != "full":
        logits[list(imagenet.PLACES.values())] = True
        return ClassSelection("hendrycks200", images, logits)
    if protocol == "hendrycks200":
        raise UserError(
            "expected, for the protocol hendrycks200, images of ImageNet-O's 200 classes, named by "
            f"WordNet numbers, and {imagenet.LOGITS} logits; {subject.data.name} has "
            f"{known.sum()} of these classes and {images.sum()} such images, "
            f"{subject.model.name} gives {len(logits)} logits"
        )
    return ClassSelection("full", np.ones_like(images), np.ones_like(logits))


def _ood_splits(subject: EvaluationContext) -> Iterator[tuple[str, str]]:
    """Names of the parts, and what the frame calls them."""
    for part in subject.data.parts:
        if part == "out" or part.startswith("out:"):
            yield part, part.removeprefix("out:")


def _samples(inside: np.ndarray, outside: np.ndarray, name: str) -> dict[str, np.ndarray]:
    placed = detection.placements(inside, outside)
    end = name_suffix(name)
    return {
        f"score_out{end}": outside,
        f"placement_out{end}": placed.outside,
        f"placement_in{end}": placed.inside,
    }


def _rows(
    rows: Rows, inside: np.ndarray, outside: np.ndarray, recall: str, **condition: Any
) -> bool:
    """Adds the rows of one score; whether scikit-learn and our own formulas agree."""
    n = len(inside) + len(outside)
    statistics, chances = _statistics(recall), _chances(len(outside) / n)
    curve = detection.sweep(inside, outside)
    own = {metric: float(statistic(curve)) for metric, statistic in statistics.items()}
    values = own | _scikit_learns(inside, outside)
    intervals = _intervals(curve, recall)
    for metric, value in values.items():
        interval = Interval(*(100 * limit for limit in intervals[metric]))
        rows.add(metric, 100 * value, unit="%", n=n, interval=interval, **condition)
        rows.add(f"{metric}_chance", chances[metric], unit="%", n=n, **condition)
    return bool(np.allclose(list(own.values()), list(values.values()), rtol=0, atol=1e-9))


def _statistics(recall: str) -> dict[str, Callable[[detection.Sweep], np.ndarray]]:
    false_positives = partial(detection.fpr_at_recall, rule=recall)
    return {
        "auroc": detection.auroc,
        "aupr_out": detection.average_precision,
        "aupr_in": lambda curve: detection.average_precision(detection.swap_positive_class(curve)),
        "fpr95_out": false_positives,
        "fpr95_in": lambda curve: false_positives(detection.swap_positive_class(curve)),
    }


def _intervals(curve: detection.Sweep, recall: str) -> dict[str, Interval]:
    turned = detection.swap_positive_class(curve)
    return {
        "auroc": detection.auroc_interval(curve),
        "aupr_out": detection.precision_interval(curve),
        "aupr_in": detection.precision_interval(turned),
        "fpr95_out": detection.false_positives_interval(curve, rule=recall),
        "fpr95_in": detection.false_positives_interval(turned, rule=recall),
    }


def _chances(outside: float) -> dict[str, float]:
    """What guessing reaches, in percent, given the share of outside images."""
    precision = {"aupr_out": 100 * outside, "aupr_in": 100 * (1 - outside)}
    return {"auroc": 50.0, **precision, "fpr95_out": LEVEL, "fpr95_in": LEVEL}


def _scikit_learns(inside: np.ndarray, outside: np.ndarray) -> dict[str, float]:
    truth, scores = np.repeat([0, 1], [len(inside), len(outside)]), np.append(inside, outside)
    return {
        "auroc": float(roc_auc_score(truth, scores)),
        "aupr_out": float(average_precision_score(truth, scores)),
        "aupr_in": float(average_precision_score(1 - truth, -scores)),
    }
