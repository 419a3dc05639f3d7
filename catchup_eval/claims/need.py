"""What it would take to know: seeds or samples at the observed spread."""

from collections.abc import Mapping
from dataclasses import dataclass

from catchup_eval.claims.answer import Answer
from catchup_eval.claims.power import Distance, samples_for, seeds_for_all
from catchup_eval.comparison import LEVEL
from catchup_eval.headlines import SEEDS


@dataclass(frozen=True)
class Need:
    """What would tell.

    Args:
        units: "seeds" of each method, or "samples".
        count: how many in all; None where more than can be said.
        seconds: that the missing seeds take here; NaN where nothing is known of it.
        why: what was assumed.
    """

    units: str
    count: int | None
    seconds: float = float("nan")
    why: str = ""


def missing_seeds(seeds: Mapping[str, int], costs: Mapping[str, float]) -> Need:
    """The fewest seeds that methods are compared with."""
    why = "from then on the spread between seeds can be seen"
    return Need("seeds", SEEDS, _seconds(SEEDS, seeds, costs), why)


def need(
    answer: Answer, seeds: Mapping[str, int], costs: Mapping[str, float], undecided: int
) -> Need | None:
    """What would tell, if what was observed is the truth; None where that is on the threshold.

    With power 0.8, at the level that Holm's correction leaves the first of the undecided claims,
    half of it to each side.

    Args:
        seeds: that each group has.
        costs: seconds that one more seed of a group takes.
        undecided: claims of the family that were tested and not told.
    """
    level = LEVEL / 2 / undecided
    distances = [Distance(hurdle.distance, hurdle.contrast.spread) for hurdle in answer.hurdles]
    failing = [Distance(-d.value, d.spread) for d in distances if d.value < 0]
    if any(distance.value == 0 for distance in distances) and not failing:
        return None
    why = "it would then be contradicted" if failing else "it would then be supported"
    single = level / len(distances) if failing else level
    wanted = failing or distances
    if answer.over == "samples":
        sizes = [samples_for(distance, single) for distance in wanted]
        return Need("samples", min(sizes) if failing else max(sizes), why=why)
    counts = [seeds_for_all([d], single) for d in failing] or [seeds_for_all(distances, level)]
    known = [count for count in counts if count is not None]
    if not known:
        return Need("seeds", None, why=why)
    most = max(min(known), 1 + max(seeds.values()))
    return Need("seeds", most, _seconds(most, seeds, costs), why)


def _seconds(count: int, seeds: Mapping[str, int], costs: Mapping[str, float]) -> float:
    """Of all that is missing."""
    return sum(
        (count - have) * costs.get(group, float("nan"))
        for group, have in seeds.items()
        if have < count
    )
