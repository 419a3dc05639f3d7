"""Self-checks of adversarial accuracy: does the attack find what there is to find?

From the samples of :mod:`catchup_eval.analysis.adversarial` alone: whether each image is still
right, by attack and epsilon, as in `fgsm@4`. Signs of masked gradients, by which a network looks
robust to attacks that need them (Athalye et al. 2018, section 3.1, from memory; Verma et al. 2019,
section 5.3), have other causes, too. Each failed check therefore names its likeliest one:

1. the network is random (dropout or noise in use), or its answers depend on the batch;
2. it is no better than one that always gives the commonest class;
3. its gradient is exactly zero: saturated logits, or a step without a gradient (quantisation);
4. PGD's steps do not suit the ball;
5. masked gradients.

A rate counts as above another one where it is so by more than :data:`NOISE` points and by an exact
one-sided McNemar test over the same images (p < :data:`LEVEL`), so that few images accuse nobody.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
from scipy import stats

from catchup_eval.analysis.adversarial.autoattack import FLAGS
from catchup_eval.metrics.significance import Difference, paired_test
from catchup_eval.results.result import Rows

Samples = Mapping[str, np.ndarray]

FAR = 30  # points of FGSM above PGD; an ordinary CIFAR-10 ResNet-20 has 20
NOISE = 1  # points by which two accuracies may be in the wrong order
LEVEL = 0.01  # of each exact test
FALL = 5  # points by which FGSM accuracy must be able to fall unseen, lest its standing still count
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
SIGNS = {  # what the figure says where the check fails
    SAME: "random answers",
    SLOPE: "gradients of zero",
    FALLS: "FGSM does not fall with epsilon",
    BELOW: "PGD above FGSM",
    NEAR: "FGSM far above PGD",
    SQUARE: "Square below PGD",
    FREE: "PGD without a bound leaves some",
    FLAGS["Square Attack"]: "Square finds what AutoAttack's gradients missed",
}

RANDOM = "the network is random (dropout, noise) or its answers depend on the batch"
CHANCE = "the network is at chance or constant, so there is nothing to attack"
FLAT = "zero gradients: a step of the network has none (quantisation, integers)"
LARGE = "zero gradients: the logits are so large that the softmax saturates"
STEPS = "PGD's steps do not suit the ball"
BENT = "one step is too weak here: read PGD's accuracy"
MASKED = "masked gradients"


def outcomes_by_epsilon(samples: Samples, attack: str) -> dict[float, np.ndarray]:
    """Who withstood an attack, by epsilon in 1/255, in the order measured."""
    names = [name.partition("@") for name in samples if not name.endswith("-index")]
    return {
        float(radius): samples[f"{attack}@{radius}"]
        for name, at, radius in names
        if name == attack and at
    }


def gaps(samples: Samples) -> dict[float, Difference]:
    """FGSM accuracy less PGD accuracy in points, by epsilon in 1/255, where both were measured."""
    one, many = (outcomes_by_epsilon(samples, attack) for attack in ("fgsm", "pgd"))
    return {
        epsilon: in_points(paired_test([one[epsilon].astype(float)], [right.astype(float)]))
        for epsilon, right in many.items()
        if epsilon in one
    }


def in_points(difference: Difference) -> Difference:
    """A difference of two rates in [0, 1] as percentage points."""
    value, low, high, p = difference
    return Difference(100 * value, 100 * low, 100 * high, p)


def check(rows: Rows, samples: Samples, *, suited: bool = True) -> None:
    """Add a row for each self-check that these samples allow.

    Args:
        suited: whether PGD's steps suit its balls.
    """
    known = _cause(samples)
    steps = "" if suited else STEPS
    causes = {CLEAN: RANDOM, NEAR: BENT, BELOW: known or steps, SQUARE: known or steps}
    for claim, passed, n in _checks(samples):
        cause = "" if passed else causes.get(claim, known) or MASKED
        rows.check(claim, passed, n, cause=cause or np.nan)


def _checks(samples: Samples) -> Iterator[tuple[str, bool, int]]:
    """Each claim, whether it holds, and over how many images."""
    n = len(samples["clean"])
    sweep, many = outcomes_by_epsilon(samples, "fgsm"), outcomes_by_epsilon(samples, "pgd")
    if 0 in sweep:
        yield CLEAN, np.array_equal(sweep[0], samples["clean"]), n
    if "same-twice" in samples:
        yield SAME, bool(samples["same-twice"].all()), n
    if "zero-gradient" in samples:
        yield SLOPE, 100 * samples["zero-gradient"].mean() <= ZERO, n
    if len(sweep) > 1:
        yield FALLS, _is_decreasing(samples), n
    if many:
        weaker = {0.0: samples["clean"], **sweep}
        yield (
            BELOW,
            not any(
                above(many[radius], weaker[smaller])
                for radius in many
                for smaller in weaker
                if smaller <= radius
            ),
            n,
        )
    if many.keys() & sweep.keys():
        yield NEAR, not any(gap.low >= FAR for gap in gaps(samples).values()), n
    square = _square(samples)
    if square:
        yield SQUARE, not any(above(*pair) for pair in square), max(len(a) for a, _ in square)
    if "pgd-unbounded" in samples:
        yield FREE, not samples["pgd-unbounded"].any(), len(samples["pgd-unbounded"])
    yield from _autoattack(samples)


def _autoattack(samples: Samples) -> Iterator[tuple[str, bool, int]]:
    names = [name for name in samples if name.endswith("-flags")]
    for number, claim in enumerate(FLAGS.values() if names else ()):
        raised = any(samples[name][number] for name in names)
        yield claim, not raised, max(len(samples[n.removesuffix("-flags")]) for n in names)


def above(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether more of the same images are right in the first (N,) than in the second, beyond noise.

    Example:
        >>> few, many = np.arange(20) < 10, np.arange(20) < 14
        >>> above(many, few), above(np.repeat(many, 10), np.repeat(few, 10))
        (False, True)
    """
    more, fewer = int((first & ~second).sum()), int((second & ~first).sum())
    if 100 * (more - fewer) <= NOISE * len(first):
        return False
    return bool(stats.binomtest(more, more + fewer, alternative="greater").pvalue < LEVEL)


