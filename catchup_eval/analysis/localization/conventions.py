"""Localization: of what a threshold is a fraction, which one, and which component's box."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from catchup_eval.analysis.conventions import (
    Convention,
    ConventionFamily,
    Conventions,
    ConventionValue,
    for_protocol,
    rerun_hint,
    row,
)
from catchup_eval.results.result import Result

THRESHOLD = 0.2  # of class activation maps, in all that print one


def _localization_rate(result: Result, reading: str, metric: str) -> ConventionValue:
    """Hits at the paper's threshold, read one way; outcomes where that way was asked."""
    number = row(f"{metric}_{reading}", "the question localization")(result)
    own = str(result.rows(metric)["protocol"].iloc[0]).startswith(f"cam-{reading}@")
    outcomes = (100 * np.asarray(result.samples[metric], float),) if own else ()
    share = float(result.samples["threshold"][0])
    note = "" if share == THRESHOLD else f"threshold {share:g}"
    return number._replace(outcomes=outcomes, note=note)


def _threshold_conventions(metric: str) -> Iterator[Convention]:
    minmax = "wsolevaluation and the mixup papers' code; Catch-up Mix, most likely"
    for reading, used_by, how in (
        ("minmax", minmax, "0.2 of each map after it is brought to 0..1; largest component"),
        ("max", "Zhou et al. 2016 in words", "0.2 of each map's maximum; largest component"),
    ):
        of = partial(_localization_rate, reading=reading, metric=metric)
        yield Convention(f"threshold of {reading}", used_by, how, "localization", of)


def _best_threshold_conventions() -> Iterator[Convention]:
    needs, ask = "the question localization", rerun_hint("localization.protocol=minmax")
    who = "Choe et al. 2020 (wsolevaluation)"
    for name, how, of in (
        (
            "MaxBoxAcc: best threshold, largest component",
            "one threshold for all images, chosen on them; IoU of 0.5",
            row("max_box_accuracy", needs, sample="max_box"),
        ),
        (
            "best threshold, any component",
            "the same, with the box of whichever component fits best; IoU of 0.5",
            row("max_box_accuracy_v2_at", needs, overlap=0.5),
        ),
        (
            "MaxBoxAccV2",
            "the same at an IoU of 0.3, 0.5 and 0.7, averaged",
            row("max_box_accuracy_v2", needs),
        ),
    ):
        yield Convention(name, who, how, "localization", for_protocol("cam-minmax@", of, ask))


CONVENTIONS: Conventions = (
    ConventionFamily(
        "GT-known",
        (*_threshold_conventions("gt_known"), *_best_threshold_conventions()),
        also=("GT-known Loc",),
    ),
    ConventionFamily(
        "Top-1 Loc",
        tuple(_threshold_conventions("top1_localization")),
        also=("top-1 localization",),
    ),
)
