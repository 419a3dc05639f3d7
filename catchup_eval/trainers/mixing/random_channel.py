"""RandomChannelMix: the control for Catch-up Mix's choice of channels (Kang et al. 2024, B.2)."""

import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.rng import torch_generator
from catchup_eval.core.settings import NonNegative, validate_settings
from catchup_eval.trainers.base import Criterion, Method
from catchup_eval.trainers.mixing.baseline import baseline
from catchup_eval.trainers.mixing.shared import features as feature_mixing
from catchup_eval.trainers.mixing.shared.pairs import Pairs


def random_channel_mask(features: Tensor, weight: float, generator: Generator) -> Tensor:
    """(N, C) bool: floor(weight * C) random channels for each image of `features` (N, C, H, W).

    Drawn on the host, so that every device gets the same ones.
    """
    noise = torch.rand(features.shape[:2], generator=torch_generator(generator))
    return feature_mixing.keep_lowest(noise.to(features.device, non_blocking=True), weight)


@validate_settings()
def random_channel(
    model: nn.Module,
    *,
    criterion: Criterion = cross_entropy,
    alpha: NonNegative = 10.0,
    layers: feature_mixing.Layers = None,
    clean_input: bool = True,
    label_ratio: feature_mixing.LabelRatio = "sampled",
) -> Method:
    """Random channels from one image, the rest from another: a control (Kang et al. 2024, B.2).

    As :func:`~catchup_eval.trainers.mixing.catchup.catchup` without a partner at the input, in all
    but the choice of channels. The paper has no more details; assumed here: channels are drawn for
    each image anew, and the numbers of channels, the weight and the labels are Catch-up Mix's.

    Args:
        model: a :class:`~catchup_eval.models.classifier.Classifier` with stages.
        alpha: the weight is from Beta(alpha, alpha); Catch-up Mix's. 0 keeps every channel.
        layers: drawn uniformly; 0 is the input, 1 the stem. By default all.
        clean_input: at layer 0 the batch stays clean (true), or 0 is no layer (false).
        label_ratio: as in Catch-up Mix.
    """

    def mask(features: Tensor, pairs: Pairs, generator: Generator) -> Tensor:
        return random_channel_mask(features, pairs.weight, generator)

    return feature_mixing.feature_method(
        model,
        criterion=criterion,
        layers=feature_mixing.choose_layers(model, layers, first=int(not clean_input)),
        alpha=alpha,
        at_input=baseline(model, criterion=criterion),
        mix=feature_mixing.mix_channels(mask, label_ratio),
    )
