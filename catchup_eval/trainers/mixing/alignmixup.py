"""AlignMixup: features moved to the partner's places before they are mixed (Venkataramanan 2022).

The places are matched by optimal transport, solved as in the reference code
(shashankvkt/AlignMixup_CVPR22), but without reading anything back from the device.
"""

from math import log

import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.settings import NonNegative, validate_settings
from catchup_eval.trainers.base import Criterion, Method
from catchup_eval.trainers.mixing.input_mixup import input_mixup
from catchup_eval.trainers.mixing.shared.features import feature_method, layout_of, stages_of
from catchup_eval.trainers.mixing.shared.pairs import Pairs, weighted_mean

EPSILON = 0.1  # of the entropy, in units of the cost
ITERATIONS = 100
TOLERANCE = 0.1  # stop where the row potentials move by less: summed over rows, mean over pairs
TINY = 1e-8  # beside the marginals, inside their logarithm


def sinkhorn(cost: Tensor) -> Tensor:
    """The transport plans (N, P, P) for costs (N, P, P) between P points of equal weight each.

    Entropic, eps 0.1, in the logarithmic domain: rows and columns are scaled to sums of 1 / P in
    turn, 100 times or until the row potentials of the whole batch have all but converged. A plan
    that has converged is then left alone instead of leaving the loop early, so that nothing is read
    from the device; the plan is the same. Large costs leave rows that do not sum to 1 / P by then;
    the columns do.
    """
    marginal = log(1 / cost.shape[-1] + TINY)
    plan = -cost / EPSILON  # its logarithm
    converged = torch.zeros((), dtype=torch.bool, device=cost.device)
    for _ in range(ITERATIONS):
        rows = plan.log_softmax(2) + marginal
        moved = EPSILON * (rows - plan)[:, :, 0].abs().sum(1).mean()
        plan = torch.where(converged, plan, rows.log_softmax(1) + marginal)
        converged = converged | (moved < TOLERANCE)
    return plan.exp()


@torch.no_grad()
def alignment(features: Tensor, partner: Tensor) -> Tensor:
    """(N, P, P): how much of each place of the partner (N,) belongs to each place of the image.

    The transport plan between the P = H * W positions of two feature maps (N, C, H, W), times P;
    its cost is the squared distance of their channels, not normalised. Its columns, the places of
    the partner, sum to 1; its rows do as far as :func:`sinkhorn` has converged. In single
    precision or better. A constant: no gradient passes through it.
    """
    precise = features.to(torch.promote_types(features.dtype, torch.float32))
    points = precise.flatten(2).mT
    # Matrix products would lose more digits than the entropy leaves room for.
    distance = torch.cdist(points, points[partner], compute_mode="donot_use_mm_for_euclid_dist")
    return sinkhorn(distance.square()) * distance.shape[-1]


def align_mix(features: Tensor, pairs: Pairs, *, move_partner: bool, prefix: int = 0) -> Tensor:
    """The weighted mean of features (N, C, H, W) and the partners', one of the two aligned.

    The places are the image's where the partner is moved, else the partner's. The first `prefix`
    rows (N, C, prefix, W) have no place, as class tokens, and stay where they are.
    """
    fixed, placed = features[:, :, :prefix], features[:, :, prefix:]
    plan = alignment(placed, pairs.partner).to(features.dtype)
    own = placed.flatten(2)
    other = own[pairs.partner]
    own, other = (own, other @ plan.mT) if move_partner else (own @ plan, other)
    mixed = pairs.weight * own + (1 - pairs.weight) * other
    mixed = mixed.view_as(placed).to(features.dtype)
    return torch.cat([weighted_mean(fixed, pairs), mixed], 2) if prefix else mixed


@validate_settings()
def alignmixup(
    model: nn.Module, *, criterion: Criterion = cross_entropy, alpha: NonNegative = 2.0
) -> Method:
    """Mixed images, or last features mixed place by matching place (Venkataramanan et al. 2022).

    A step is input mixup or aligns and mixes what the last stage gives, each half of the time; a
    coin decides whose features are moved. Where the head averages that map at once, only the mean
    over places counts, and moving leaves the mean as it is: there it differs from Manifold Mixup at
    the last stage only by what the transport plan's rows lack of their sums. Class tokens are mixed
    and not moved; where the head reads one, moving the patches changes nothing. Draws, in this
    order: the layer, the weight, the partners; at the last stage also who is moved.

    Args:
        model: a :class:`~catchup_eval.models.classifier.Classifier` with stages.
        alpha: the weight is from Beta(alpha, alpha), at the input too; 2.0 is the paper's. 0 mixes
            nothing, and moves nothing.
    """

    prefix = layout_of(model).prefix

    def mix(features: Tensor, pairs: Pairs, generator: Generator) -> tuple[Tensor, Pairs]:
        move_partner = generator.random() < 0.5
        if pairs.weight == 1:
            return features, pairs
        return align_mix(features, pairs, move_partner=move_partner, prefix=prefix), pairs

    return feature_method(
        model,
        criterion=criterion,
        layers=[0, len(stages_of(model))],
        alpha=alpha,
        at_input=input_mixup(model, criterion=criterion, alpha=alpha),
        mix=mix,
    )
