"""The text of a recipe: one that comes with the toolkit, or a file of your own."""

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from catchup_eval.core.errors import BadFile, UnknownName

_FOLDER = resources.files("catchup_eval.trainers").joinpath("recipes")
_SHIPPED = {
    file.name.removesuffix(".toml"): file.read_text(encoding="utf-8")
    for file in sorted(_FOLDER.iterdir(), key=lambda file: file.name)
    if file.name.endswith(".toml")
}

# The recipes that come with the toolkit, each with what it is in one line.
RECIPES: Mapping[str, str] = {
    name: tomllib.loads(text).get("about", "") for name, text in _SHIPPED.items()
}


def read_text(source: str) -> str:
    """A recipe as TOML, by the name of a shipped one or by its path.

    Raises:
        UnknownName: no shipped recipe of this name.
        BadFile: no such file, or no text.
    """
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
