"""The schema of what a report stores: it may be damaged, edited, or a stranger's.

Whoever reads a report reads it through here; what is given back can be shown.
"""

import csv
import re
import warnings
from collections import Counter
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from pandas.api import types
from pydantic import BaseModel, ValidationError

from catchup_eval.core.errors import BadFile
from catchup_eval.results.headline import Condition, HasHeadlines
from catchup_eval.results.result import CHECK, COLUMNS, RANGES, Result

MOST_RECORD = 1_000_000  # bytes of a sidecar
MOST_FRAME, MOST_ROWS, MOST_COLUMNS = 16_000_000, 50_000, 64
MOST_SAMPLES, UNFOLDED, MOST_ARRAYS = 128_000_000, 256_000_000, 2_000  # bytes, bytes, arrays
MOST_UNFOLDED = 2_000_000_000  # bytes of all samples of a report
MOST_CHARACTERS = 2_000  # of a name or a cell
DIMENSIONS = 5
TEXTS = ("metric", "unit", "protocol")  # columns
KINDS = "biufU"  # of arrays: truth values, numbers, texts
# In JSON as it is stored, and in texts: what moves a terminal's cursor or hides text.
ESCAPED = re.compile(r"\\u00(0[0-8bcef]|1[0-9a-f]|7f|[89][0-9a-f])|\\[bf]", re.IGNORECASE)
CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
MOST_CLASSES = 100_000
TOLERANCE = 1e-6  # beyond a unit's range, for what was rounded

Schema = TypeVar("Schema", bound=BaseModel)


def parse_json(schema: type[Schema], content: bytes) -> Schema:
    """What a JSON file holds; nothing is converted.

    Raises:
        BadFile: says the first fault only, and where it is.
    """
    try:
        text = content.decode()
        if ESCAPED.search(text.replace("\\\\", "")) or re.search(CONTROL, text):
            raise BadFile("it holds control characters")
        return schema.model_validate_json(text, strict=True)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise BadFile(f"{place}: {fault['msg']}" if place else str(fault["msg"])) from error
    except UnicodeDecodeError as error:
        raise BadFile("it is no text") from error


def check_name(name: str, what: str) -> None:
    """Raise `BadFile` where this cannot be the name of a file of a report."""
    if not (0 < len(name) <= 200 and name.isprintable()) or name[0] == "." or {*name} & {*"/\\:"}:
        raise BadFile(f"{name[:80]!r} is no name of {what}")


def expect_different(names: Collection[str], what: str) -> None:
    """Raise `BadFile` where one occurs twice."""
    doubled, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise BadFile(f"{what} {doubled[:80]!r} occurs twice")


def parse_frame(content: bytes) -> pd.DataFrame:
    """The rows of a result, as `Store.put` wrote them: an empty cell alone is no value.

    Raises:
        BadFile: no CSV, other columns or types than of a frame, values that no such number can
            have, or the same number twice.
    """
    header = content.partition(b"\n")[0]
    if header.count(b",") >= MOST_COLUMNS:
        raise BadFile(f"more than {MOST_COLUMNS} columns")
    try:
        names = next(csv.reader([header.decode().rstrip("\r")]), [])
        frame = pd.read_csv(
            BytesIO(content),
            nrows=MOST_ROWS + 1,
            keep_default_na=False,
            na_values=[""],
            dtype=dict.fromkeys(TEXTS, str),
            index_col=False,
            low_memory=False,
            float_precision=None,
        )
    except (ValueError, OverflowError, csv.Error) as error:
        raise BadFile((str(error).splitlines() or ["it is no CSV"])[0]) from error
    expect_different(names, "column")
    empty = [name for name in TEXTS if name in frame.columns and name != "metric"]
    frame[empty] = frame[empty].fillna("")
    check_frame(frame)
    return frame


def check_frame(frame: pd.DataFrame) -> None:
    """Raise `BadFile` where these are not the rows of a result."""
    absent = [name for name in COLUMNS if name not in frame.columns]
    if absent:
        raise BadFile(f"there is no column {absent[0]}")
    if len(frame) > MOST_ROWS:
        raise BadFile(f"more than {MOST_ROWS:,} rows")
    if frame.empty:
        raise BadFile("there are no rows")
    if frame["metric"].isna().any():
        raise BadFile("column metric: expected a name in each row")
    for name in ("value", "low", "high"):
        if not types.is_numeric_dtype(frame[name]) or types.is_bool_dtype(frame[name]):
            raise BadFile(f"column {name}: expected numbers")
        if np.isinf(frame[name]).any():
            raise BadFile(f"column {name}: there is a number that is not finite")
    if not types.is_integer_dtype(frame["n"]) or (frame["n"] < 0).any():
        raise BadFile("column n: expected whole numbers from 0")
    texts = frame.select_dtypes(["object", "str"])
    for name in (*frame.columns, *(cell for column in texts for cell in texts[column].dropna())):
        if len(str(name)) > MOST_CHARACTERS or re.search(CONTROL, str(name)):
            raise BadFile("a text is too long, or holds control characters")
    _check_ranges(frame)
    conditions = [name for name in frame.columns if name not in COLUMNS]
    doubled = frame[frame.duplicated([*conditions, "metric"])]
    if len(doubled):
        raise BadFile(f"{doubled['metric'].iloc[0]} occurs twice under one condition")


