"""An analysis: does the network need colour? Accuracy on the grey versions of the test images.

Rows: `grey_accuracy` in percent, Wilson interval. Samples: `grey_correct` (N,).
"""

from matplotlib.figure import Figure
from torch import Tensor

from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.datasets.dataset import Split
from catchup_eval.plotting import figure, style
from catchup_eval.results.headline import Headline
from catchup_eval.results.result import Result, Rows, group_by_model

TITLE = "Without colour"
DESCRIPTION = "What is the accuracy on the images without their colours?"
INTERPRETATION = "A long bar: the network relies on shapes."
REFERENCE = "an example of catchup-eval"
NEEDS = frozenset({"test"})
VERSION = 1
HEADLINES = (Headline("grey_accuracy", "accuracy in grey", "higher", outcomes=("grey_correct",)),)


def measure(subject: EvaluationContext) -> Result:
    """The row described above."""
    correct = subject.correct(subject.data.split("test"), grey)
    rows = Rows("mean-of-channels@1")
    rows.rate("grey_accuracy", correct)
    return Result(rows.frame(), {"grey_correct": correct})


def grey(part: Split) -> Tensor:
    """(N, 3, H, W) uint8: each pixel's channels replaced by their mean."""
    mean = part.images.float().mean(1, keepdim=True).round()
    return mean.to(part.images.dtype).expand_as(part.images)


@style.styled
def plot(result: Result) -> dict[str, Figure]:
    """One bar for each model, the mean over its seeds."""
    models = group_by_model(result)
    fig = figure.figure(figure.COLUMN, 0.5 + 0.3 * len(models))
    axes = fig.subplots()
    for name, look in style.plot_styles(list(models)).items():
        values = [seed.value("grey_accuracy") for seed in models[name]]
        axes.barh(name, sum(values) / len(values), color=look.color)
    axes.set(xlabel="accuracy in grey (%)", xlim=(0, 100))
    axes.invert_yaxis()
    return {"grey": fig}
