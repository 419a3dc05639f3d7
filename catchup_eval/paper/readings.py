"""What the paper's printed numbers could mean, where only the numbers are known.

No outcome is needed: an accuracy under attack cannot exceed the clean one, an AUPR near an AUROC of
one half lies near its chance level, and so on. "fits": nothing contradicts a reading,
"contradicted": a printed number or the paper's text does, "does not apply": it needs what does
not exist, "undecided": such numbers fit either way.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from catchup_eval.analysis.corruption import alexnet
from catchup_eval.paper.reproduction import Reproduction, shipped_reproductions
from catchup_eval.report import formatting
from catchup_eval.report.tables import Cell, Table, cells

FITS, CONTRADICTED, NONE, UNDECIDED = "fits", "contradicted", "does not apply", "undecided"
TONES = {FITS: "better", CONTRADICTED: "worse", NONE: "unknown", UNDECIDED: "unknown"}
HOW = (
    "Only the printed numbers are known here, no outcome of a single image: what each reading of "
    "them implies, and whether a printed number contradicts it."
)
NEAR = 5.0  # points within which an AUPR is near chance, at an AUROC within 10 points of 50
OOD_IMAGES = 2000  # of ImageNet-O
ID_IMAGES = {"200 classes": 10_000, "all classes": 50_000}  # ImageNet's validation images
Column = Mapping[str, float]  # by row, without those that have none
Printed = Mapping[str, Column]  # by measure: `corruption.mean_error`


class PossibleReading(NamedTuple):
    """One reading of a printed column."""

    name: str
    reading: str
    follows: str  # what would hold if it were meant
    judgement: str  # one of TONES


def paper_readings() -> dict[str, list[PossibleReading]]:
    """Of all tables with such numbers, by title."""
    found = {
        one.title: possible_readings(printed_columns(one))
        for one in shipped_reproductions().values()
    }
    return {title: several for title, several in found.items() if several}


def possible_readings(printed: Printed) -> list[PossibleReading]:
    """What the columns of one table could mean, each as far as its numbers show."""
    rules = (_error_readings, _zoom_readings, _ood_readings, _localization_readings)
    return [PossibleReading(*texts) for rule in rules for texts in rule(printed)]


def printed_columns(table: Reproduction) -> dict[str, dict[str, float]]:
    """The paper's columns by measure; an error under `clean.error`, a zoom as `zoom 60`.

    Without columns of a setting of their own: several datasets in one table print one number each.
    """
    found: dict[str, dict[str, float]] = {}
    for place, column in enumerate(table.columns):
        measure = column.measure
        if column.complement:
            measure = measure.replace("accuracy", "error")
        if column.where.get("deformation") == "zoom":
            measure = f"zoom {column.where['strength']:g}"
        if not column.setting:
            values = {row.name: row.paper[place] for row in table.rows if len(row.paper) > place}
            found[measure] = {row: value for row, value in values.items() if not np.isnan(value)}
    return found


def table(title: str, found: list[PossibleReading]) -> Table:
    """A block for each printed name, a row for each reading."""
    blocks = [
        [
            [*cells(one[:3]), Cell(one.judgement, TONES[one.judgement])]
            for one in found
            if one.name == name
        ]
        for name in dict.fromkeys(one.name for one in found)
    ]
    columns = ["Printed as", "Read as", "What follows", "Judgement"]
    return Table(f"conventions-{title.lower().replace(' ', '-')}", title, columns, blocks, words=4)


def finding(judgements: pd.Series) -> str:
    """How many readings fit, in a sentence."""
    counts = judgements.value_counts()
    parts = ", ".join(f"{word} {counts.get(word, 0)}" for word in TONES)
    return f"{len(judgements)} readings of the printed numbers: {parts}."


Readings = Iterator[tuple[str, str, str, str]]


def _error_readings(printed: Printed) -> Readings:
    """Errors under attack and corruption, against the clean ones."""
    clean = printed.get("clean.error", {})
    attacked, corrupted = printed.get("adversarial.error"), printed.get("corruption.mean_error")
    if clean and attacked:
        below = [row for row in attacked if attacked[row] < clean[row]]
        above = [row for row in attacked if attacked[row] > 100 - clean[row]]
        yield _judge("FGSM", "error", "it must not be below the clean error", below, attacked)
        expected = "it must not exceed the clean accuracy"
        yield _judge("FGSM", "accuracy", expected, above, attacked, examples=True)
        yield "FGSM", "at 4/255 or 8/255", "any error may belong to either radius", UNDECIDED
    if clean and corrupted:
        below = [row for row in corrupted if corrupted[row] < clean[row]]
        above = [row for row in corrupted if corrupted[row] > 100 - clean[row]]
        expected = "it should not be below the clean error"
        yield _judge("mCE", "plain mean error", expected, below, corrupted)
        least = min(corrupted, key=corrupted.__getitem__)
        follows = (
            f"it should not exceed the clean accuracy: it does in {len(above)} of "
            f"{len(corrupted)} rows; but {least}, with {corrupted[least]:g}, would be the least "
            "robust, and the paper calls the lowest the best"
        )
        yield "mCE", "mean accuracy, as PuzzleMix's code prints it", follows, CONTRADICTED
        plain = float(np.mean(list(alexnet.ERRORS.values()))) * corrupted[least]
        follows = (
            f"{least}'s plain error would be about {plain:.1f}, with AlexNet's errors on "
            "ImageNet-C; there are none for other images"
        )
        yield "mCE", "AlexNet-normalised", follows, NONE
        yield "mCE", "over 19 or 15 types", "any mean may be over either", UNDECIDED


def _judge(
    name: str,
    reading: str,
    rule: str,
    contrary: list[str],
    column: Column,
    *,
    examples: bool = False,
) -> tuple[str, str, str, str]:
    verb = "it is" if "below" in rule else "it does"
    examples_text = ", ".join(f"{row} {column[row]:g}" for row in contrary[:3]) if examples else ""
    follows = f"{rule}: {verb} in {len(contrary)} of {len(column)} rows"
    judgement = CONTRADICTED if contrary else FITS
    return name, reading, f"{follows} ({examples_text})" if examples_text else follows, judgement


def _zoom_readings(printed: Printed) -> Readings:
    means = [
        f"{name.removeprefix('zoom ')} % "
        + formatting.format_number(float(np.mean(list(column.values()))), "%")
        for name, column in printed.items()
        if name.startswith("zoom ")
    ]
    for convention, effect in (("manifold", "enlarges"), ("patchup", "shrinks")) if means else ():
        follows = f"the means over the rows are {', '.join(means)}; both are possible"
        yield "zoom", f"{convention}: below 100 % {effect}", follows, UNDECIDED


def _ood_readings(printed: Printed) -> Readings:
    precision, area = printed.get("ood.aupr_out", {}), printed.get("ood.auroc", {})
    if not precision or not area:
        return
    low, high = min(precision.values()), max(precision.values())
    least, most = min(area.values()), max(area.values())
    guessing = max(abs(least - 50), abs(most - 50)) < 2 * NEAR
    for side in ("OOD", "ID"):
        for classes, in_distribution in ID_IMAGES.items():
            chance = 100 * OOD_IMAGES / (OOD_IMAGES + in_distribution)  # the fraction of positives
            chance = chance if side == "OOD" else 100 - chance
            near = max(abs(low - chance), abs(high - chance)) <= NEAR
            follows = (
                f"chance is {chance:.1f} ({OOD_IMAGES:,} OOD, {in_distribution:,} ID); printed are "
                f"{low:g} to {high:g} at an AUROC of {least:g} to {most:g}"
            )
            judgement = UNDECIDED if not guessing else FITS if near else CONTRADICTED
            yield "AUPR", f"{side} positive, {classes}", follows, judgement
    follows = "without many ties the two differ little at so many images"
    yield "AUPR", "step sum or trapezoid", follows, UNDECIDED
    follows = "chance is 95.0 either way; if it was computed with this AUPR, OOD is positive"
    yield "FPR95", "OOD or ID positive, nearest or first recall", follows, UNDECIDED


def _localization_readings(printed: Printed) -> Readings:
    hits, both = printed.get("localization.gt_known"), printed.get("localization.top1_localization")
    correct = printed.get("clean.accuracy")
    if hits and both and correct:
        above = [row for row in both if both[row] > min(hits[row], correct[row])]
        rule = "it must exceed neither GT-known nor the accuracy"
        yield _judge("Top-1 Loc", "correct predictions among GT-known hits", rule, above, both)
        follows = "any fraction may be of either"
        yield "GT-known", "0.2 of min-max or of the maximum", follows, UNDECIDED
