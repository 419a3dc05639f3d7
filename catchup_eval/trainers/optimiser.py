"""What is trained, and at which rate."""

from typing import Any

import torch
from torch import nn

from catchup_eval.models.classifier import Classifier
from catchup_eval.trainers.mixing.method import Loss
from catchup_eval.trainers.recipe import Optimiser


def make_optimiser(model: Classifier, method: Loss, settings: Optimiser) -> torch.optim.SGD:
    """SGD over all parameters that are to be trained, those that the method adds included."""
    network = _trainable(model)
    own = _trainable(method) if isinstance(method, nn.Module) else []
    added = _without(own, network)
    head = [] if settings.head_lr is None else _trainable(model.head) + added
    groups: list[dict[str, Any]] = [
        {"params": _without(network + added, head), "base_lr": settings.lr},
        {"params": head, "base_lr": settings.head_lr},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov,
    )


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _without(parameters: list[nn.Parameter], others: list[nn.Parameter]) -> list[nn.Parameter]:
    left_out = {*map(id, others)}
    return [parameter for parameter in parameters if id(parameter) not in left_out]
