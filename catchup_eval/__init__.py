"""Train Catch-up Mix and its baselines, then ask any classifier how robust it is.

import catchup_eval as ce

model = ce.load("ours=best.safetensors")          # or ce.wrap(net, mean=..., std=...)
data = ce.data("digits")                          # or ce.from_arrays(images, labels)
findings = ce.evaluate(model, data, only=["clean", "adversarial"])
findings.table

catchup = ce.methods.catchup(model)               # in anyone's own loop:
loss = catchup(images, labels, generator)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from catchup_eval.app.face import Finding, Findings, compare, data, evaluate, load
    from catchup_eval.datasets.arrays import from_arrays
    from catchup_eval.datasets.imageset import Batch, ImageSet, Part
    from catchup_eval.errors import BadFile, Missing, UnknownName, UserError
    from catchup_eval.models.classifier import Classifier, wrap
    from catchup_eval.results import Result
    from catchup_eval.subject import Subject
    from catchup_eval.trainers import methods

# Where each public name lives; imported at its first use, so that `import catchup_eval` is instant.
_HOMES = {
    "BadFile": "errors",
    "Batch": "datasets.imageset",
    "Classifier": "models.classifier",
    "Finding": "app.face",
    "Findings": "app.face",
    "ImageSet": "datasets.imageset",
    "Missing": "errors",
    "Part": "datasets.imageset",
    "Result": "results",
    "Subject": "subject",
    "UnknownName": "errors",
    "UserError": "errors",
    "compare": "app.face",
    "data": "app.face",
    "evaluate": "app.face",
    "from_arrays": "datasets.arrays",
    "load": "app.face",
    "methods": "trainers.methods",
    "wrap": "models.classifier",
}

__all__ = [
    "BadFile",
    "Batch",
    "Classifier",
    "Finding",
    "Findings",
    "ImageSet",
    "Missing",
    "Part",
    "Result",
    "Subject",
    "UnknownName",
    "UserError",
    "compare",
    "data",
    "evaluate",
    "from_arrays",
    "load",
    "methods",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'catchup_eval' has no attribute {name!r}")
    home = import_module(f"catchup_eval.{_HOMES[name]}")
    value = home if name == "methods" else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
