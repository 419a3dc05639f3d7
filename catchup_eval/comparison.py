"""Which network is the better, and how sure are we? The numbers of a comparison, without a page.

Groups with :data:`SEEDS` or more seeds each are compared as methods, over their seeds. With fewer,
the networks at hand are compared: on the same samples, each outcome averaged over the group's
seeds. What is said is then true of these networks and of no method.

The first headline of each question makes one family of tests (questions x groups), all further
headlines a second one; Holm's correction holds within each.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from catchup_eval.question import Analysis, Headline
from catchup_eval.results import Member, Result
from catchup_eval.statistics import Difference, Interval, between_seeds, holm, over_seeds, paired
from catchup_eval.study import Study

SEEDS = 3  # of each group, from which on methods are compared and not networks
LEVEL = 0.05  # of Holm's p, below which a difference is called one
PERCENT = "%"
UNKNOWN = Interval(np.nan, np.nan)
UNTESTED = Difference(np.nan, np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Reading:
    """What one group reaches in one headline.

    Args:
        values: one for each seed that has it.
        interval: 95 %: of the one network over its samples, or of the mean over the seeds; NaN
            for two seeds, and where the one network's number has none.
        n: samples behind each value.
        protocol: name and version.
        chance: the value of guessing, NaN where there is none.
        outcomes: per-sample arrays in the unit of the values, averaged over the seeds.
    """

    values: tuple[float, ...]
    interval: Interval = UNKNOWN
    n: int = 0
    protocol: str = ""
    chance: float = np.nan
    outcomes: tuple[np.ndarray, ...] = ()

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.values))


@dataclass(frozen=True)
class Line:
    """One headline of one question, for all groups that have it.

    Args:
        analysis: the question's name.
        title: the question's title.
        headline: the number.
        primary: whether it is the question's first, which its verdict goes by.
        unit: of the values.
        readings: by group, in the study's order.
    """

    analysis: str
    title: str
    headline: Headline
    primary: bool
    unit: str
    readings: Mapping[str, Reading] = field(default_factory=dict)

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is."""
        return 1 if self.headline.better == "higher" else -1


def lines(study: Study, analyses: Mapping[str, Analysis]) -> list[Line]:
    """The headlines of all questions that were asked, in order.

    Raises:
        KeyError: a headline's condition holds for several rows of one result.
    """
    found = [
        _line(study, name, analyses[name], headline)
        for name in study.asked()
        if name in analyses
        for headline in analyses[name].HEADLINES
    ]
    return [line for line in found if line.readings]


def _line(study: Study, name: str, analysis: Analysis, headline: Headline) -> Line:
    by_group: dict[str, list[Member]] = {group: [] for group in study.groups}
    for member in study.members(name):
        if _row(member.result, headline) is not None:
            by_group[member.model].append(member)
    units = [_rows(m.result, headline)["unit"].iloc[0] for ms in by_group.values() for m in ms]
    unit = str(units[0]) if units else ""
    readings = {group: _reading(headline, ms, unit) for group, ms in by_group.items() if ms}
    return Line(name, analysis.TITLE, headline, headline is analysis.HEADLINES[0], unit, readings)


def _rows(result: Result, headline: Headline) -> pd.DataFrame:
    if not set(headline.where) <= set(result.frame.columns):
        return result.frame.iloc[:0]
    return result.rows(headline.metric, **headline.where)


def _row(result: Result, headline: Headline) -> pd.Series | None:
    rows = _rows(result, headline)
    if len(rows) > 1:
        where = dict(headline.where)
        raise KeyError(f"{len(rows)} rows of {headline.metric} with {where}, expected one")
    return rows.iloc[0] if len(rows) else None


def _reading(headline: Headline, members: Sequence[Member], unit: str) -> Reading:
    rows = [row for m in members if (row := _row(m.result, headline)) is not None]
    values = tuple(float(row["value"]) for row in rows)
    own = Interval(float(rows[0]["low"]), float(rows[0]["high"]))
    return Reading(
        values,
        own if len(values) == 1 else seeds_interval(values, unit),
        n=int(rows[0]["n"]),
        protocol=", ".join(dict.fromkeys(str(row["protocol"]) for row in rows)),
        chance=float(np.mean([_chance(m.result, headline) for m in members])),
        outcomes=_outcomes(headline, members),
    )


def seeds_interval(values: Sequence[float], unit: str) -> Interval:
    """The 95 % interval of a mean over three or more seeds, within 0 and 100 for percent."""
    if len(values) < SEEDS:
        return UNKNOWN
    low, high = over_seeds(values)
    if unit == PERCENT and min(values) >= 0:
        low, high = max(0.0, low), min(100.0, high)
    return Interval(low, high)


def _chance(result: Result, headline: Headline) -> float:
    chance = headline.chance
    if not isinstance(chance, str):
        return np.nan if chance is None else float(chance)
    rows = result.rows(chance)
    if len(rows) > 1:
        rows = _rows(result, replace(headline, metric=chance))
    return float(rows["value"].iloc[0]) if len(rows) == 1 else np.nan


