"""Train Catch-up Mix and its baselines, then evaluate the robustness of any classifier.

import catchup_eval as ce

findings = ce.evaluate(net, dataset)              # any nn.Module on any torch Dataset
findings.table

model = ce.load("ours=best.safetensors")          # or ce.wrap(net, mean=..., std=...)
data = ce.data("digits")                          # or ce.data(dataset, ood={"svhn": svhn})
ce.evaluate(model, data, only=["clean", "adversarial"]).save("reports/ours")
ce.open("reports/ours")["clean"].plot()

model, history = ce.train("digits", method="catchup", epochs=3)

catchup = ce.methods.catchup(model)               # in anyone's own loop:
loss = catchup(images, labels, generator)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catchup_eval.analysis.context import EvaluationContext as EvaluationContext
    from catchup_eval.api import AnalysisResult as AnalysisResult
    from catchup_eval.api import Evaluation as Evaluation
    from catchup_eval.api import Training as Training
    from catchup_eval.api import compare as compare
    from catchup_eval.api import data as data
    from catchup_eval.api import evaluate as evaluate
    from catchup_eval.api import load as load
    from catchup_eval.api import open as open
    from catchup_eval.api import train as train
    from catchup_eval.core.environment import __version__ as __version__
    from catchup_eval.core.errors import BadFile as BadFile
    from catchup_eval.core.errors import Missing as Missing
    from catchup_eval.core.errors import UnknownName as UnknownName
    from catchup_eval.core.errors import UserError as UserError
    from catchup_eval.datasets.arrays import from_arrays as from_arrays
    from catchup_eval.datasets.dataset import Batch as Batch
    from catchup_eval.datasets.dataset import Split as Split
    from catchup_eval.datasets.dataset import TensorDataset as TensorDataset
    from catchup_eval.models.classifier import Classifier as Classifier
    from catchup_eval.models.classifier import wrap as wrap
    from catchup_eval.results.result import Result as Result
    from catchup_eval.trainers import mixing as methods  # noqa: F401  # public as `ce.methods`

# Where each public name is defined; imported at its first use: `import catchup_eval` is light.
_HOMES = {
    "AnalysisResult": "api",
    "BadFile": "core.errors",
    "Batch": "datasets.dataset",
    "Classifier": "models.classifier",
    "Evaluation": "api",
    "EvaluationContext": "analysis.context",
    "Missing": "core.errors",
    "Result": "results.result",
    "Split": "datasets.dataset",
    "TensorDataset": "datasets.dataset",
    "Training": "api",
    "UnknownName": "core.errors",
    "UserError": "core.errors",
    "__version__": "core.environment",
    "compare": "api",
    "data": "api",
    "evaluate": "api",
    "from_arrays": "datasets.arrays",
    "load": "api",
    "methods": "trainers.mixing",
    "open": "api",
    "train": "api",
    "wrap": "models.classifier",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'catchup_eval' has no attribute {name!r}")
    home = import_module(f"catchup_eval.{_HOMES[name]}")
    value = home if name == "methods" else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
