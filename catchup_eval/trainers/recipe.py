"""A recipe: everything about a training but the method, the data and the seed."""

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from catchup_eval.errors import BadFile, UnknownName
from catchup_eval.settings import Settings, check
from catchup_eval.trainers.schedule import Schedule

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


class Optimiser(Settings):
    """Stochastic gradient descent.

    Attributes:
        lr: the learning rate that the schedule is a share of.
        head_lr: another one for the last linear layer and for what a method adds, as in
            fine-tuning; `lr` where it is not given.
    """

    lr: Positive
    head_lr: Positive | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    nesterov: bool = False

    @model_validator(mode="after")
    def _moving(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("optimiser.nesterov needs a momentum above 0, got 0")
        return self


class Augmentation(Settings):
    """What is done to every training image at random.

    Attributes:
        padding: pixels added on each side before a crop of the old size; 0 leaves the image whole.
        fill: what they are: black, or the image mirrored.
        flip: left and right exchanged, for half of the images.
    """

    padding: Annotated[int, Field(ge=0)] = 0
    fill: Literal["zeros", "reflect"] = "zeros"
    flip: bool = False


class Recipe(Settings):
    """How to train.

    Attributes:
        about: one line, for lists.
        architecture: of fresh weights: a name of `ARCHITECTURES`, `torchvision:NAME`, `timm:NAME`.
        options: of its builder, such as `width`.
        weights: instead of an architecture, a model spec to go on from (fine-tuning); its head is
            replaced where the data has another number of classes.
        norm: a name of `NORMS` to normalise with; by default the data's own mean and std.
        epochs, batch_size: the last batch of an epoch may be smaller.
        precision: "bfloat16" computes the forward pass in mixed precision.
        compile: the training's passes go through torch.compile, which takes minutes at first and
            needs a C++ compiler for a CPU, triton for a GPU. It rounds otherwise, so the weights
            depend on it.
        keep: epochs after which a checkpoint is kept beside the last.
        methods: settings by method, as [methods.catchup].
        regularizers: settings by regularizer, as [regularizers.cutout]; an empty table takes the
            defaults. All that are named are on, whatever the method.
    """

    about: str = ""
    architecture: str = ""
    options: dict[str, Any] = {}
    weights: str = ""
    norm: str = ""
    epochs: Count
    batch_size: Count
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    keep: Annotated[tuple[Count, ...], Field(strict=False)] = ()
    optimiser: Optimiser
    schedule: Schedule
    augmentation: Augmentation = Augmentation()
    methods: dict[str, dict[str, Any]] = {}
    regularizers: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if bool(self.architecture) == bool(self.weights):
            got = "both" if self.weights else "neither"
            raise ValueError(
                "expected either architecture (fresh weights) or weights (a model to go on from), "
                f"got {got}"
            )
        if self.weights and (self.options or self.norm):
            raise ValueError("options and norm belong to an architecture; weights have their own")
        late = [epoch for epoch in self.keep if epoch > self.epochs]
        if late:
            raise ValueError(f"expected keep as epochs up to {self.epochs}, got {late[0]}")
        return self

    def training(self) -> dict[str, Any]:
        """What the weights depend on, as plain values; the methods' settings are apart."""
        return self.model_dump(mode="json", exclude={"about", "methods"})


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A recipe that comes with the toolkit, by name, or your own, by the path of its TOML file.

    Raises:
        UnknownName: no shipped recipe of this name, or a key that does not exist.
        BadFile: no such file, or no TOML; the message says in which line.
        UserError: a value of another type or out of range.
    """
    text = str(name_or_path)
    if not text.endswith(".toml") and Path(text).name == text:
        if text not in RECIPES:
            raise UnknownName("recipe", text, RECIPES)
        return _read(_SHIPPED[text], text)
    try:
        return _read(Path(text).read_text(encoding="utf-8"), text)
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(
            f"cannot read the recipe {text}: {getattr(error, 'strerror', None) or error}; "
            f"those that come with the toolkit are: {', '.join(RECIPES)}"
        ) from error


def _read(text: str, source: str) -> Recipe:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadFile(f"{source} is no valid TOML: {error}") from error
    return check(Recipe, values, source)


def _shipped() -> dict[str, str]:
    folder = resources.files("catchup_eval.trainers").joinpath("recipes")
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return {
        file.name.removesuffix(".toml"): file.read_text(encoding="utf-8")
        for file in files
        if file.name.endswith(".toml")
    }


_SHIPPED = _shipped()

RECIPES: Mapping[str, str] = {
    name: tomllib.loads(text).get("about", "") for name, text in _SHIPPED.items()
}
"""The recipes that come with the toolkit, each with what it is in one line."""
