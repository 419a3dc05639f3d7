"""Regularizers: `REGULARIZERS` lists them, and each combines with any method.

on = regularize(model, {"cutout": {"length": 8}, "shakedrop": {}})
method = on.wrap(METHODS["cutmix"](model, criterion=on.criterion))
loss = method(images, labels, generator)      # as without
with on.fold_into_weights():                  # the weights that a plain network must have
    torch.save(model.net.state_dict(), path)
method.close()                                # removes the hooks of both from the model
"""

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from catchup_eval.core.errors import UnknownName
from catchup_eval.core.registry import LazyEntry, Registry, share_entries
from catchup_eval.core.settings import check_keywords
from catchup_eval.trainers.mixing import check_name

if TYPE_CHECKING:
    from torch import nn

    from catchup_eval.trainers.regularizers.base import Regularized as Regularized
    from catchup_eval.trainers.regularizers.base import Regularizer as Regularizer
    from catchup_eval.trainers.regularizers.base import Regularizers as Regularizers
    from catchup_eval.trainers.regularizers.cutout import cutout as cutout
    from catchup_eval.trainers.regularizers.dropblock import dropblock as dropblock
    from catchup_eval.trainers.regularizers.label_smoothing import (
        label_smoothing as label_smoothing,
    )
    from catchup_eval.trainers.regularizers.shakedrop import shakedrop as shakedrop
    from catchup_eval.trainers.regularizers.stochastic_depth import (
        stochastic_depth as stochastic_depth,
    )

Build = Callable[..., "Regularizer"]  # (model, *, <settings>)

REGULARIZERS: Registry[Build] = Registry(
    "",
    {
        name: LazyEntry(f"{__name__}.{name}:{name}")
        for name in ("cutout", "label_smoothing", "stochastic_depth", "shakedrop", "dropblock")
    },
    parts=["__call__"],
)

_BASE = "catchup_eval.trainers.regularizers.base"

share_entries(
    __name__,
    REGULARIZERS,
    Regularized=f"{_BASE}:Regularized",
    Regularizer=f"{_BASE}:Regularizer",
    Regularizers=f"{_BASE}:Regularizers",
)


def split_combination(name: str) -> tuple[str, tuple[str, ...]]:
    """A method and the regularizers beside it, which are imported when they are used.

    Raises:
        UnknownName: no such method or regularizer.

    Example:
        >>> split_combination("cutmix+cutout")
        ('cutmix', ('cutout',))
    """
    file, mark, rest = name.rpartition(".py:")  # a folder's name may have a plus
    method, *beside = rest.split("+")
    method = file + mark + method
    check_name(method)
    for each in beside:
        if each not in REGULARIZERS:
            raise UnknownName("regularizer", each, REGULARIZERS)
    return method, tuple(beside)


def regularize(model: "nn.Module", settings: Mapping[str, Mapping[str, Any]]) -> "Regularizers":
    """Those of these names put on `model`, always in the order of `REGULARIZERS`.

    Args:
        settings: by name, as a recipe's [regularizers.NAME] has them.

    Raises:
        UnknownName: no such regularizer, or a setting that it does not have.
        UserError: a value or a model that a regularizer refuses; nothing is left on the model then.
    """
    from catchup_eval.trainers.regularizers.base import Regularizers

    whole, built = fill_defaults(settings), Regularizers([])
    try:
        for name, build in REGULARIZERS.items():
            if name in whole:
                built.parts.append(build(model, **whole[name]))
    except Exception:
        built.close()
        raise
    return built


def fill_defaults(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same settings, by name, each with the defaults that are not overruled.

    Raises:
        UnknownName: no such regularizer, or a setting that it does not have.
        UserError: a value of another type or out of range.

    Example:
        >>> fill_defaults({"cutout": {}})
        {'cutout': {'length': 8}}
    """
    whole = {}
    for name, own in settings.items():
        if name not in REGULARIZERS:
            raise UnknownName("regularizer", name, REGULARIZERS)
        parameters = signature(REGULARIZERS[name]).parameters.values()
        known = {p.name: p.default for p in parameters if p.kind is Parameter.KEYWORD_ONLY}
        for setting in own:
            if setting not in known:
                raise UnknownName(f"{name} setting", setting, known)
        check_keywords(REGULARIZERS[name], own, name)
        whole[name] = {**known, **own}
    return whole