def _outcomes(headline: Headline, members: Sequence[Member]) -> tuple[np.ndarray, ...]:
    names = headline.outcomes
    if not names or any(name not in m.result.samples for m in members for name in names):
        return ()
    strata = [[np.asarray(m.result.samples[name], float) for m in members] for name in names]
    if any(len({len(array) for array in arrays}) > 1 for arrays in strata):
        return ()
    return tuple(headline.scale * np.mean(arrays, axis=0) for arrays in strata)


@dataclass(frozen=True)
class Verdict:
    """One group against the reference in one headline.

    Args:
        line: the headline.
        group: the one that is judged.
        difference: group minus reference, in the line's unit; the interval and p are NaN where it
            could not be tested.
        over: what the test went over: "seeds", "samples" or, untested, nothing.
        why: why it could not be tested.
        adjusted: Holm's p within its family.
    """

    line: Line
    group: str
    difference: Difference
    over: str = ""
    why: str = ""
    adjusted: float = np.nan

    @property
    def significant(self) -> bool:
        """Whether Holm's p is below :data:`LEVEL`."""
        return bool(self.adjusted < LEVEL)

    @property
    def gain(self) -> Difference:
        """The difference turned so that positive is better."""
        value, low, high, p = self.difference
        return self.difference if self.line.sign > 0 else Difference(-value, -high, -low, p)

    @property
    def word(self) -> str:
        """ "better", "worse" or "cannot tell"."""
        if not self.significant:
            return "cannot tell"
        return "better" if self.gain.value > 0 else "worse"


def difference(ours: Reading, theirs: Reading) -> tuple[Difference, str, str]:
    """The difference of two groups, what it was tested over, and why not, if it was not."""
    plain = UNTESTED._replace(value=ours.mean - theirs.mean)
    if np.isnan(plain.value):
        return UNTESTED, "", "a value is not a number"
    if min(len(ours.values), len(theirs.values)) >= SEEDS:
        return between_seeds(ours.values, theirs.values), "seeds", ""
    if not (ours.outcomes and theirs.outcomes):
        return plain, "", "no per-sample outcomes"
    if [len(a) for a in ours.outcomes] != [len(a) for a in theirs.outcomes]:
        return plain, "", "not measured on the same samples"
    return _paired(ours.outcomes, theirs.outcomes), "samples", ""


