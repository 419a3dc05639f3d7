"""The accuracies that are published for networks, compared with what was measured here.

A difference nearly always means that images are given to the network otherwise than when it was
published: another normalisation, size or order of channels. All of its other numbers are then
wrong, too.
"""

from collections.abc import Iterator

import pandas as pd

from catchup_eval.results.study import ModelInfo, Study

ALLOWED = 0.3  # percentage points on all test images: other hardware and libraries stay below

ANALYSIS, METRIC = "clean", "accuracy"


def warnings(study: Study) -> list[str]:
    """A sentence for each model whose published accuracy is not, or cannot be told to be, met."""
    return [*mismatches(study), *undecided(study)]


def mismatches(study: Study) -> list[str]:
    """A sentence for each model whose published accuracy is not what was measured."""
    return [text for differs, text in _compared(study) if differs]


def undecided(study: Study) -> list[str]:
    """A sentence for each model of which too few images were evaluated to tell."""
    return [text for differs, text in _compared(study) if not differs]


def _compared(study: Study) -> list[tuple[bool, str]]:
    return [pair for model in study.info.models for pair in _compare(study, model)]


def _compare(study: Study, model: ModelInfo) -> Iterator[tuple[bool, str]]:
    """Whether it differs, and a sentence."""
    result = study.results.get((model.key, ANALYSIS))
    if model.published is None or result is None:
        return
    rows = result.rows(METRIC)
    if rows.empty:
        return
    row = rows.iloc[0]
    difference = float(row["value"]) - model.published
    if not study.info.data.subset:
        if abs(difference) > ALLOWED:
            yield True, _mismatch_message(model, row, "all")
    elif not row["low"] <= model.published <= row["high"]:
        yield True, _mismatch_message(model, row, "a subset of")
    else:
        yield (
            False,
            f"{model.key}: {model.published:.2f} % accuracy are published; {int(row['n']):,} "
            f"images, which gave {row['value']:.2f} %, cannot tell whether it is reproduced.",
        )


def _mismatch_message(model: ModelInfo, row: "pd.Series[float]", which: str) -> str:
    return (
        f"{model.key}: {row['value']:.2f} % accuracy on {which} the test images, where "
        f"{model.published:.2f} % are published. Its images are probably preprocessed otherwise "
        f"than they should be ({model.preprocessing}), so that no number of it can be trusted."
    )
