"""The residual branches of a network, found without knowing its family."""

from collections.abc import Callable

from torch import nn

from catchup_eval.core.errors import UserError
from catchup_eval.trainers.base import unwrap_compiled
from catchup_eval.trainers.regularizers.base import LayerNoise, Noise, NoisyModule

SHORTCUTS = ("shortcut", "downsample", "convShortcut")  # names of a block's shortcut


def branch_ends(model: nn.Module) -> list[nn.Module]:
    """The last layer of each residual branch, in the order of the blocks' definition.

    A residual block is a module with an attribute `shortcut` or `downsample`. Its branch ends with
    its last child that has weights, the shortcut aside, and if that is a sequence, with its last
    module: a convolution in a pre-activation block, a batch norm in others.

    Raises:
        UserError: no residual block, or one whose branch ends otherwise, so that noise there would
            not be noise on the branch.
    """
    inner = unwrap_compiled(model)
    blocks = [module for module in inner.modules() if any(hasattr(module, s) for s in SHORTCUTS)]
    if not blocks:
        raise UserError(
            "expected residual blocks, modules with an attribute shortcut or downsample; "
            f"{type(getattr(inner, 'net', inner)).__name__} has none"
        )
    return [_branch_end(block) for block in blocks]


def _branch_end(block: nn.Module) -> nn.Module:
    children = [child for name, child in block.named_children() if name not in SHORTCUTS]
    weighted = [child for child in children if any(True for _ in child.parameters())]
    end = weighted[-1] if weighted else None
    while isinstance(end, nn.Sequential):
        end = end[-1]
    if not isinstance(end, nn.Conv2d | nn.BatchNorm2d | nn.SyncBatchNorm):
        raise UserError(
            f"expected the branch of a {type(block).__name__} to end with a convolution or a batch "
            f"norm, got {'nothing with weights' if end is None else type(end).__name__}"
        )
    return end


def noisy_branches(model: nn.Module, drop: float, noise: Callable[[float], Noise]) -> LayerNoise:
    """Noise at the end of each residual branch, rarer at the first, and its mean in evaluation.

    Args:
        drop: the last branch's probability of being disturbed; it rises linearly, from
            `drop / branches` at the first.
        noise: from that probability to the noise; with it, a branch is worth nothing on average.

    Raises:
        UserError: as :func:`branch_ends`.
    """
    ends = branch_ends(model)
    drops = [drop * (number + 1) / len(ends) for number in range(len(ends))]
    return LayerNoise(model, [NoisyModule(end, noise(p), 1 - p) for end, p in zip(ends, drops)])
