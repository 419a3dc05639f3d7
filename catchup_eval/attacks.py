"""Adversarial examples within an l_inf ball, in pixels.

Images are in [0, 1] and the normalisation is inside the model, so that `epsilon` means the same for
every network. The loss is the sum of the cross-entropies, whose sign is that of the mean but does
not underflow; the pass is in full precision, in evaluation mode, and leaves no trace on the model.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from catchup_eval.errors import UnknownName, UserError
from catchup_eval.lending import evaluating, frozen
from catchup_eval.randomness import isolated
from catchup_eval.subject import in_range

LibraryAttack = Callable[[Tensor, Tensor, np.random.Generator], Tensor]


@contextmanager
def attacking(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode, frozen parameters, gradients on, autocast off; all given back."""
    off = torch.autocast(device.type, enabled=False)
    with evaluating(model), frozen(model), torch.enable_grad(), off:
        yield


def gradient_sign(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Per pixel, whether the loss rises (1), falls (-1) or stays (0); (N, C, H, W).

    Args:
        model: takes pixels, gives logits (N, K).
        images: (N, C, H, W) in [0, 1].
        labels: (N,) the true classes.
    """
    with attacking(model, images.device):
        points = images.detach().clone().requires_grad_()
        loss = F.cross_entropy(model(points), labels, reduction="sum")
        return torch.autograd.grad(loss, points)[0].sign()


def moved(images: Tensor, change: Tensor) -> Tensor:
    """The images with a change added, within [0, 1]."""
    return (images + change).clamp(0, 1)


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Fast gradient sign method: one step of size `epsilon`, no random start.

    Goodfellow et al. 2014; with 4/255 the attack of the paper's Tables 1 and 2.

    Args:
        model: takes pixels, gives logits (N, K).
        images: (N, C, H, W) in [0, 1].
        labels: (N,) the true classes.
        epsilon: radius of the l_inf ball, in units of [0, 1].

    Returns:
        (N, C, H, W) in [0, 1].

    Raises:
        UserError: pixels outside [0, 1].
    """
    in_range(images)
    return moved(images, epsilon * gradient_sign(model, images, labels))


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    *,
    step_size: float,
    steps: int,
    restarts: int = 1,
    generators: Sequence[np.random.Generator] | None,
) -> Tensor:
    """Projected gradient descent in the l_inf ball (Madry et al. 2018).

    Each restart begins at a point drawn uniformly from the ball and ends at its last iterate. Of
    several, each image keeps its worst: one that fools the model before one that does not, and
    then the larger loss.

    Args:
        model, images, labels, epsilon: as for :func:`fgsm`.
        step_size: in units of [0, 1].
        generators: one for each image (:func:`catchup_eval.randomness.per_image`), so that an
            image gets the same start in every batch; None starts at the image itself.

    Returns:
        (N, C, H, W) in [0, 1].

    Raises:
        UserError: pixels outside [0, 1].
    """
    in_range(images)
    worst: Tensor | None = None
    for _ in range(restarts):
        points = _start(images, epsilon, generators)
        for _ in range(steps):
            step = step_size * gradient_sign(model, points, labels)
            points = moved(images, (points + step - images).clamp(-epsilon, epsilon))
        worst = points if worst is None else _worse(model, labels, worst, points)
    return images if worst is None else worst


def _start(
    images: Tensor, epsilon: float, generators: Sequence[np.random.Generator] | None
) -> Tensor:
    if generators is None:
        return images
    shape = tuple(images.shape[1:])
    noise = np.stack([draw.uniform(-1, 1, shape) for draw in generators])
    return moved(images, epsilon * torch.from_numpy(noise).to(images))


@torch.no_grad()
def _worse(model: nn.Module, labels: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Of two points for each image, the one that is worse for the model; the first of equals."""
    with evaluating(model):
        outputs = [model(points) for points in (first, second)]
    fooled = [logits.argmax(1) != labels for logits in outputs]
    loss = [F.cross_entropy(logits, labels, reduction="none") for logits in outputs]
    swap = (fooled[1] & ~fooled[0]) | ((fooled[1] == fooled[0]) & (loss[1] > loss[0]))
    return torch.where(swap.view(-1, 1, 1, 1), second, first)


def torchattacks_attack(name: str, model: nn.Module, **settings: Any) -> LibraryAttack:
    """An attack of the library torchattacks (Kim 2020), by name.

    The library draws from global generators, puts every submodule of a training network into
    training mode, and collects gradients on parameters; here none of it reaches the caller. Its
    `AutoAttack` takes 10 steps where the published one takes 100, and expects `n_classes`: its
    numbers are not AutoAttack's.

    Args:
        name: of one of the library's attacks, such as `MIFGSM`.
        model: takes pixels in [0, 1]; torchattacks' own normalisation is not used.
        settings: of that attack; `eps` and `alpha` in units of [0, 1].

    Returns:
        `attack(images, labels, generator)`, which gives adversarial images (N, C, H, W).

    Raises:
        UserError: torchattacks is not installed, or the attack has no such setting.
        UnknownName: it has no such attack.
    """
    kind = _library_attack(name)
    try:
        inspect.signature(kind).bind(model, **settings)
    except TypeError as error:
        takes = ", ".join(inspect.signature(kind).parameters)
        raise UserError(f"torchattacks' {name}: {error}; it takes {takes}") from None

    def attack(images: Tensor, labels: Tensor, generator: np.random.Generator) -> Tensor:
        in_range(images)
        with attacking(model, images.device), isolated(generator):
            adversarial: Tensor = kind(model, **settings)(images, labels)
        return adversarial.detach()

    return attack


def _library_attack(name: str) -> Callable[..., Any]:
    try:
        import torchattacks
    except ImportError:
        raise UserError(
            f"the attack {name} needs torchattacks, which is not installed; "
            'pip install "catchup-eval[attacks]"'
        ) from None
    kinds = {
        key: kind
        for key, kind in vars(torchattacks).items()
        if inspect.isclass(kind) and issubclass(kind, torchattacks.attack.Attack)
    }
    if name not in kinds:
        raise UnknownName("torchattacks attack", name, kinds)
    return kinds[name]
