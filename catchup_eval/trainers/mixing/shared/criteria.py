"""The loss of a batch, of each sample, of mixed labels, from a criterion known by its values alone.

A criterion may weigh classes, smooth labels, leave some out, take the mean or the sum; all that is
expected of it is that it is a sum over samples, each weighed by its label. A mixture's loss is then
`lam * criterion(x, a) + (1 - lam) * criterion(x, b)`, as in facebookresearch/mixup-cifar10. What
the sources leave open: with class weights each of the two is divided by its own sum of weights, and
since partners are a permutation of the batch, these sums are one and the same. Methods that weigh
each sample by itself keep that divisor: at a weight of 1, every method's loss is the criterion's.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss

from catchup_eval.core.errors import UserError
from catchup_eval.trainers.base import Criterion

PLAIN = 1e-4  # a sample that counts as much as in a plain mean, but for this, counts just so


class Weights(NamedTuple):
    """What the two labels of each sample weigh; the two need not sum to one."""

    own: Tensor  # (N,)
    other: Tensor  # (N,)


def batch_loss(criterion: Criterion, logits: Tensor, labels: Tensor) -> Tensor:
    """(): what `criterion` gives for logits (N, K) and labels, in single precision or better.

    Args:
        labels: (N,), or (N, K) for a criterion that takes probabilities.

    Raises:
        UserError: it gives more than one number.
    """
    loss = criterion(_precise(logits), labels)
    if loss.numel() != 1:
        raise UserError(
            "expected a criterion that gives one number for a batch (reduction 'mean' or 'sum'), "
            f"got {tuple(loss.shape)} for logits {tuple(logits.shape)}"
        )
    return loss.reshape(())


def sample_losses(
    criterion: Criterion, logits: Tensor, labels: Tensor, sources: Tensor | None = None
) -> Tensor:
    """(N,) or (m, N): the loss of each sample, of which `criterion` gives the mean for the batch.

    For plain cross-entropy this is `reduction="none"`. With class weights w a sample's loss is
    multiplied by N w / sum(w); what the criterion leaves out has loss 0. In single precision or
    better.

    Args:
        criterion: a sum over samples, each weighed by its label. One that is not torch's
            cross-entropy is computed for each sample alone: at once where `torch.vmap` can run it,
            else one after the other. The weight of each in the batch is found from its gradients.
        logits: (N, K).
        labels: (N,), of the images of the batch.
        sources: (N,) or (m, N) rows of the batch: whose label is meant in place of the sample's
            own. The weight of a label is determined by `labels`.

    Raises:
        UserError: as :func:`batch_loss`.
    """
    precise = _precise(logits)
    losses = _cross_entropies(criterion, labels) or _black_box(criterion, precise, labels)
    if sources is None:
        sources = torch.arange(len(labels), device=labels.device)
    return losses(precise, sources)


def _precise(logits: Tensor) -> Tensor:
    """Autocast does this for torch's losses, but on a CPU not for those composed of functions."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


# logits (N, K), rows of the batch (N,) or (m, N) -> the losses for their labels, as many
SampleLosses = Callable[[Tensor, Tensor], Tensor]


def _cross_entropies(criterion: Criterion, labels: Tensor) -> SampleLosses | None:
    """The same for torch's cross-entropy, in whichever form; None for other criteria."""
    settings = _cross_entropy_settings(criterion)
    if settings is None:
        return None
    weight, smoothing = settings.get("weight"), settings.get("label_smoothing", 0.0)
    left_out = settings.get("ignore_index", -100)
    counted = (labels != left_out).float()
    if weight is not None:
        counted = counted * weight[torch.where(counted > 0, labels, 0)]
    total = counted.sum() if settings.get("reduction", "mean") == "mean" else 1.0
    scale = len(labels) / total

    def losses(logits: Tensor, rows: Tensor) -> Tensor:
        wanted = labels[rows].flatten()
        log = logits.log_softmax(1).expand(*rows.shape, -1).flatten(0, -2)  # once for all rows
        loss = nll_loss(log, wanted, weight, ignore_index=left_out, reduction="none")
        if smoothing:
            spread = -(log if weight is None else log * weight).sum(1)
            spread = spread.masked_fill(wanted == left_out, 0)
            loss = (1 - smoothing) * loss + smoothing / log.shape[1] * spread
        return scale * loss.view(rows.shape)

    return losses


