"""Signs of masked gradients, by which a network looks robust to attacks that need them.

From the samples of :mod:`catchup_eval.analysis.adversarial` alone: whether each image is still
right, by attack and epsilon, as in `fgsm@4`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from catchup_eval.autoattack import FLAGS
from catchup_eval.results import Rows
from catchup_eval.statistics import Difference, paired

Samples = Mapping[str, np.ndarray]

FAR = 20  # points of FGSM above PGD that the page warns of; an ordinary CIFAR-10 ResNet-20 has 19
NOISE = 1  # points by which two accuracies may be in the wrong order

CLEAN = "epsilon 0 changes no prediction"
FALLS = "FGSM accuracy falls with epsilon"
BELOW = "PGD accuracy is not above FGSM's"
NEAR = f"FGSM is less than {FAR} points above PGD"
SQUARE = "Square accuracy is not below PGD's"
FREE = "PGD without a bound leaves nothing right"
SIGNS = {  # of masked gradients: what the figure says where the check fails
    FALLS: "FGSM does not fall with epsilon",
    BELOW: "PGD above FGSM",
    SQUARE: "Square below PGD",
    FREE: "PGD without a bound leaves some",
    FLAGS["Square Attack"]: "Square finds what AutoAttack's gradients missed",
}


def by_radius(samples: Samples, attack: str) -> dict[float, np.ndarray]:
    """Who withstood an attack, by epsilon in 1/255, in the order measured."""
    names = [name.partition("@") for name in samples if not name.endswith("-index")]
    return {
        float(radius): samples[f"{attack}@{radius}"]
        for name, at, radius in names
        if name == attack and at
    }


def gaps(samples: Samples) -> dict[float, Difference]:
    """FGSM accuracy less PGD accuracy in points, by epsilon in 1/255, where both were measured."""
    one, many = (by_radius(samples, attack) for attack in ("fgsm", "pgd"))
    return {
        epsilon: paired([100.0 * one[epsilon]], [100.0 * right])
        for epsilon, right in many.items()
        if epsilon in one
    }


def check(rows: Rows, samples: Samples) -> None:
    """Add a row for each self-check that these samples allow."""
    n = len(samples["clean"])
    sweep = by_radius(samples, "fgsm")
    if 0 in sweep:
        rows.check(CLEAN, np.array_equal(sweep[0], samples["clean"]), n)
    if len(sweep) > 1:
        rows.check(FALLS, _falls([100 * sweep[epsilon].mean() for epsilon in sorted(sweep)]), n)
    above = [gap.value for gap in gaps(samples).values()]
    if above:
        rows.check(BELOW, min(above) >= -NOISE, n)
        rows.check(NEAR, max(above) < FAR, n)
    beaten = _beaten_by_square(samples)
    if beaten:
        points, count = max(beaten)
        rows.check(SQUARE, points <= NOISE, count)
    if "pgd-unbounded" in samples:
        rows.check(FREE, not samples["pgd-unbounded"].any(), len(samples["pgd-unbounded"]))
    _autoattack(rows, samples)


def _autoattack(rows: Rows, samples: Samples) -> None:
    names = [name for name in samples if name.endswith("-flags")]
    for number, claim in enumerate(FLAGS.values() if names else ()):
        raised = any(samples[name][number] for name in names)
        rows.check(claim, not raised, max(len(samples[n.removesuffix("-flags")]) for n in names))


def _falls(rates: Sequence[float]) -> bool:
    """Whether rates are lower at the end, if they can be, and never rise beyond the noise."""
    return (rates[-1] < rates[0] or rates[0] == 0) and max(np.diff(rates)) <= NOISE


def _beaten_by_square(samples: Samples) -> list[tuple[float, int]]:
    """Points of PGD accuracy above Square's and on how many images, for each common epsilon."""
    many, index = by_radius(samples, "pgd"), samples["index"]
    points = []
    for epsilon, right in by_radius(samples, "Square").items():
        among = np.isin(index, samples.get(f"Square@{epsilon:g}-index", index))
        if epsilon in many:
            points.append((100 * float(many[epsilon][among].mean() - right.mean()), len(right)))
    return points
