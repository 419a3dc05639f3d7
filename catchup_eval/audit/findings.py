"""What a verification says: of each thing it looked at, and of all together."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple


class AuditStatus(StrEnum):
    """What was looked at, from good to bad; the whole is as bad as its worst part."""

    UNASKED = "not asked"  # neither for nor against
    CONFIRMED = "confirmed"
    NEAR = "confirmed within hardware tolerance"
    UNKNOWN = "cannot tell"
    CONTRADICTED = "contradicted"


ORDER = list(AuditStatus)


class Mismatch(NamedTuple):
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
    verdict: AuditStatus


class AuditCheck(NamedTuple):
    """What one check came to.

    Args:
        check: what was looked at, a few words.
        verdict: what of it is true.
        detail: how much was looked at, or what is wrong or missing.
        differences: the samples behind it.
    """

    check: str
    verdict: AuditStatus
    detail: str
    differences: tuple[Mismatch, ...] = ()


def overall_status(findings: Iterable[AuditCheck]) -> AuditStatus:
    """The worst of all; where nothing was looked at, nothing can be told.

    Example:
        >>> good = AuditCheck("hashes", AuditStatus.CONFIRMED, "")
        >>> str(overall_status([good, good._replace(verdict=AuditStatus.NEAR)]))
        'confirmed within hardware tolerance'
        >>> str(overall_status([]))
        'cannot tell'
    """
    return worst_status((finding.verdict for finding in findings), AuditStatus.UNKNOWN)


def worst_status(
    verdicts: Iterable[AuditStatus], default: AuditStatus = AuditStatus.CONFIRMED
) -> AuditStatus:
    """The last of these in the order of :class:`AuditStatus`; `default` where there are none."""
    return max(verdicts, key=ORDER.index, default=default)


def finding(check: str, faults: Iterable[str], fine: str, verdict: AuditStatus) -> AuditCheck:
    """Confirmed, with `fine`, where there are no faults; else `verdict`, with all of them."""
    found = list(dict.fromkeys(faults))
    if not found:
        return AuditCheck(check, AuditStatus.CONFIRMED, fine)
    return AuditCheck(check, verdict, "; ".join(found))
