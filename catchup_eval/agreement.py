"""Are two networks wrong on the same images?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from catchup_eval.study import Study


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
