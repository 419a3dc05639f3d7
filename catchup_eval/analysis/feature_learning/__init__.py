"""Feature learning on synthetic data: networks that the questions train themselves.

`SIMULATIONS` has the shape of `ANALYSES`, but `measure(device, progress, *, settings)` takes no
subject: it gives the results of all `METHODS` and of seeds 0, 1, ..., joined.

data_model.py, network.py    what is learned, and by what
expected_losses.py           ERM, Cutout and CutMix, exact
channel_mixing.py            Catch-up Mix and its control, sampled
methods.py, descent.py       the ways to train, and one step after the other
simulation.py                many seeds and methods at once
unseen.py, trained.py        what came of it
features.py, claims.py       the question of Oh and Yun (2024), and whether its claims show
filters.py                   an experiment beyond it: what each filter learns
"""

from typing import Protocol

from catchup_eval.analysis.feature_learning import features, filters
from catchup_eval.question import Analysis


class Simulation(Analysis, Protocol):
    """An analysis that trains its own networks.

    Attributes:
        METHODS: that it trains them with, each with as many seeds as the setting `seeds` says.
    """

    METHODS: tuple[str, ...]


SIMULATIONS: dict[str, Simulation] = {"feature_learning": features, "filter_learning": filters}
