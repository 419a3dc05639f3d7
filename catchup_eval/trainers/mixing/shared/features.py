"""Mixing within the network: after one of its stages, drawn anew at each step.

Layers are numbered as in the Catch-up Mix paper: 0 is the input, 1 the stem, 2 the first stage
after it. A mixture costs no extra forward or backward pass: source and target are the same batch
in two orders, so one pass up to the layer is enough for both.

A method gets features (N, C, H, W) whatever the stage's layout
(:class:`~catchup_eval.models.layout.FeatureLayout`). A filter is what the layout calls a channel;
in a transformer a dimension of the embedding, over all tokens. Class tokens and the like are mixed
as the patches are: the same channels, the same weight. If they were left out, the features that the
head reads would be one image's alone while the labels are mixed.
"""

from collections.abc import Callable, Iterable, Sequence, Set
from copy import deepcopy
from math import floor
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from numpy.random import Generator
from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from catchup_eval.core.errors import Missing, UserError
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.hooks import StageHooks
from catchup_eval.models.layout import ASSUMED, FeatureLayout
from catchup_eval.trainers.base import Criterion, Method, StatelessMethod, unwrap_compiled
from catchup_eval.trainers.mixing.shared.pairs import Pairs, draw_pairs, pair_loss


def _as_list(layers: object) -> object:
    if isinstance(layers, Set | range):
        return list(layers)
    return [layers] if type(layers) is int else layers


# features (N, C, H, W), the pairs as drawn -> mixed features, the pairs as the labels weigh them
Mix = Callable[[Tensor, Pairs, Generator], tuple[Tensor, Pairs]]
Mask = Callable[[Tensor, Pairs, Generator], Tensor]  # features (N, C, H, W), ... -> (N, C) bool
Layer = Annotated[int, Field(ge=0, le=1000)]
if TYPE_CHECKING:  # several, one, or all that there are
    Layers = Iterable[int] | int | None
else:
    Layers = Annotated[
        Annotated[Sequence[Layer], Field(min_length=1)] | None, BeforeValidator(_as_list)
    ]
LabelRatio = Literal["sampled", "mask"]


def stages_of(model: nn.Module) -> list[nn.Module]:
    """The stages after which features of `model` may be mixed, the stem first.

    Raises:
        UserError: it names none.
    """
    inner = unwrap_compiled(model)
    if isinstance(inner, Classifier) and inner.stages:
        return inner.stages
    net = inner.net if isinstance(inner, Classifier) else inner
    children = ", ".join(name for name, _ in net.named_children()) or "no submodules"
    raise UserError(
        "mixing features needs the names of the network's stages: give it "
        f"catchup_eval.wrap(net, stages=[...]); {type(net).__name__} has {children}"
    )


def layout_of(model: nn.Module) -> FeatureLayout:
    """The layout of what the stages of `model` give."""
    inner = unwrap_compiled(model)
    return inner.layout if isinstance(inner, Classifier) else ASSUMED


def expect_no_class_token(model: Classifier, method: str) -> None:
    """Raise `UserError` where the head reads a class token, for methods that need a pooled map."""
    if model.class_token:
        raise UserError(
            f"{method} needs a feature map that the head pools; the head of {model.name} reads a "
            "class token"
        )


def choose_layers(model: nn.Module, layers: Layers, *, first: int = 0) -> list[int]:
    """The set of layers to draw from: the given ones, or all from `first` to the last stage.

    Raises:
        UserError: none, or one that the network does not have.
    """
    last = len(stages_of(model))
    known = range(first, last + 1)
    wanted = [layers] if isinstance(layers, int) else layers
    chosen = set(known if wanted is None else wanted)
    absent = chosen.difference(known)
    if absent or not chosen:
        got = ", ".join(sorted(map(str, absent))) or "none"
        raise UserError(
            f"expected layers from {first} to {last} (0 is the input, 1 the stem, {last} the last "
            f"stage), got {got}"
        )
    return sorted(chosen)


def feature_method(
    model: nn.Module,
    *,
    criterion: Criterion,
    layers: list[int],
    alpha: float,
    at_input: Method,
    mix: Mix,
) -> Method:
    """A method that draws a layer uniformly, and mixes there.

    Draws, in this order: the layer; then, at layer 0 what `at_input` draws, else the weight, the
    partners, and what `mix` draws.
    """
    hooks, layout = StageHooks(stages_of(model), model), layout_of(model)

    def loss(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        layer = layers[generator.integers(len(layers))]
        if layer == 0:
            return at_input(images, labels, generator)
        drawn = draw_pairs(generator, alpha, images)
        realised: list[Pairs] = []
        start = deepcopy(generator)

        def change(output: Tensor) -> Tensor:
            try:
                features = layout.to_channels_first(output, images)
            except Missing as error:
                raise UserError(f"layer {layer}: expected {error}") from None
            # Where the backward pass recomputes the stage, the same numbers are drawn again.
            mixed, pairs = mix(features, drawn, deepcopy(start) if realised else generator)
            realised.append(pairs)
            return layout.restore(mixed)

        with hooks.replace_output(layer - 1, change):
            logits = model(images)
        if len(realised) != 1:  # else the labels would be mixed and the features not, or twice
            raise UserError(
                f"expected the stage of layer {layer} to run once in a forward pass, it was seen "
                f"{len(realised)} times; a method that was closed has none, nor one whose model "
                "was compiled and called before the method was built"
            )
        return pair_loss(criterion, logits, labels, realised[0])

    return StatelessMethod(loss, hooks.close)


def num_source_channels(weight: float, channels: int) -> int:
    """How many channels the source keeps, floor(weight * channels): a number of the host."""
    return floor(weight * channels)


def keep_lowest(scores: Tensor, weight: float) -> Tensor:
    """(N, C) bool: true at the floor(weight * C) lowest of each row of `scores` (N, C).

    Of equal scores the first channel counts as the lower one, on every device.
    """
    channels = scores.shape[1]
    order = torch.argsort(scores, dim=1, stable=True)
    lowest = torch.arange(channels, device=scores.device) < num_source_channels(weight, channels)
    return torch.zeros_like(order, dtype=torch.bool).scatter(1, order, lowest.expand_as(order))


def take_channels(features: Tensor, partner: Tensor, mask: Tensor) -> Tensor:
    """Channels of `features` (N, C, H, W) where `mask` (N, C) is true, else the partner's (N,)."""
    return torch.where(mask[:, :, None, None], features, features[partner])


def mix_channels(mask: Mask, label_ratio: LabelRatio) -> Mix:
    """Mix feature maps channel by channel.

    Args:
        mask: which channels each image keeps.
        label_ratio: the label's weight: "sampled", lambda as drawn; "mask", the fraction of the
            channels that stay, which is smaller by less than 1 / C.
    """

    def mix(features: Tensor, pairs: Pairs, generator: Generator) -> tuple[Tensor, Pairs]:
        mixed = take_channels(features, pairs.partner, mask(features, pairs, generator))
        if label_ratio == "sampled":
            return mixed, pairs
        channels = features.shape[1]
        return mixed, pairs._replace(weight=num_source_channels(pairs.weight, channels) / channels)

    return mix
