"""What an audit says: of each thing it checks, and of all together."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple


class AuditStatus(StrEnum):
    """Of one check, from good to bad; a report has the worst of all its checks."""

    SKIPPED = "not evaluated"  # neither for nor against
    CONFIRMED = "confirmed"
    NEAR = "confirmed within hardware tolerance"
    UNKNOWN = "cannot tell"
    CONTRADICTED = "contradicted"


class Mismatch(NamedTuple):
    """One stored value that evaluating again did not give.

    Args:
        model: its key.
        question: the analysis.
        samples: the array it stands in.
        part: the image's split of the data.
        image: its stable number.
        stored, found: in the report, and now.
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
    """One check: what of, how much there was or what is wrong, and the samples behind it."""

    check: str
    verdict: AuditStatus
    detail: str
    differences: tuple[Mismatch, ...] = ()


def worst_status(
    verdicts: Iterable[AuditStatus], default: AuditStatus = AuditStatus.UNKNOWN
) -> AuditStatus:
    """The last of these in the order of :class:`AuditStatus`; `default` where there are none."""
    return max(verdicts, key=list(AuditStatus).index, default=default)


def finding(check: str, faults: Iterable[str], fine: str, verdict: AuditStatus) -> AuditCheck:
    """Confirmed, with `fine`, where there are no faults; else `verdict`, with all of them."""
    found = "; ".join(dict.fromkeys(faults))
    return AuditCheck(check, verdict if found else AuditStatus.CONFIRMED, found or fine)