def _is_decreasing(samples: Samples) -> bool:
    """Whether FGSM accuracy nowhere rises above chance with epsilon, nor stands still.

    Below chance it may rise: a step that is too long ends anywhere. Standing still counts where
    that many images would have shown a fall of :data:`FALL` points and where no attack without a
    bound shows that the gradient is a guide.
    """
    sweep = outcomes_by_epsilon(samples, "fgsm")
    first, *_, last = (sweep[radius] for radius in sorted(sweep))
    rises = any(
        above(sweep[far], sweep[near]) and _beats_guessing(sweep[far], samples)
        for near, far in combinations(sorted(sweep), 2)
    )
    seen = LEVEL ** (1 / len(first)) > 1 - FALL / 100  # of no image, an exact bound on the rate
    guided = "pgd-unbounded" in samples and not samples["pgd-unbounded"].any()
    still = last.mean() >= first.mean() > 0 and seen and not guided
    return not rises and not still


def _beats_guessing(right: np.ndarray, samples: Samples) -> bool:
    """Whether so many are right by more than always naming the commonest class, beyond noise."""
    if "guess" not in samples:
        return True
    guessed = float(samples["guess"].mean())
    test = stats.binomtest(int(right.sum()), len(right), guessed, alternative="greater")
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


def _square(samples: Samples) -> list[tuple[np.ndarray, np.ndarray]]:
    """Who withstands PGD and who withstands Square, of Square's images, for each common epsilon."""
    many, index = outcomes_by_epsilon(samples, "pgd"), samples["index"]
    return [
        (many[epsilon][np.isin(index, samples.get(f"Square@{epsilon:g}-index", index))], right)
        for epsilon, right in outcomes_by_epsilon(samples, "Square").items()
        if epsilon in many
    ]
