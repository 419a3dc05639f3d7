"""Supported, contradicted, or cannot tell: each claim by the test that its words ask for.

A claim about methods is tested over seeds and needs three of each; one about checkpoints is tested
over the samples that both have seen. Whatever it says comes down to differences and thresholds
that each must pass: "by at least 1" moves the threshold to 1, "no worse within 1" to -1, "equal"
asks both ways, "best" asks against each of the others. It is

- supported where all pass: the largest one-sided p counts (an intersection-union test, which needs
  no correction inside);
- contradicted where at least one fails significantly: the smallest one-sided p of the opposite
  counts, times how many there are (Bonferroni);
- and otherwise nobody can tell.

The smaller of the two, doubled, is the claim's p; Holm's correction holds over all claims of the
file. So at most 5 % of files say something false of any claim.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from catchup_eval.claims import contrasts, measured
from catchup_eval.claims.answer import UNTOLD, Answer, Hurdle
from catchup_eval.claims.claim import Claim
from catchup_eval.claims.contrasts import Contrast
from catchup_eval.claims.demand import ALL, BETTER, FIXED, Demand
from catchup_eval.claims.need import Need, missing_seeds, need
from catchup_eval.errors import Missing, UnknownName, UserError
from catchup_eval.headlines import SEEDS, Line, Reading
from catchup_eval.question import Analysis
from catchup_eval.statistics import holm
from catchup_eval.study import Study


@dataclass(frozen=True)
class Judged:
    """One claim on one image set.

    Args:
        data: the image set.
        answer: of the test that the claim's words ask for.
        beside: where methods lack seeds: what the networks at hand say, in a family of its own.
        line: the metric for all groups, where it was measured.
        readings: of the groups that the claim is about.
        need: what it would take to know, where that can be said.
    """

    claim: Claim
    data: str
    answer: Answer
    beside: Answer | None = None
    line: Line | None = None
    readings: Mapping[str, Reading] = field(default_factory=dict)
    need: Need | None = None


def judge(
    claims: Sequence[Claim],
    studies: Mapping[str, Study],
    analyses: Mapping[str, Analysis],
    *,
    methods: Sequence[str] = (),
    costs: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Judged]:
    """Every claim on every image set that it speaks of.

    Args:
        studies: by the name of their data.
        analyses: the questions by name.
        methods: names that are known also where nothing was measured of them.
        costs: by data and group, the seconds that one more seed takes.

    Raises:
        UnknownName: a method, question, metric or condition that does not exist.
        UserError: a metric that is none, or a claim that cannot be tested as it stands.
    """
    found = [
        _tested(claim, data, studies, analyses, methods)
        for claim in claims
        for data in ([claim.demand.data] if claim.demand.data else studies)
    ]
    answers = adjusted([one.answer for one in found])
    besides = adjusted([one.beside or Answer() for one in found])
    undecided = sum(bool(one.over) and one.verdict == UNTOLD for one in answers)
    return [
        _with_need(
            replace(one, answer=answer, beside=beside if one.beside else None),
            undecided,
            (costs or {}).get(one.data, {}),
        )
        for one, answer, beside in zip(found, answers, besides, strict=True)
    ]


def adjusted(answers: Sequence[Answer]) -> list[Answer]:
    """The same with Holm's p; what was not tested does not count."""
    p_values = holm([one.p for one in answers])
    return [replace(one, adjusted=float(p)) for one, p in zip(answers, p_values, strict=True)]


def _tested(
    claim: Claim,
    data: str,
    studies: Mapping[str, Study],
    analyses: Mapping[str, Analysis],
    methods: Sequence[str],
) -> Judged:
    try:
        if data not in studies:
            raise Missing(f"results on {data}; there are: {', '.join(studies)}")
        return _measured(claim, data, studies[data], analyses, methods)
    except Missing as error:
        return Judged(claim, data, Answer(why=f"needs {error}"))


def _measured(
    claim: Claim,
    data: str,
    study: Study,
    analyses: Mapping[str, Analysis],
    methods: Sequence[str],
) -> Judged:
    demand = claim.demand
    line = measured.line(demand.metric, study, analyses)
    groups = _groups(demand, line, study, methods)
    readings = {group: line.readings[group] for group in groups}
    way = 1
    if demand.relation in BETTER:
        way = measured.sign(demand.metric, analyses[line.analysis])
    networks = over_samples(demand, readings, way, line.headline.scale)
    if claim.about == "checkpoints":
        return Judged(claim, data, networks, line=line, readings=readings)
    answer = over_seeds(demand, readings, way)
    beside = None if answer.over else networks
    return Judged(claim, data, answer, beside, line, readings)


