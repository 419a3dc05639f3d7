"""The shape of an analysis: numbers first, pictures from the numbers alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from matplotlib.figure import Figure

from catchup_eval.results import Result


@dataclass(frozen=True)
class Headline:
    """A number of an analysis that stands for it in summaries and comparisons.

    Args:
        metric: its name in the frame.
        label: what tables call it, such as "FGSM 4/255 accuracy".
        better: "higher" or "lower".
        where: the condition that picks its one row.
        outcomes: names of the per-sample arrays whose means are this number divided by `scale`:
            one array for a rate or a mean over images, two strata for an AUROC; empty where there
            are none, and then two models cannot be told apart by it from one run.
        scale: 100 for percent.
        chance: the value of guessing: a number, the name of another metric of the frame, or None.
    """

    metric: str
    label: str
    better: str
    where: Mapping[str, Any] = field(default_factory=dict)
    outcomes: Sequence[str] = ()
    scale: float = 100.0
    chance: float | str | None = None


class Analysis(Protocol):
    """What a module of `catchup_eval.analysis` must have to be listed in `ANALYSES`.

    Attributes:
        TITLE: a few words, for headings.
        QUESTION: what is asked, one sentence.
        READING: how to read the figure and the numbers, one or two sentences.
        SOURCE: the paper the protocol is from.
        NEEDS: what it asks of the subject, of: test, train, out, boxes, cscores,
            checkpoints, history.
        VERSION: raised when a number it gives changes.
        HEADLINES: what stands for it in summaries; the first is the verdict's.
        measure: numbers, from a subject; settings are keyword-only, their defaults the paper's.
        plot: figures by name, from a result alone: a single one or several models joined.
    """

    TITLE: str
    QUESTION: str
    READING: str
    SOURCE: str
    NEEDS: frozenset[str]
    VERSION: int
    measure: Callable[..., Result]  # (subject, *, settings)

    @property
    def HEADLINES(self) -> tuple[Headline, ...]:  # noqa: N802
        """What stands for it in summaries and comparisons."""
        ...

    def plot(self, result: Result) -> dict[str, Figure]:
        """Figures by name."""
        ...


PARTS = (
    "TITLE", "QUESTION", "READING", "SOURCE", "NEEDS", "VERSION", "HEADLINES", "measure", "plot",
)  # fmt: skip
