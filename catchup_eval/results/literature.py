"""Numbers from the literature that stand beside a study's own, from a file of the user's."""

import csv
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from catchup_eval.core import toml
from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.core.files import read_regular
from catchup_eval.core.settings import Settings, check
from catchup_eval.metrics.intervals import Interval
from catchup_eval.results.headline import HasHeadlines
from catchup_eval.results.summary import SummaryRow

NUMBERS = ("value", "low", "high")
NAN = float("nan")


class PublishedRow(Settings):
    """One number, as `[[rows]]` of a TOML file or a line of a CSV file holds it.

    Attributes:
        model: what its column is called.
        analysis: whose metric it is; `list analyses` has them.
        metric: its label in the table, such as "FGSM 4/255 accuracy".
        value: in the unit of the analysis: a rate in percent.
        source: where it is published.
        low, high: its 95 % interval, where it is printed.
    """

    model: str
    analysis: str
    metric: str
    value: float
    source: Annotated[str, Field(min_length=1)]
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> Interval:
        """NaN where none is printed."""
        return Interval(*(NAN if end is None else end for end in (self.low, self.high)))

    def is_about(self, line: SummaryRow) -> bool:
        """Whether it is a number of this metric."""
        return (self.analysis, self.metric) == (line.analysis, line.headline.label)


def read_published(path: Path, analyses: Mapping[str, HasHeadlines]) -> list[PublishedRow]:
    """The rows of a `.toml` or `.csv` file.

    Raises:
        BadFile: it cannot be read.
        UserError: a row lacks a value, or has one that it cannot have.
        UnknownName: an analysis or a metric that does not exist.
    """
    rows = [
        check(PublishedRow, values, f"{path}, row {number}")
        for number, values in enumerate(_read_rows(path), 1)
    ]
    for row in rows:
        if row.analysis not in analyses:
            raise UnknownName("analysis", row.analysis, analyses)
        labels = [headline.label for headline in analyses[row.analysis].HEADLINES]
        if row.metric not in labels:
            raise UnknownName(f"metric of {row.analysis}", row.metric, labels)
    return rows


def _read_rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == toml.SUFFIX:
        found = toml.read("file of published rows", path)
        rows = found.get("rows")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UserError(f"{path}: expected [[rows]], got {', '.join(found) or 'nothing'}")
        return rows
    try:
        text = read_regular(path, most=toml.MOST).decode("utf-8-sig")
        table = list(csv.DictReader(StringIO(text), strict=True))
    except (BadFile, UnicodeDecodeError, csv.Error) as error:
        raise BadFile(f"cannot read the file of published rows {path}: {error}") from error
    return [{k: _number(k, v, path) for k, v in row.items() if k and v} for row in table]


def _number(name: str, text: str, path: Path) -> Any:
    if name not in NUMBERS:
        return text
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{path}: {name}: expected a number, got {toml.brief(text)}") from None
