"""Label smoothing: a little of each label given to the other classes."""

from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.settings import validate_settings
from catchup_eval.trainers.regularizers.base import BelowOne, Regularizer


@validate_settings()
def label_smoothing(
    model: nn.Module, *, epsilon: BelowOne = 0.1, shared_by: Literal["all", "others"] = "all"
) -> Regularizer:
    """Cross-entropy with labels that are not quite certain (Szegedy et al. 2016).

    Args:
        model: left alone.
        epsilon: the fraction of each label that is given away; 0.1 is the paper's.
        shared_by: "all", each of the K classes has epsilon / K of it, the label's own included, so
            that it keeps 1 - epsilon + epsilon / K (the paper's and torch's convention); "others",
            the label keeps 1 - epsilon and the others have epsilon / (K - 1) (RecursiveMix's code).
    """
    if shared_by == "all":
        return Regularizer(criterion=partial(cross_entropy, label_smoothing=epsilon))

    def criterion(logits: Tensor, labels: Tensor) -> Tensor:
        classes = logits.shape[1]
        spread = epsilon * classes / (classes - 1)
        return cross_entropy(logits, labels, label_smoothing=spread)

    return Regularizer(criterion=criterion)
