"""Whether the numbers of a result follow from its stored outcomes."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from catchup_eval.question import Analysis, Headline
from catchup_eval.results import RANGES, Result
from catchup_eval.statistics import Interval, bootstrap_mean, wilson

DIGITS = 1e-9  # of a value: what storing may change is nothing, what summing may change is less


class Link(NamedTuple):
    """A row of a frame and the outcomes that it is the mean of.

    Args:
        metric: of the row.
        where: what else picks the row.
        outcomes: (N,) per-sample values.
        scale: 100 for percent.
    """

    metric: str
    where: Mapping[str, object]
    outcomes: np.ndarray
    scale: float = 100.0


def headline_links(result: Result, analysis: Analysis) -> Iterator[Link]:
    """The headlines whose outcomes are stored; two strata of an AUROC are a link each."""
    for headline in analysis.HEADLINES:
        for name in headline.outcomes if _asked(result, headline) else ():
            if name in result.samples:
                yield Link(headline.metric, headline.where, result.samples[name], headline.scale)


def _asked(result: Result, headline: Headline) -> bool:
    if not set(headline.where) <= set(result.frame.columns):
        return False
    return len(result.rows(headline.metric, **headline.where)) > 0


def faults(result: Result, links: Iterable[Link]) -> list[str]:
    """What of these rows does not follow from the outcomes, one line each."""
    return [fault for link in links for fault in _row_faults(result, link)]


def _row_faults(result: Result, link: Link) -> Iterator[str]:
    rows = result.rows(link.metric, **link.where)
    name = " ".join([link.metric, *(f"{key}={value}" for key, value in link.where.items())])
    if len(rows) != 1:
        yield f"{name}: {len(rows)} rows, expected one"
        return
    row, values = rows.iloc[0], link.scale * np.asarray(link.outcomes, float)
    if not np.isclose(row["value"], values.mean(), rtol=DIGITS, atol=DIGITS):
        yield f"{name} is {row['value']:.6g}, its outcomes give {values.mean():.6g}"
    own = _interval(link, row)
    if own is not None and not _near(row, own):
        told = f"{row['low']:.6g} to {row['high']:.6g}"
        yield f"{name} has the interval {told}, its outcomes give {own[0]:.6g} to {own[1]:.6g}"


def _interval(link: Link, row: pd.Series) -> Interval | None:
    """Wilson's of outcomes, the bootstrap's of numbers; None where it is about more samples."""
    n = int(row["n"])
    if len(link.outcomes) != n:
        return None
    if link.outcomes.dtype == bool:
        return wilson(int(link.outcomes.sum()), n)
    return bootstrap_mean(link.scale * link.outcomes, bounds=RANGES.get(str(row["unit"])))


def _near(row: pd.Series, interval: Interval) -> bool:
    limits = [row["low"], row["high"]]
    return bool(np.allclose(limits, interval, rtol=DIGITS, atol=DIGITS, equal_nan=True))
