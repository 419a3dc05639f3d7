"""An analysis: does the network need colour? Accuracy on the grey versions of the test images.

Rows: `grey_accuracy` in percent, Wilson interval. Samples: `grey_correct` (N,).
"""

from matplotlib.figure import Figure
from torch import Tensor

from catchup_eval import Part, Result, Subject
from catchup_eval.question import Headline
from catchup_eval.report import figures
from catchup_eval.report.curves import by_model
from catchup_eval.results import Rows

TITLE = "Without colour"
QUESTION = "Does the network recognise the images without their colours?"
READING = "A long bar: the network goes by shapes."
SOURCE = "an example of catchup-eval"
NEEDS = frozenset({"test"})
VERSION = 1
HEADLINES = (Headline("grey_accuracy", "accuracy in grey", "higher", outcomes=("grey_correct",)),)


def measure(subject: Subject) -> Result:
    """The row described above."""
    correct = subject.correct(subject.data.part("test"), grey)
    rows = Rows("mean-of-channels@1")
    rows.rate("grey_accuracy", correct)
    return Result(rows.frame(), {"grey_correct": correct})


def grey(part: Part) -> Tensor:
    """(N, 3, H, W) uint8: each pixel's channels replaced by their mean."""
    mean = part.images.float().mean(1, keepdim=True).round()
    return mean.to(part.images.dtype).expand_as(part.images)


def plot(result: Result) -> dict[str, Figure]:
    """One bar for each model, the mean over its seeds."""
    with figures.style():
        models = by_model(result)
        fig = figures.figure(figures.COLUMN, 0.5 + 0.3 * len(models))
        axes = fig.subplots()
        for name, look in figures.looks(list(models)).items():
            values = [seed.value("grey_accuracy") for seed in models[name]]
            axes.barh(figures.drawn(name), sum(values) / len(values), color=look.color)
        axes.set(xlabel="accuracy in grey (%)", xlim=(0, 100))
        axes.invert_yaxis()
        return {"grey": fig}
