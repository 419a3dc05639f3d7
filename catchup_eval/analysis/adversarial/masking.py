"""Sanity checks of adversarial accuracy: is the attack strong enough?

From the samples of :mod:`catchup_eval.analysis.adversarial` alone: whether each image is still
classified correctly, by attack and epsilon, as in `fgsm@4`. Signs of masked gradients, by which a
network looks robust to attacks that need them (Athalye et al. 2018, section 3.1, from memory; Verma
et al. 2019, section 5.3), have other causes, too. Each failed check names its likeliest one:

1. the network is random (dropout or noise in use), or its outputs depend on the batch;
2. it is no better than one that always predicts the commonest class;
3. its gradient is exactly zero: saturated logits, or a step without a gradient (quantisation);
4. PGD's steps do not suit the ball;
5. masked gradients.

A rate counts as above another one where it is so by more than :data:`NOISE` points and by an exact
one-sided McNemar test over the same images (p < :data:`LEVEL`), so that few images fail no check.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
from scipy import stats

from catchup_eval.analysis.adversarial.libraries import FLAGS
from catchup_eval.metrics.significance import Difference, paired_test
from catchup_eval.results.result import Rows

Samples = Mapping[str, np.ndarray]
Check = tuple[str, bool, int]  # what should hold, whether it does, over how many images

FAR = 30  # points of FGSM above PGD; an ordinary CIFAR-10 ResNet-20 has 20
NOISE = 1  # points by which two accuracies may be in reverse order
LEVEL = 0.01  # of each exact test
FALL = (
    5  # points by which FGSM accuracy must be able to fall undetected for a constant one to count
)
ZERO = 1  # percent of images whose gradient may be zero
SATURATED = 80  # margin of logits at which a gradient vanishes in float32

CLEAN = "epsilon 0 changes no prediction"
SAME = "an image gets the same logits twice"
SLOPE = f"at most {ZERO} % of the images have a gradient of zero"
FALLS = "FGSM accuracy falls with epsilon"
BELOW = "PGD accuracy is not above FGSM's"
NEAR = f"FGSM is less than {FAR} points above PGD"
SQUARE = "Square accuracy is not below PGD's"
FREE = "PGD without a bound leaves nothing right"
SIGNS = {  # text of the figure where the check fails
    SAME: "random outputs",
    SLOPE: "gradients of zero",
    FALLS: "FGSM does not fall with epsilon",
    BELOW: "PGD above FGSM",
    NEAR: "FGSM far above PGD",
    SQUARE: "Square below PGD",
    FREE: "PGD without a bound leaves some",
    FLAGS["Square Attack"]: "Square finds what AutoAttack's gradients missed",
}

RANDOM = "the network is random (dropout, noise) or its outputs depend on the batch"
CHANCE = "the network is at chance or constant, so there is nothing to attack"
FLAT = "zero gradients: a step of the network has none (quantisation, integers)"
LARGE = "zero gradients: the logits are so large that the softmax saturates"
STEPS = "PGD's steps do not suit the ball"
BENT = "one step is too weak here: read PGD's accuracy"
MASKED = "masked gradients"


def outcomes_by_epsilon(samples: Samples, attack: str) -> dict[float, np.ndarray]:
    """Which images withstood an attack, by epsilon in 1/255, in the order measured."""
    found = {}
    for name, outcomes in samples.items():
        key, at, epsilon = name.partition("@")
        if key == attack and at and not name.endswith("-index"):
            found[float(epsilon)] = outcomes
    return found


def gaps(samples: Samples) -> dict[float, Difference]:
    """FGSM accuracy less PGD accuracy in points, by epsilon in 1/255, where both were measured."""
    fgsm, found = outcomes_by_epsilon(samples, "fgsm"), {}
    for epsilon, outcomes in outcomes_by_epsilon(samples, "pgd").items():
        if epsilon in fgsm:
            fractions = [fgsm[epsilon].astype(float)], [outcomes.astype(float)]
            value, low, high, p = paired_test(*fractions)
            found[epsilon] = Difference(100 * value, 100 * low, 100 * high, p)
    return found


def check(rows: Rows, samples: Samples, *, suited: bool = True) -> None:
    """Add a row for each sanity check that these samples allow.

    Args:
        suited: whether PGD's steps suit its balls.
    """
    known = _cause(samples)
    steps = "" if suited else STEPS
    causes = {CLEAN: RANDOM, NEAR: BENT, BELOW: known or steps, SQUARE: known or steps}
    for claim, passed, n in (*_fgsm_checks(samples), *_pgd_checks(samples), *_flags(samples)):
        cause = "" if passed else causes.get(claim, known) or MASKED
        rows.check(claim, passed, n, cause=cause or np.nan)


def _fgsm_checks(samples: Samples) -> Iterator[Check]:
    n, fgsm = len(samples["clean"]), outcomes_by_epsilon(samples, "fgsm")
    if 0 in fgsm:
        yield CLEAN, np.array_equal(fgsm[0], samples["clean"]), n
    if "same-twice" in samples:
        yield SAME, bool(samples["same-twice"].all()), n
    if "zero-gradient" in samples:
        yield SLOPE, 100 * samples["zero-gradient"].mean() <= ZERO, n
    if len(fgsm) > 1:
        yield FALLS, _is_decreasing(samples), n


def _pgd_checks(samples: Samples) -> Iterator[Check]:
    n, pgd = len(samples["clean"]), outcomes_by_epsilon(samples, "pgd")
    fgsm = outcomes_by_epsilon(samples, "fgsm")
    if pgd:
        weaker = {0.0: samples["clean"], **fgsm}
        worse = [
            is_above(pgd[epsilon], weaker[smaller])
            for epsilon in pgd
            for smaller in weaker
            if smaller <= epsilon
        ]
        yield BELOW, not any(worse), n
    if pgd.keys() & fgsm.keys():
        yield NEAR, not any(gap.low >= FAR for gap in gaps(samples).values()), n
    square = []
    for epsilon, outcomes in outcomes_by_epsilon(samples, "Square").items():
        if epsilon in pgd:
            index = samples.get(f"Square@{epsilon:g}-index", samples["index"])
            square.append((pgd[epsilon][np.isin(samples["index"], index)], outcomes))
    if square:
        yield SQUARE, not any(is_above(*pair) for pair in square), max(len(a) for a, _ in square)
    if "pgd-unbounded" in samples:
        yield FREE, not samples["pgd-unbounded"].any(), len(samples["pgd-unbounded"])


def _flags(samples: Samples) -> Iterator[Check]:
    names = [name for name in samples if name.endswith("-flags")]
    for number, claim in enumerate(FLAGS.values() if names else ()):
        raised = any(samples[name][number] for name in names)
        yield claim, not raised, max(len(samples[n.removesuffix("-flags")]) for n in names)


def is_above(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether more of the same images are correct in the first (N,) than the second, beyond noise.

    Example:
        >>> few, many = np.arange(20) < 10, np.arange(20) < 14
        >>> is_above(many, few), is_above(np.repeat(many, 10), np.repeat(few, 10))
        (False, True)
    """
    more, fewer = int((first & ~second).sum()), int((second & ~first).sum())
    if 100 * (more - fewer) <= NOISE * len(first):
        return False
    return bool(stats.binomtest(more, more + fewer, alternative="greater").pvalue < LEVEL)


