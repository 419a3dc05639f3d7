"""A recipe: everything about a training but the method, the data and the seed.

A file may say `base = "NAME"` and then only what differs: tables are merged key by key, and one
whose `kind` differs is replaced whole. What a checkpoint keeps is the whole recipe.
"""

import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from catchup_eval.errors import BadFile, UnknownName, UserError
from catchup_eval.preprocess import Preprocess
from catchup_eval.settings import TAG, Settings, check
from catchup_eval.trainers.schedule import Schedule, StepSchedule

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


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


class ResizedCrop(Settings):
    """A window of random area and shape, brought to one size: torchvision's `RandomResizedCrop`.

    Attributes:
        scale: the window's share of the image's area, from and to.
        ratio: its width by its height, from and to.
        interpolation: antialiased, as Pillow has it.
    """

    scale: Annotated[tuple[Share, Share], Field(strict=False)] = (0.08, 1.0)
    ratio: Annotated[tuple[Positive, Positive], Field(strict=False)] = (3 / 4, 4 / 3)
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    @field_validator("scale", "ratio")
    @classmethod
    def _rising(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if limits[0] > limits[1]:
            raise ValueError(f"expected from and to in this order, got {[*limits]}")
        return limits


class Augmentation(Settings):
    """What is done to every training image at random.

    Attributes:
        padding: pixels added on each side before a crop; 0 leaves the image whole.
        fill: what they are: black, or the image mirrored.
        size: side of the crop, which the network is given; 0 keeps the image's own size.
        resized_crop: instead of a crop of that size, a window that is brought to it.
        flip: left and right exchanged, for half of the images.
        jitter: brightness, contrast and saturation, each times a factor between 1 - jitter and
            1 + jitter.
        lighting: standard deviation of a shift along ImageNet's principal colours (Krizhevsky et
            al. 2012), in units of their own.
    """

    padding: Annotated[int, Field(ge=0)] = 0
    fill: Literal["zeros", "reflect"] = "zeros"
    size: Annotated[int, Field(ge=0)] = 0
    resized_crop: ResizedCrop | None = None
    flip: bool = False
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.0
    lighting: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _one_crop(self) -> Self:
        if self.padding and self.resized_crop:
            raise ValueError("expected either augmentation.padding or resized_crop, got both")
        return self


class View(Settings):
    """How photographs are brought to one size: what `Preprocess` has."""

    size: Count
    resize: Count | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    squash: bool = False

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self.preprocess()
        return self

    def preprocess(self) -> Preprocess:
        """The same, able to do it."""
        return Preprocess(**self.model_dump())


class Recipe(Settings):
    """How to train.

    Attributes:
        about: one line, for lists.
        base: the recipe that this one changes; empty where it stands alone.
        architecture: of fresh weights: a name of `ARCHITECTURES`, `torchvision:NAME`, `timm:NAME`.
        options: of its builder, such as `width`.
        weights: instead of an architecture, a model spec to go on from (fine-tuning); its head is
            replaced where the data has another number of classes.
        norm: a name of `NORMS` to normalise with, or `mean/std` as a model spec has it; by default
            the data's own mean and std.
        view: how photographs are brought to one size for the training, before its crops; sets of
            fixed size need none.
        test_view: how they are for evaluation, here and ever after: a checkpoint keeps it.
        share: of each class's training images, for small-data runs; the seed says which. Those of
            a smaller share are among those of a larger one.
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
    base: str = ""
    architecture: str = ""
    options: dict[str, Any] = {}
    weights: str = ""
    norm: str = ""
    view: View | None = None
    test_view: View | None = None
    share: Share = 1.0
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
        if (self.view is None) != (self.test_view is None):
            raise ValueError("expected view and test_view together, got only one of them")
        late = [epoch for epoch in self.keep if epoch > self.epochs]
        if late:
            raise ValueError(f"expected keep as epochs up to {self.epochs}, got {late[0]}")
        return self

    @property
    def ways(self) -> dict[str, Preprocess | None]:
        """How photographs are shown, by part; None where the data say it."""
        views = {"train": self.view, "test": self.test_view}
        return {name: view.preprocess() if view else None for name, view in views.items()}

    def training(self) -> dict[str, Any]:
        """What the weights depend on, as plain values; the methods' settings are apart."""
        return self.model_dump(mode="json", exclude={"about", "base", "methods"})


def load_recipe(name_or_path: str | Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe that comes with the toolkit, by name, or your own, by the path of its TOML file.

    Args:
        name_or_path: of the recipe; a `base` in a file of your own is a name, or a path from
            the folder of that file.
        changes: what is to differ, as the keys of a file that has the recipe as its base.

    Raises:
        UnknownName: no shipped recipe of this name, or a key that does not exist.
        BadFile: no such file, or no TOML; the message says in which line.
        UserError: a value of another type or out of range, or recipes that are each other's base.
    """
    source = str(name_or_path)
    return check(Recipe, merged(_values(source), changes or {}), source)


def scaled(recipe: Recipe, share: float) -> Recipe:
    """The recipe with this share of its epochs, one at least, and all that is counted in epochs.

    Milestones that fall together are one.
    """
    epochs = max(1, round(recipe.epochs * share))
    values = recipe.model_dump() | {"epochs": epochs, "keep": _at(recipe.keep, share, epochs)}
    if isinstance(recipe.schedule, StepSchedule):
        milestones = _at(recipe.schedule.milestones, share, epochs - 1)
        values["schedule"] = recipe.schedule.model_dump() | {"milestones": milestones}
    return check(Recipe, values, "the scaled recipe")


def _at(counts: Sequence[int], share: float, last: int) -> list[int]:
    """Epochs after the same share of the training, from 1 to `last`."""
    moved = {round(epoch * share) for epoch in counts}
    return sorted(epoch for epoch in moved if 1 <= epoch <= last)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `base`, changed: tables key by key, unless they are of another kind.

    Example:
        >>> merged({"optimiser": {"lr": 0.1, "momentum": 0.9}}, {"optimiser": {"lr": 0.2}})
        {'optimiser': {'lr': 0.2, 'momentum': 0.9}}
    """
    whole = dict(base)
    for key, value in changes.items():
        old = whole.get(key)
        alike = isinstance(old, Mapping) and isinstance(value, Mapping) and _same_kind(old, value)
        whole[key] = merged(old, value) if alike else value  # type: ignore[arg-type]
    return whole


def _same_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return TAG not in new or new[TAG] == old.get(TAG)


def _values(source: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a recipe says, its bases' words included; `above` are those that it is a base of."""
    if source in above:
        raise UserError(f"recipes are each other's base: {' -> '.join([*above, source])}")
    own = _parsed(_text(source), source)
    base = own.get("base")
    if not (base and isinstance(base, str)):
        return own
    beside = Path(source).with_name(base) if base.endswith(".toml") else base
    values = _values(str(beside), (*above, source))
    return merged({key: values[key] for key in values if key != "about"}, own)


def _text(source: str) -> str:
    if not source.endswith(".toml") and Path(source).name == source:
        if source not in RECIPES:
            raise UnknownName("recipe", source, RECIPES)
        return _SHIPPED[source]
    try:
        return Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(
            f"cannot read the recipe {source}: {getattr(error, 'strerror', None) or error}; "
            f"those that come with the toolkit are: {', '.join(RECIPES)}"
        ) from error


def _parsed(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadFile(f"{source} is no valid TOML: {error}") from error


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
