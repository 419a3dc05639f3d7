"""The training methods: `METHODS` lists them, and each is here by its name.

method = METHODS["catchup"](model, alpha=10.0)      # or methods.catchup(model, alpha=10.0)
loss = method(images, labels, generator)            # a scalar; call backward on it
method.close()                                      # removes its hooks from the model

Each takes, unless its docstring states otherwise, any network (N, 3, H, W) -> (N, K) as
`model`, and as `criterion` a mean loss of logits (N, K) and labels (N,). Each raises `UserError`
for a setting out of its range and for a network that lacks what the method needs, and
`UnknownName` for a word that a setting does not have.

Where a method is asked for by its name, `FILE.py:NAME` is a function of the user's own. It is
called as the others are, `NAME(model, *, criterion, <settings>)`, and gives a function of images,
labels and generator; a `close()` it may have or not.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.core.foreign import foreign_code
from catchup_eval.core.readers import load_user_function, names_code
from catchup_eval.core.registry import LazyEntry, Registry, share_entries
from catchup_eval.core.settings import check_keywords

if TYPE_CHECKING:
    from torch import nn

    from catchup_eval.trainers.base import Criterion as Criterion
    from catchup_eval.trainers.base import Method as Method
    from catchup_eval.trainers.mixing.alignmixup import alignmixup as alignmixup
    from catchup_eval.trainers.mixing.baseline import baseline as baseline
    from catchup_eval.trainers.mixing.catchup import catchup as catchup
    from catchup_eval.trainers.mixing.comixup import comixup as comixup
    from catchup_eval.trainers.mixing.cutmix import cutmix as cutmix
    from catchup_eval.trainers.mixing.input_mixup import input_mixup as input_mixup
    from catchup_eval.trainers.mixing.manifold_mixup import manifold_mixup as manifold_mixup
    from catchup_eval.trainers.mixing.moex import moex as moex
    from catchup_eval.trainers.mixing.puzzlemix import puzzlemix as puzzlemix
    from catchup_eval.trainers.mixing.random_channel import random_channel as random_channel
    from catchup_eval.trainers.mixing.recursivemix import recursivemix as recursivemix
    from catchup_eval.trainers.mixing.saliencymix import saliencymix as saliencymix
    from catchup_eval.trainers.mixing.snapmix import snapmix as snapmix

Build = Callable[..., "Method"]  # (model, *, criterion=cross_entropy, <settings>)


# Those that the toolkit has, then those that other installed packages add.
METHODS: Registry[Build] = Registry(
    "methods",
    {
        name: LazyEntry(f"{__name__}.{name}:{name}")
        for name in (
            "baseline",
            "input_mixup",
            "cutmix",
            "manifold_mixup",
            "catchup",
            "random_channel",
            "moex",
            "alignmixup",
            "recursivemix",
            "saliencymix",
            "snapmix",
            "puzzlemix",
            "comixup",
        )
    },
    parts=["__call__"],
)

share_entries(
    __name__,
    METHODS,
    Criterion="catchup_eval.trainers.base:Criterion",
    Method="catchup_eval.trainers.base:Method",
)


def find(name: str) -> Build:
    """The builder of this name, or the function that `FILE.py:NAME` names, whose file is run.

    Raises:
        UnknownName, BadFile, UserError: there is none, or its file cannot be run.
    """
    check_name(name)
    if not names_code(name):
        return METHODS[name]
    return load_user_function(name, "a method, which can be called,", Callable)  # type: ignore[arg-type]


def guard(name: str, *, surely: bool = True) -> AbstractContextManager[None]:
    """While a method that is not the toolkit's is used: what it raises is reported with its line.

    Args:
        surely: as of :func:`~catchup_eval.core.foreign.foreign_code`.
    """
    if names_code(name):
        path, _, function = name.rpartition(":")
        return foreign_code(f"your method {function}", Path(path), surely=surely)
    return METHODS.guard(name, surely=surely)


def short_name(name: str) -> str:
    """What a method is called in tables and in names of files.

    Example:
        >>> short_name("cutmix"), short_name("own/mine.py:mymix")
        ('cutmix', 'mymix')
    """
    return name.rpartition(":")[2] if names_code(name) else name


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Refuse what the method of this name cannot be given; no model is needed for it.

    Raises:
        UnknownName: no such method, or a setting that it does not have.
        UserError: a value of another type or out of range.
    """
    make = find(name)
    known = [each.name for each in _settings(make)]
    for setting in settings:
        if setting not in known:
            raise UnknownName(f"{name} setting", setting, known)
    # The criterion is given when it is built, and may have no default.
    given = {"criterion": make} if "criterion" in signature(make).parameters else {}
    check_keywords(make, {**given, **settings}, name)


def build(name: str, model: "nn.Module", **settings: Any) -> "Method":
    """The method of this name on `model`, with settings that may come from a file or a command.

    Raises:
        UnknownName: no such method, or a setting that it does not have.
        UserError: a value or a model that the method refuses.
    """
    check_settings(name, {key: settings[key] for key in settings if key != "criterion"})
    if names_code(name):
        return _build_own(name, model, settings)
    with METHODS.guard(name):
        built = METHODS[name](model, **settings)
    if not (callable(built) and callable(getattr(built, "close", None))):
        METHODS.expect(name, built, "a method, which can be called and closed,")
    return built


def _build_own(name: str, model: "nn.Module", settings: Mapping[str, Any]) -> "Method":
    """The method of a user's own function, which may give a plain function of the batch.

    Raises:
        UserError: it takes no criterion, which regularizers may change, or it fails.
    """
    from torch.nn.functional import cross_entropy

    from catchup_eval.trainers.base import StatelessMethod

    make, own = find(name), short_name(name)
    if "criterion" not in signature(make).parameters:
        raise UserError(f"expected {name} to take a criterion: def {own}(model, *, criterion)")
    built = make(model, **{"criterion": cross_entropy, **settings})
    return built if hasattr(built, "close") else StatelessMethod(built)


def default_settings(name: str) -> dict[str, Any]:
    """The settings of a method with their defaults, less `criterion`, which is a function.

    Raises:
        UnknownName: no such method.

    Example:
        >>> default_settings("cutmix")
        {'alpha': 1.0, 'probability': 1.0}
    """
    known = _settings(find(name))
    return {each.name: each.default for each in known if each.default is not each.empty}


def _settings(make: Build) -> list[Parameter]:
    parameters = signature(make).parameters.values()
    return [p for p in parameters if p.kind is Parameter.KEYWORD_ONLY and p.name != "criterion"]


def summary(name: str) -> str:
    """A method in one line.

    Raises:
        UnknownName: no such method.

    Example:
        >>> summary("input_mixup")
        'The weighted mean of two images, at every step (Zhang et al. 2018).'
    """
    check_name(name)
    return METHODS.describe(name)


def check_name(name: str) -> None:
    """Raise `UnknownName` or `BadFile` where there is no method of this name; none is imported."""
    if names_code(name):
        if not Path(name.rpartition(":")[0]).is_file():
            raise BadFile(f"there is no file {name.rpartition(':')[0]}")
    elif name not in METHODS:
        raise UnknownName("method", name, METHODS)