def _groups(demand: Demand, line: Line, study: Study, methods: Sequence[str]) -> list[str]:
    """The claim's own group and then the others."""
    others = [group for group in study.groups if group != demand.group]
    named = others if demand.than == (ALL,) else list(demand.than)
    if demand.group in named:
        raise UserError(f"the claim compares {demand.group} with itself")
    for group in (demand.group, *named):
        if group not in line.readings:
            known = {*study.groups, *methods}
            if group not in known:
                raise UnknownName("method", group, known)
            raise Missing(f"{line.analysis} of {group}")
        if np.isnan(line.readings[group].mean):
            raise Missing(f"a value of {demand.metric} of {group}")
    if not named and demand.relation not in FIXED:
        raise Missing(f"a group to compare {demand.group} with")
    return [demand.group, *named]


def over_seeds(demand: Demand, readings: Mapping[str, Reading], way: int) -> Answer:
    """Methods, over their seeds.

    Args:
        readings: of the claim's group and then the others.
        way: 1 where higher is better, -1 where lower is.
    """
    few = {group: len(one.values) for group, one in readings.items() if len(one.values) < SEEDS}
    if few:
        told = ", ".join(f"{group} has {count}" for group, count in few.items())
        return Answer(why=f"methods need {SEEDS} seeds each; {told}")
    ours, *others = readings.values()
    if demand.relation in FIXED:
        found: dict[str, Contrast] = {"": contrasts.one_over_seeds(ours.values)}
    else:
        names = list(readings)[1:]
        pairs = zip(names, others, strict=True)
        found = {name: contrasts.over_seeds(ours.values, one.values) for name, one in pairs}
    return answered("seeds", demand, found, way)


def over_samples(demand: Demand, readings: Mapping[str, Reading], way: int, scale: float) -> Answer:
    """The networks at hand, over samples; outcomes are averaged over a group's seeds.

    Args:
        scale: what the outcomes were multiplied by.
    """
    ours, *others = readings.values()
    if not all(one.outcomes for one in readings.values()):
        return Answer(why="no per-sample outcomes")
    sizes = [[len(array) for array in one.outcomes] for one in readings.values()]
    if any(size != sizes[0] for size in sizes):
        return Answer(why="not measured on the same samples")
    if demand.relation in FIXED:
        found = {"": contrasts.one_over_samples(ours.outcomes, scale)}
    else:
        pairs = zip(list(readings)[1:], others, strict=True)
        found = {n: contrasts.over_samples(ours.outcomes, o.outcomes, scale) for n, o in pairs}
    return answered("samples", demand, found, way)


def answered(over: str, demand: Demand, found: Mapping[str, Contrast], way: int) -> Answer:
    """The answer of these differences: all must pass their thresholds."""
    hurdles = [
        Hurdle(group, contrast, sign, threshold)
        for group, contrast in found.items()
        for sign, threshold in thresholds(demand, way)
    ]
    tails = [hurdle.tails for hurdle in hurdles]
    passed = max(one.above for one in tails)
    failed = min(1.0, len(tails) * min(one.below for one in tails))
    return Answer(over, hurdles, passed=passed, failed=failed)


def thresholds(demand: Demand, way: int) -> list[tuple[int, float]]:
    """Signs and thresholds of one difference: turned by the sign, it must be above.

    Example:
        >>> from catchup_eval.claims.sentence import parse
        >>> thresholds(parse("a is no worse than b on nll within 0.1"), -1)
        [(-1, -0.1)]
    """
    relation, amount = demand.relation, demand.amount
    if relation == "equal":
        return [(1, -amount), (-1, -amount)]
    if relation == "no worse":
        return [(way, -amount)]
    if relation in ("lower", "lowest"):
        return [(-1, amount)]
    if relation == "below":
        return [(-1, -amount)]
    return [(way, amount)]


def _with_need(one: Judged, undecided: int, costs: Mapping[str, float]) -> Judged:
    if one.answer.verdict != UNTOLD or one.line is None:
        return one
    seeds = {group: len(reading.values) for group, reading in one.readings.items()}
    if not one.answer.over:
        lacking = one.claim.about == "methods"
        return replace(one, need=missing_seeds(seeds, costs) if lacking else None)
    return replace(one, need=need(one.answer, seeds, costs, undecided))
