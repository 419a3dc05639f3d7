"""All families of conventions: which numbers go by one name, and who means what by it.

`mCE` is in :mod:`catchup_eval.lens.corruption`, FPR95, AUPR and AUROC in
:mod:`catchup_eval.lens.detection`, ECE in :mod:`catchup_eval.lens.calibration`; the others stand
here, since their numbers are rows of what is stored.
"""

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from catchup_eval.lens import detection
from catchup_eval.lens.calibration import ECE
from catchup_eval.lens.convention import (
    Compute,
    Convention,
    Family,
    Number,
    asked,
    complement,
    row,
    under,
)
from catchup_eval.lens.corruption import MCE
from catchup_eval.results import Result
from catchup_eval.study import Study

THRESHOLD = 0.2  # of class activation maps, in all that print one
ZOOMS = (60, 80, 120, 140)  # percent
EPOCHS = {
    "last epoch": ("last_top1", "this toolkit, which chooses no epoch"),
    "best epoch": ("best_top1", "CutMix, Manifold Mixup, AlignMixup; chosen on the test images"),
    "median of the last 10": ("median_of_last_10_top1", "PuzzleMix, Co-Mixup, OpenMixup"),
}


def both(
    name: str, used_by: tuple[str, str], how: str, analysis: str, right: Compute
) -> tuple[Convention, Convention]:
    """An accuracy, and the error that is 100 less it.

    Args:
        used_by: who prints the accuracy, and who the error.
        right: the accuracy.
    """
    return (
        Convention(f"{name}, accuracy", used_by[0], how, analysis, right),
        Convention(
            f"{name}, error",
            used_by[1],
            f"100 less it: {how}",
            analysis,
            complement(right),
            "lower",
        ),
    )


def _top1() -> Iterator[Convention]:
    clean = row("accuracy", "the question clean", sample="correct")
    who = ("most tables", "Catch-up Mix, Tables 1 and 2")
    yield from both("these weights", who, "the weights that were given", "clean", clean)
    how = "from the training's history; n counts epochs"
    for name, (metric, used_by) in EPOCHS.items():
        of = row(metric, "a training history with top-1")
        yield from both(name, (used_by, used_by), how, "training", of)


def _attacks(attack: str, who: dict[int, tuple[str, str]]) -> Iterator[Convention]:
    for epsilon, used_by in who.items():
        setting = "epsilons" if attack == "fgsm" else f"{attack}_epsilons"
        needs = asked(f"adversarial.{setting}={epsilon}")
        where: dict[str, Any] = {"attack": attack, "epsilon": float(epsilon)}
        of = row("accuracy", needs, sample=f"{attack}@{epsilon}", **where)
        how = f"all test images, l_inf ball of {epsilon}/255"
        # an error comes first, since the papers print it
        yield from reversed(both(f"{epsilon}/255", used_by, how, "adversarial", of))


FGSM = {
    4: ("PuzzleMix's main.py", "Catch-up Mix, Tables 1 and 2"),
    8: ("PuzzleMix's test_robust.py, OpenMixup", "the mixup papers that follow PuzzleMix"),
}
PGD = {
    4: ("PuzzleMix's test_robust.py", "tables of errors"),
    8: ("RobustBench's radius for CIFAR", "tables of errors"),
}


def _deformed(name: str, metric: str, **where: Any) -> Iterator[Convention]:
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
        ask = asked(f"deformation.convention={convention}")
        sample = "" if where else "accuracy"
        of = under(convention, row(metric, ask, sample=sample, **where), ask)
        yield Convention(f"{convention}{name}", used_by, how, "deformation", of)


def _dropped() -> Iterator[Convention]:
    for ranking, by in product(("sample", "dataset"), ("value", "magnitude")):
        ask = asked(f"feature_drop.ranking={ranking} --set feature_drop.by={by}")
        of = row("area", ask, sample="area_top", drop_from="top")
        once = "for each image anew" if ranking == "sample" else "once for the data set"
        yield Convention(
            f"ranked {once}, by {by}",
            "Catch-up Mix as it reads" if (ranking, by) == ("sample", "value") else "nobody says",
            "area under accuracy over the share of features dropped from the top",
            "feature_drop",
            under(f"drop-{ranking}-{by}@", of, ask),
        )


def _hits(result: Result, reading: str, metric: str) -> Number:
    """Hits at the paper's threshold, read one way; outcomes where that way was asked."""
    number = row(f"{metric}_{reading}", "the question localization")(result)
    own = str(result.rows(metric)["protocol"].iloc[0]).startswith(f"cam-{reading}@")
    outcomes = (100 * np.asarray(result.samples[metric], float),) if own else ()
    share = float(result.samples["threshold"][0])
    note = "" if share == THRESHOLD else f"threshold {share:g}"
    return number._replace(outcomes=outcomes, note=note)


def _cuts(metric: str) -> Iterator[Convention]:
    minmax = "wsolevaluation and the mixup papers' code; Catch-up Mix, most likely"
    for reading, used_by, how in (
        ("minmax", minmax, "0.2 of each map after it is brought to 0..1; largest component"),
        ("max", "Zhou et al. 2016 in words", "0.2 of each map's maximum; largest component"),
    ):
        of = partial(_hits, reading=reading, metric=metric)
        yield Convention(f"threshold of {reading}", used_by, how, "localization", of)


def _best_cuts() -> Iterator[Convention]:
    needs, ask = "the question localization", asked("localization.protocol=minmax")
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
        yield Convention(name, who, how, "localization", under("cam-minmax@", of, ask))


FAMILIES = (
    Family("top1", tuple(_top1()), also=("accuracy", "error", "top-1 error", "top-1 accuracy")),
    ECE,
    Family("FGSM", tuple(_attacks("fgsm", FGSM)), also=("FGSM error", "FGSM accuracy")),
    Family("PGD", tuple(_attacks("pgd", PGD)), also=("PGD error", "PGD accuracy")),
    MCE,
    Family(
        "deformation", tuple(_deformed(", mean of eight", "mean_accuracy")), also=("mean_accuracy",)
    ),
    *(
        Family(
            "zoom",
            tuple(_deformed("", "accuracy", deformation="zoom", strength=float(zoom))),
            about=f"{zoom} %",
        )
        for zoom in ZOOMS
    ),
    Family("feature drop", tuple(_dropped()), also=("area",)),
    Family("GT-known", (*_cuts("gt_known"), *_best_cuts()), also=("GT-known Loc",)),
    Family("Top-1 Loc", tuple(_cuts("top1_localization")), also=("top-1 localization",)),
)


def families(study: Study) -> list[Family]:
    """Those above, and the three of detection for each kind of images from outside."""
    found = [member.result.frame["out"].dropna() for member in study.members("ood")]
    outs = dict.fromkeys(str(name) for column in found for name in column)
    return [*FAMILIES, *detection.families(outs)]
