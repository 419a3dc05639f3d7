"""Which stored outcomes each image decides by itself, so that a few images can be asked again.

What a stored result says beyond that (a temperature fitted on all images, a plane of the loss) is
asked again only with all images: `verify --full`.
"""

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from catchup_eval.analysis.ood_figure import ending
from catchup_eval.datasets import AnySet
from catchup_eval.deformations import DEFORMATIONS
from catchup_eval.results import Result
from catchup_eval.verification.follows import Link

# By question: patterns of the arrays of the part "test", in the order of `index`.
PER_IMAGE: Mapping[str, tuple[str, ...]] = {
    "clean": (
        *("label", "prediction", "correct", "nll", "brier", "confidence", "log_doubt", "margin"),
    ),
    "adversarial": ("clean", "fgsm@*", "pgd@*", "margin-*"),
    "corruption": ("clean", "correct"),
    "deformation": ("clean", "correct"),
    "ood": ("score_in",),
    "feature_drop": ("area_top", "area_bottom", "filters_for_90", "gini"),
    "localization": ("correct", "gt_known", "top1_localization", "iou", "predicted", "truth"),
}
# What is not worth asking of a few images: attacks whose outcome hangs on the batch.
LIGHTER: Mapping[str, Mapping[str, Any]] = {"adversarial": {"unbounded": 0, "attacks": ()}}
WHOLE = {"feature_drop": {"ranking": "dataset"}}  # settings under which all images decide


def askable(question: str, settings: Mapping[str, Any]) -> bool:
    """Whether the question can be asked of a few images."""
    whole = WHOLE.get(question, {})
    return question in PER_IMAGE and not any(settings.get(key) == whole[key] for key in whole)


def arrays(question: str, result: Result, data: AnySet) -> dict[str, list[str]]:
    """By part of the data, the names of the arrays that each of its images decides."""
    patterns = PER_IMAGE[question]
    named = [name for name in result.samples if any(fnmatchcase(name, p) for p in patterns)]
    found = {"test": named}
    if question == "ood":
        for part in data.parts:
            score = f"score_out{ending(part.removeprefix('out:'))}"
            if part.startswith("out") and score in result.samples:
                found[part] = [score]
    return found


def links(question: str, result: Result) -> Iterator[Link]:
    """Rows beyond the headlines whose outcomes are stored."""
    if question in LINKS:
        yield from LINKS[question](result)


def _clean(result: Result) -> Iterator[Link]:
    yield Link("brier", {}, result.samples["brier"], 1.0)
    yield Link("accuracy", {}, result.samples["prediction"] == result.samples["label"])


def _adversarial(result: Result) -> Iterator[Link]:
    rows = result.frame[result.frame["metric"] == "accuracy"]
    for attack, epsilon in rows[["attack", "epsilon"]].dropna().itertuples(index=False):
        right = result.samples.get(f"{attack}@{epsilon:g}")
        if right is not None:
            where = {"attack": attack, "epsilon": epsilon}
            yield Link("accuracy", where, right)
            if attack == "fgsm":
                yield Link("error", where, ~right)


def _corruption(result: Result) -> Iterator[Link]:
    wrong, cells = ~result.samples["correct"], result.rows("error")
    yield Link("clean_error", {}, ~result.samples["clean"])
    yield Link("mean_error", {}, wrong.mean(1))
    for column, (name, severity) in enumerate(
        cells[["corruption", "severity"]].itertuples(index=False)
    ):
        yield Link("error", {"corruption": name, "severity": severity}, wrong[:, column])
    for name in dict.fromkeys(cells["corruption"]):
        chosen = (cells["corruption"] == name).to_numpy()
        yield Link("corruption_error", {"corruption": name}, wrong[:, chosen].mean(1))


def _deformation(result: Result) -> Iterator[Link]:
    yield Link("accuracy", {"deformation": "none"}, result.samples["clean"])
    yield Link("mean_accuracy", {}, result.samples["correct"].mean(1))
    for column, (kind, strength, _) in enumerate(DEFORMATIONS):
        where = {"deformation": kind, "strength": float(strength)}
        yield Link("accuracy", where, result.samples["correct"][:, column])


def _feature_drop(result: Result) -> Iterator[Link]:
    yield Link("area", {"drop_from": "bottom"}, result.samples["area_bottom"])
    yield Link("filters_for_90", {}, result.samples["filters_for_90"], 1.0)
    yield Link("gini", {}, result.samples["gini"])


def _localization(result: Result) -> Iterator[Link]:
    yield Link("accuracy", {}, result.samples["correct"])
    yield Link("mean_iou", {}, result.samples["iou"])
    yield Link("max_box_accuracy", {}, result.samples["max_box"])


LINKS: Mapping[str, Callable[[Result], Iterator[Link]]] = {
    "clean": _clean,
    "adversarial": _adversarial,
    "corruption": _corruption,
    "deformation": _deformation,
    "feature_drop": _feature_drop,
    "localization": _localization,
}
