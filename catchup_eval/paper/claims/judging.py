"""Supported, contradicted, or cannot tell: each claim by the test that its keys select.

A claim about methods is tested over seeds and needs three of each; one about checkpoints is tested
over the samples that both have seen. Each comes down to differences and thresholds that each must
pass: "by at least 1" moves the threshold to 1, "no worse within 1" to -1, "equal" tests both sides,
"best" tests against each of the others, "each" under each of its conditions. A claim is

- supported where all pass: the largest one-sided p counts (an intersection-union test, which needs
  no correction within);
- contradicted where at least one fails significantly: the smallest one-sided p of the opposite
  counts, times how many there are (Bonferroni);
- undecided ("cannot tell") otherwise; then the seeds or samples that would decide, at the
  observed spread.

The smaller of the two, doubled, is the claim's p; Holm's correction holds over all claims of the
file. So at most 5 % of files have a false verdict on any claim.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from catchup_eval.analysis.base import Analysis
from catchup_eval.core.errors import Missing, UnknownName, UserError
from catchup_eval.metrics import significance
from catchup_eval.metrics.power import EffectSize, samples_for, seeds_for_all
from catchup_eval.metrics.significance import Contrast, OneSidedPValues, holm
from catchup_eval.paper.claims import estimates
from catchup_eval.paper.claims.claim import Claim
from catchup_eval.results.comparison import LEVEL
from catchup_eval.results.study import Study
from catchup_eval.results.summary import SEEDS, Estimate, SummaryRow

SUPPORTED, CONTRADICTED, CANNOT_TELL = "supported", "contradicted", "cannot tell"


@dataclass(frozen=True)
class ThresholdTest:
    """One difference, ours minus theirs, and the threshold that it must pass."""

    against: str  # the other group; empty for a number alone
    contrast: Contrast
    sign: int  # 1 where it must be above the threshold, -1 where it must be below
    threshold: float

    @property
    def distance(self) -> float:
        """How far it is beyond the threshold; negative where it falls short."""
        return self.sign * (self.contrast.value - self.threshold)

    @property
    def one_sided_p_values(self) -> OneSidedPValues:
        """Small `above`: passed; small `below`: failed."""
        above, below = self.contrast.one_sided_p_values(self.threshold)
        return OneSidedPValues(above, below) if self.sign > 0 else OneSidedPValues(below, above)


@dataclass(frozen=True)
class ClaimTest:
    """The result of one kind of test of a claim; p values are one-sided."""

    over: str = ""  # "seeds", "samples" or, untested, nothing
    tests: Sequence[ThresholdTest] = ()
    why: str = ""  # it was not tested
    passed: float = np.nan  # p of "not all pass"
    failed: float = np.nan  # p of "none fails"
    adjusted: float = np.nan  # Holm's p over the family, two-sided

    @property
    def p(self) -> float:
        """Of the side that the results lean to, doubled."""
        return min(1.0, 2 * min(self.passed, self.failed)) if self.over else np.nan

    @property
    def weakest(self) -> ThresholdTest | None:
        """The test that decides: the one with the largest p."""
        return max(self.tests, key=lambda one: one.one_sided_p_values.above, default=None)

    @property
    def verdict(self) -> str:
        """ "supported", "contradicted" or "cannot tell"."""
        if not self.adjusted < LEVEL:
            return CANNOT_TELL
        return SUPPORTED if self.passed < self.failed else CONTRADICTED


@dataclass(frozen=True)
class RequiredSize:
    """What would decide, and what was assumed."""

    units: str  # "seeds" of each method, or "samples"
    count: int | None  # in all; None where there are too many to calculate
    seconds: float = np.nan  # that the missing seeds take here, where it is known
    why: str = ""


@dataclass(frozen=True)
class JudgedClaim:
    """One claim, the `number`-th of its file from 1, on one dataset."""

    number: int
    claim: Claim
    data: str
    test: ClaimTest
    beside: ClaimTest | None = None  # of the checkpoints where methods lack seeds, own family
    line: SummaryRow | None = None  # the metric for all groups, where it was measured
    readings: Mapping[str, Estimate] = field(default_factory=dict)  # of the claim's groups
    need: RequiredSize | None = None  # where it can be calculated

    @property
    def text(self) -> str:
        """The sentence as quoted, or else the claim's keys in words."""
        return self.claim.text or str(self.claim)


