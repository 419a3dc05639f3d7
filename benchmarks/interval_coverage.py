"""How often the intervals of detection hold the truth: a simulation, without network or data.

    python benchmarks/interval_coverage.py

For each family of scores, n + n of them and each AUROC: the fraction of simulated sets whose 95 %
interval holds the true AUROC, average precision and false positive rate at a recall of 95 % (rule
"first"), and for a tenth of the sets the percentile bootstrap's, which the toolkit had before.
`normal`: both sides normal, of equal spread. `ties`: the same, cut into six levels. `wide`: the
spread of the OOD scores is three times that of the ID scores.

Truths covered in percent, of 1,000 simulated sets (seed 0), and in parentheses by the percentile
bootstrap, of 100 of the sets:

| AUROC | n | .5 | .8 | .95 | .99 | .999 |
|---|---|---|---|---|---|---|
| normal | 10 | 95 (91) | 97 (88) | 97 (77) | 96 (40) | 97 (6) |
| normal | 30 | 96 (94) | 96 (95) | 98 (91) | 99 (83) | 99 (33) |
| normal | 100 | 93 (91) | 94 (94) | 98 (93) | 99 (92) | 99 (79) |
| normal | 1000 | 95 (94) | 96 (95) | 98 (94) | 99 (95) | 100 (94) |
| ties | 10 | 96 (90) | 98 (93) | 98 (78) | 98 (62) | 98 (17) |
| ties | 30 | 97 (97) | 97 (95) | 98 (92) | 99 (86) | 97 (57) |
| ties | 100 | 95 (93) | 95 (93) | 98 (93) | 99 (91) | 98 (85) |
| ties | 1000 | 96 (92) | 96 (94) | 98 (97) | 100 (96) | 99 (89) |
| wide | 10 | 95 (92) | 98 (88) | 96 (65) | 94 (22) | 98 (2) |
| wide | 30 | 95 (91) | 95 (93) | 98 (83) | 96 (66) | 97 (12) |
| wide | 100 | 94 (93) | 94 (92) | 95 (93) | 96 (76) | 94 (50) |
| wide | 1000 | 95 (96) | 95 (94) | 96 (97) | 96 (97) | 97 (82) |

| AUPR | n | .5 | .8 | .95 | .99 | .999 |
|---|---|---|---|---|---|---|
| normal | 10 | 96 (83) | 99 (84) | 98 (73) | 98 (40) | 97 (6) |
| normal | 30 | 95 (86) | 94 (87) | 99 (88) | 99 (81) | 99 (33) |
| normal | 100 | 96 (92) | 93 (94) | 97 (89) | 99 (90) | 99 (76) |
| normal | 1000 | 96 (94) | 95 (97) | 96 (95) | 99 (93) | 100 (95) |
| ties | 10 | 99 (90) | 98 (86) | 98 (83) | 98 (62) | 98 (17) |
| ties | 30 | 99 (91) | 97 (93) | 98 (91) | 99 (88) | 97 (57) |
| ties | 100 | 99 (94) | 96 (93) | 97 (92) | 98 (89) | 97 (85) |
| ties | 1000 | 100 (95) | 97 (95) | 97 (97) | 98 (95) | 98 (83) |
| wide | 10 | 98 (87) | 99 (88) | 98 (66) | 97 (22) | 98 (2) |
| wide | 30 | 97 (93) | 98 (93) | 99 (87) | 98 (69) | 97 (12) |
| wide | 100 | 96 (93) | 98 (94) | 98 (94) | 98 (81) | 97 (55) |
| wide | 1000 | 96 (94) | 98 (95) | 98 (96) | 99 (97) | 99 (87) |

| FPR95 | n | .5 | .8 | .95 | .99 | .999 |
|---|---|---|---|---|---|---|
| normal | 10 | 100 (85) | 98 (87) | 97 (82) | 97 (40) | 98 (6) |
| normal | 30 | 100 (96) | 98 (92) | 98 (90) | 98 (92) | 98 (33) |
| normal | 100 | 99 (98) | 97 (96) | 96 (94) | 98 (93) | 99 (52) |
| normal | 1000 | 96 (95) | 97 (97) | 96 (97) | 95 (92) | 97 (90) |
| ties | 10 | 100 (99) | 100 (82) | 99 (75) | 97 (61) | 99 (17) |
| ties | 30 | 100 (99) | 98 (98) | 99 (93) | 98 (91) | 100 (57) |
| ties | 100 | 100 (100) | 98 (100) | 95 (98) | 97 (94) | 99 (91) |
| ties | 1000 | 100 (100) | 94 (92) | 93 (90) | 95 (91) | 94 (94) |
| wide | 10 | 100 (49) | 100 (76) | 92 (56) | 96 (22) | 100 (2) |
| wide | 30 | 100 (19) | 100 (89) | 95 (86) | 99 (75) | 100 (12) |
| wide | 100 | 100 (5) | 100 (96) | 97 (90) | 98 (91) | 100 (7) |
| wide | 1000 | 100 (1) | 97 (97) | 96 (97) | 97 (96) | 100 (0) |
"""

