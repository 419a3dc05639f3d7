"""Localization: definition and value of the threshold, and which component's box."""

from dataclasses import replace
from functools import partial

import numpy as np

from catchup_eval.analysis import conventions
from catchup_eval.analysis.conventions import Convention, ConventionFamily, ConventionValue
from catchup_eval.core.errors import Missing
from catchup_eval.results.result import Result

THRESHOLD = 0.2  # of class activation maps, in all that print one
NEEDS = "the analysis localization"
PATCHES = "-patches"  # in the protocol of a network whose head reads a class token


def _localization_rate(result: Result, normalization: str, metric: str) -> ConventionValue:
    """Hits at the paper's threshold; with outcomes where this normalization was measured."""
    number = conventions.row(f"{metric}_{normalization}", NEEDS)(result)
    own = str(result.rows(metric)["protocol"].iloc[0]).startswith(f"cam-{normalization}@")
    outcomes = (100 * np.asarray(result.samples[metric], float),) if own else ()
    threshold = float(result.samples["threshold"][0])
    note = "" if threshold == THRESHOLD else f"threshold {threshold:g}"
    return number._replace(outcomes=outcomes, note=note)


def _threshold_conventions(metric: str) -> tuple[Convention, ...]:
    minmax = "wsolevaluation and the mixup papers' code; Catch-up Mix, most likely"
    return tuple(
        Convention(
            f"threshold of {normalization}",
            used_by,
            how,
            "localization",
            partial(_localization_rate, normalization=normalization, metric=metric),
        )
        for normalization, used_by, how in (
            ("minmax", minmax, "0.2 of each map after it is brought to 0..1; largest component"),
            ("max", "Zhou et al. 2016 in words", "0.2 of each map's maximum; largest component"),
        )
    )


def _best_threshold_conventions() -> tuple[Convention, ...]:
    hint = conventions.rerun_hint("localization.protocol=minmax")
    return tuple(
        Convention(
            name,
            "Choe et al. 2020 (wsolevaluation)",
            how,
            "localization",
            conventions.for_protocol("cam-minmax@", compute, hint),
        )
        for name, how, compute in (
            (
                "MaxBoxAcc: best threshold, largest component",
                "one threshold for all images, chosen on them; IoU of 0.5",
                conventions.row("max_box_accuracy", NEEDS, sample="max_box"),
            ),
            (
                "best threshold, any component",
                "the same, with the box of whichever component fits best; IoU of 0.5",
                conventions.row("max_box_accuracy_v2_at", NEEDS, overlap=0.5),
            ),
            (
                "MaxBoxAccV2",
                "the same at an IoU of 0.3, 0.5 and 0.7, averaged",
                conventions.row("max_box_accuracy_v2", NEEDS),
            ),
        )
    )


def _of_averages(*given: Convention) -> tuple[Convention, ...]:
    """The same where the head averages its maps, as in all that print such a number."""

    def checked(result: Result, of: conventions.Compute) -> ConventionValue:
        if PATCHES in str(result.frame["protocol"].iloc[0]):
            raise Missing("a head that averages its feature map, not one that reads a class token")
        return of(result)

    return tuple(replace(each, of=partial(checked, of=each.of)) for each in given)


CONVENTIONS: conventions.Conventions = (
    ConventionFamily(
        "GT-known",
        _of_averages(*_threshold_conventions("gt_known"), *_best_threshold_conventions()),
        also=("GT-known Loc",),
    ),
    ConventionFamily(
        "Top-1 Loc",
        _of_averages(*_threshold_conventions("top1_localization")),
        also=("top-1 localization",),
    ),
)
