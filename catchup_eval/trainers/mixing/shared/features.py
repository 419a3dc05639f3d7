"""Mixing inside the network: after one of its stages, drawn anew at each step.

Layers are numbered as in the Catch-up Mix paper: 0 is the input, 1 the stem, 2 the first stage
after it. A mixture costs no extra forward or backward pass: source and target are the same batch
in two orders, so one pass up to the layer serves both.

Some mixtures take each channel of a feature map from one image or from the other
(:func:`mix_channels`).
"""

from collections.abc import Callable, Iterable
from copy import deepcopy
from math import floor
from typing import Literal, get_args

import torch
from numpy.random import Generator
from torch import Tensor, nn

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.hooks import StageHooks
from catchup_eval.trainers.base import Criterion, Method, StatelessMethod
from catchup_eval.trainers.mixing.shared.pairs import Pairs, draw_pairs, pair_loss

# features (N, C, H, W), the pairs as drawn -> mixed features, the pairs as the labels weigh them
Mix = Callable[[Tensor, Pairs, Generator], tuple[Tensor, Pairs]]
Layers = Iterable[int] | int | None  # several, one, or all that there are


def stages_of(model: nn.Module) -> list[nn.Module]:
    """The stages after which features of `model` may be mixed, the stem first.

    Raises:
        UserError: it names none.
    """
    inner = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    if isinstance(inner, Classifier) and inner.stages:
        return inner.stages
    net = inner.net if isinstance(inner, Classifier) else inner
    there = ", ".join(name for name, _ in net.named_children()) or "no submodules"
    raise UserError(
        "mixing features needs the names of the network's stages: give it "
        f"catchup_eval.wrap(net, stages=[...]); {type(net).__name__} has {there}"
    )


def choose_layers(layers: Layers, stages: int, *, first: int = 0) -> list[int]:
    """The set of layers to draw from: those asked for, or all from `first` to `stages`.

    Raises:
        UserError: none, or one that the network does not have.
    """
    there = range(first, stages + 1)
    wanted = [layers] if isinstance(layers, int) else layers
    chosen = set(there if wanted is None else wanted)
    absent = chosen.difference(there)
    if absent or not chosen:
        got = ", ".join(sorted(map(str, absent))) or "none"
        raise UserError(
            f"expected layers from {first} to {stages} (0 is the input, 1 the stem, {stages} the "
            f"last stage), got {got}"
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
    hooks = StageHooks(stages_of(model), model)

    def loss(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        layer = layers[generator.integers(len(layers))]
        if layer == 0:
            return at_input(images, labels, generator)
        drawn = draw_pairs(generator, alpha, images)
        realised: list[Pairs] = []
        start = deepcopy(generator)

        def change(features: Tensor) -> Tensor:
            _expect_maps(features, layer)
            # Where the backward pass recomputes the stage, the same is drawn again.
            mixed, pairs = mix(features, drawn, deepcopy(start) if realised else generator)
            realised.append(pairs)
            return mixed

        with hooks.replace_output(layer - 1, change):
            logits = model(images)
        _expect_once(len(realised), layer)
        return pair_loss(criterion, logits, labels, realised[0])

    return StatelessMethod(loss, hooks.close)


def _expect_maps(features: Tensor, layer: int) -> None:
    if not isinstance(features, Tensor) or features.ndim != 4:
        came = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise UserError(f"expected feature maps (N, C, H, W) from layer {layer}, got {came}")


def _expect_once(times: int, layer: int) -> None:
    """Else the labels would be mixed and the features not, or twice."""
    if times != 1:
        raise UserError(
            f"expected the stage of layer {layer} to run once in a forward pass, it was seen "
            f"{times} times; a method that was closed sees none, nor one whose model was compiled "
            "and called before the method was built"
        )


LabelRatio = Literal["sampled", "mask"]
Mask = Callable[[Tensor, Pairs, Generator], Tensor]  # features (N, C, H, W), ... -> (N, C) bool


def num_source_channels(weight: float, channels: int) -> int:
    """How many channels the source keeps, floor(weight * channels): a number of the host."""
    return floor(weight * channels)


def keep_lowest(scores: Tensor, weight: float) -> Tensor:
    """(N, C) bool: true at the floor(weight * C) lowest of each row of `scores` (N, C).

    Of equal scores the first channel counts as the lower one, on every device.
    """
    channels = scores.shape[1]
    order = torch.argsort(scores, dim=1, stable=True)
    kept = torch.arange(channels, device=scores.device) < num_source_channels(weight, channels)
    return torch.zeros_like(order, dtype=torch.bool).scatter(1, order, kept.expand_as(order))


def take_channels(features: Tensor, partner: Tensor, mask: Tensor) -> Tensor:
    """Channels of `features` (N, C, H, W) where `mask` (N, C) is true, else the partner's (N,)."""
    return torch.where(mask[:, :, None, None], features, features[partner])


def mix_channels(mask: Mask, label_ratio: LabelRatio) -> Mix:
    """Mix feature maps channel by channel.

    Args:
        mask: which channels each image keeps.
        label_ratio: the label's weight: "sampled", lambda as drawn; "mask", the share of the
            channels that is kept, which is smaller by less than 1 / C.

    Raises:
        UnknownName: another `label_ratio`.
    """
    if label_ratio not in get_args(LabelRatio):
        raise UnknownName("label ratio", str(label_ratio), get_args(LabelRatio))

    def mix(features: Tensor, drawn: Pairs, generator: Generator) -> tuple[Tensor, Pairs]:
        mixed = take_channels(features, drawn.partner, mask(features, drawn, generator))
        if label_ratio == "sampled":
            return mixed, drawn
        channels = features.shape[1]
        return mixed, drawn._replace(weight=num_source_channels(drawn.weight, channels) / channels)

    return mix
