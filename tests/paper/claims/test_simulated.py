"""Verdicts err as seldom as they promise, and tell as often as the calculation says.

Truths are known, samples are drawn, and the whole way from values to verdicts is walked.
"""

from collections.abc import Callable
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from catchup_eval.metrics import significance
from catchup_eval.metrics.power import EffectSize, samples_for, seeds_for_all, t_test_power
from catchup_eval.paper.claims.claim import Claim
from catchup_eval.paper.claims.judging import (
    CANNOT_TELL,
    CONTRADICTED,
    SUPPORTED,
    ClaimTest,
    adjust_p_values,
    need,
    samples_test,
    seeds_test,
)
from catchup_eval.results.summary import Estimate

LEVEL = 0.05  # what the toolkit promises for both kinds of wrong verdict together
RUNS = 1000


def at_most(share: float, runs: int = RUNS) -> float:
    """Five standard errors above a share."""
    return share + 5 * sqrt(share * (1 - share) / runs)


def shares(
    draw_answer: Callable[[np.random.Generator], ClaimTest], runs: int = RUNS
) -> dict[str, float]:
    """How often each verdict falls, one claim at a time."""
    draw = np.random.default_rng(0)
    verdicts = [adjust_p_values([draw_answer(draw)])[0].verdict for _ in range(runs)]
    return {one: verdicts.count(one) / runs for one in (SUPPORTED, CONTRADICTED, CANNOT_TELL)}


def claim(method: str, relation: str, metric: str, than: object = (), **more: object) -> Claim:
    than = list(than) if isinstance(than, tuple) else than
    keys = {"method": method, "relation": relation, "metric": metric, "than": than}
    return Claim.model_validate({**keys, **more})


def seeds(claimed: Claim, **means: float) -> Callable[[np.random.Generator], ClaimTest]:
    """Five seeds of each method; the spread grows from method to method."""
    way = -1 if claimed.metric == "clean.error" else 1

    def answer(draw: np.random.Generator) -> ClaimTest:
        drawn = {
            name: Estimate(tuple(draw.normal(mean, 0.5 + 0.5 * place, 5)))
            for place, (name, mean) in enumerate(means.items())
        }
        return seeds_test(claimed, drawn, way)

    return answer


SIDE = LEVEL / 2
BEST = claim("a", "better", "clean.accuracy")
EDGES = {  # truths on the very edge of the claim; how often it must be told at least
    "lower is better": (seeds(claim("a", "better", "clean.error", "b"), a=20, b=20), SIDE / 2),
    "no worse": (seeds(claim("a", "no worse", "clean.accuracy", "b", by=1), a=79, b=80), SIDE / 2),
    "above": (seeds(claim("a", "higher", "clean.accuracy", 80), a=80), SIDE / 2),
    "equal": (seeds(claim("a", "equal", "clean.accuracy", "b", by=3), a=83, b=80), 0),
    # The third is far behind, so that all hangs on one test.
    "best in a tie": (seeds(BEST, a=80, b=80, c=40), 0),
}


@pytest.mark.parametrize("kind", EDGES)
def test_over_seeds_a_claim_on_its_edge_is_decided_in_one_file_of_twenty(kind: str) -> None:
    answer, least = EDGES[kind]
    found = shares(answer)
    assert 0 < found[SUPPORTED] <= at_most(SIDE)
    assert found[CONTRADICTED] <= at_most(SIDE)
    assert found[SUPPORTED] + found[CONTRADICTED] >= least  # the test is not asleep


def test_what_is_true_is_denied_at_most_as_often_as_promised() -> None:
    runs = 500
    best = shares(seeds(BEST, a=80, b=80, c=80, d=80), runs)
    assert best[CONTRADICTED] <= at_most(SIDE, runs) and best[SUPPORTED] <= at_most(SIDE, runs)
    equal = shares(seeds(claim("a", "equal", "clean.accuracy", "b", by=0.01), a=80, b=80), runs)
    assert equal[CONTRADICTED] <= at_most(LEVEL, runs) and equal[SUPPORTED] == 0


def networks(kind: str, threshold: float) -> Callable[[np.random.Generator], ClaimTest]:
    """Two networks on the same 80 images whose truths differ by the threshold, in points."""
    relation = "no worse" if threshold < 0 else "higher"
    claimed = claim("a", relation, "clean.accuracy", "b", by=abs(threshold))

    def answer(draw: np.random.Generator) -> ClaimTest:
        ours, theirs = OUTCOMES[kind](draw, threshold / 100)
        readings = {
            name: Estimate(
                (float(100 * arrays[0].mean()),), outcomes=tuple(100 * a for a in arrays)
            )
            for name, arrays in (("a", ours), ("b", theirs))
        }
        return samples_test(claimed, readings, 1, 100)

    return answer


