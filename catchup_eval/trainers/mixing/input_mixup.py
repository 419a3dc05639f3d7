"""Input mixup: the weighted mean of two images (Zhang et al. 2018, equation 1)."""

from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.settings import NonNegative, validate_settings
from catchup_eval.trainers.base import Criterion, Method, StatelessMethod
from catchup_eval.trainers.mixing.shared.pairs import draw_pairs, pair_loss, weighted_mean


@validate_settings()
def input_mixup(
    model: nn.Module, *, criterion: Criterion = cross_entropy, alpha: NonNegative = 1.0
) -> Method:
    """The weighted mean of two images, at every step (Zhang et al. 2018).

    Draws, in this order: the weight, the partners.

    Args:
        alpha: the weight is from Beta(alpha, alpha); 1.0 is the reference script's for CIFAR
            (facebookresearch/mixup-cifar10), 0.2 the usual one for Tiny-ImageNet and ImageNet;
            0 mixes nothing.
    """

    def loss(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        pairs = draw_pairs(generator, alpha, images)
        return pair_loss(criterion, model(weighted_mean(images, pairs)), labels, pairs)

    return StatelessMethod(loss)