def judge(
    claims: Sequence[Claim],
    studies: Mapping[str, Study],
    analyses: Mapping[str, Analysis],
    *,
    methods: Sequence[str] = (),
    costs: Mapping[str, Mapping[str, float]] | None = None,
) -> list[JudgedClaim]:
    """Test every claim on every dataset that it is about.

    Args:
        studies: by the name of their data.
        analyses: by name.
        methods: names that are known also where nothing was measured of them.
        costs: by data and group, the seconds that one more seed takes.

    Raises:
        UnknownName: a method, analysis, metric or condition that does not exist.
        UserError: a claim that cannot be tested as it stands.
    """
    found = [
        _judge_on(JudgedClaim(number, claim, data, ClaimTest()), studies, analyses, methods)
        for number, claim in enumerate(claims, 1)
        for data in ([claim.data] if claim.data else studies)
    ]
    claim_tests = adjust_p_values([one.test for one in found])
    besides = adjust_p_values([one.beside or ClaimTest() for one in found])
    undecided = sum(bool(one.over) and one.verdict == CANNOT_TELL for one in claim_tests)
    judged = []
    for one, claim_test, beside in zip(found, claim_tests, besides, strict=True):
        one = replace(one, test=claim_test, beside=one.beside and beside)
        cost = (costs or {}).get(one.data, {})
        judged.append(replace(one, need=_need(one, undecided, cost)))
    return judged


def adjust_p_values(claim_tests: Sequence[ClaimTest]) -> list[ClaimTest]:
    """The same with Holm's p; what was not tested does not count."""
    p_values = holm([one.p for one in claim_tests])
    return [replace(one, adjusted=float(p)) for one, p in zip(claim_tests, p_values, strict=True)]


def _judge_on(
    one: JudgedClaim,
    studies: Mapping[str, Study],
    analyses: Mapping[str, Analysis],
    methods: Sequence[str],
) -> JudgedClaim:
    by_seeds, by_samples = [], []
    all_readings: dict[str, Estimate] = {}
    try:
        if one.data not in studies:
            raise Missing(f"results on {one.data}; there are: {', '.join(studies)}")
        study = studies[one.data]
        for condition, claim in one.claim.parts.items():
            line = estimates.metric_row(claim, study, analyses)
            readings = _readings(claim, line, study, methods)
            sign = estimates.sign(claim, analyses[line.analysis])
            by_seeds.append(_label(seeds_test(claim, readings, sign), condition))
            samples = samples_test(claim, readings, sign, line.headline.scale)
            by_samples.append(_label(samples, condition))
            all_readings |= {_name(group, condition): own for group, own in readings.items()}
    except Missing as error:
        return replace(one, test=ClaimTest(why=f"needs {error}"))
    claim_test, beside = _all_of(by_samples), None
    if one.claim.about == "methods":
        checkpoints, claim_test = claim_test, _all_of(by_seeds)
        beside = None if claim_test.over else checkpoints
    return replace(one, test=claim_test, beside=beside, line=line, readings=all_readings)


def _name(group: str, condition: str) -> str:
    return f"{group} ({condition})" if condition else group


def _label(claim_test: ClaimTest, condition: str) -> ClaimTest:
    """The same, with the condition in the names of its tests."""
    tests = [replace(one, against=_name(one.against, condition)) for one in claim_test.tests]
    return replace(claim_test, tests=tests)


def _all_of(parts: Sequence[ClaimTest]) -> ClaimTest:
    """Several tests as one, which passes where all do."""
    untested = next((one for one in parts if not one.over), None)
    return untested or _combine(parts[0].over, [test for one in parts for test in one.tests])


def _readings(
    claim: Claim, line: SummaryRow, study: Study, methods: Sequence[str]
) -> dict[str, Estimate]:
    """Of the claim's own group and then of the others."""
    others = claim.others
    if not others and claim.number is None:
        others = [group for group in study.groups if group != claim.method]
        if not others:
            raise Missing(f"a group to compare {claim.method} with")
    if claim.method in others:
        raise UserError(f"the claim compares {claim.method} with itself")
    for group in (claim.method, *others):
        if group not in line.readings:
            known = {*study.groups, *methods}
            if group not in known:
                raise UnknownName("method", group, known)
            raise Missing(f"{line.analysis} of {group}")
        if np.isnan(line.readings[group].mean):
            raise Missing(f"a value of {claim.metric_text} of {group}")
    return {group: line.readings[group] for group in (claim.method, *others)}


