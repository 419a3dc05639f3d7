"""What is trained, and at which rate."""

from typing import Any

import torch
from torch import nn

from catchup_eval.models.classifier import Classifier
from catchup_eval.trainers.mixing.method import Loss
from catchup_eval.trainers.recipe import Optimiser


def make_optimiser(model: Classifier, method: Loss, settings: Optimiser) -> torch.optim.SGD:
    """SGD over all parameters that are to be trained, those that the method adds included.

    On CUDA one kernel moves them all (`fused`). On a CPU that would save less than 1 % of a step,
    and round otherwise.
    """
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
        fused=all(parameter.is_cuda for parameter in network + added) or None,
    )


def load_optimiser_state(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Go on from a state, computing it as is best here, wherever it was saved."""
    optimiser.load_state_dict(state)
    for group in optimiser.param_groups:
        group["fused"] = optimiser.defaults["fused"]


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _without(parameters: list[nn.Parameter], others: list[nn.Parameter]) -> list[nn.Parameter]:
    left_out = {*map(id, others)}
    return [parameter for parameter in parameters if id(parameter) not in left_out]
