"""What is printed as "mCE": errors or accuracies, over 15 or 19 types, divided by AlexNet's or not.

Sources: PuzzleMix's `test_robust.py` averages the *accuracy* over all 19 files and prints it as
mCE; the mixup papers turn it into an error. AugMix and RobustBench keep to the 15 types that
Hendrycks and Dietterich (2019) test on; their mCE for ImageNet-C divides by AlexNet's errors.
"""

from collections.abc import Collection
from functools import partial

import numpy as np

from catchup_eval.analysis import conventions
from catchup_eval.analysis.conventions import Convention, ConventionFamily, ConventionValue
from catchup_eval.analysis.corruption import alexnet
from catchup_eval.analysis.corruption.registry import BENCHMARK_19
from catchup_eval.core.errors import Missing
from catchup_eval.metrics.intervals import bootstrap_mean
from catchup_eval.results.result import RANGES, Result

SEVERITIES = 5
ALEXNET = (
    "ImageNet-C: AlexNet's errors are known for its 1,000 classes, 15 types and five severities "
    "alone, so this convention does not apply to other images"
)


def mean_error(result: Result, types: Collection[str], metric: str) -> ConventionValue:
    """Plain mean of the error over these types and the measured severities, in percent.

    Args:
        metric: the row that has it, where all of the types were measured.

    Raises:
        Missing: one of them was not.
    """
    cells = result.rows("error")
    names, severities = (cells[name].to_numpy() for name in ("corruption", "severity"))
    here = set(types) & set(names)
    if len(here) < len(types):
        raise Missing(f"all {len(types)} types; {len(here)} of them were measured")
    misclassified = ~np.asarray(result.samples["correct"], bool)[:, np.isin(names, list(types))]
    errors, note = 100 * misclassified.mean(1), ""
    if len(set(severities)) < SEVERITIES:
        note = f"severities {', '.join(f'{number:g}' for number in sorted(set(severities)))} only"
    if metric == "mean_error" and here < set(names):  # that row is over others, too
        limits = bootstrap_mean(errors, bounds=RANGES["%"])
        return ConventionValue(float(errors.mean()), limits, len(errors), (errors,), note)
    number = conventions.row(metric, "the analysis corruption")(result)
    return number._replace(outcomes=(errors,), note=note)


def relative_to_alexnet(result: Result) -> ConventionValue:
    """ImageNet-C's mCE, where the analysis found that it applies.

    Raises:
        Missing: it does not.
    """
    number = conventions.row("mce_alexnet", ALEXNET)(result)
    names = result.rows("error")["corruption"].to_numpy()
    counted = np.isin(names, list(alexnet.ERRORS))
    misclassified = ~np.asarray(result.samples["correct"], bool)[:, counted]
    errors = alexnet.alexnet_relative_error(misclassified, names[counted].tolist())
    return number._replace(outcomes=(errors,))


_OVER_19 = partial(mean_error, types=BENCHMARK_19, metric="mean_error")
_OVER_15 = partial(mean_error, types=alexnet.ERRORS, metric="mean_error_15")
_CONVENTIONS = (
    (
        "mean error over 19 types",
        "Catch-up Mix and the mixup papers; ImageNet-C's own test.py, as 'unnormalized'",
        "plain mean of the error over 19 types and their severities",
        _OVER_19,
    ),
    (
        "mean error over 15 types",
        "AugMix on CIFAR-C",
        "the same without speckle noise, Gaussian blur, spatter and saturate",
        _OVER_15,
    ),
    (
        "AlexNet-normalised over 15 types",
        "Hendrycks and Dietterich 2019, AugMix on ImageNet-C",
        "mean over the types of each one's error as a fraction of AlexNet's",
        relative_to_alexnet,
    ),
    (
        "mean accuracy over 19 types",
        "PuzzleMix's test_robust.py, which prints it as mCE; OpenMixup",
        "100 less the mean error over 19 types",
        conventions.complement(_OVER_19),
    ),
    (
        "mean accuracy over 15 types",
        "RobustBench",
        "100 less the mean error over 15 types",
        conventions.complement(_OVER_15),
    ),
)
MCE = ConventionFamily(
    "mCE",
    tuple(
        Convention(name, who, how, "corruption", of, "higher" if "accuracy" in name else "lower")
        for name, who, how, of in _CONVENTIONS
    ),
    also=("mean_error", "corruption"),
)
CONVENTIONS: conventions.Conventions = (MCE,)
