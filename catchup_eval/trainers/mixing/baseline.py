"""No mixing: the loss of the batch as it is."""

from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.trainers.base import Criterion, Method, StatelessMethod
from catchup_eval.trainers.mixing.shared.criteria import batch_loss


def baseline(model: nn.Module, *, criterion: Criterion = cross_entropy) -> Method:
    """The batch as it is, nothing mixed; draws nothing."""

    def loss(images: Tensor, labels: Tensor, _generator: Generator) -> Tensor:
        return batch_loss(criterion, model(images), labels)

    return StatelessMethod(loss)
