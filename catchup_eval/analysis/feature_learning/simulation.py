"""A whole simulation: many seeds and methods, on all cores or on an accelerator."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise, repeat
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from catchup_eval.analysis.feature_learning.data_model import DataModel, Points
from catchup_eval.analysis.feature_learning.descent import Descent, Record, Schedule
from catchup_eval.analysis.feature_learning.methods import Method
from catchup_eval.analysis.feature_learning.network import Network
from catchup_eval.errors import UserError

Progress = Callable[[int, int], None]
TOGETHER = 5  # seeds in one batch on a processor: more do not fit its cache


class Run(NamedTuple):
    """What came of S seeds and M methods, on the CPU."""

    iterations: np.ndarray  # (T,)
    responses: np.ndarray  # (T, S, M, C, 2 K): phi(<w, v>), features in the order of `Points`
    losses: np.ndarray  # (T, S, M)
    filters: Tensor  # (S, M, C, d), the last ones
    points: Points  # the data


def simulate(
    data: DataModel,
    network: Network,
    methods: Mapping[str, Method],
    schedule: Schedule,
    seeds: Sequence[int],
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> Run:
    """Train one network for each seed and method.

    The methods of a seed share its data, its first weights, and what each step draws. On a
    processor, torch's threads work on different seeds: one operation is too short to be shared.

    Args:
        device: where to compute, in double precision.
        progress: called with (done, total) iterations at each record.

    Raises:
        UserError: no seeds.
    """
    if not seeds:
        raise UserError("expected 1 or more seeds, got none")
    workers, batches = _shared_out(seeds, device)
    build = partial(Descent, data, network, list(methods.values()), schedule, device)
    recorded = schedule.recorded()
    kept = []
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        descents = list(pool.map(build, batches))
        for before, until in pairwise([0, *recorded]):
            kept.append(list(pool.map(Descent.advance, descents, repeat(until - before))))
            if progress:
                progress(until, schedule.iterations)
        filters = torch.cat([some.cpu() for some in pool.map(Descent.filters, descents)])
    points = Points(*(torch.cat(f).cpu() for f in zip(*(d.points for d in descents), strict=True)))
    return Run(np.array(recorded), *_stacked(kept), filters, points)


def _shared_out(
    seeds: Sequence[int], device: torch.device | None
) -> tuple[int, list[Sequence[int]]]:
    """How many workers there are, and batches of seeds that keep all of them busy."""
    if device is not None and device.type != "cpu":
        return 1, [seeds]
    workers = torch.get_num_threads()
    count = workers * -(-len(seeds) // (workers * TOGETHER))
    edges = [len(seeds) * number // count for number in range(count + 1)]
    return workers, [seeds[low:high] for low, high in pairwise(edges) if high > low]


def _stacked(kept: Sequence[Sequence[Record]]) -> tuple[np.ndarray, np.ndarray]:
    """Records over time, of batches of seeds, as responses and losses."""
    responses = np.stack([np.concatenate([some.responses for some in now]) for now in kept])
    losses = np.stack([np.concatenate([some.losses for some in now]) for now in kept])
    return responses, losses
