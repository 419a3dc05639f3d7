"""The request of an audit, and its findings: of each check, and of all together."""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple


class AuditRequest(NamedTuple):
    """The request of one audit.

    Args:
        folder: of the report.
        samples: how many pairs of model and image are evaluated again, of each split of the data;
            299 find with 95 % any report in which 1 % were altered.
        seed: of their choice.
        device: to compute on.
        batch_size: of the re-evaluation.
        weights: a folder that holds the weights; else the report's paths, or its own `models`.
        data: a dataset by name or file, instead of the one that the report names.
        data_root: folder of downloaded data.
        full: whether every analysis is also run again on all images.
        trust_code: whether the `.py` files that the report names as models may be run.
    """

    folder: Path
    samples: int = 299
    seed: int = 0
    device: str = "auto"
    batch_size: int = 100
    weights: Path | None = None
    data: str = ""
    data_root: Path = Path("data")
    full: bool = False
    trust_code: bool = False


class AuditStatus(StrEnum):
    """Of one check, from good to bad; a report has the worst of all its checks."""

    SKIPPED = "not evaluated"  # neither for nor against
    CONFIRMED = "confirmed"
    NEAR = "confirmed within hardware tolerance"
    UNKNOWN = "cannot tell"
    CONTRADICTED = "contradicted"


class Mismatch(NamedTuple):
    """One stored value that the re-evaluation did not give.

    Args:
        model: its key.
        analysis: its name.
        samples: the array that holds it.
        part: the image's split of the data.
        image: its stable number.
        stored, found: in the report, and now.
        verdict: near, or contradicted.
    """

    model: str
    analysis: str
    samples: str
    part: str
    image: int
    stored: Any
    found: Any
    verdict: AuditStatus


class AuditCheck(NamedTuple):
    """One check: its subject, its amount or its faults, and the samples behind it."""

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
