"""What printed numbers could mean, where only the numbers are known: what each reading implies.

No outcome is needed: an accuracy under attack cannot exceed the clean one, an AUPR near an AUROC of
one half lies near its chance level, and so on. "fits" says that nothing contradicts a reading,
"contradicted" that a printed number does, or what the paper says of it, "does not apply" that it
needs what does not exist, "cannot be told" that such numbers fit either way.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from catchup_eval.analysis.corruption import alexnet
from catchup_eval.report import formatting
from catchup_eval.report.tables import Cell, Table, cells

FITS, CONTRADICTED, NONE, UNTOLD = "fits", "contradicted", "does not apply", "cannot be told"

TONES = {FITS: "better", CONTRADICTED: "worse", NONE: "unknown", UNTOLD: "unknown"}
NEAR = 5.0  # points within which an AUPR is near chance, at an AUROC within 10 points of 50
OUTSIDE = 2000  # images of ImageNet-O
INSIDE = {"200 classes": 10_000, "all classes": 50_000}  # ImageNet's validation images of these
Column = Mapping[str, float]  # by row, without those that have none
Printed = Mapping[str, Column]  # by measure: `corruption.mean_error`


class PossibleReading(NamedTuple):
    """One reading of a printed column.

    Args:
        follows: what would hold if it were meant.
        judgement: one of :data:`TONES`.
    """

    name: str
    reading: str
    follows: str
    judgement: str


def meanings(printed: Printed) -> list[PossibleReading]:
    """What the columns of one table could mean, each as far as its numbers tell."""
    return [meaning for rule in RULES for meaning in rule(printed)]


def table(title: str, found: list[PossibleReading]) -> Table:
    """A block for each printed name, a row for each reading."""
    names = dict.fromkeys(one.name for one in found)
    blocks = [[_row(one) for one in found if one.name == name] for name in names]
    columns = ["Printed as", "Read as", "What follows", "Judgement"]
    return Table(f"conventions-{title.lower().replace(' ', '-')}", title, columns, blocks, words=4)


def _row(one: PossibleReading) -> list[Cell]:
    return [*cells(one[:3]), Cell(one.judgement, TONES[one.judgement])]


def _fgsm_readings(printed: Printed) -> Iterator[PossibleReading]:
    error, clean = printed.get("adversarial.error", {}), printed.get("clean.error", {})
    if not error or not clean:
        return
    below = [row for row in error if error[row] < clean[row]]
    above = [row for row in error if error[row] > 100 - clean[row]]
    yield PossibleReading(
        "FGSM",
        "error",
        f"it must not be below the clean error: it is in {len(below)} of {len(error)} rows",
        CONTRADICTED if below else FITS,
    )
    yield PossibleReading(
        "FGSM",
        "accuracy",
        f"it must not exceed the clean accuracy: it does in {_count_phrase(above, error)}",
        CONTRADICTED if above else FITS,
    )
    yield PossibleReading(
        "FGSM", "at 4/255 or 8/255", "any error may belong to either radius", UNTOLD
    )


def _mce_readings(printed: Printed) -> Iterator[PossibleReading]:
    error, clean = printed.get("corruption.mean_error", {}), printed.get("clean.error", {})
    if not error or not clean:
        return
    below = [row for row in error if error[row] < clean[row]]
    yield PossibleReading(
        "mCE",
        "plain mean error",
        f"it should not be below the clean error: it is in {len(below)} of {len(error)} rows",
        CONTRADICTED if below else FITS,
    )
    above = [row for row in error if error[row] > 100 - clean[row]]
    least = min(error, key=error.__getitem__)
    yield PossibleReading(
        "mCE",
        "mean accuracy, as PuzzleMix's code prints it",
        f"it should not exceed the clean accuracy: it does in {len(above)} of {len(error)} rows; "
        f"but {least}, with {error[least]:g}, would be the least robust, and the paper calls the "
        "lowest the best",
        CONTRADICTED,
    )
    share = float(np.mean(list(alexnet.ERRORS.values())))
    yield PossibleReading(
        "mCE",
        "AlexNet-normalised",
        f"{least}'s plain error would be about {share * error[least]:.1f}, with AlexNet's errors "
        "on ImageNet-C; there are none for other images",
        NONE,
    )
    yield PossibleReading("mCE", "over 19 or 15 types", "any mean may be over either", UNTOLD)


def _ood_readings(printed: Printed) -> Iterator[PossibleReading]:
    precision, area = printed.get("ood.aupr_out", {}), printed.get("ood.auroc", {})
    if not precision or not area:
        return
    low, high = min(precision.values()), max(precision.values())
    guessing = max(abs(value - 50) for value in area.values()) < 2 * NEAR
    for side in ("outside", "inside"):
        for classes, inside in INSIDE.items():
            chance = _chance(side, inside)
            near = max(abs(low - chance), abs(high - chance)) <= NEAR
            yield PossibleReading(
                "AUPR",
                f"{side} positive, {classes}",
                f"chance is {chance:.1f} ({OUTSIDE:,} outside, {inside:,} inside); printed are "
                f"{low:g} to {high:g} at an AUROC of {min(area.values()):g} to "
                f"{max(area.values()):g}",
                (FITS if near else CONTRADICTED) if guessing else UNTOLD,
            )
    follows = "without many ties the two differ little at so many images"
    yield PossibleReading("AUPR", "step sum or trapezoid", follows, UNTOLD)
    yield PossibleReading(
        "FPR95",
        "outside or inside positive, nearest or first recall",
        "chance is 95.0 each way; if it was computed beside this AUPR, the outside is positive",
        UNTOLD,
    )


def _chance(positive: str, inside: int) -> float:
    """The AUPR of guessing, in percent: the share of positives."""
    share = 100 * OUTSIDE / (OUTSIDE + inside)
    return share if positive == "outside" else 100 - share


def _zoom_readings(printed: Printed) -> Iterator[PossibleReading]:
    zooms = {name: column for name, column in printed.items() if name.startswith("zoom ")}
    if not zooms:
        return
    means = {name: float(np.mean(list(column.values()))) for name, column in zooms.items()}
    said = ", ".join(
        f"{name.removeprefix('zoom ')} % {formatting.format_number(value, '%')}"
        for name, value in means.items()
    )
    for convention, way in (("manifold", "enlarges"), ("patchup", "shrinks")):
        yield PossibleReading(
            "zoom",
            f"{convention}: below 100 % {way}",
            f"the means over the rows are {said}; neither way is out of the question",
            UNTOLD,
        )


def _localization_readings(printed: Printed) -> Iterator[PossibleReading]:
    hits, both = printed.get("localization.gt_known"), printed.get("localization.top1_localization")
    if not hits or not both or "clean.accuracy" not in printed:
        return
    right = printed["clean.accuracy"]
    wrong = [row for row in both if both[row] > min(hits[row], right[row])]
    yield PossibleReading(
        "Top-1 Loc",
        "right answers among GT-known hits",
        f"it must exceed neither GT-known nor the accuracy: it does in {len(wrong)} of {len(both)} "
        "rows",
        CONTRADICTED if wrong else FITS,
    )
    yield PossibleReading(
        "GT-known", "0.2 of min-max or of the maximum", "any share may be of either", UNTOLD
    )


def _count_phrase(rows: list[str], column: Column) -> str:
    named = f" ({', '.join(f'{row} {column[row]:g}' for row in rows[:3])})" if rows else ""
    return f"{len(rows)} of {len(column)} rows{named}"


RULES: tuple[Callable[[Printed], Iterator[PossibleReading]], ...] = (
    _fgsm_readings,
    _mce_readings,
    _zoom_readings,
    _ood_readings,
    _localization_readings,
)
