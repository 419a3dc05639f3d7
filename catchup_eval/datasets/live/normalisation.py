"""Normalisation in the transforms of torchvision: found, and taken out."""

import re
from collections.abc import Sequence
from copy import copy
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import nn
from torch.utils import data as torch_data

RANDOM = re.compile(r"Random|Augment|AugMix|Jitter|MixUp|CutMix|Noise|Elastic")
FEW = 100  # members of a list that are looked through for transforms


class Normalisation(NamedTuple):
    """`(pixels - mean) / std`, per channel, in units of [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __str__(self) -> str:
        return "/".join(",".join(f"{value:g}" for value in row) for row in self)

    @classmethod
    def of(cls, transform: Any) -> Self:
        """That of a layer or transform with `mean` and `std`."""
        rows = (
            torch.as_tensor(row, dtype=torch.float64) for row in (transform.mean, transform.std)
        )
        return cls(*(tuple(row.flatten().tolist()) for row in rows))

    def apply(self, image: np.ndarray) -> np.ndarray:
        """An image (C, H, W), normalised."""
        mean, std = (np.array(row)[:, None, None] for row in self)
        return np.asarray((image - mean) / std)

    def then(self, other: "Normalisation") -> "Normalisation":
        """Both, one after the other, as one."""
        (m, s), (n, t) = (map(np.array, each) for each in (self, other))
        return Normalisation(tuple((m + s * n).tolist()), tuple((s * t).tolist()))


IDENTITY = Normalisation((0.0,), (1.0,))


class Transforms:
    """A look through an object's transforms.

    Args:
        data: a torch dataset, with datasets inside; others have none that are known.

    Attributes:
        found: torchvision's `Normalize`, in the order in which they lie there.
        random: the names of torchvision's transforms that may be random.
        plain: a copy of the object without `found`; itself where there are none.
    """

    def __init__(self, data: Any):
        self.found: list[Normalisation] = []
        self.random: list[str] = []
        self._known: dict[int, Any] = {}  # by identity, since one transform may lie in two places
        self.plain = self._strip(data)

    def candidates(self) -> list[Normalisation]:
        """What these may do in all: one of them, all in turn, or nothing."""
        both = self.found[0]
        for each in self.found[1:]:
            both = both.then(each)
        return [*dict.fromkeys([*self.found, both]), IDENTITY]

    def _strip(self, thing: Any) -> Any:
        if id(thing) not in self._known:
            self._known[id(thing)] = thing
            self._known[id(thing)] = self._without(thing)
        return self._known[id(thing)]

    def _without(self, thing: Any) -> Any:
        # here, since it takes a second, which no command needs
        from torchvision import transforms as v1
        from torchvision.datasets.vision import StandardTransform
        from torchvision.transforms import v2
        from torchvision.transforms._presets import ImageClassification

        kind = type(thing)
        if kind.__module__.startswith("torchvision.") and RANDOM.search(kind.__name__):
            self.random.append(kind.__name__)
        if isinstance(thing, v1.Normalize | v2.Normalize):
            self.found.append(Normalisation.of(thing))
            return v2.Identity()
        if isinstance(thing, ImageClassification):  # of torchvision's weights
            self.found.append(Normalisation.of(thing))
            return _changed(thing, {"mean": [0.0] * 3, "std": [1.0] * 3})
        if isinstance(thing, nn.Sequential):
            return self._members(thing, lambda layers: nn.Sequential(*layers))
        if kind in (list, tuple) and len(thing) <= FEW:
            return self._members(thing, kind)
        if isinstance(thing, torch_data.Dataset | StandardTransform | v1.Compose | v2.Compose):
            own = getattr(thing, "__dict__", {})
            members = {name: self._strip(value) for name, value in own.items()}
            new = {name: value for name, value in members.items() if value is not own[name]}
            return _changed(thing, new) if new else thing
        return thing

    def _members(self, thing: Sequence[Any] | nn.Sequential, make: Any) -> Any:
        members = [self._strip(member) for member in thing]
        same = all(one is other for one, other in zip(members, thing, strict=True))
        return thing if same else make(members)


def _changed(thing: Any, attributes: dict[str, Any]) -> Any:
    other = copy(thing)
    vars(other).update(attributes)
    return other
