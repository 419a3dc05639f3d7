"""A network with its normalisation, and the names of its stages, head and pool."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from catchup_eval.core.errors import Missing, UserError
from catchup_eval.datasets.classes import OutputNames, match, output_names
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.models.hooks import capture_inputs
from catchup_eval.models.outputs import TINY, find_logits

# The input channels from (red, green, blue); a single one is for images whose three are equal.
CHANNELS: Mapping[str, Sequence[int] | None] = {"rgb": None, "bgr": (2, 1, 0), "gray": (0,)}


class Trace(NamedTuple):
    """What one forward pass gives at three places."""

    logits: Tensor  # (N, K)
    features: Tensor  # (N, D), the input of the last linear layer
    maps: Tensor | None  # (N, D, h, w), what the head pools; None where nothing is pooled


@dataclass(frozen=True)
class ModuleLayout:
    """Names of submodules, as in :class:`Classifier`."""

    stages: tuple[str, ...]
    head: str
    pool: str | None


class Normalize(nn.Module):
    """`(pixels - mean) / std` per channel; pixels `(N, C, H, W)` in [0, 1].

    Args:
        mean, std: per channel. A network of pixels in [0, 255] has them divided by 255.
        channels: which the network takes, one of :data:`CHANNELS`; mean and std are in that order.

    Raises:
        UserError: not as many means as positive stds, or they are of pixels in [0, 255].
    """

    mean: Tensor
    std: Tensor
    order: Tensor | None

    def __init__(self, mean: Sequence[float], std: Sequence[float], channels: str = "rgb"):
        super().__init__()
        if len(mean) != len(std) or min(std) <= 0:
            raise UserError(f"expected as many means as positive stds, got {mean} and {std}")
        if max(*mean, *std) > 1:
            divided = ["(" + ", ".join(f"{v / 255:.4g}" for v in row) + ")" for row in (mean, std)]
            raise UserError(
                f"expected mean and std of pixels in [0, 1], got {tuple(mean)} and {tuple(std)}; "
                f"if they are of pixels in [0, 255], write {divided[0]} and {divided[1]}"
            )
        # Settings, not weights: kept out of the state dict, stored in the checkpoint's card.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.channels, order = channels, CHANNELS[channels]
        indices = None if order is None else torch.tensor(order)
        self.register_buffer("order", indices, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        if self.order is not None:
            pixels = pixels[:, self.order]
        return (pixels - self.mean) / self.std


class Classifier(nn.Module):
    """Any `nn.Module`, with its normalisation as the first layer.

    Args:
        net: takes normalised images (N, C, H, W), gives logits (N, K), or something that
            :func:`~catchup_eval.models.outputs.find_logits` finds them in. Of half or double
            precision, it is given such images, and its logits are made float32.
        mean, std: per channel, in units of [0, 1].
        stages: names of the submodules after which features may be mixed, in forward order; the
            first is the stem. Empty: features cannot be mixed.
        head: name of the last linear layer; None where there is none.
        pool: name of the module that pools the last feature map; None where there is none. Where a
            function pools, an `nn.AdaptiveAvgPool2d(1)` put before it can be named.
        name: for tables and figures.
        preprocess: of images of varying size; None for images that have its input size.

    Attributes:
        output_names: of its outputs, as far as they are known.
        columns: outputs that are taken, in order, where it was matched to a dataset; else empty.

    Raises:
        UserError: a name that is no submodule of `net`.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        stages: Sequence[str] = (),
        head: str | None,
        pool: str | None,
        name: str = "model",
        preprocess: Preprocess | None = None,
    ):
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.net, self.name, self.preprocess = net, name, preprocess
        self._stages, self._head, self._pool = tuple(stages), head, pool
        for module in filter(None, (*stages, head, pool)):
            _submodule(net, module)
        parameters = (p.dtype for p in net.parameters() if p.is_floating_point())
        self._dtype = next(parameters, torch.float32)
        self.gives_probabilities = (
            False  # set where evaluated, if so: forward takes their logarithm
        )
        self.weight_notes: tuple[str, ...] = ()  # what was chosen or lacks where they were read
        self.output_note = ""  # where the logits were found, once they had to be looked for
        self.output_names = OutputNames()
        self.columns: tuple[int, ...] = ()
        self.class_note = ""  # what was assumed about its classes
        self.class_protocol = ""  # whether outputs of other classes are masked, where there are any

    @property
    def stages(self) -> list[nn.Module]:
        """The modules after which features may be mixed; the stem first (the paper's k = 1)."""
        return [_submodule(self.net, stage) for stage in self._stages]

    @property
    def head(self) -> nn.Linear:
        """The last linear layer: `logits = head(features)`; of the outputs that are taken."""
        head = self._linear_head()
        if not self.columns:
            return head
        if max(self.columns) >= head.out_features:
            raise Missing(f"a linear head that gives its outputs ({self._head} does not)")
        part = nn.Linear(head.in_features, len(self.columns), head.bias is not None, device="meta")
        for name, value in head.named_parameters():
            setattr(part, name, nn.Parameter(value[list(self.columns)], requires_grad=False))
        return part

    def _linear_head(self) -> nn.Linear:
        if self._head is None:
            raise Missing("a linear head")
        head = _submodule(self.net, self._head)
        if not isinstance(head, nn.Linear):
            raise Missing(f"a linear head ({self._head} is a {type(head).__name__})")
        return head

    @property
    def preprocessing(self) -> str:
        """What is done to its images, one line."""
        mean, std = (
            "(" + ", ".join(f"{value:g}" for value in values.flatten().tolist()) + ")"
            for values in (self.normalize.mean, self.normalize.std)
        )
        order = self.normalize.channels
        pixels = "pixels" if order == "rgb" else f"{order} pixels"
        normalised = f"({pixels} - {mean}) / {std}"
        return f"{self.preprocess}; {normalised}" if self.preprocess else normalised

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (N, K) of pixels (N, C, H, W) in [0, 1]."""
        images = self.normalize(pixels)
        if self._dtype != torch.float32:
            images = images.to(self._dtype)
        answer = self.net(images)
        plain = self._dtype == torch.float32 and not self.gives_probabilities
        if plain and isinstance(answer, Tensor) and answer.ndim == 2:
            return self._take_columns(answer)
        logits, self.output_note = find_logits(answer)
        logits = logits if self._dtype == torch.float32 else logits.float()
        return self._take_columns(
            logits.clamp_min(TINY).log() if self.gives_probabilities else logits
        )

    def _take_columns(self, logits: Tensor) -> Tensor:
        if not self.columns:
            return logits
        return logits.index_select(1, torch.tensor(self.columns, device=logits.device))

    def match_classes(
        self, data: str, classes: Sequence[str], outputs: int, *, mask: bool = True
    ) -> "Classifier":
        """The same network with the outputs of a dataset's classes; this one stays as it is.

        Args:
            data: the dataset's name.
            classes: its classes, by label.
            outputs: how many the network gives.
            mask: whether those of other classes are masked, where its spec does not say it.

        Raises:
            UserError: it is not known which outputs are these classes.
        """
        unmasked = self.columns and self.class_protocol.startswith("full")
        if unmasked and [*self.output_names.places] == [*classes]:
            return self  # it was matched to them before, and they are its first outputs
        try:
            found = match(classes, outputs, self.output_names, mask=mask)
        except UserError as error:
            raise UserError(f"{self.name} on {data}: {error}") from None
        if not any(found):
            return self
        model = copy(self)
        model.class_note, model.class_protocol = found.note, found.protocol
        if found.columns:
            before = self.columns or range(outputs)
            model.columns = tuple(before[column] for column in found.columns)
            places = {name: row for row, name in enumerate(classes)}
            model.output_names = OutputNames(places, mask=self.output_names.mask)
        return model

    def trace(self, pixels: Tensor) -> Trace:
        """Logits, features and, where the head pools a map, that map; one forward pass.

        Raises:
            Missing: the head is no linear layer, or is not called.
        """
        modules: dict[str, nn.Module] = {"features": self._linear_head()}
        if self._pool:
            modules["maps"] = _submodule(self.net, self._pool)
        with capture_inputs(**modules) as seen:
            logits = self(pixels)
        if "features" not in seen:
            raise Missing(f"a linear head that its forward pass calls ({self._head} is not called)")
        return Trace(logits, seen["features"].flatten(1), seen.get("maps"))

    def features(self, pixels: Tensor) -> Tensor:
        """(N, D): the input of the last linear layer."""
        return self.trace(pixels).features

    def feature_map(self, pixels: Tensor) -> Tensor:
        """(N, D, h, w): what the head pools; raises as :meth:`pooled_map`."""
        return self.pooled_map(self.trace(pixels))

    def pooled_map(self, trace: Trace) -> Tensor:
        """The trace's map (N, D, h, w), once it is certain that the head averages it.

        Raises:
            Missing: the features are not the plain mean of such a map, so that a class activation
                map would not explain the logit (Zhou et al. 2016: mean(CAM) + bias == logit).
        """
        maps, features = trace.maps, trace.features
        if maps is not None and maps.ndim == 4 and maps.shape[:2] == features.shape:
            size = float(features.detach().abs().mean())  # of fresh networks it may be tiny
            if torch.allclose(maps.mean((2, 3)), features, rtol=1e-3, atol=1e-3 * size):
                return maps
        raise Missing("a head that averages one feature map")


def _submodule(net: nn.Module, name: str) -> nn.Module:
    try:
        return net.get_submodule(name)
    except AttributeError:
        there = ", ".join(child for child, _ in net.named_children())
        raise UserError(
            f"{type(net).__name__} has no submodule {name!r}; at its top level there are: {there}"
        ) from None


def wrap(
    net: nn.Module,
    *,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    stages: Sequence[str] = (),
    head: str | None = None,
    pool: str | None = None,
    name: str | None = None,
    preprocess: Preprocess | None = None,
    classes: Sequence[str] | Mapping[str, int] | None = None,
    mask: bool | None = None,
) -> Classifier:
    """A :class:`Classifier` around your own network, with its arguments.

    Args:
        mean, std: the defaults leave the pixels in [0, 1].
        head: found where it is the last `nn.Linear`; analyses that need one are skipped without it.
        pool: found where it is the last average pooling module.
        name: the class's name where it is not given.
        preprocess: the dataset's own where it is not given. Images of fixed size (CIFAR) need none.
        classes: names of all its outputs in order, or some outputs by name, from 0; needed where a
            dataset has other classes than the network (:mod:`catchup_eval.datasets.classes`).
        mask: whether outputs of no class of the dataset are masked; None leaves it to the dataset.

    Raises:
        UserError: a name that is no submodule.
    """
    head = head or _last_module_name(net, nn.Linear)
    pool = pool or _last_module_name(net, nn.AdaptiveAvgPool2d, nn.AvgPool2d)
    name = name or type(net).__name__.lower()
    model = Classifier(
        net,
        mean=mean,
        std=std,
        stages=stages,
        head=head,
        pool=pool,
        name=name,
        preprocess=preprocess,
    )
    if classes is not None:
        model.output_names = output_names(classes, "classes")
    model.output_names = model.output_names._replace(mask=mask)
    return model


def _last_module_name(net: nn.Module, *kinds: type[nn.Module]) -> str | None:
    names = [name for name, module in net.named_modules() if isinstance(module, kinds)]
    return names[-1] if names else None


def check_pixel_range(images: Tensor) -> None:
    """Raise `UserError` for a value outside [0, 1] or not a number, with the range that came."""
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):
        raise UserError(
            f"expected pixels in [0, 1], got {low:.3g} to {high:.3g}; "
            "normalisation is inside the model"
        )
