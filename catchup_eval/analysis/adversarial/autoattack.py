"""The standard AutoAttack (Croce & Hein 2020), as pyautoattack has it; the extra `autoattack`."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from catchup_eval.analysis.adversarial.attacks import attack_mode
from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import fork_global_rng
from catchup_eval.models.classifier import check_pixel_range
from catchup_eval.models.modes import eval_mode

AUTOATTACK = "AutoAttack"
TARGETS = 9  # classes that the targeted attacks try
FLAGS: Mapping[str, str] = {  # a word of the library's warning: what then does not hold
    "randomized": "AutoAttack: an image gets the same answer every time",
    "probability": "AutoAttack: the outputs are logits",
    "dynamic": "AutoAttack: the network takes no gradient to answer",
    "zero gradient": "AutoAttack: no image has a gradient of zero",
    "Square Attack": "AutoAttack: Square finds at most 0.2 % that gradients missed",
}


class AutoAttack:
    """Standard AutoAttack in the l_inf ball (Croce & Hein 2020), as pyautoattack has it.

    Four attacks, each on the images that the one before left: APGD on the cross-entropy (100
    steps), targeted APGD on the DLR loss and targeted FAB (100 steps each against the 9 likeliest
    other classes, or all there are), Square (5,000 queries).

    Args:
        model: takes pixels in [0, 1], gives logits (N, K), K >= 4.
        epsilon: radius of the l_inf ball, in units of [0, 1].
        batch_size: images at a time; the more images a call is given, the fuller the batches of
            the later attacks.

    Attributes:
        warnings: what the library warned of, in its words; see :data:`FLAGS`.

    Raises:
        UserError: pyautoattack is not installed.
    """

    def __init__(self, model: nn.Module, epsilon: float, batch_size: int):
        self._build = _pyautoattack()
        self._model, self._epsilon, self._batch_size = model, epsilon, batch_size
        self.warnings: list[str] = []

    def __call__(self, images: Tensor, labels: Tensor, generator: np.random.Generator) -> Tensor:
        """Adversarial images (N, C, H, W); an image that withstands stays as it is.

        Raises:
            UserError: pixels outside [0, 1], or fewer than four classes.
        """
        check_pixel_range(images)
        others = classes(self._model, images) - 1
        if others < 3:
            raise UserError(f"{AUTOATTACK}'s DLR loss needs 4 classes or more, got {others + 1}")
        seed = int(generator.integers(2**31))
        with (
            attack_mode(self._model, images.device),
            fork_global_rng(generator),
            _capture_warnings(self.warnings),
        ):
            attack = self._build(self._model, eps=self._epsilon, seed=seed, device=images.device)
            for targeted in (attack.apgd_targeted, attack.fab):
                targeted.n_target_classes = min(TARGETS, others)
            adversarial: Tensor = attack.run_standard_evaluation(
                images, labels, batch_size=self._batch_size
            )[0]
        return adversarial.detach()

    @property
    def flags(self) -> np.ndarray:
        """(5,) bool: which of :data:`FLAGS` were raised."""
        return np.array([any(word in text for text in self.warnings) for word in FLAGS])


class _Listener(logging.Handler):
    def __init__(self, heard: list[str]):
        super().__init__(logging.WARNING)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.append(record.getMessage())


@contextmanager
def _capture_warnings(warnings: list[str]) -> Iterator[None]:
    """Collect what pyautoattack logs instead of printing it; give back the tracer it takes away."""
    logger, listener, tracer = logging.getLogger("auto-attack"), _Listener(warnings), sys.gettrace()
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.propagate = propagated
        sys.settrace(tracer)


def _pyautoattack() -> Callable[..., Any]:
    try:
        standard: Callable[..., Any] = import_module("pyautoattack").AutoAttack
    except ImportError:
        raise UserError(
            f"the attack {AUTOATTACK} needs pyautoattack, which is not installed; "
            'pip install "catchup-eval[autoattack]"'
        ) from None
    return standard


@torch.no_grad()
def classes(model: nn.Module, images: Tensor) -> int:
    """How many logits the model gives."""
    with eval_mode(model):
        return int(model(images[:1]).shape[1])