def _paired(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> Difference:
    """:func:`paired` in the outcomes' own unit; zeros and ones are seen as such at any scale."""
    scale = max(float(np.abs(array).max(initial=0)) for array in (*ours, *theirs)) or 1.0
    value, low, high, p = paired([a / scale for a in ours], [a / scale for a in theirs])
    return Difference(value * scale, low * scale, high * scale, p)


def verdicts(lines: Iterable[Line], reference: str) -> list[Verdict]:
    """Every other group against `reference`, in every headline that both have."""
    untested = [
        Verdict(line, group, *difference(reading, line.readings[reference]))
        for line in lines
        if reference in line.readings
        for group, reading in line.readings.items()
        if group != reference
    ]
    adjusted = dict[int, float]()
    for family in (True, False):
        places = [i for i, verdict in enumerate(untested) if verdict.line.primary is family]
        adjusted |= zip(places, holm([untested[i].difference.p for i in places]))
    return [replace(v, adjusted=float(adjusted[i])) for i, v in enumerate(untested)]


@dataclass(frozen=True)
class Rank:
    """The place of a group in one headline; 1 is best, equal values share their mean place.

    Args:
        place: by the values as they are.
        best: 1 + how many groups are significantly better.
        worst: how many groups there are, less those that are significantly worse.
    """

    group: str
    place: float
    best: int
    worst: int


@dataclass(frozen=True)
class Ranking:
    """All groups of one line, from the best place to the worst.

    Args:
        ties: the largest runs of neighbours of which no two differ significantly.
    """

    line: Line
    ranks: tuple[Rank, ...]
    ties: tuple[tuple[str, ...], ...]


def rankings(lines: Iterable[Line]) -> list[Ranking]:
    """Each line's ranks, with intervals that hold together at 95 %.

    All pairs of groups are tested, with Holm's correction over all pairs of all lines; a group's
    interval is what the significant pairs leave open (Al Mohamad, Goeman and van Zwet 2022). More
    pairs are tested here than for the verdicts, so that a pair may differ there and be tied here.
    A group without a value has no rank.
    """
    ordered = [(line, _order(line)) for line in lines]
    pairs = [(line, pair) for line, order in ordered for pair in combinations(order, 2)]
    tested = [difference(line.readings[a], line.readings[b])[0] for line, (a, b) in pairs]
    apart = holm([one.p for one in tested]) < LEVEL
    above: dict[int, set[tuple[str, str]]] = {id(line): set() for line, _ in ordered}
    for (line, pair), told in zip(pairs, apart):
        above[id(line)] |= {pair} if told else set()
    return [_ranking(line, order, above[id(line)]) for line, order in ordered]


def _order(line: Line) -> list[str]:
    """The groups from best to worst."""
    known = [group for group, reading in line.readings.items() if not np.isnan(reading.mean)]
    return sorted(known, key=lambda group: -line.sign * line.readings[group].mean)


def _ranking(line: Line, order: Sequence[str], above: set[tuple[str, str]]) -> Ranking:
    places = stats.rankdata([-line.sign * line.readings[group].mean for group in order])
    ranks = tuple(
        Rank(
            group,
            float(place),
            best=1 + sum((other, group) in above for other in order),
            worst=len(order) - sum((group, other) in above for other in order),
        )
        for group, place in zip(order, places)
    )
    return Ranking(line, ranks, _ties(order, above))


def _ties(order: Sequence[str], above: set[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    runs = [
        tuple(order[start:stop])
        for start, stop in combinations(range(len(order) + 1), 2)
        if stop - start > 1 and not above & set(combinations(order[start:stop], 2))
    ]
    return tuple(run for run in runs if not any(set(run) < set(other) for other in runs))


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names that no other beats in one coordinate without losing in the other.

    Higher is better in both; the result goes from left to right.

    Example:
        >>> pareto({"a": (1, 3), "b": (2, 2), "c": (1, 1)})
        ['a', 'b']
    """
    front = [
        name
        for name, (x, y) in points.items()
        if not any(u >= x and v >= y and (u, v) != (x, y) for u, v in points.values())
    ]
    return sorted(front, key=lambda name: points[name])


@dataclass(frozen=True)
class Agreement:
    """How alike the groups' mistakes are.

    Args:
        of: "correctness" or "predictions".
        groups: in order.
        kappa: (G, G) Cohen's kappa, the mean over all pairs of different networks; on the
            diagonal the seeds of one group among themselves, NaN where there is one.
    """

    of: str
    groups: tuple[str, ...]
    kappa: np.ndarray


def agreement(study: Study) -> Agreement | None:
    """Cohen's kappa between the networks, from the first question that stored what they answered.

    On which images two networks are right (the sample `correct`) says more than what they answer
    (`prediction`): two good networks give the same answers by being right alone.
    """
    for name, of in (("correct", "correctness"), ("prediction", "predictions")):
        answers = _answers(study, name)
        if answers:
            return Agreement(of, tuple(answers), _kappas(list(answers.values())))
    return None


def alone(study: Study) -> dict[str, np.ndarray]:
    """For each group, the numbers of the samples that it alone gets right.

    Right by all of its networks, and by no network of another group. The numbers are the sample
    `index`, or the places in the part where that is not stored. Empty where no question stored on
    which samples the networks are right.
    """
    answers = _answers(study, "correct")
    index = next(iter(_answers(study, "index").values()), [None])[0]
    every = {group: np.all(hits, axis=0) for group, hits in answers.items()}
    some = {group: np.any(hits, axis=0) for group, hits in answers.items()}
    own = {
        group: np.flatnonzero(every[group] & ~np.any([some[o] for o in some if o != group], axis=0))
        for group in answers
    }
    return own if index is None else {group: index[places] for group, places in own.items()}


def _answers(study: Study, name: str) -> dict[str, list[np.ndarray]]:
    """What each group's networks answered, from the first question that stored it for all."""
    for analysis in study.asked():
        answers: dict[str, list[np.ndarray]] = {}
        for member in study.members(analysis):
            if name in member.result.samples:
                answers.setdefault(member.model, []).append(member.result.samples[name])
        shapes = {array.shape for arrays in answers.values() for array in arrays}
        if len(answers) > 1 and len(shapes) == 1 and len(next(iter(shapes))) == 1:
            return answers
    return {}


def _kappas(answers: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    table = np.full((len(answers), len(answers)), np.nan)
    for i, j in np.ndindex(*table.shape):
        pairs = (
            [(a, b) for a in answers[i] for b in answers[j]]
            if i != j
            else list(combinations(answers[i], 2))
        )
        if pairs:
            table[i, j] = np.mean([cohen_kappa(a, b) for a, b in pairs])
    return table


def cohen_kappa(a: np.ndarray, b: np.ndarray) -> float:
    """Cohen's kappa of two raters' answers (N,): 1 agree, 0 no more than by chance (Cohen 1960).

    1 where both give one and the same answer throughout.

    Example:
        >>> cohen_kappa(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]))
        0.5
    """
    kinds = np.union1d(a, b)
    observed = float(np.mean(a == b))
    expected = sum(float(np.mean(a == kind)) * float(np.mean(b == kind)) for kind in kinds)
    return 1.0 if expected == 1 else (observed - expected) / (1 - expected)
