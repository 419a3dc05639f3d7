"""All numbers of a study as one tidy frame: `results.csv`, `results.json`, `findings.frame`."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from catchup_eval.report.evidence import complexity
from catchup_eval.results.headline import HasHeadlines
from catchup_eval.results.literature import PublishedRow
from catchup_eval.results.result import CHECK, COLUMNS
from catchup_eval.results.study import Study
from catchup_eval.results.summary import SummaryRow, chance_of, summarize

SCHEMA = "catchup-eval/results@1"
MEASURED = "measured"
COST = "cost"  # the analysis of what is none's: parameters, FLOPs, latency, seconds
MEANING = {
    "model": "name in tables and figures, common to the seeds of one training",
    "seed": "of the training; empty for the mean over two seeds or more",
    "analysis": f"name of the analysis; {COST!r} for what a model or an analysis costs",
    "metric": "name of the number",
    "condition": "what else picks it: NAME=VALUE; NAME=VALUE",
    "value": "the number, in its unit",
    "unit": "% for rates",
    "n": "samples behind it; seeds behind a mean over seeds",
    "low": "lower end of its 95 % interval; empty where there is none",
    "high": "upper end",
    "chance": "the value of guessing; empty where there is none",
    "label": "what the page calls it; empty where it is not in the page's first table",
    "better": "higher or lower, where it has a label",
    "protocol": "name and version of how it was measured",
    "source": f"{MEASURED!r}, or where it is published",
}


def numeric_frame(
    study: Study,
    analyses: Mapping[str, HasHeadlines],
    lines: Sequence[SummaryRow] | None = None,
    published: Sequence[PublishedRow] = (),
) -> pd.DataFrame:
    """Every number, a row each; :data:`MEANING` has the columns. Nothing but names is text.

    Args:
        lines: the summary, if it is at hand: the means over seeds.
        published: rows from the literature, which have their source.
    """
    lines = summarize(study, analyses) if lines is None else lines
    rows = [
        *(row for name in study.available_analyses() for row in _measured(study, name, analyses)),
        *_means(lines),
        *_costs(study),
        *(_published(row, analyses) for row in published),
    ]
    frame = pd.DataFrame(rows, columns=list(MEANING))
    numbers = ["value", "low", "high", "chance"]
    frame[numbers] = frame[numbers].astype(float)
    frame[["seed", "n"]] = frame[["seed", "n"]].astype("Int64")
    texts = frame.columns.difference([*numbers, "seed", "n"])
    frame[texts] = frame[texts].astype(object).where(frame[texts].notna(), "").astype(str)
    return frame


def write_json(frame: pd.DataFrame, study: Study) -> str:
    """The frame as JSON with the meaning of its columns; what is not known is null."""
    about = study.info
    content = {
        "schema": SCHEMA,
        "study": {
            "name": about.name,
            "data": about.data.name,
            "subset": about.data.subset,
            "reference": about.reference,
            "seed": about.seed,
            "date": about.date,
            "command": about.command,
        },
        "columns": MEANING,
        "rows": frame.astype(object).where(frame.notna(), None).to_dict("records"),
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _measured(
    study: Study, name: str, analyses: Mapping[str, HasHeadlines]
) -> Iterator[dict[str, Any]]:
    headlines = analyses[name].HEADLINES if name in analyses else ()
    for member in study.members(name):
        result = member.result
        named = {
            index: headline
            for headline in headlines
            for index in result.rows(headline.metric, **headline.where).index
        }
        frame = result.frame[result.frame["unit"] != CHECK]
        conditions = [column for column in frame.columns if column not in COLUMNS]
        for index, values in zip(frame.index, frame.to_dict("records"), strict=True):
            known = {key: values[key] for key in conditions if not _is_missing(values[key])}
            headline = named.get(index)
            yield {
                "model": member.model,
                "seed": member.seed,
                "analysis": name,
                "condition": _condition(known),
                **{key: values[key] for key in COLUMNS},
                "chance": chance_of(result, headline) if headline else np.nan,
                "label": headline.label if headline else "",
                "better": headline.better if headline else "",
                "source": MEASURED,
            }


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value)) or value == ""


def _condition(where: Mapping[str, Any]) -> str:
    plain = {key: f"{v:g}" if isinstance(v, float) else str(v) for key, v in where.items()}
    return "; ".join(f"{key}={text}" for key, text in plain.items())


def _means(lines: Iterable[SummaryRow]) -> Iterator[dict[str, Any]]:
    """The mean over seeds of what the page's first table shows."""
    for line in lines:
        for group, one in line.readings.items():
            if len(one.values) > 1:
                yield {
                    "model": group,
                    "analysis": line.analysis,
                    "metric": line.headline.metric,
                    "condition": _condition(line.headline.where),
                    "value": one.mean,
                    "unit": line.unit,
                    "n": len(one.values),
                    "low": one.interval.low,
                    "high": one.interval.high,
                    "chance": one.chance,
                    "label": line.headline.label,
                    "better": line.headline.better,
                    "protocol": one.protocol,
                    "source": MEASURED,
                }


def _costs(study: Study) -> Iterator[dict[str, Any]]:
    for model in study.info.models:
        common = {"model": model.group, "seed": model.seed, "analysis": COST, "source": MEASURED}
        flops, latency = complexity(study, model)
        sizes = (("parameters", model.parameters or np.nan, "parameters"),
                 ("flops", flops, "FLOPs"), ("latency", latency, "s"))  # fmt: skip
        for metric, value, unit in sizes:
            if np.isfinite(value):
                yield {**common, "metric": metric, "value": value, "unit": unit}
        for (key, name), run in study.provenance.items():
            if key == model.key:
                seconds = {"metric": "seconds", "value": run.seconds, "unit": "s"}
                yield {**common, **seconds, "condition": f"analysis={name}"}


def _published(row: PublishedRow, analyses: Mapping[str, HasHeadlines]) -> dict[str, Any]:
    (headline,) = [one for one in analyses[row.analysis].HEADLINES if one.label == row.metric]
    return {
        **row.model_dump(include={"model", "analysis", "value", "low", "high", "source"}),
        "metric": headline.metric,
        "condition": _condition(headline.where),
        "label": headline.label,
        "better": headline.better,
    }
