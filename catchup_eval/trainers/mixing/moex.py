"""MoEx: the moments of one image's features given to another's (Li et al. 2021)."""

import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.settings import Fraction, validate_settings
from catchup_eval.trainers.base import Criterion, Method, StatelessMethod
from catchup_eval.trainers.mixing.baseline import baseline
from catchup_eval.trainers.mixing.shared.features import feature_method
from catchup_eval.trainers.mixing.shared.pairs import Pairs

EPSILON = 1e-5  # of the reference code, added to the variance, under the root


def positional_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the channels of `features` (N, C, H, W), each (N, 1, H, W).

    Positional normalisation (PONO, Li et al. 2019): for each image and position,
    `sqrt(unbiased variance + 1e-5)`. There must be two channels or more.
    """
    variance, mean = torch.var_mean(features, dim=1, keepdim=True, correction=1)
    return mean, (variance + EPSILON).sqrt()


def exchange_moments(features: Tensor, partner: Tensor) -> Tensor:
    """The features (N, C, H, W), normalised, with the moments of each one's `partner` (N,).

    In single precision or better; gradients pass through the moments of both images.
    """
    precise = features.to(torch.promote_types(features.dtype, torch.float32))
    mean, std = positional_moments(precise)
    mixed = (precise - mean) / std * std[partner] + mean[partner]
    return mixed.to(features.dtype)


@validate_settings()
def moex(
    model: nn.Module,
    *,
    criterion: Criterion = cross_entropy,
    weight: Fraction = 0.5,
    probability: Fraction = 0.25,
) -> Method:
    """Moments of the stem's features exchanged between two images (Li et al. 2021).

    The reference code for CIFAR runs the stem a second time, for the partners; here one pass serves
    both, as in the variant of that code that is given their order. Draws, in this order: whether to
    exchange; then the partners.

    Args:
        model: a :class:`~catchup_eval.models.classifier.Classifier` with stages; the first is the
            stem, of two channels or more. The reference code has no pre-activation network to say
            where the stem of one ends.
        weight: of the label of the image whose normalised features stay; the one that gives the
            moments has the rest. 0.5 in the reference commands for CIFAR, 0.9 for ImageNet.
        probability: that a step exchanges at all: 0.25 there for CIFAR, 1.0 for ImageNet.
    """

    def mix(features: Tensor, pairs: Pairs, _generator: Generator) -> tuple[Tensor, Pairs]:
        return exchange_moments(features, pairs.partner), pairs._replace(weight=weight)

    clean = baseline(model, criterion=criterion)
    exchanging = feature_method(
        model,
        criterion=criterion,
        layers=[1],  # the stem
        alpha=0,  # no weight is drawn
        at_input=clean,
        mix=mix,
    )

    def loss(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        exchanges = generator.random() < probability
        return (exchanging if exchanges else clean)(images, labels, generator)

    return StatelessMethod(loss, exchanging.close)
