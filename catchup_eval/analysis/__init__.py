"""One question, one file; `ANALYSES` lists them in the order of a report."""

from catchup_eval.analysis import (
    adversarial,
    clean,
    corruption,
    deformation,
    feature_drop,
    filters,
    landscape,
    localization,
    ood,
    training,
)
from catchup_eval.question import Analysis

ANALYSES: dict[str, Analysis] = {
    "clean": clean,
    "adversarial": adversarial,
    "corruption": corruption,
    "deformation": deformation,
    "ood": ood,
    "feature_drop": feature_drop,
    "filters": filters,
    "localization": localization,
    "landscape": landscape,
    "training": training,
}