def rates(draw: np.random.Generator, gap: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    which = draw.choice(3, size=80, p=[0.15 + gap, 0.15, 0.7 - gap])
    return [(which != 1) * 1.0], [(which != 0) * 1.0]


def means(draw: np.random.Generator, gap: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    ease = draw.beta(2, 1, 80)
    ours, theirs = (np.clip(ease + draw.normal(0, 0.2, 80), 0, 1) for _ in range(2))
    return [ours + gap], [theirs]


def placements(draw: np.random.Generator, gap: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Two detectors whose areas differ by the gap; the first is the better by moving its scores."""
    reach = [sqrt(2) * float(stats.norm.ppf(area)) for area in (0.75 + gap, 0.75)]
    shared = draw.normal(size=80)
    found = []
    for distance in reach:
        out = 0.7 * shared + sqrt(0.51) * draw.normal(size=80) + distance
        above = out[:, None] > draw.normal(size=80)
        found.append([above.mean(1), above.mean(0)])
    return found[0], found[1]


OUTCOMES = {"rates": rates, "means": means, "areas": placements}


@pytest.mark.parametrize(
    ("kind", "threshold"),
    [("rates", 0.0), ("rates", -5.0), ("means", 5.0), ("areas", 0.0), ("areas", 5.0)],
)
def test_over_samples_a_claim_on_its_edge_is_decided_in_one_file_of_twenty(
    kind: str, threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(significance, "FLIPS", 999)
    runs = 400
    found = shares(networks(kind, threshold), runs)
    assert found[SUPPORTED] <= at_most(LEVEL / 2, runs)
    assert found[CONTRADICTED] <= at_most(LEVEL / 2, runs)


@pytest.mark.parametrize(
    ("distance", "spread"), [(1.0, (0.6, 0.6)), (1.0, (0.3, 1.2)), (2.0, (1.0,)), (0.4, (0.5, 0.5))]
)
def test_so_many_seeds_decide_as_often_as_calculated(distance, spread) -> None:
    level = 0.025
    n = seeds_for_all([EffectSize(distance, spread)], level)
    draw = np.random.default_rng(0)
    shape = (20_000, n)
    ours = draw.normal(distance, spread[0], shape)
    if len(spread) == 2:
        theirs = draw.normal(0, spread[1], shape)
        p = stats.ttest_ind(ours, theirs, axis=1, equal_var=False, alternative="greater").pvalue
    else:
        p = stats.ttest_1samp(ours, 0, axis=1, alternative="greater").pvalue
    found, promised = (
        float((p < level).mean()),
        t_test_power(EffectSize(distance, spread), n, level),
    )
    assert abs(found - promised) < 0.02
    assert promised >= 0.8 > t_test_power(EffectSize(distance, spread), n - 1, level)


def test_seeds_for_several_differences_decide_them_all_together() -> None:
    """Two rivals, one claim: both must be beaten."""
    distances = [EffectSize(1.0, (0.7, 0.7)), EffectSize(1.1, (0.7, 0.9))]
    n = seeds_for_all(distances, 0.025)
    draw = np.random.default_rng(0)
    ours = draw.normal(0, 0.7, (20_000, n))
    passed = np.ones(20_000, bool)
    for distance in distances:
        theirs = draw.normal(-distance.value, distance.spread[1], (20_000, n))
        p = stats.ttest_ind(ours, theirs, axis=1, equal_var=False, alternative="greater").pvalue
        passed &= p < 0.025
    assert 0.79 <= passed.mean() <= 0.88  # never less; more, since the rivals share our seeds


def test_no_worse_is_decided_as_often_as_calculated() -> None:
    """Truly equal methods, a margin of 1: the calculation's seeds, walked through the verdict."""
    n = seeds_for_all([EffectSize(1.0, (0.8, 0.8))], LEVEL / 2)
    demand = claim("a", "no worse", "clean.accuracy", "b", by=1)

    def answer(draw: np.random.Generator) -> ClaimTest:
        drawn = {name: Estimate(tuple(draw.normal(80, 0.8, n))) for name in "ab"}
        return seeds_test(demand, drawn, 1)

    promised = t_test_power(EffectSize(1.0, (0.8, 0.8)), n, LEVEL / 2)
    assert shares(answer)[SUPPORTED] == pytest.approx(promised, abs=0.06)  # standard error 0.012
    assert promised == pytest.approx(0.8, abs=0.05)


def test_so_many_samples_decide_as_often_as_calculated() -> None:
    n = samples_for(EffectSize(0.3, (1.5,)), 0.025)
    values = np.random.default_rng(0).normal(0.3, 1.5, (5000, n))
    z = values.mean(1) / values.std(1, ddof=1) * sqrt(n)
    assert (z > stats.norm.isf(0.025)).mean() == pytest.approx(
        0.8, abs=0.03
    )  # standard error 0.006


def test_a_file_of_claims_errs_at_most_as_often_as_one() -> None:
    """Eight claims on their edge; four others are plainly true, so Holm has less to correct."""
    edge = seeds(claim("a", "better", "clean.accuracy", "b"), a=80, b=80)
    plain = seeds(claim("a", "better", "clean.accuracy", "b"), a=90, b=80)
    draw = np.random.default_rng(0)
    runs, wrong, right = 300, 0, 0
    for _ in range(runs):
        tests = [*(edge(draw) for _ in range(8)), *(plain(draw) for _ in range(4))]
        file = adjust_p_values(tests)
        wrong += any(one.verdict != CANNOT_TELL for one in file[:8])
        right += sum(one.verdict == SUPPORTED for one in file[8:])
    assert 0 < wrong / runs <= at_most(LEVEL, runs)
    assert right >= 0.9 * 4 * runs


def test_seeds_added_after_a_look_keep_the_promise() -> None:
    """A false claim, five seeds; where it is undecided, the calculated seeds are added once."""
    demand = claim("a", "better", "clean.accuracy", "b")
    draw = np.random.default_rng(0)
    runs, supported = 400, 0
    for _ in range(runs):
        drawn = {name: draw.normal(80, 1, 20) for name in "ab"}
        verdict, count = CANNOT_TELL, 5
        for _look in range(2):
            readings = {name: Estimate(tuple(column[:count])) for name, column in drawn.items()}
            (found,) = adjust_p_values([seeds_test(demand, readings, 1)])
            verdict = found.verdict
            printed = (
                need(found, {"a": count, "b": count}, {}, 1) if verdict == CANNOT_TELL else None
            )
            if printed is None or printed.count is None or printed.count > 20:
                break
            count = printed.count
        supported += verdict == SUPPORTED
    assert 0 < supported / runs <= at_most(LEVEL / 2, runs)
