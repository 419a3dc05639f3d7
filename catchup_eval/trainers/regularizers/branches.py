"""The residual branches of a network, found without knowing its family."""

from collections.abc import Callable

from torch import nn

from catchup_eval.core.errors import UserError
from catchup_eval.trainers.regularizers.base import (
    LayerNoise,
    Noise,
    NoisyModule,
    check_open_fraction,
)

SHORTCUTS = ("shortcut", "downsample", "convShortcut")  # how blocks call the way around a branch
ENDS = (nn.Conv2d, nn.BatchNorm2d)

BranchNoise = Callable[[float], Noise]  # probability of being disturbed -> noise


def branch_ends(model: nn.Module) -> list[nn.Module]:
    """The last layer of each residual branch, in the order of the blocks' definition.

    A residual block is a module with an attribute `shortcut` or `downsample`. Its branch ends with
    its last child that has weights, that way around aside, and if that is a sequence, with its last
    module: a convolution in a pre-activation block, a batch norm in others.

    Raises:
        UserError: no residual block, or one whose branch ends otherwise, so that noise there would
            not be noise on the branch.
    """
    inner = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    blocks = [module for module in inner.modules() if any(hasattr(module, s) for s in SHORTCUTS)]
    if not blocks:
        raise UserError(
            "expected residual blocks, modules with an attribute shortcut or downsample; "
            f"{type(getattr(inner, 'net', inner)).__name__} has none"
        )
    return [_end(block) for block in blocks]


def _end(block: nn.Module) -> nn.Module:
    parts = [part for name, part in block.named_children() if name not in SHORTCUTS]
    weighted = [part for part in parts if any(True for _ in part.parameters())]
    end = weighted[-1] if weighted else None
    while isinstance(end, nn.Sequential):
        end = end[-1]
    if not isinstance(end, ENDS):
        raise UserError(
            f"expected the branch of a {type(block).__name__} to end with a convolution or a batch "
            f"norm, got {'nothing with weights' if end is None else type(end).__name__}"
        )
    return end


def linear_probabilities(blocks: int, last: float) -> list[float]:
    """Probabilities from `last / blocks` at the first block to `last` at the last, linearly.

    Example:
        >>> linear_probabilities(4, 0.5)
        [0.125, 0.25, 0.375, 0.5]
    """
    return [last * (block + 1) / blocks for block in range(blocks)]


def noisy_branches(model: nn.Module, drop: float, noise: BranchNoise) -> LayerNoise:
    """Noise at the end of each residual branch, rarer at the first, and its mean in evaluation.

    Args:
        drop: the last branch's probability of being disturbed; others as
            :func:`linear_probabilities` has them.
        noise: from that probability to the noise; with it, a branch is worth nothing on average.

    Raises:
        UserError: as :func:`branch_ends`, or a `drop` that is no probability below 1.
    """
    check_open_fraction("drop", drop)
    ends = branch_ends(model)
    shares = linear_probabilities(len(ends), drop)
    return LayerNoise(model, [NoisyModule(end, noise(p), 1 - p) for end, p in zip(ends, shares)])
