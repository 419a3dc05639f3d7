"""One question, one file; `ANALYSES` lists them in the order of a report.

Those of other installed packages come last.
"""

from collections.abc import Mapping

from catchup_eval.analysis import (
    adversarial,
    clean,
    corruption,
    cscore,
    deformation,
    feature_drop,
    filters,
    landscape,
    localization,
    ood,
    training,
)
from catchup_eval.plugins import Listed
from catchup_eval.question import PARTS, Analysis

ANALYSES: Mapping[str, Analysis] = Listed(
    "analyses",
    {
        "clean": clean,
        "adversarial": adversarial,
        "corruption": corruption,
        "deformation": deformation,
        "ood": ood,
        "cscore": cscore,
        "feature_drop": feature_drop,
        "filters": filters,
        "localization": localization,
        "landscape": landscape,
        "training": training,
    },
    parts=PARTS,
)