from argparse import ArgumentParser
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

from catchup_eval.metrics import detection

AREAS = (0.5, 0.8, 0.95, 0.99, 0.999)
SIZES = (10, 30, 100, 1000)
CUTS = np.arange(-1.0, 4.0)
GRID = np.linspace(-60, 60, 200_001)
RESAMPLES = 200
METHODS: dict[str, tuple[Callable, Callable]] = {
    "AUROC": (detection.auroc, detection.auroc_interval),
    "AUPR": (detection.average_precision, detection.precision_interval),
    "FPR95": (
        lambda curve: detection.fpr_at_recall(curve, rule="first"),
        lambda curve: detection.false_positives_interval(curve, rule="first"),
    ),
}


class Scores(NamedTuple):
    """Two sides whose AUROC is known where nothing is cut."""

    distance: float
    spread: float = 1.0
    cut: bool = False

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """ID and OOD scores, n of each."""
        sides = rng.normal(0, 1, n), rng.normal(self.distance, self.spread, n)
        levels = [np.searchsorted(CUTS, side).astype(float) for side in sides]
        return (levels[0], levels[1]) if self.cut else sides

    def truth(self) -> dict[str, float]:
        """AUROC, average precision at equal sizes, and false positive rate."""
        at = np.append(np.append(-np.inf, CUTS), np.inf) if self.cut else GRID
        recall, false = (
            stats.norm.sf(at, *side)[::-1] for side in ((self.distance, self.spread), (0, 1))
        )
        found, precision = np.diff(recall), recall[1:] / np.maximum(recall[1:] + false[1:], 1e-300)
        return {
            "AUROC": float((np.diff(false) * (recall[1:] + recall[:-1])).sum() / 2),
            "AUPR": float((found * precision).sum()),
            "FPR95": float(false[(recall >= 0.95).argmax()]),
        }


def families(area: float) -> dict[str, Scores]:
    """The three families at this AUROC."""
    z = float(stats.norm.ppf(area))
    return {
        "normal": Scores(np.sqrt(2) * z),
        "ties": Scores(np.sqrt(2) * z, cut=True),
        "wide": Scores(np.sqrt(10) * z, spread=3.0),
    }


def bootstrapped(rng: np.random.Generator, sides: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    """Percentile limits by resampling each side."""
    curves = [
        detection.sweep(*(rng.choice(side, len(side)) for side in sides)) for _ in range(RESAMPLES)
    ]
    return {
        name: np.quantile([statistic(curve) for curve in curves], [0.025, 0.975])
        for name, (statistic, _) in METHODS.items()
    }


def coverage(scores: Scores, n: int, sets: int, seed: int) -> dict[str, tuple[float, float, float]]:
    """For each number: percent of the sets covered, by bootstrap too; the mean width."""
    rng, truth = np.random.default_rng([seed, n]), scores.truth()
    found: dict[str, list[np.ndarray]] = {name: [] for name in METHODS}
    old: dict[str, list[np.ndarray]] = {name: [] for name in METHODS}
    for number in range(sets):
        sides = scores.draw(rng, n)
        curve = detection.sweep(*sides)
        for name, (_, interval) in METHODS.items():
            found[name].append(np.array(interval(curve)))
        for name, limits in (bootstrapped(rng, sides) if number < sets // 10 else {}).items():
            old[name].append(limits)
    return {
        name: (
            *(_share(np.array(limits[name]), truth[name]) for limits in (found, old)),
            100 * float(np.diff(found[name]).mean()),
        )
        for name in METHODS
    }


def _share(limits: np.ndarray, truth: float) -> float:
    low, high = limits.T
    return 100 * float(((low <= truth + 1e-9) & (truth - 1e-9 <= high)).mean())


def main() -> None:
    """Print a line for each family, size, AUROC and number."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("scores   n + n  AUROC  number  covered (%)  by bootstrap  mean width (points)")
    for n in SIZES:
        for area in AREAS:
            for family, scores in families(area).items():
                for name, (new, old, width) in coverage(
                    scores, n, options.sets, options.seed
                ).items():
                    row = f"{family:7} {n:6} {area:6} {name:>7} {new:12.1f} {old:13.1f}"
                    print(f"{row} {width:20.2f}", flush=True)


if __name__ == "__main__":
    main()
