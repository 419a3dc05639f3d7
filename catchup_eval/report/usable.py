"""Results that are stored but cannot be shown, such as an edited one whose figure lacks rows."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace

from catchup_eval.analysis.base import Analysis
from catchup_eval.report.evidence import checks_table
from catchup_eval.report.sections import numbers_table
from catchup_eval.results.study import FAILED, SkippedAnalysis, Study
from catchup_eval.results.summary import summarize

Pair = tuple[str, str]  # (model key, analysis)


def leave_out_unusable(study: Study, analyses: Mapping[str, Analysis]) -> Study:
    """The same study without the results that cannot be shown, which are listed as failed.

    Each is tried alone, then those of one analysis together; this draws every figure.
    """
    singly = {pair: _fault(study, [pair], analyses) for pair in study.results}
    study = _without(study, singly)
    jointly: dict[Pair, str] = {}
    for name in study.available_analyses():
        pairs = [pair for pair in study.results if pair[1] == name]
        jointly |= dict.fromkeys(pairs, _fault(study, pairs, analyses))
    return _without(study, jointly)


def _fault(study: Study, pairs: Iterable[Pair], analyses: Mapping[str, Analysis]) -> str:
    """Why these results of one analysis cannot be shown; empty where they can."""
    part = replace(study, results={pair: study.results[pair] for pair in pairs})
    (name,) = part.available_analyses()
    if name not in analyses:
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            joined = part.joined_result(name)
            summarize(part, analyses)
            checks_table(part, analyses)
            numbers_table(joined, name, analyses[name].TITLE, part.groups)
            analyses[name].plot(joined)
    except Exception as error:  # whatever an analysis raises at what it has not stored
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def _without(study: Study, faults: Mapping[Pair, str]) -> Study:
    broken = {pair: fault for pair, fault in faults.items() if fault}
    skips = [
        SkippedAnalysis(
            model=model,
            analysis=name,
            reason=f"{FAILED}the stored result of {name} cannot be shown ({fault})",
        )
        for (model, name), fault in broken.items()
    ]
    update = {"skipped": (*study.info.skipped, *skips)}
    return Study(
        study.info.model_copy(update=update),
        {pair: result for pair, result in study.results.items() if pair not in broken},
        {pair: run for pair, run in study.provenance.items() if pair not in broken},
    )
