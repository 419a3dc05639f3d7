"""The contract of an analysis: numbers first, figures from the numbers alone."""

from collections.abc import Callable, Iterable, Mapping, Set
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from catchup_eval.plotting.style import Style
    from catchup_eval.results.headline import Headline, RowLink
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


class Analysis(Protocol):
    """What a module of `catchup_eval.analysis` must have to be listed in `ANALYSES`.

    Attributes:
        TITLE: a few words, for headings.
        DESCRIPTION: what is evaluated, one sentence.
        INTERPRETATION: how to read the figure and the numbers, one or two sentences.
        REFERENCE: the paper the protocol is from.
        NEEDS: what it needs of the context, of: test, train, out, boxes, cscores,
            checkpoints, history.
        VERSION: raised when a number it gives changes.
        HEADLINES: the headline metric, which comparisons go by, then secondary metrics.
        measure: numbers, from a context; settings are keyword-only, their defaults the paper's.
        plot: figures by name, from a result alone: a single one or several models joined; the
            first is the one that a page shows without a click. `style` is a
            :class:`catchup_eval.plotting.style.Style`, which
            :func:`catchup_eval.plotting.style.styled` takes care of.

    Optional, read by :func:`declaration`:

    - `COST`: relative to that of others, for progress and the dry run; default 1
    - `PER_SAMPLE`: :data:`PerSample`, and `RECHECK`: :class:`Recheck`; without them an audit
      re-evaluates it with all images only
    - `row_links(result)`: rows of the frame beyond the headlines, and the samples that each is the
      mean of
    - `resolve(settings, data, root)`: the settings with what depends on the dataset's name and on
      what lies in the data root, before they are part of a result's key
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


def _as_they_are(settings: Mapping[str, Any], data: str, root: "Path | None") -> Mapping[str, Any]:
    return settings


DEFAULTS: Mapping[str, Any] = {
    "COST": 1.0,
    "PER_SAMPLE": {},
    "RECHECK": None,
    "row_links": _no_links,
    "resolve": _as_they_are,
    "CONVENTIONS": (),
}


def declaration(analysis: Analysis, name: str) -> Any:
    """One of :data:`DEFAULTS` as the analysis has it; one of another package may lack it."""
    return getattr(analysis, name, DEFAULTS[name])
