"""A user's own network, as it is in memory: made a classifier, and given back as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from catchup_eval.core.errors import UserError
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.datasets.live import LiveDataset, Normalisation
from catchup_eval.models.classifier import Classifier, wrap
from catchup_eval.models.matching import find_normalisation
from catchup_eval.models.preprocessing import NORMS, InputSettings

NONE = Normalisation(*NORMS["none"])
UNKNOWN = (
    "no normalisation is known: pixels in [0, 1] go into the network as they are; "
    "ce.wrap(net, mean=..., std=...) gives one, ce.wrap(net) says that there is none"
)


def as_classifier(net: nn.Module, data: AnySet) -> tuple[Classifier, str]:
    """The network as a classifier of this dataset, and what is odd about its normalisation.

    It is given what the dataset normalised its images with; where it is a classifier that has a
    normalisation, its own. What was done is in its notes.

    Raises:
        UserError: no network, or one whose layers lie on several devices.
    """
    if not isinstance(net, nn.Module):
        raise UserError(f"expected a network, an nn.Module, got {type(net).__name__}")
    found = data.normalisation if isinstance(data, LiveDataset) else None
    bare = not isinstance(net, Classifier)
    given = net if isinstance(net, Classifier) else wrap(net)
    own, inside = Normalisation.of(given.normalize), find_normalisation(_buffers(given), {})
    note, odd = "", False
    if found and _equal(own, NONE):
        note, odd = f"normalised by mean/std {found}, as its dataset did", bool(inside)
        note += f", and again inside the network, by {inside}" * odd
    elif found and not _equal(own, found):
        note, odd = (
            f"normalised by its own mean/std {own}; its dataset's {found} is left aside",
            True,
        )
    elif bare and inside:
        note = f"normalised inside the network, by mean/std {inside}"
    elif bare:
        note, odd = UNKNOWN, True
    model = copy(given)
    model._modules = dict(given._modules)  # the caller's classifier keeps its first layer
    channels = _channels(given.net, data, found) if bare else given.normalize.channels
    if _equal(own, NONE) and (found or channels != given.normalize.channels):
        mean, std = found or ((0.0,), (1.0,))
        times = 3 if channels != "gray" and len(mean) == 1 else 1
        InputSettings(mean * times, std * times, channels, given.preprocess).apply_to(model)
    model.normalize.to(device_of(model.net))
    model.weight_notes = (*given.weight_notes, *filter(None, [note]))
    return model, note * odd


def _buffers(model: Classifier) -> dict[str, Tensor]:
    return dict(model.net.named_buffers())


def _equal(one: Normalisation, other: Normalisation) -> bool:
    """Whether they are the same to the fourth digit, one channel standing for three."""
    same = [len(a) == len(b) or 1 in (len(a), len(b)) for a, b in zip(one, other, strict=True)]
    return all(same) and bool(np.allclose(np.array(one), np.array(other), rtol=0, atol=1e-4))


def _channels(net: nn.Module, data: AnySet, found: Normalisation | None) -> str:
    """What the network takes: of grey images one channel, unless its first convolution takes three.

    Datasets other than live ones have three equal channels.
    """
    if not isinstance(data, LiveDataset) or data.channels == 3:
        return "rgb"
    taken = (m.in_channels for m in net.modules() if isinstance(m, nn.Conv2d))
    return "gray" if next(taken, len(found.mean) if found else 1) == 1 else "rgb"


def device_of(net: nn.Module) -> torch.device:
    """Where all of a network lies; the CPU where it has no tensors.

    Raises:
        UserError: on several devices, or on none ("meta").
    """
    devices = {str(tensor.device) for tensor in chain(net.parameters(), net.buffers())}
    if len(devices) > 1 or "meta" in devices:
        raise UserError(
            f"expected a network on one device, got {type(net).__name__} on "
            f"{', '.join(sorted(devices))}"
        )
    return torch.device(next(iter(devices), "cpu"))


@contextmanager
def given_back(model: Classifier) -> Iterator[None]:
    """Evaluation mode for a while; afterwards modes and devices as they were, after errors too."""
    modes = [(module, module.training) for module in model.modules()]
    parts: list[tuple[Any, torch.device]] = [
        (part, device_of(part)) for part in (model.net, model.normalize)
    ]
    try:
        model.eval()
        yield
    finally:
        for part, device in parts:
            part.to(device)
        for module, training in modes:
            module.training = training
