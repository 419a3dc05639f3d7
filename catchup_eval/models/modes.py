"""Mode, `requires_grad` and precision for a while; all are restored, also after an error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; then each submodule has its own mode again.

    `model.train()` afterwards would also wake batch norms that the owner froze.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def freeze_parameters(model: nn.Module) -> Iterator[None]:
    """No gradients for the parameters for a while, so that a backward pass leaves no trace."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    for parameter, _ in flags:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@contextmanager
def full_precision() -> Iterator[None]:
    """Products in float32 for a while.

    By default torch lets recent GPUs round the inputs of a convolution to TF32, ten bits of
    fraction, which moves logits in the third digit.
    """
    backends: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    allowed = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = False
        yield
    finally:
        for backend, before in zip(backends, allowed, strict=True):
            backend.allow_tf32 = before
