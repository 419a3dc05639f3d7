"""The statistics that batch norms stored in training, against those of the images at hand.

A check of network and preprocessing that needs no labels. What it gives on 256 images (the largest
shift of a mean in stored standard deviations; the median |ln| of the ratio of variances):

    published CIFAR networks (ResNet-8, -20, -32, WRN-10-1), right      .33 to .39   .11 to .14
    their images of the other CIFAR                                     .34 to .42   .07 to .12
    published EfficientNet-Lite0 on ImageNet, right (64 and 32 images)  1.4 to 1.7   .15
    trained on the digits with mixing methods (input mixup the most)    .27 to .46   .04 to .45
    inner ReLUs of the CIFAR blocks missing                             28 to 6,400  1.3 to 4.7
    their images divided by 255 twice                                   1.7 to 2.3   2.4 to 2.6
    their images not normalised                                         1.1 to 1.6   .8 to 1.5
    noise for images                                                    4.1 to 5.1   .4 to .8

It does not see what hardly moves these statistics: red and blue swapped (.5 to .7, .1), another
dataset's normalisation (.3 to .5, .1 to .2; .5 for mean and std: .8 to 1, .2 to .6), EfficientNet's
images not normalised (1.9, .2), one convolution's filters in another order (2.9 to 4.6, .2 to .5),
a wrong order of classes; and nothing in networks without batch norm, or where it is folded into
convolutions.
"""

from collections.abc import Iterable, Sequence
from math import exp
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from catchup_eval.models.classifier import Classifier
from catchup_eval.models.matching import same_shapes
from catchup_eval.models.modes import eval_mode

IMAGES = 256  # that are enough
LARGEST_SHIFT, LARGEST_LOG_RATIO = 4.0, 0.7  # of right networks, with a margin; see above
FIRST_VALUES = 0.05  # weight that running statistics may still give to what they began with


class StatisticsMismatch(NamedTuple):
    """How far the images' statistics are from the stored ones, over the channels of all norms."""

    shift: float  # the largest |mean - stored mean| / stored standard deviation
    log_ratio: float  # the median |ln(variance / stored variance)|

    @property
    def is_gross(self) -> bool:
        """Whether right networks are far from it."""
        return not (self.shift <= LARGEST_SHIFT and self.log_ratio <= LARGEST_LOG_RATIO)

    def __str__(self) -> str:
        factor = exp(min(self.log_ratio, 99))
        return (
            f"means off by up to {self.shift:.2g} standard deviations, variances {factor:.2g}-fold"
        )


def statistics_note(model: Classifier, batches: Sequence[Tensor]) -> str:
    """What a gross mismatch may mean; empty where there is none.

    Where networks of the package have the names and shapes of these weights, they are ranked by it.

    Args:
        batches: images in [0, 1], :data:`IMAGES` in all.
    """
    here = statistics_mismatch(model, batches)
    if here is None or not here.is_gross:
        return ""
    weights, found = model.net.state_dict(), {here: ""}  # of those that compute the same, one
    dtype = next(value.dtype for value in weights.values() if value.is_floating_point())
    images = [model.normalize(batch).to(dtype) for batch in batches]
    for match in same_shapes(weights):
        there = statistics_mismatch(match.build(weights), images)
        if there is not None and not found.get(there):
            found[there] = match.spec
    ranked = "; ".join(f"{found[each] or 'this one'}: {each}" for each in sorted(found))
    others = f". Networks of these names and shapes, the likeliest first: {ranked}"
    return (
        "wrong network or preprocessing? At its batch norms, these images do not have the "
        f"statistics that were stored in training: {here}{others if len(found) > 1 else ''}"
    )


@torch.no_grad()
def statistics_mismatch(model: nn.Module, batches: Iterable[Tensor]) -> StatisticsMismatch | None:
    """The mismatch of the batches' statistics, over one pass in evaluation mode.

    Args:
        batches: what the model takes, a few hundred images in all.

    Returns:
        None where no batch norm has statistics of a training, or is called as a module.
    """
    moments: dict[nn.Module, Tensor] = {}  # count, sum and sum of squares (3, C), means taken off

    def record(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, _BatchNorm) and norm.running_mean is not None
        rest = [each for each in range(inputs[0].ndim) if each != 1]
        parts = (*torch.var_mean(inputs[0].float(), rest, correction=0), norm.running_mean)
        variance, mean, stored = (each.cpu().double() for each in parts)
        count = inputs[0].numel() / len(mean)
        off = mean - stored
        found = count * torch.stack([torch.ones_like(off), off, variance + off**2])
        moments[norm] = moments[norm] + found if norm in moments else found

    norms = [each for each in model.modules() if isinstance(each, _BatchNorm) and _is_settled(each)]
    handles = [norm.register_forward_pre_hook(record) for norm in norms]
    try:
        with eval_mode(model):
            for images in batches:
                model(images)
    finally:
        for handle in handles:
            handle.remove()
    if not moments:
        return None
    shifts, ratios = zip(*(_compare(norm, found) for norm, found in moments.items()), strict=True)
    return StatisticsMismatch(float(torch.cat(shifts).max()), float(torch.cat(ratios).median()))


def _is_settled(norm: _BatchNorm) -> bool:
    """Whether its statistics come from a training, one of many batches as far as it counts them."""
    mean, variance, count = norm.running_mean, norm.running_var, norm.num_batches_tracked
    if mean is None or variance is None or bool((mean == 0).all() and (variance == 1).all()):
        return False
    steps = 0 if count is None else int(count)  # which old files lack: 0
    return not steps or norm.momentum is None or (1 - norm.momentum) ** steps < FIRST_VALUES


def _compare(norm: nn.Module, moments: Tensor) -> tuple[Tensor, Tensor]:
    """Shift and |ln| ratio of variances of each channel (C,)."""
    assert isinstance(norm, _BatchNorm) and norm.running_var is not None
    mean, square = moments[1:] / moments[0]
    stored = norm.running_var.double().cpu() + norm.eps
    ratio = ((square - mean**2).clamp_min(0) + norm.eps) / stored
    return mean.abs() / stored.sqrt(), ratio.log().abs()
