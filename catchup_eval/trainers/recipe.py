"""A recipe: everything about a training but the method, the data and the seed.

A file may have `base = "NAME"` and then only the differences: tables are merged key by key, and one
whose `kind` differs is replaced whole. A checkpoint's card has the whole recipe.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.readers import names_code
from catchup_eval.core.settings import (
    MOST,
    TAG,
    Count,
    Positive,
    PositiveFraction,
    Settings,
    Several,
    check,
)
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.models import spec
from catchup_eval.models.preprocessing import normalisation
from catchup_eval.models.sources import HUGGINGFACE, TIMM, TORCHVISION
from catchup_eval.models.zoo import check_architecture_options
from catchup_eval.trainers import mixing
from catchup_eval.trainers.augmentation import Augmentation, build_transform
from catchup_eval.trainers.optimization import (
    AverageSettings,
    CosineSchedule,
    Optimiser,
    Schedule,
    StepSchedule,
)
from catchup_eval.trainers.regularizers import fill_defaults
from catchup_eval.trainers.shipped import RECIPES as RECIPES
from catchup_eval.trainers.shipped import read

Side = Annotated[int, Field(ge=1, le=4096)]

# Settings that came later, with what was done before there were any: stored only where they differ,
# so that what was trained before is still found finished.
LATER: Mapping[str, Any] = {
    "clip_norm": None,
    "ema": None,
    "optimiser.kind": "sgd",
    "schedule.warmup_epochs": 0,
    "schedule.warmup_start": 0.01,
    "schedule.end": 0.0,
    "augmentation.transforms": [],
    "sync_norm": False,
}


class PreprocessingSettings(Settings):
    """How images of varying size are brought to one size: what `Preprocess` has.

    Attributes:
        size: side of the square that the network is given, in pixels.
        resize: the shorter side before the centre crop; `size` where it is not given.
        interpolation: antialiased, as Pillow has it.
        squash: bring both sides to `size`, whatever the aspect ratio; nothing is cropped then.
    """

    size: Side
    resize: Side | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    squash: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.preprocess()
        return self

    def preprocess(self) -> Preprocess:
        """The same, able to do it."""
        return Preprocess(**self.model_dump())


class Recipe(Settings):
    """How to train.

    Attributes:
        about: one line, for lists.
        base: the recipe that this one changes; empty if there is none.
        data: the dataset that the command `train` takes where none is given; the weights do not
            depend on this word, so it is not among the stored settings.
        architecture: of fresh weights: a name of `ARCHITECTURES`, `torchvision:NAME`, `timm:NAME`,
            or `FILE.py:NAME`, a function of your own, which is told the number of `classes`.
        options: of its builder, such as `width`.
        weights: instead of an architecture, a model spec to go on from (fine-tuning); its head is
            replaced where the data has another number of classes.
        norm: a name of `NORMS` to normalise with, or `mean/std` as a model spec has it; by default
            the data's own mean and std.
        view: how images of varying size are preprocessed for the training, before its crops;
            datasets of fixed size need none.
        test_view: how they are for evaluation, here and later: it is saved in the checkpoint.
        share: the fraction of each class's training images, for small-data runs; the seed says
            which. Those of a smaller fraction are among those of a larger one.
        epochs: passes over the training images.
        batch_size: images in a step; the last batch of an epoch may be smaller.
        precision: "bfloat16" computes the forward pass in mixed precision.
        compile: the training's passes go through torch.compile, which takes minutes at first and
            needs a C++ compiler for a CPU, triton for a GPU. It rounds otherwise, so the weights
            depend on it.
        keep: epochs after which a checkpoint is saved beside the last.
        validate_every: epochs from one look at the validation split to the next; 0: after none but
            the last and those of `keep`, after which it is always looked at. The weights do not
            depend on it.
        sync_norm: several processes take the statistics of batch norms from the whole batch, not
            each from its part; needs GPUs. One process does so anyhow.
        optimiser: SGD or, with `kind = "adamw"`, AdamW.
        schedule: of the learning rate: step, cosine or one_cycle.
        clip_norm: the longest gradient, of all parameters together; a longer one is shortened.
        ema: an average of the weights over the steps, which the checkpoint holds beside them:
            FILE?ema=true evaluates it.
        augmentation: how every training image is changed at random.
        methods: settings by method, as [methods.catchup].
        regularizers: settings by regularizer, as [regularizers.cutout]; an empty table takes the
            defaults. All that are named are on, whatever the method.
    """

    about: str = ""
    base: str = ""
    data: str = ""
    architecture: str = ""
    options: dict[str, Any] = {}
    weights: str = ""
    norm: str = ""
    view: PreprocessingSettings | None = None
    test_view: PreprocessingSettings | None = None
    share: PositiveFraction = 1.0
    epochs: Count
    batch_size: Count
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    keep: Several[Count] = ()
    validate_every: Annotated[int, Field(ge=0, le=MOST)] = 1
    sync_norm: bool = False
    optimiser: Optimiser
    schedule: Schedule
    clip_norm: Positive | None = None
    ema: AverageSettings | None = None
    augmentation: Augmentation = Augmentation()
    methods: dict[str, dict[str, Any]] = {}
    regularizers: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.architecture) == bool(self.weights):
            got = "both" if self.weights else "neither"
            raise ValueError(
                "expected either architecture (fresh weights) or weights (a model to go on from), "
                f"got {got}"
            )
        reserved = sorted({"classes", "mean", "name", "std"} & self.options.keys())
        if reserved:
            raise ValueError(f"expected options of the network, got {reserved[0]} of the data")
        if self.weights and (self.options or self.norm):
            raise ValueError("options and norm belong to an architecture; weights have their own")
        if (self.view is None) != (self.test_view is None):
            raise ValueError("expected view and test_view together, got only one of them")
        late = [epoch for epoch in self.keep if epoch > self.epochs]
        if late:
            raise ValueError(f"expected keep as epochs up to {self.epochs}, got {late[0]}")
        warmup = self.schedule.warmup_epochs if isinstance(self.schedule, CosineSchedule) else 0
        if warmup >= self.epochs:
            raise ValueError(
                f"expected schedule.warmup_epochs below the {self.epochs} epochs, got {warmup}"
            )
        return self

    @property
    def preprocessing_by_split(self) -> dict[str, Preprocess | None]:
        """How images of varying size are preprocessed, by split; None for that of the data."""
        settings = {"train": self.view, "test": self.test_view}
        return {name: own.preprocess() if own else None for name, own in settings.items()}

    def training_settings(self) -> dict[str, Any]:
        """What the weights depend on, as plain values; the methods' settings are apart."""
        apart = {"about", "base", "data", "methods", "validate_every"}
        values = self.model_dump(mode="json", exclude=apart)
        for place, before in LATER.items():
            *tables, key = place.split(".")
            table = values[tables[0]] if tables else values
            if table.get(key) == before:
                table.pop(key, None)
        return values

    def is_validated(self, epoch: int) -> bool:
        """Whether the validation split is looked at after this epoch, from 1."""
        often = self.validate_every and epoch % self.validate_every == 0
        return bool(often) or epoch in (*self.keep, self.epochs)


