"""Builders that differ in depth alone."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from pydantic import Field
from torch import nn

Builder = Callable[..., nn.Module]
Classes = Annotated[int, Field(ge=1, le=100_000)]
Width = Annotated[int, Field(ge=1, le=4096)]  # in channels
Grid = Annotated[int, Field(ge=1, le=32)]  # of what a pool leaves, on a side


def builder_of(
    network: Builder, *fixed: Any, **defaults: Any
) -> Callable[[Callable[[], None]], Builder]:
    """Make an empty function the builder of `network`, whose first arguments are `fixed`.

    It keeps its name and docstring, and takes the keywords of `network`, some with other defaults.
    """

    def make(named: Callable[[], None]) -> Builder:
        build = partial(network, *fixed, **defaults)
        build.__name__, build.__doc__ = named.__name__, named.__doc__  # type: ignore[attr-defined]
        return build

    return make