def seeds_test(claim: Claim, readings: Mapping[str, Estimate], sign: int) -> ClaimTest:
    """Test methods over their seeds.

    Args:
        readings: of the claim's group and then the others.
        sign: 1 where the claim is of more, -1 where of less.
    """
    few = [f"{g} has {len(one.values)}" for g, one in readings.items() if len(one.values) < SEEDS]
    if few:
        return ClaimTest(why=f"methods need {SEEDS} seeds each; {', '.join(few)}")
    (_, ours), *others = readings.items()
    found = {name: significance.welch_contrast(ours.values, one.values) for name, one in others}
    found = found or {"": significance.t_contrast(ours.values)}
    return _combine_tests("seeds", claim, found, sign)


def samples_test(
    claim: Claim, readings: Mapping[str, Estimate], sign: int, scale: float
) -> ClaimTest:
    """Test the checkpoints over samples; outcomes are averaged over a group's seeds.

    Args:
        readings, sign: as in :func:`seeds_test`.
        scale: what the outcomes were multiplied by.
    """
    if not all(one.outcomes for one in readings.values()):
        return ClaimTest(why="no per-sample outcomes")
    sizes = [[len(array) for array in one.outcomes] for one in readings.values()]
    if any(size != sizes[0] for size in sizes):
        return ClaimTest(why="not measured on the same samples")
    (_, ours), *others = readings.items()
    found = {
        name: significance.paired_contrast(ours.outcomes, one.outcomes, scale)
        for name, one in others
    }
    found = found or {"": significance.single_contrast(ours.outcomes, scale)}
    return _combine_tests("samples", claim, found, sign)


def _combine_tests(over: str, claim: Claim, found: Mapping[str, Contrast], sign: int) -> ClaimTest:
    tests = [
        ThresholdTest(group, contrast, side, threshold)
        for group, contrast in found.items()
        for side, threshold in _thresholds(claim, sign)
    ]
    return _combine(over, tests)


def _combine(over: str, tests: Sequence[ThresholdTest]) -> ClaimTest:
    tails = [test.one_sided_p_values for test in tests]
    passed = max(one.above for one in tails)
    failed = min(1.0, len(tails) * min(one.below for one in tails))
    return ClaimTest(over, tests, passed=passed, failed=failed)


def _thresholds(claim: Claim, sign: int) -> list[tuple[int, float]]:
    """Above (1) or below (-1) what each difference must be."""
    number = claim.number or 0.0
    if claim.relation == "equal":
        return [(1, number - claim.by), (-1, number + claim.by)]
    by = -claim.by if claim.relation == "no worse" else claim.by
    return [(sign, number + sign * by)]


def _need(one: JudgedClaim, undecided: int, costs: Mapping[str, float]) -> RequiredSize | None:
    if one.test.verdict != CANNOT_TELL or one.line is None:
        return None
    seeds = {group: len(reading.values) for group, reading in one.readings.items()}
    if one.test.over:
        return need(one.test, seeds, costs, undecided)
    if one.claim.about == "checkpoints":
        return None
    why = "from then on the spread between seeds can be seen"
    return RequiredSize("seeds", SEEDS, _total_seconds(SEEDS, seeds, costs), why)


def need(
    claim_test: ClaimTest, seeds: Mapping[str, int], costs: Mapping[str, float], undecided: int
) -> RequiredSize | None:
    """The size that would decide, if the observed effect is true; None if it is on the threshold.

    With power 0.8, at the level that Holm's correction leaves the first of the undecided claims,
    half of it to each side.

    Args:
        seeds: that each group has.
        costs: seconds that one more seed of a group takes.
        undecided: claims of the family that were tested and are undecided.
    """
    level = LEVEL / 2 / undecided
    distances = [EffectSize(test.distance, test.contrast.spread) for test in claim_test.tests]
    failing = [EffectSize(-d.value, d.spread) for d in distances if d.value < 0]
    if any(distance.value == 0 for distance in distances) and not failing:
        return None
    why = "it would then be contradicted" if failing else "it would then be supported"
    single = level / len(distances) if failing else level
    wanted = failing or distances
    if claim_test.over == "samples":
        sizes = [samples_for(distance, single) for distance in wanted]
        return RequiredSize("samples", min(sizes) if failing else max(sizes), why=why)
    counts = [seeds_for_all([d], single) for d in failing] or [seeds_for_all(distances, level)]
    known = [count for count in counts if count is not None]
    if not known:
        return RequiredSize("seeds", None, why=why)
    most = max(min(known), 1 + max(seeds.values()))
    return RequiredSize("seeds", most, _total_seconds(most, seeds, costs), why)


def _total_seconds(count: int, seeds: Mapping[str, int], costs: Mapping[str, float]) -> float:
    missing = {group: count - have for group, have in seeds.items() if have < count}
    return sum(number * costs.get(group, np.nan) for group, number in missing.items())
