"""Feature learning on synthetic data: networks that the questions train themselves.

`SIMULATIONS` has the shape of `ANALYSES`, but `measure(device, progress, *, settings)` takes no
subject: it gives the results of all `METHODS` and of seeds 0, 1, ..., joined.

model.py         what is learned, and by what
losses.py        ERM, Cutout and CutMix, exact
methods.py       the ways to train; Catch-up Mix and its control, sampled
simulation.py    one step after the other, many seeds and methods at once
evaluation.py    what came of it
features.py      the question of Oh and Yun (2024), and whether its claims show
filters.py       an experiment beyond it: what each filter learns
plot.py          what the figures of both have in common
"""

from collections import ChainMap
from collections.abc import Mapping
from typing import Protocol, cast

from catchup_eval.analysis import ANALYSES
from catchup_eval.analysis.base import PARTS, Analysis
from catchup_eval.core.registry import LazyEntry, Registry


class Simulation(Analysis, Protocol):
    """An analysis that trains its own networks.

    Attributes:
        METHODS: that it trains them with, each with as many seeds as the setting `seeds` says.
    """

    METHODS: tuple[str, ...]


SIMULATIONS: Registry[Simulation] = Registry(
    "",
    {
        "feature_learning": LazyEntry(f"{__name__}.features"),
        "filter_learning": LazyEntry(f"{__name__}.filters"),
    },
    parts=PARTS,
    about="DESCRIPTION",
)

# All that a report can show: first the analyses. (A ChainMap reads its maps, and imports nothing.)
KNOWN = cast(Mapping[str, Analysis], ChainMap(SIMULATIONS, ANALYSES))  # type: ignore[arg-type]


def analysis_versions() -> dict[str, int]:
    """Which version of each question this is."""
    return {name: analysis.VERSION for name, analysis in KNOWN.items()}