def _check_ranges(frame: pd.DataFrame) -> None:
    units = frame["unit"].to_numpy()
    numbers = frame[["value", "low", "high"]].to_numpy(float)
    value, low, high = numbers.T
    if not np.isin(value[units == CHECK], (0, 1)).all():
        raise BadFile("a check has another value than 0 or 1")
    if (low > high).any():
        raise BadFile("an interval has its lower end above its upper end")
    for unit, (least, most) in RANGES.items():
        rows = numbers[(units == unit) & ~np.isnan(low)]
        if ((rows < least - TOLERANCE) | (rows > most + TOLERANCE)).any():
            raise BadFile(f"a number is not within {least:g} and {most:g}, as those in {unit} are")


def check_samples(samples: dict[str, np.ndarray]) -> None:
    """Raise `BadFile` where these are not the samples of a result."""
    for name, array in samples.items():
        if len(name) > MOST_CHARACTERS or not name.isprintable():
            raise BadFile(f"{name[:80]!r} is no name of an array")
        if array.dtype.kind not in KINDS or array.ndim > DIMENSIONS:
            raise BadFile(
                f"{name} is {array.dtype} {array.shape}, expected truth values or numbers"
            )
        if max(array.shape, default=0) > UNFOLDED:  # of no bytes, where another length is 0
            raise BadFile(f"{name} has the shape {array.shape}")


def check_use(result: Result, analysis: HasHeadlines) -> None:
    """Raise `BadFile` where a result is not one that its analysis gives.

    Each headline has one row and outcomes (N,) that are numbers, what belongs to the images of the
    test split has one length, and what is the mean of what can be found.
    """
    for headline in analysis.HEADLINES:
        rows = result.rows(headline.metric, **headline.where)
        if len(rows) > 1:
            raise BadFile(f"there are {len(rows)} rows of {headline.metric}, expected one")
        for name in headline.outcomes:
            array = result.samples.get(name)
            if array is not None and len(rows):
                _check_outcomes(name, array, float(rows["value"].iloc[0]))
    index = result.samples.get("index", np.arange(0))
    if index.ndim != 1 or index.dtype.kind not in "iu" or len(np.unique(index)) < len(index):
        raise BadFile("index does not hold a different whole number for each sample")
    declared: Any = getattr(analysis, "PER_SAMPLE", {})
    patterns = ("index", *declared.get("test", ()))
    lengths = {
        name: array.shape[:1]
        for name, array in result.samples.items()
        if "index" in result.samples and any(fnmatchcase(name, one) for one in patterns)
    }
    for name, length in lengths.items():
        if length != lengths["index"]:
            raise BadFile(f"{name} has the length {length}, index {lengths['index']}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # of numpy: the mean of nothing
            list(getattr(analysis, "row_links", lambda result: ())(result))
            for one in getattr(analysis, "conditions", lambda result: ())(result):
                _check_condition(one, result.samples)
    except BadFile:
        raise
    except Exception as error:  # whatever an analysis raises at what it has not stored
        fault = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BadFile(f"its samples do not fit its frame ({fault})") from error


def _check_condition(one: Condition, samples: Mapping[str, np.ndarray]) -> None:
    """Raise `BadFile` where its outcomes are no fractions, or its labels no labels."""
    n = samples["index"].shape
    if one.correct.shape != n or not ((one.correct >= 0) & (one.correct <= 1)).all():
        raise BadFile(f"the outcomes of {one.name} are not one fraction for each sample")
    for name, labels in (("prediction", one.predictions), ("label", samples.get("label"))):
        if labels is not None and (
            labels.shape[:1] != n
            or labels.dtype.kind not in "iu"
            or not labels.size
            or labels.min() < 0
            or labels.max() >= MOST_CLASSES
        ):
            raise BadFile(f"{name} of {one.name} is not from 0 to {MOST_CLASSES:,}")


def _check_outcomes(name: str, array: np.ndarray, value: float) -> None:
    if array.ndim != 1 or array.dtype.kind == "U" or not len(array):
        raise BadFile(f"{name} is {array.dtype} {array.shape}, expected one number for each sample")
    if np.isfinite(value) and not np.isfinite(array).all():
        raise BadFile(f"{name} has numbers that are not finite, but its mean is one")
