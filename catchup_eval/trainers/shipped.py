"""The recipes that come with the toolkit."""

from collections.abc import Mapping
from typing import Any

from catchup_eval.core import toml

_CONTENTS = toml.shipped("catchup_eval.trainers", "recipes")

# Each with what it is in one line.
RECIPES: Mapping[str, str] = {name: content.get("about", "") for name, content in _CONTENTS.items()}


def read(source: str) -> dict[str, Any]:
    """What a recipe's own file says, by the name of a shipped one or by its path.

    Raises:
        UnknownName: no shipped recipe of this name.
        BadFile: no such file, or no TOML.
    """
    return toml.find("recipe", source, _CONTENTS)
