"""What one image costs a network: floating-point operations and seconds."""

from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor, nn

from catchup_eval.models.modes import eval_mode

REPEATS, LONGEST = 10, 1.0  # timed passes, and the seconds after which no further one begins


class Complexity(NamedTuple):
    """Of a forward pass of one image."""

    flops: int  # a multiplication and an addition are two
    seconds: float  # median


@torch.no_grad()
def measure_complexity(model: nn.Module, image: Tensor) -> Complexity:
    """FLOPs and latency of a forward pass; the time goes for this device and this moment.

    Args:
        image: (1, C, H, W) on the model's device.

    Example:
        >>> measure_complexity(nn.Linear(3, 2), torch.ones(1, 3)).flops
        12
    """
    from torch.utils.flop_counter import FlopCounterMode  # a third of a second, for triton

    with eval_mode(model):
        with FlopCounterMode(display=False) as counter:
            model(image)
        seconds: list[float] = []
        while len(seconds) < REPEATS and sum(seconds) < LONGEST:
            started = perf_counter()
            model(image)
            if image.is_cuda:
                torch.cuda.synchronize(image.device)
            seconds.append(perf_counter() - started)
    return Complexity(counter.get_total_flops(), median(seconds))
