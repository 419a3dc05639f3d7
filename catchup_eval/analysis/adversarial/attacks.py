"""Adversarial examples within an l_inf or an l_2 ball, in pixels.

Images are in [0, 1] and normalisation is part of the model, so that `epsilon` means the same for
every network. The loss is the sum of the cross-entropies, whose sign is that of the mean but does
not underflow. Passes are in float32 (autocast off; whether a GPU rounds to TF32 is torch's
setting), in evaluation mode, and leave no trace on the model.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from catchup_eval.core.errors import UserError
from catchup_eval.models.classifier import check_pixel_range
from catchup_eval.models.modes import eval_mode, freeze_parameters

Norm = Literal["linf", "l2"]
LEVELS = 255  # radii and step sizes in settings are in 1/255
SMALLEST = 0.2  # in 1/255; 32/255 and 0.1, typed in units of [0, 1], lie below it


def in_levels(radius: float) -> float:
    """The same radius, in 1/255; those in use go down to a quarter.

    Raises:
        UserError: it is no number from 0 to 255, or is below :data:`SMALLEST`: then it was most
            likely typed in units of [0, 1], and would change no prediction.
    """
    if not 0 <= radius <= LEVELS:
        raise UserError(f"expected a radius from 0 to {LEVELS}, in 1/255, got {radius:g}")
    if 0 < radius < SMALLEST:
        levels = _format_levels(radius)
        raise UserError(
            f"expected a radius in 1/255, of {SMALLEST} or more, got {radius:g}; "
            f"{radius:g} in units of [0, 1] is {levels}/255: write {levels}"
        )
    return radius


def _format_levels(value: float) -> str:
    """A value in [0, 1] in 1/255; as a whole number where it is one, rounded as people type it."""
    levels = LEVELS * value
    near = round(levels)
    return str(near) if abs(levels - near) < 0.01 * near else f"{levels:.3g}"


def check_reach(attack: str, radius: float, steps: int, step_size: float, unit: str = "") -> None:
    """Refuse an attack whose steps, all in one direction, stay within the ball.

    Args:
        attack: its name, for the message.
        radius, step_size: in the same `unit`, such as "/255".

    Raises:
        UserError: they do not reach its border.
    """
    reach = steps * step_size
    if reach >= radius * (1 - 1e-6):
        return
    hint = ""
    if unit and LEVELS * reach >= radius:
        hint = f"; {step_size:g} in units of [0, 1] is {_format_levels(step_size)}/255"
    raise UserError(
        f"expected {attack} to reach the border of the ball, {radius:g}{unit}, but {steps} steps "
        f"of {step_size:g}{unit} reach {reach:g}{unit}{hint}"
    )


@contextmanager
def attack_mode(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode, frozen parameters, gradients on, autocast off; all restored."""
    off = torch.autocast(device.type, enabled=False)
    with eval_mode(model), freeze_parameters(model), torch.enable_grad(), off:
        yield


@torch.no_grad()
def compute_logits(model: nn.Module, images: Tensor) -> Tensor:
    """(N, K) in evaluation mode, without gradients."""
    with eval_mode(model):
        logits: Tensor = model(images)
    return logits


def ascent(
    model: nn.Module, images: Tensor, labels: Tensor, norm: Norm = "linf"
) -> tuple[Tensor, Tensor]:
    """The steepest unit step (N, C, H, W) up the loss, and the logits (N, K).

    In l_inf it is the gradient's sign; in l_2 the gradient over its norm, zero where it is zero.
    Arguments as for :func:`fgsm`.

    Raises:
        UserError: a gradient that is not a number.
    """
    with attack_mode(model, images.device):
        points = images.detach().clone().requires_grad_()
        logits = model(points)
        loss = F.cross_entropy(logits, labels, reduction="sum")
        # A network that leaves autograd (integers, NumPy) has a gradient of zero.
        gradient = (
            torch.autograd.grad(loss, points)[0] if loss.requires_grad else torch.zeros_like(points)
        )
    if gradient.isnan().any():
        raise UserError("expected a gradient at every pixel, got one that is not a number")
    return gradient.sign() if norm == "linf" else _unit(gradient), logits.detach()


def _unit(vectors: Tensor) -> Tensor:
    """(N, C, H, W), each of l_2 norm 1, or zero; scaled first, since squares may underflow."""
    largest = vectors.abs().amax((1, 2, 3), keepdim=True)
    scaled: Tensor = vectors / torch.where(largest > 0, largest, 1)
    return scaled / _norms(scaled).clamp_min(1)  # its largest is 1, or it is zero


def _norms(vectors: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=(1, 2, 3), keepdim=True)
    return norms


