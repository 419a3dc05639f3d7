"""What Oh and Yun (2024) claim, and in how many seeds of a simulation it shows.

Where the paper's words leave a limit open, it is ours and stands here.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from catchup_eval.analysis.feature_learning.methods import PATCH_METHODS
from catchup_eval.results import Result, members

EVEN = 75.0  # percent: from this evenness on, features are learned "nearly evenly"
FALLEN = 1.0  # percent: from this fall on, a curve is not monotone

Seed = Mapping[str, Result]  # the results of one seed by method


class Claim(NamedTuple):
    """A sentence of the paper, and the seeds in which it shows."""

    text: str
    shown: int
    seeds: int


def claims(result: Result) -> list[Claim]:
    """Each claim with its seeds; empty where a result lacks one of the three methods."""
    by_seed: dict[int, dict[str, Result]] = {}
    for member in members(result):
        by_seed.setdefault(member.seed, {})[member.model] = member.result
    whole = [seed for seed in by_seed.values() if set(PATCH_METHODS) <= set(seed)]
    if not whole:
        return []
    return [Claim(text, sum(map(shows, whole)), len(whole)) for text, shows in CLAIMS.items()]


def _learns(method: str, *kinds: str) -> Callable[[Seed], bool]:
    """Whether a method has learned both versions of these kinds, and none of any other."""

    def shows(seed: Seed) -> bool:
        rows = seed[method].rows("learned")
        wanted = rows["feature"].isin(kinds) * 100.0
        return bool((rows["value"] == wanted).all())

    return shows


def _evenly(seed: Seed) -> bool:
    return seed["cutmix"].value("evenness") >= EVEN


def _falls(seed: Seed) -> bool:
    return seed["cutmix"].value("fall") >= FALLEN


def _above(method: str, *others: str) -> Callable[[Seed], bool]:
    """Whether a method's accuracy on all points is higher than each of the others'."""

    def shows(seed: Seed) -> bool:
        value = seed[method].value("whole_accuracy")
        return all(seed[other].value("whole_accuracy") < value for other in others)

    return shows


CLAIMS: dict[str, Callable[[Seed], bool]] = {
    "ERM learns common features only": _learns("erm", "common"),
    "Cutout learns common and rare features only": _learns("cutout", "common", "rare"),
    "CutMix learns all features": _learns("cutmix", "common", "rare", "extremely rare"),
    "CutMix learns all features nearly evenly": _evenly,
    "CutMix: the common feature rises and falls": _falls,
    "Cutout: higher accuracy than ERM": _above("cutout", "erm"),
    "CutMix: the highest accuracy": _above("cutmix", "erm", "cutout"),
}