def load_recipe(name_or_path: str | Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe that comes with the toolkit, by name, or your own, by the path of its TOML file.

    Args:
        name_or_path: of the recipe; a `base` in a file of your own is a name, or a path from
            the folder of that file.
        changes: what is to differ, as the keys of a file that has the recipe as its base.

    Raises:
        UnknownName: no shipped recipe of this name, or a key that does not exist.
        BadFile: no such file, or no TOML; the message names the line.
        UserError: a value of another type or out of range, or recipes that are each other's base.
    """
    source = str(name_or_path)
    recipe = check(Recipe, merge_settings(_values(source), changes or {}), source)
    for method, settings in recipe.methods.items():
        mixing.check_settings(method, settings)
    fill_defaults(recipe.regularizers)
    if recipe.norm:
        normalisation(recipe.norm)
    for transform in recipe.augmentation.transforms:
        build_transform(transform)
    zoos = (TORCHVISION, TIMM, HUGGINGFACE)
    if names_code(recipe.architecture):
        check_architecture(recipe.architecture)
    elif recipe.architecture and not recipe.architecture.startswith(zoos):
        check_architecture_options(recipe.architecture, recipe.options)
    return recipe


def with_architecture(recipe: Recipe, architecture: str) -> Recipe:
    """The recipe with fresh weights of another network, with its default options.

    Raises:
        UnknownName, BadFile: there is no such network.
    """
    check_architecture(architecture)
    changes = {"architecture": architecture, "options": {}, "weights": ""}
    return check(Recipe, recipe.model_dump() | changes, "--architecture")


def check_architecture(name: str) -> None:
    """Raise `UnknownName` or `BadFile` where there is no network of this name; no code is run."""
    spec.check_architecture(name)
    if names_code(name) and not Path(name.rpartition(":")[0]).is_file():
        raise BadFile(f"there is no file {name.rpartition(':')[0]}")


def checkpoint_spec(recipe: Recipe, path: Path) -> str:
    """The model spec of a checkpoint of this training, which names a user's own network."""
    return f"{recipe.architecture}@{path}" if names_code(recipe.architecture) else str(path)


def scale_epochs(recipe: Recipe, fraction: float) -> Recipe:
    """The recipe with this fraction of its epochs, one at least, and all that is counted in epochs.

    Milestones that fall together are one.
    """

    def scale(counts: Sequence[int], last: int) -> list[int]:
        return sorted({n for n in (round(count * fraction) for count in counts) if 1 <= n <= last})

    epochs = max(1, round(recipe.epochs * fraction))
    values = recipe.model_dump() | {"epochs": epochs, "keep": scale(recipe.keep, epochs)}
    if isinstance(recipe.schedule, StepSchedule):
        values["schedule"]["milestones"] = scale(recipe.schedule.milestones, epochs - 1)
    if isinstance(recipe.schedule, CosineSchedule):
        warmup = round(recipe.schedule.warmup_epochs * fraction)
        values["schedule"]["warmup_epochs"] = min(warmup, epochs - 1)
    return check(Recipe, values, "the scaled recipe")


def with_epochs(recipe: Recipe, epochs: int | None) -> Recipe:
    """The recipe with another number of epochs."""
    if epochs is None:
        return recipe
    keep = [epoch for epoch in recipe.keep if epoch <= epochs]
    return check(Recipe, recipe.model_dump() | {"epochs": epochs, "keep": keep}, "--epochs")


def merge_settings(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `base`, changed: tables key by key, unless they are of another kind.

    Example:
        >>> merge_settings({"optimiser": {"lr": 0.1, "momentum": 0.9}}, {"optimiser": {"lr": 0.2}})
        {'optimiser': {'lr': 0.2, 'momentum': 0.9}}
    """
    whole = dict(base)
    for key, new in changes.items():
        old = whole.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping) and _same_kind(old, new):
            new = merge_settings(old, new)
        whole[key] = new
    return whole


def _same_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return TAG not in new or new[TAG] == old.get(TAG, "sgd")  # an optimiser may not say it


def _values(source: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """The values of a recipe and its bases; `above` are those that it is a base of."""
    if source in above:
        raise UserError(f"recipes are each other's base: {' -> '.join([*above, source])}")
    own = read(source)
    base = own.get("base")
    if not (base and isinstance(base, str)):
        return own
    beside = Path(source).with_name(base) if base.endswith(".toml") else base
    values = _values(str(beside), (*above, source))
    return merge_settings({key: values[key] for key in values if key != "about"}, own)