def _is_decreasing(samples: Samples) -> bool:
    """Whether FGSM accuracy nowhere rises above chance with epsilon, nor is constant.

    Below chance it may rise: a step that is too long ends anywhere. Standing still counts where
    that many images would have revealed a fall of :data:`FALL` points and where no attack without a
    bound shows that the gradient is a guide.
    """
    sweep = outcomes_by_epsilon(samples, "fgsm")
    first, *_, last = (sweep[epsilon] for epsilon in sorted(sweep))
    rises = any(
        is_above(sweep[far], sweep[near]) and _beats_guessing(sweep[far], samples)
        for near, far in combinations(sorted(sweep), 2)
    )
    seen = LEVEL ** (1 / len(first)) > 1 - FALL / 100  # of no image, an exact bound on the rate
    guided = "pgd-unbounded" in samples and not samples["pgd-unbounded"].any()
    still = last.mean() >= first.mean() > 0 and seen and not guided
    return not rises and not still


def _beats_guessing(correct: np.ndarray, samples: Samples) -> bool:
    """Whether more are correct than by always predicting the commonest class, beyond noise."""
    if "guess" not in samples:
        return True
    guessed = float(samples["guess"].mean())
    test = stats.binomtest(int(correct.sum()), len(correct), guessed, alternative="greater")
    return bool(test.pvalue < LEVEL)


def _cause(samples: Samples) -> str:
    """What is known to explain the signs of masked gradients; empty where nothing is."""
    if not samples.get("same-twice", np.ones(1, bool)).all():
        return RANDOM
    if not _beats_guessing(samples["clean"], samples):
        return CHANCE
    zero = samples.get("zero-gradient", np.zeros(1, bool))
    if 100 * zero.mean() <= ZERO:
        return ""
    return LARGE if np.median(samples["margin"][zero]) > SATURATED else FLAT
