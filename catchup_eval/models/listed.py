"""Lists of models, in a file that can be kept beside them.

    [models.ours]
    spec = "runs/catchup-s*.safetensors"

    [models.published]
    spec = "resnet20@resnet20-12fca82f.th"
    norm = "imagenet"

Each key beside `spec` is one of its `?key=value`. Paths are seen from where the command is called.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from catchup_eval.errors import BadFile

SUFFIX = ".toml"


def read(path: str) -> dict[str, str]:
    """The specs of a list, by name and with that name.

    Raises:
        BadFile: there is no such list, or it is not of this form.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadFile(f"there is no list of models {path} ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadFile(f"{path} is no TOML file: {error}") from error
    models = content.get("models")
    if not isinstance(models, Mapping) or not models:
        raise BadFile(f'{path} lists no models; expected [models.NAME] with spec = "..."')
    return {name: _spec(path, name, entry) for name, entry in models.items()}


def _spec(path: str, name: str, entry: Any) -> str:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("spec"), str):
        raise BadFile(f'{path}: expected spec = "..." in [models.{name}]')
    if entry["spec"].endswith(SUFFIX):
        raise BadFile(f"{path}: [models.{name}] is a list itself")
    keys = {key: _spelled(value) for key, value in entry.items() if key != "spec"}
    mark = "&" if "?" in entry["spec"] else "?"
    return f"{name}={entry['spec']}" + (mark + urlencode(keys, safe=",/") if keys else "")


def _spelled(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
