"""Feature learning on synthetic data: simulations that train their own networks.

`SIMULATIONS` has the shape of `ANALYSES`, but `measure(device, progress, *, settings)` takes no
context: it returns the results of all `METHODS` and of seeds 0, 1, ..., joined.
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
        METHODS: that it trains them with, each with `seeds` seeds.
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
    """The installed version of each analysis and simulation."""
    return {name: analysis.VERSION for name, analysis in KNOWN.items()}