def project(change: Tensor, epsilon: float, norm: Norm) -> Tensor:
    """The nearest changes (N, C, H, W) within the ball."""
    if norm == "linf":
        return change.clamp(-epsilon, epsilon)
    return change * (epsilon / _norms(change).clamp_min(epsilon))


def perturb(images: Tensor, change: Tensor) -> Tensor:
    """The images with a change added, within [0, 1]."""
    return (images + change).clamp(0, 1)


def fgsm(
    model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, *, norm: Norm = "linf"
) -> Tensor:
    """Fast gradient sign method: one step of size `epsilon`, no random start.

    Goodfellow et al. 2014; with 4/255 the attack of the paper's Tables 1 and 2. In l_2 it is the
    fast gradient method: along the gradient.

    Args:
        model: takes pixels, gives logits (N, K).
        images: (N, C, H, W) in [0, 1].
        labels: (N,) the true classes.
        epsilon: radius of the ball, in units of [0, 1].
        norm: of the ball.

    Returns:
        (N, C, H, W) in [0, 1].

    Raises:
        UserError: pixels outside [0, 1].
    """
    check_pixel_range(images)
    return perturb(images, epsilon * ascent(model, images, labels, norm)[0])


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    *,
    step_size: float,
    steps: int,
    restarts: int = 1,
    norm: Norm = "linf",
    generators: Sequence[np.random.Generator] | None,
) -> Tensor:
    """Projected gradient descent in a ball (Madry et al. 2018).

    Each run begins at a random point of the ball (in l_inf a uniform one; in l_2 in a uniform
    direction, at a uniform distance, as in torchattacks) and ends at its last iterate. An image
    whose run does not fool the model is started again; where none of its runs does, the one with
    the largest loss counts.

    Args:
        model, images, labels, epsilon: as for :func:`fgsm`.
        step_size: in units of [0, 1].
        restarts: how many runs at most, the first one included.
        generators: one for each image (:func:`catchup_eval.core.rng.image_rngs`), so that an
            image gets the same starts in every batch; None starts at the image itself.

    Returns:
        (N, C, H, W) in [0, 1].

    Raises:
        UserError: pixels outside [0, 1].
    """

    def run(rows: Tensor) -> Tensor:
        centres = points = images[rows]
        if generators is not None:
            noise = np.stack([start(generators[row]) for row in rows.tolist()])
            points = perturb(centres, epsilon * torch.from_numpy(noise).to(images))
        for _ in range(steps):
            step = step_size * ascent(model, points, labels[rows], norm)[0]
            points = perturb(centres, project(points + step - centres, epsilon, norm))
        return points

    def start(generator: np.random.Generator) -> np.ndarray:
        shape = tuple(images.shape[1:])
        if norm == "linf":
            return generator.uniform(-1, 1, shape)
        direction = generator.normal(size=shape)
        return direction * (generator.uniform() / np.linalg.norm(direction))

    check_pixel_range(images)
    worst = run(torch.arange(len(images), device=images.device))
    for _ in range(restarts - 1):
        left = torch.nonzero(compute_logits(model, worst).argmax(1) == labels).flatten()
        if len(left):
            worst[left] = _select_worse(model, labels[left], worst[left], run(left))
    return worst


def _select_worse(model: nn.Module, labels: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """For each image the second point where it fools the model or has the larger loss."""
    logits = compute_logits(model, second)
    before = F.cross_entropy(compute_logits(model, first), labels, reduction="none")
    loss = F.cross_entropy(logits, labels, reduction="none")
    swap = (logits.argmax(1) != labels) | (loss > before)
    return torch.where(swap.view(-1, 1, 1, 1), second, first)


def unbounded_pgd_correct(
    model: nn.Module, images: Tensor, labels: Tensor, *, step_size: float, steps: int
) -> Tensor:
    """(N,) bool: who is still classified correctly after PGD without a bound, from the image.

    An image that fools the model gets no further step. Whatever the model, nothing should be left:
    a network whose images withstand this hides its gradients (Athalye et al. 2018). Arguments as
    for :func:`pgd`.

    Raises:
        UserError: pixels outside [0, 1].
    """
    check_pixel_range(images)
    correct = torch.zeros_like(labels, dtype=torch.bool)
    left, points = torch.arange(len(images), device=images.device), images
    for _ in range(steps):
        sign, logits = ascent(model, points, labels[left])
        standing = logits.argmax(1) == labels[left]
        left, points = left[standing], perturb(points, step_size * sign)[standing]
        if not len(left):
            return correct
    correct[left] = compute_logits(model, points).argmax(1) == labels[left]
    return correct
