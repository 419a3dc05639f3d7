"""Manifold Mixup: the weighted mean of two images' features (Verma et al. 2019)."""

from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.settings import NonNegative, validate_settings
from catchup_eval.trainers.base import Criterion, Method
from catchup_eval.trainers.mixing.input_mixup import input_mixup
from catchup_eval.trainers.mixing.shared.features import Layers, choose_layers, feature_method
from catchup_eval.trainers.mixing.shared.pairs import Pairs, weighted_mean


@validate_settings()
def manifold_mixup(
    model: nn.Module,
    *,
    criterion: Criterion = cross_entropy,
    alpha: NonNegative = 2.0,
    layers: Layers = (0, 2, 3),
) -> Method:
    """The weighted mean of two images, at the input or within the network (Verma et al. 2019).

    With cross-entropy, as in later code; the official code has binary cross-entropy on the softmax.
    Draws as :func:`~catchup_eval.trainers.mixing.shared.features.feature_method` says.

    Args:
        model: a :class:`~catchup_eval.models.classifier.Classifier` with stages.
        alpha: the weight is from Beta(alpha, alpha), at the input too; 2.0 is the official CIFAR
            setting, 0.2 that for Tiny-ImageNet. 0 mixes nothing.
        layers: drawn uniformly; 0 is the input, 1 the stem, 2 the first stage after it. The default
            is the set {0, 1, 2} of the official code, which does not count the stem by itself: its
            1 is the output of the first residual stage, its 2 of the second. For wide residual
            networks the paper takes the input and the first stage: (0, 2). Which set the Catch-up
            Mix paper ran is not known.
    """

    def mix(features: Tensor, pairs: Pairs, _generator: Generator) -> tuple[Tensor, Pairs]:
        return weighted_mean(features, pairs), pairs

    return feature_method(
        model,
        criterion=criterion,
        layers=choose_layers(model, layers),
        alpha=alpha,
        at_input=input_mixup(model, criterion=criterion, alpha=alpha),
        mix=mix,
    )
