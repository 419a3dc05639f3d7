"""The contract of an analysis: numbers first, figures from the numbers alone."""

from collections.abc import Callable, Iterable, Mapping, Set
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from catchup_eval.plotting.style import Style
    from catchup_eval.results.headline import Condition, Headline, RowLink
    from catchup_eval.results.result import Result

PerSample = Mapping[str, tuple[str, ...]]
"""By pattern of a split's name, patterns of the sample arrays that each of its images decides.

`{}` in an array's pattern stands for what follows the colon in the split's name: `score_out_{}` of
`out:letters` is `score_out_letters`. The arrays of the split "test" are in the order of `index`.
"""


class Recheck(NamedTuple):
    """How a few images are evaluated again."""

    settings: Mapping[str, Any] = {}  # without what is not worth it or depends on the batch
    unless: Mapping[str, Any] = {}  # under which each outcome depends on all images

    def applies(self, settings: Mapping[str, Any]) -> bool:
        """Whether a few images are enough under these settings."""
        return not any(settings.get(key) == value for key, value in self.unless.items())


class Work(NamedTuple):
    """How much work an analysis of one network is, roughly; see :func:`work_of`."""

    passes: float  # images that go through the network; a gradient counts as two more
    changed: float = 0  # images that are corrupted on the way


class Analysis(Protocol):
    """What a module of `catchup_eval.analysis` must have to be listed in `ANALYSES`.

    Attributes:
        TITLE: a few words, for headings.
        DESCRIPTION: what is evaluated, one sentence.
        INTERPRETATION: how to read the figure and the numbers, one or two sentences.
        REFERENCE: the paper the protocol is from.
        NEEDS: what it needs of the context, of: test, train, out, cue, boxes, cscores,
            checkpoints, history, gradients.
        VERSION: raised when a number it gives changes.
        HEADLINES: the headline metric, which comparisons go by, then secondary metrics.
        measure: numbers, from a context; settings are keyword-only, their defaults the paper's.
        plot: figures by name, from a result alone: a single one or several models joined; the
            first is the one that a page shows without a click. `style` is a
            :class:`catchup_eval.plotting.style.Style`, which
            :func:`catchup_eval.plotting.style.styled` takes care of.

    Optional, read by :func:`declaration`:

    - `COST`: relative to that of `clean`, for the progress; default 1. What costs more than
      :data:`QUICK` is left out by `--quick`, more than :data:`USUAL` by `compare`
    - `work(settings, images)`: its :class:`Work` from all settings and the images of each split,
      for the dry run; without it, `COST` passes of each test image
    - `PER_SAMPLE`: :data:`PerSample`, and `RECHECK`: :class:`Recheck`; without them an audit
      re-evaluates it with all images only
    - `row_links(result)`: rows of the frame beyond the headlines, and the samples that each is the
      mean of
    - `conditions(result)`: each way in which all test images are changed, as a
      :class:`~catchup_eval.results.headline.Condition`; the analysis of the images as they are
      also has the sample `label` (N,)
    - `resolve(settings, data, root)`: the settings with what depends on the dataset's name and on
      what lies in the data root, before they are part of a result's key
    - `SEVERAL_LABELS`: whether it counts any of an image's correct classes, where a dataset has
      several for one; else it is skipped there
    - `CONVENTIONS`: the :data:`~catchup_eval.analysis.conventions.Conventions` of its numbers
    """

    TITLE: str
    DESCRIPTION: str
    INTERPRETATION: str
    REFERENCE: str
    NEEDS: frozenset[str]
    VERSION: int
    measure: Callable[..., "Result"]  # (context, *, settings)

    @property
    def HEADLINES(self) -> "tuple[Headline, ...]":  # noqa: N802
        """What summaries and comparisons show."""

    def plot(self, result: "Result", style: "Style | None" = None) -> "dict[str, Figure]":
        """Figures by name."""


QUICK, USUAL = 4, 15
INFO = ("TITLE", "DESCRIPTION", "INTERPRETATION", "REFERENCE")
PARTS: Mapping[str, type] = {
    **dict.fromkeys(INFO, str),
    "NEEDS": Set,
    "VERSION": int,
    "HEADLINES": tuple,
    "measure": Callable,  # type: ignore[dict-item]
    "plot": Callable,  # type: ignore[dict-item]
}


def _no_links(result: "Result") -> "Iterable[RowLink]":
    return ()


def _no_conditions(result: "Result") -> "Iterable[Condition]":
    return ()


def _as_they_are(settings: Mapping[str, Any], data: str, root: "Path | None") -> Mapping[str, Any]:
    return settings


DEFAULTS: Mapping[str, Any] = {
    "COST": 1.0,
    "work": None,
    "PER_SAMPLE": {},
    "RECHECK": None,
    "row_links": _no_links,
    "conditions": _no_conditions,
    "resolve": _as_they_are,
    "SEVERAL_LABELS": False,
    "CONVENTIONS": (),
}


def declaration(analysis: Analysis, name: str) -> Any:
    """One of :data:`DEFAULTS` as the analysis has it; one of another package may lack it."""
    return getattr(analysis, name, DEFAULTS[name])


def work_of(analysis: Analysis, settings: Mapping[str, Any], images: Mapping[str, int]) -> Work:
    """What an analysis of one network takes.

    Args:
        settings: all of them.
        images: by split, how many there are.
    """
    work = declaration(analysis, "work")
    if work is None:
        return Work(float(declaration(analysis, "COST") * images.get("test", 0)))
    return Work(*work(settings, images))
