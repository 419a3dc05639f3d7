"""The network before the first step: fresh, or another training's to go on from."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from catchup_eval.core import environment
from catchup_eval.core.errors import UserError
from catchup_eval.core.foreign import foreign_code
from catchup_eval.core.readers import names_code
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.datasets.classes import OutputNames
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.models import loading, spec
from catchup_eval.models.checkpoints import ModelCard
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.modes import eval_mode
from catchup_eval.models.preprocessing import normalisation
from catchup_eval.trainers.recipe import Recipe


def weights_digest(recipe: Recipe) -> dict[str, str]:
    """The initial weights may change under the same name."""
    path = Path(spec.parse(recipe.weights).weights) if recipe.weights else Path()
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        return {"weights_digest": hashlib.file_digest(file, "sha256").hexdigest()[:16]}


def first_weights(recipe: Recipe, data: TensorDataset, seed: int) -> tuple[Classifier, ModelCard]:
    """The network before the first step, and how its card begins.

    Raises:
        UserError: labels that are no classes of the data.
        UnknownName, BadFile: what the recipe names does not exist.
    """
    _check_labels(data)
    classes = len(data.classes)
    with fork_global_rng(generator(seed, "weights")):
        if recipe.weights:
            model, architecture, options = _load(recipe.weights, classes)
            model.output_names = OutputNames()  # those of the data from now on
        else:
            architecture, options = recipe.architecture, recipe.options
            mean, std = normalisation(recipe.norm) if recipe.norm else (data.mean, data.std)
            own = options | {"classes": classes}
            model = loading.build_fresh(architecture, mean=mean, std=std, **own)
            if names_code(architecture):
                _check_outputs(model, architecture, data)
    card = ModelCard(
        architecture=architecture,
        options=options | {"classes": classes},
        mean=_shortest_decimals(model.normalize.mean),
        std=_shortest_decimals(model.normalize.std),
        channels=model.normalize.channels,
        classes=data.classes,
        versions=environment.package_versions(),
    )
    return model, card


def _check_labels(data: TensorDataset) -> None:
    for name in filter(data.has, ("train", "test")):
        labels = data.split(name).labels
        if not len(labels):
            continue
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(data.classes):
            raise UserError(
                f"{data.name} has {len(data.classes)} classes, so its labels should be 0 to "
                f"{len(data.classes) - 1}; the split {name} has {low} to {high}"
            )


@torch.no_grad()
def _check_outputs(model: Classifier, architecture: str, data: TensorDataset) -> None:
    """Raise `UserError` where a user's network has not one output for each class."""
    image, file = data.split("train").images[:1].float() / 255, architecture.rpartition(":")[0]
    with eval_mode(model), foreign_code(f"the network of {architecture}", Path(file)):
        outputs = len(model(image)[0])
    if outputs != len(data.classes):
        raise UserError(
            f"expected {architecture} to give {len(data.classes)} outputs, the classes of "
            f"{data.name}, got {outputs}; an argument `classes` of the function is their number"
        )


def _shortest_decimals(buffer: Tensor) -> tuple[float, ...]:
    """Those that give these float32 values again."""
    return tuple(float(str(value)) for value in buffer.flatten().numpy())


def _load(weights: str, classes: int) -> tuple[Classifier, str, dict[str, Any]]:
    """A network to go on from, with a new head where the classes differ; how it is built."""
    loaded = loading.load(weights, classes=classes)
    net, head = loaded.model.net, loaded.model.head
    if head.out_features != classes:
        name = next(name for name, module in net.named_modules() if module is head)
        parent, _, leaf = name.rpartition(".")
        setattr(net.get_submodule(parent), leaf, nn.Linear(head.in_features, classes))
    if ".py:" in loaded.architecture:
        raise UserError(
            f"{loaded.architecture} cannot be built from a checkpoint's card; train it with "
            "catchup_eval.trainers.loop.fit in a script of your own"
        )
    return loaded.model, loaded.architecture, dict(loaded.options)
