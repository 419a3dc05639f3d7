"""A network with its normalisation, and the names of its stages, head and pool."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from catchup_eval.core.errors import InvalidOutput, Missing, UserError
from catchup_eval.datasets.classes import OutputNames, match
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.models.hooks import capture_inputs
from catchup_eval.models.layout import (
    ASSUMED,
    CHANNELS_FIRST,
    FeatureLayout,
)
from catchup_eval.models.outputs import TINY, find_logits

# The input channels from (red, green, blue); a single one is for images whose three are equal.
CHANNELS: Mapping[str, Sequence[int] | None] = {"rgb": None, "bgr": (2, 1, 0), "gray": (0,)}
DTYPES: Mapping[str, torch.dtype] = {
    name: getattr(torch, name) for name in ("float16", "bfloat16", "float32", "float64")
}

POOLS = (nn.AdaptiveAvgPool2d, nn.AvgPool2d)


class Trace(NamedTuple):
    """What one forward pass gives at three places."""

    logits: Tensor  # (N, K)
    features: Tensor  # (N, D), the input of the last linear layer
    maps: Tensor | None  # the last feature map as the network has it; None where none is named


@dataclass(frozen=True)
class ModuleLayout:
    """Names of submodules, as in :class:`Classifier`."""

    stages: tuple[str, ...]
    head: str | None
    pool: str | None
    last: str | None = None
    pooled_norm: str | None = None
    class_token: bool = False
    layout: FeatureLayout = CHANNELS_FIRST


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
            precision, it is given such images; logits, features and maps are made float32.
        mean, std: per channel, in units of [0, 1].
        stages: names of the submodules after which features may be mixed, in forward order; the
            first is the stem. Empty: features cannot be mixed.
        head: name of the last linear layer; None where there is none.
        pool: name of the module that pools the last feature map; None where there is none.
        last: name of the module that gives that map, where a function pools it or a class token is
            taken from it; then no `pool`.
        pooled_norm: name of an `nn.LayerNorm` between the pool and the head.
        class_token: the head reads the first token that `last` gives, and pools nothing.
        layout: of what the stages and `last` give; what nobody declares is taken as channels first,
            and refused where it does not look so.
        name: for tables and figures.
        preprocess: of images of varying size; None for images that have its input size.

    Attributes:
        output_names: of its outputs, as far as they are known.
        dtype: what it computes in.
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
        last: str | None = None,
        pooled_norm: str | None = None,
        class_token: bool = False,
        layout: FeatureLayout = ASSUMED,
        name: str = "model",
        preprocess: Preprocess | None = None,
    ):
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.net, self.name, self.preprocess = net, name, preprocess
        self._stages, self._head, self._pool = tuple(stages), head, pool
        self._last, self._pooled_norm = last, pooled_norm
        self.class_token, self.layout = class_token, layout
        for module in filter(None, (*stages, head, pool, last, pooled_norm)):
            _submodule(net, module)
        parameters = (p.dtype for p in net.parameters() if p.is_floating_point())
        self.dtype = next(parameters, torch.float32)
        self.gives_probabilities = (
            False  # set where evaluated, if so: forward takes their logarithm
        )
        self.weight_notes: Sequence[str] = ()  # what was chosen or lacks where they were read
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
        """The last linear layer: `logits = head(features)`; of the outputs taken, in float32."""
        head = self._linear_head()
        if not self.columns and self.dtype == torch.float32:
            return head
        columns = list(self.columns) or list(range(head.out_features))
        if max(columns) >= head.out_features:
            raise Missing(f"a linear head that gives its outputs ({self._head} does not)")
        part = nn.Linear(head.in_features, len(columns), head.bias is not None, device="meta")
        for name, value in head.named_parameters():
            setattr(part, name, nn.Parameter(value[columns].float(), requires_grad=False))
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

    @property
    def precision(self) -> str:
        """What it computes in, where that is not float32; a clause."""
        return "" if self.dtype == torch.float32 else f"computes in {_name(self.dtype)}"

    def set_precision(self, dtype: torch.dtype) -> None:
        """Let weights and network be of this type, pixels and their normalisation float32."""
        self.net.to(dtype)
        self.dtype = dtype

    @property
    def without_gradients(self) -> str:
        """Why it gives no gradients, as a clause; empty where it does.

        A confident network's gradients are below what float16 can hold, and attacks would fail.
        """
        if not getattr(self.net, "differentiable", True):
            return f"{self.net.file} does not give"
        coarse = torch.finfo(self.dtype).eps > torch.finfo(torch.float32).eps
        return f"are too coarse in {_name(self.dtype)}" if coarse else ""

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (N, K) of pixels (N, C, H, W) in [0, 1]."""
        images = self.normalize(pixels)
        if self.dtype == torch.float32:
            return self.read_answer(self.net(images))
        try:
            return self.read_answer(self.net(images.to(self.dtype)))
        except RuntimeError as error:
            if "not implemented for" not in str(error):
                raise
            text = str(error).splitlines()[0]
            raise InvalidOutput(f"it {self.precision}, and torch says: {text}") from error

    def read_answer(self, answer: Any) -> Tensor:
        """Logits (N, K), float32, of the outputs that are taken, from what the network answers."""
        plain = isinstance(answer, Tensor) and answer.ndim == 2 and answer.dtype == torch.float32
        if plain and not self.gives_probabilities:
            return self._take_columns(answer)
        logits, self.output_note = find_logits(answer)
        logits = logits.float()
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
        maps: list[Tensor] = []
        handle = self.hook_map(maps.append)
        try:
            with capture_inputs(features=self._linear_head()) as seen:
                logits = self(pixels)
        finally:
            if handle is not None:
                handle.remove()
        if "features" not in seen:
            raise Missing(f"a linear head that its forward pass calls ({self._head} is not called)")
        features, found = seen["features"].flatten(1), maps[-1] if maps else None
        if self.dtype != torch.float32:
            features = features.float()
            found = found.float() if isinstance(found, Tensor) else found
        return Trace(logits, features, found)

    def hook_map(self, use: Callable[[Any], None]) -> RemovableHandle | None:
        """Call `use` with the last feature map in each forward pass; None where none is named."""
        if self._pool:
            pool = _submodule(self.net, self._pool)
            return pool.register_forward_pre_hook(lambda _module, inputs: use(inputs[0]))
        if self._last:
            last = _submodule(self.net, self._last)
            return last.register_forward_hook(lambda _module, _inputs, output: use(output))
        return None

    def last_map(self, maps: Any) -> Tensor:
        """(N, D, h, w) of the last feature map as the network has it; tokens without the prefix.

        Where a layer norm lies between pool and head, each place gets the affine map that the norm
        is to the mean over places; the mean of these is the norm's output, exactly.

        Raises:
            Missing: it has another form than its layout says.
        """
        layout = self.layout
        if self._pool and isinstance(_submodule(self.net, self._pool), POOLS):
            layout = CHANNELS_FIRST  # whatever comes before: these pool the last two axes
        found = layout.to_grid(layout.to_channels_first(maps))
        if self._pooled_norm is None:
            return found
        return _norm_places(_submodule(self.net, self._pooled_norm), found)

    @property
    def names_map(self) -> bool:
        """Whether it is known where its last feature map is."""
        return bool(self._pool or self._last)

    def features(self, pixels: Tensor) -> Tensor:
        """(N, D): the input of the last linear layer."""
        return self.trace(pixels).features

    def feature_map(self, pixels: Tensor) -> Tensor:
        """(N, D, h, w): what the head averages; raises as :meth:`pooled_map`."""
        return self.pooled_map(self.trace(pixels))

    def pooled_map(self, trace: Trace) -> Tensor:
        """The trace's map (N, D, h, w), once it is certain how the head reads it.

        Its mean over places is the features, so that a class activation map explains the logit
        (Zhou et al. 2016: mean(CAM) + bias == logit). Where the head reads a class token
        (`class_token`), the map is that of the patches, which passed the same norm but which the
        head does not see: a deviation.

        Raises:
            Missing: neither.
        """
        maps, features = trace.maps, trace.features
        if self.class_token and isinstance(maps, Tensor) and maps.ndim == 3:
            if _same(maps[:, 0], features, self.dtype):
                return self.last_map(maps)
            raise Missing("a head that reads the first token of the last feature map")
        if isinstance(maps, Tensor) and maps.ndim > 2:
            maps = self.last_map(maps)
            if _same(maps.mean((2, 3)), features, self.dtype):
                return maps
        raise Missing("a head that averages one feature map")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _same(found: Tensor, features: Tensor, computed: torch.dtype) -> bool:
    size = float(features.detach().abs().mean())  # of fresh networks it may be tiny
    close = max(1e-3, 4 * torch.finfo(computed).eps)
    return found.shape == features.shape and torch.allclose(
        found, features, rtol=close, atol=close * size
    )


def _norm_places(norm: nn.Module, maps: Tensor) -> Tensor:
    """Maps (N, D, h, w) with the mean and the deviation over channels that their average has."""
    if not isinstance(norm, nn.LayerNorm):
        raise Missing(f"a layer norm between pool and head (it is a {type(norm).__name__})")
    variance = maps.mean((2, 3)).var(1, correction=0)
    normed = (maps - maps.mean(1, keepdim=True)) / (variance + norm.eps).sqrt()[:, None, None, None]
    if norm.weight is not None:
        normed = normed * norm.weight[:, None, None]
    return normed if norm.bias is None else normed + norm.bias[:, None, None]


def _submodule(net: nn.Module, name: str) -> nn.Module:
    try:
        return net.get_submodule(name)
    except AttributeError:
        there = ", ".join(child for child, _ in net.named_children())
        raise UserError(
            f"{type(net).__name__} has no submodule {name!r}; at its top level there are: {there}"
        ) from None


def guess_layout(net: nn.Module) -> ModuleLayout:
    """Of a network that is not known: its last linear layer and its last average pooling module."""
    return ModuleLayout((), _last_module_name(net, nn.Linear), _last_module_name(net, *POOLS))


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
