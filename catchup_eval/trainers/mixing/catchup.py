"""Catch-up Mix: source channels that lag behind, the target's elsewhere (Kang et al. 2024).

No official code was found; this follows the paper's section 2.2 and Algorithm 1.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.settings import NonNegative, validate_settings
from catchup_eval.trainers.base import Criterion, Method
from catchup_eval.trainers.mixing.baseline import baseline
from catchup_eval.trainers.mixing.cutmix import cutmix
from catchup_eval.trainers.mixing.input_mixup import input_mixup
from catchup_eval.trainers.mixing.shared import features as feature_mixing
from catchup_eval.trainers.mixing.shared.pairs import Pairs

INPUT_PARTNERS: dict[str, Callable[..., Method]] = {
    "cutmix": partial(cutmix, alpha=1.0, probability=1.0),  # appendix B.1: its official alpha
    "input_mixup": partial(input_mixup, alpha=0.2),  # likewise
    "none": baseline,
}


def relative_influence(features: Tensor, partner: Tensor) -> Tensor:
    """(N, C): each channel's fraction of its image's influence, less its fraction in the partner.

    The influence is the L2 norm over space of each map of `features` (N, C, H, W), equation 4; this
    is equation 5, for partners (N,). An image whose features are all zero has fractions of zero. In
    single precision or better: norms of half-precision features may lie beyond their range.
    """
    dtype = torch.promote_types(features.dtype, torch.float32)
    influence = torch.linalg.vector_norm(features, dim=(2, 3), dtype=dtype)
    total = influence.sum(1, keepdim=True)
    fraction: Tensor = influence / total.clamp_min(torch.finfo(total.dtype).tiny)
    return fraction - fraction[partner]


@torch.no_grad()
def catchup_mask(features: Tensor, partner: Tensor, weight: float) -> Tensor:
    """(N, C) bool: the channels that each image of `features` (N, C, H, W) keeps.

    The floor(weight * C) channels with the lowest influence relative to the partner (N,); of equal
    ones the first. Algorithm 1.
    """
    return feature_mixing.keep_lowest(relative_influence(features, partner), weight)


@validate_settings()
def catchup(
    model: nn.Module,
    *,
    criterion: Criterion = cross_entropy,
    alpha: NonNegative = 10.0,
    layers: feature_mixing.Layers = None,
    input_partner: Literal["cutmix", "input_mixup", "none"] = "cutmix",
    clean_input: bool = True,
    label_ratio: feature_mixing.LabelRatio = "sampled",
) -> Method:
    """Channels that lag behind from one image, the rest from another (Kang et al. 2024).

    One layer and one weight for the batch, one mask for each image. The mask is a constant: no
    gradient passes through the influence. Draws as
    :func:`~catchup_eval.trainers.mixing.shared.features.feature_method` says.

    Args:
        model: a :class:`~catchup_eval.models.classifier.Classifier` with stages.
        alpha: within the network the weight is from Beta(alpha, alpha). The paper takes 10 for
            Tiny-ImageNet, the fine-grained sets, MobileNetV2 and VGG-11 (appendix B.3). For
            CIFAR-100 its text says 0.5, but Table 1 prints the number that Table 10 gives for 1.0;
            for ImageNet none is stated. 0 keeps every channel.
        layers: drawn uniformly; 0 is the input, 1 the stem, 2 the first stage after it. By default
            all, as in the paper.
        input_partner: what happens at layer 0, with a weight and labels of its own: "cutmix" (the
            paper's), "input_mixup" (appendix B.1, and the landscapes of Figure 3) or "none".
        clean_input: for the partner "none", which the paper leaves open: at layer 0 the batch stays
            clean (true), or 0 is no layer (false).
        label_ratio: the label's weight within the network: "sampled", as drawn (Algorithm
            1), or "mask", the fraction of the channels that stay.
    """
    inside_only = input_partner == "none" and not clean_input

    def mask(features: Tensor, pairs: Pairs, _generator: Generator) -> Tensor:
        return catchup_mask(features, pairs.partner, pairs.weight)

    return feature_mixing.feature_method(
        model,
        criterion=criterion,
        layers=feature_mixing.choose_layers(model, layers, first=int(inside_only)),
        alpha=alpha,
        at_input=INPUT_PARTNERS[input_partner](model, criterion=criterion),
        mix=feature_mixing.mix_channels(mask, label_ratio),
    )
