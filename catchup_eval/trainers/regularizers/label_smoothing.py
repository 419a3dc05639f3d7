"""Label smoothing: a little of each label given to the other classes."""

from functools import partial
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.errors import UnknownName
from catchup_eval.trainers.regularizers.base import Regularizer, check_open_fraction

Shared = Literal["all", "others"]


def label_smoothing(
    model: nn.Module, *, epsilon: float = 0.1, shared_by: Shared = "all"
) -> Regularizer:
    """Cross-entropy with labels that are not quite certain (Szegedy et al. 2016).

    Args:
        model: left alone.
        epsilon: the share of each label that is given away; 0.1 is the paper's.
        shared_by: "all", each of the K classes has epsilon / K of it, the label's own included, so
            that it keeps 1 - epsilon + epsilon / K (the paper's and torch's convention); "others",
            the label keeps 1 - epsilon and the others have epsilon / (K - 1) (RecursiveMix's code).

    Raises:
        UserError: an `epsilon` that is no share below 1.
        UnknownName: another `shared_by`.
    """
    check_open_fraction("epsilon", epsilon)
    if shared_by not in get_args(Shared):
        raise UnknownName("convention of label smoothing", str(shared_by), get_args(Shared))

    if shared_by == "all":
        return Regularizer(criterion=partial(cross_entropy, label_smoothing=epsilon))

    def criterion(logits: Tensor, labels: Tensor) -> Tensor:
        classes = logits.shape[1]
        spread = epsilon * classes / (classes - 1)
        return cross_entropy(logits, labels, label_smoothing=spread)

    return Regularizer(criterion=criterion)
