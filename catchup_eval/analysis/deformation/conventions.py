"""Accuracy under deformation: what a zoom below 100 % does, and about which centre."""

from collections.abc import Iterator
from typing import Any

from catchup_eval.analysis.conventions import (
    Convention,
    ConventionFamily,
    Conventions,
    for_protocol,
    rerun_hint,
    row,
)

ZOOMS = (60, 80, 120, 140)  # percent


def _deformation_conventions(name: str, metric: str, **where: Any) -> Iterator[Convention]:
    users = {
        "manifold": (
            "Manifold Mixup's paper and code: a zoom below 100 % enlarges",
            "one pixel off the true centre, shear in radians as in Keras",
        ),
        "patchup": (
            "PatchUp, whose eight settings Catch-up Mix prints: a zoom below 100 % shrinks",
            "torchvision's RandomAffine, about the true centre",
        ),
    }
    for convention, (used_by, how) in users.items():
        ask = rerun_hint(f"deformation.convention={convention}")
        sample = "" if where else "accuracy"
        of = for_protocol(convention, row(metric, ask, sample=sample, **where), ask)
        yield Convention(f"{convention}{name}", used_by, how, "deformation", of)


CONVENTIONS: Conventions = (
    ConventionFamily(
        "deformation",
        tuple(_deformation_conventions(", mean of eight", "mean_accuracy")),
        also=("mean_accuracy",),
    ),
    *(
        ConventionFamily(
            "zoom",
            tuple(
                _deformation_conventions("", "accuracy", deformation="zoom", strength=float(zoom))
            ),
            about=f"{zoom} %",
        )
        for zoom in ZOOMS
    ),
)