def _cross_entropy_settings(criterion: Criterion) -> dict[str, Any] | None:
    """With which keywords `cross_entropy` is this criterion; None where it is another one."""
    if criterion is cross_entropy:
        return {}
    if isinstance(criterion, partial) and criterion.func is cross_entropy and not criterion.args:
        settings = dict(criterion.keywords)
    elif type(criterion) is nn.CrossEntropyLoss and not criterion._forward_hooks:
        names = ("weight", "ignore_index", "reduction", "label_smoothing")
        settings = {name: getattr(criterion, name) for name in names}
    else:
        return None
    return settings if settings.get("reduction", "mean") in ("mean", "sum") else None


def _black_box(criterion: Criterion, logits: Tensor, labels: Tensor) -> SampleLosses:
    """Each sample as a batch of one, times what it counts in the batch of these labels."""
    count, stand_in = _counts(criterion, logits, labels)

    def losses(logits: Tensor, rows: Tensor) -> Tensor:
        many = logits.expand(*rows.shape, -1).flatten(0, -2)
        alone = _alone(criterion, many, stand_in[rows].flatten())
        return count[rows] * alone.view(rows.shape)

    return losses


def _alone(criterion: Criterion, logits: Tensor, labels: Tensor) -> Tensor:
    """(N,): what the criterion gives for each sample as a batch of one."""

    def alone(logit: Tensor, label: Tensor) -> Tensor:
        return batch_loss(criterion, logit[None], label[None])

    try:
        return torch.vmap(alone)(logits, labels)
    except RuntimeError:  # what vmap cannot run: changes in place, branches on values
        return torch.stack([alone(*sample) for sample in zip(logits, labels)])


def _counts(criterion: Criterion, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(N,), what each sample counts in the criterion, in units of 1 / N; and labels to use.

    A sample's slope in the batch is the slope that it has alone, times its fraction of the batch.
    They are compared where all logits are 0. A sample without slope there counts nothing, and since
    alone it would be 0 / 0, another's label replaces its own. Where no sample has a slope, the
    criterion is taken for a plain mean.
    """
    probe = torch.zeros_like(logits, requires_grad=True)
    with torch.enable_grad():
        together = _slopes(batch_loss(criterion, probe, labels), probe)
        counted = together.abs().amax(1) > 0
        other = labels[counted.long().argmax(0, keepdim=True)]
        stand_in = torch.where(counted | ~counted.any(), labels, other)
        alone = _slopes(_alone(criterion, probe, stand_in).sum(), probe)
    count = len(labels) * (together * alone).sum(1) / alone.square().sum(1)
    count = torch.where(counted.any() & count.isfinite(), count, 1.0)
    return torch.where((count - 1).abs() < PLAIN, 1.0, count), stand_in


def _slopes(loss: Tensor, probe: Tensor) -> Tensor:
    """(N, K): the gradient at the probe; 0 where the loss does not depend on it."""
    if not loss.requires_grad:
        return torch.zeros_like(probe)
    (slopes,) = torch.autograd.grad(loss, probe, allow_unused=True)
    return torch.zeros_like(probe) if slopes is None else slopes


def weighted_loss(
    criterion: Criterion, logits: Tensor, labels: Tensor, partner: Tensor, weights: Weights
) -> Tensor:
    """Mean over the batch of each sample's loss for its own label and for its partner's (N,)."""
    own = sample_losses(criterion, logits, labels)
    other = sample_losses(criterion, logits, labels, partner)
    return (weights.own * own + weights.other * other).mean()


def mixed_labels_loss(
    criterion: Criterion, logits: Tensor, targets: Tensor, labels: Tensor
) -> Tensor:
    """The loss for labels that are mixed into probabilities `targets` (N, K).

    For probabilities torch's cross-entropy divides by N also where it weighs classes; here the
    divisor stays the sum of the weights of `labels` (N,), the images' own, so that the loss for
    labels that are not mixed is the criterion's own. Any other criterion is taken at its word.

    Raises:
        UserError: a criterion that does not take probabilities.
    """
    try:
        loss = batch_loss(criterion, logits, targets)
    except UserError:
        raise
    except (RuntimeError, IndexError, TypeError, ValueError) as error:
        raise UserError(
            "expected a criterion that takes labels as probabilities (N, K), as torch's "
            f"cross_entropy does without ignore_index, got {' '.join(str(error).split())!r}"
        ) from error
    settings = _cross_entropy_settings(criterion) or {}
    weight = settings.get("weight")
    if weight is None or settings.get("reduction", "mean") != "mean":
        return loss
    scale: Tensor = len(labels) / weight[labels].sum()
    return scale * loss
