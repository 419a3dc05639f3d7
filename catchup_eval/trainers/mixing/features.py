"""Mixing inside the network: after one of its stages, drawn anew at each step.

Layers are numbered as in the Catch-up Mix paper: 0 is the input, 1 the stem, 2 the first stage
after it. A mixture costs no extra forward or backward pass: source and target are the same batch
in two orders, so one pass up to the layer serves both.
"""

from collections.abc import Callable, Iterable
from copy import deepcopy

from numpy.random import Generator
from torch import Tensor, nn

from catchup_eval.errors import UserError
from catchup_eval.hooks import StageHooks
from catchup_eval.models.classifier import Classifier
from catchup_eval.trainers.mixing.method import Closure, Criterion, Method
from catchup_eval.trainers.mixing.pairs import Pairs, draw_pairs, pair_loss

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

        with hooks.changing(layer - 1, change):
            logits = model(images)
        _expect_once(len(realised), layer)
        return pair_loss(criterion, logits, labels, realised[0])

    return Closure(loss, hooks.close)


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
