"""What a verification says: of each thing it looked at, and of all together."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple


class Verdict(StrEnum):
    """What was looked at, from good to bad; the whole is as bad as its worst part."""

    UNASKED = "not asked"  # neither for nor against
    CONFIRMED = "confirmed"
    NEAR = "confirmed within hardware tolerance"
    UNKNOWN = "cannot tell"
    CONTRADICTED = "contradicted"


ORDER = list(Verdict)


class Difference(NamedTuple):
    """One stored value that asking again did not give.

    Args:
        model: the network's key.
        question: the analysis.
        samples: the array it stands in.
        part: the image's part of the data.
        image: its stable number.
        stored: what the report has.
        found: what came now.
        verdict: near, or contradicted.
    """

    model: str
    question: str
    samples: str
    part: str
    image: int
    stored: Any
    found: Any
    verdict: Verdict


class Finding(NamedTuple):
    """What one check came to.

    Args:
        check: what was looked at, a few words.
        verdict: what of it is true.
        detail: how much was looked at, or what is wrong or missing.
        differences: the samples behind it.
    """

    check: str
    verdict: Verdict
    detail: str
    differences: tuple[Difference, ...] = ()


def overall(findings: Iterable[Finding]) -> Verdict:
    """The worst of all; where nothing was looked at, nothing can be told.

    Example:
        >>> good = Finding("hashes", Verdict.CONFIRMED, "")
        >>> str(overall([good, good._replace(verdict=Verdict.NEAR)]))
        'confirmed within hardware tolerance'
        >>> str(overall([]))
        'cannot tell'
    """
    return worst((finding.verdict for finding in findings), Verdict.UNKNOWN)


def worst(verdicts: Iterable[Verdict], default: Verdict = Verdict.CONFIRMED) -> Verdict:
    """The last of these in the order of :class:`Verdict`; `default` where there are none."""
    return max(verdicts, key=ORDER.index, default=default)


def finding(check: str, faults: Iterable[str], fine: str, verdict: Verdict) -> Finding:
    """Confirmed, with `fine`, where there are no faults; else `verdict`, with all of them."""
    found = list(dict.fromkeys(faults))
    if not found:
        return Finding(check, Verdict.CONFIRMED, fine)
    return Finding(check, verdict, "; ".join(found))
