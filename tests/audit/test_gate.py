"""The gate: bounds, and losses against an earlier report."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from catchup_eval.audit.gate import (
    GateResult,
    check_no_worse,
    check_requirements,
    parse_requirement,
)
from catchup_eval.cli.check import check_report
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.feature_learning import KNOWN
from catchup_eval.results import study
from catchup_eval.results.result import Result
from catchup_eval.results.study import Study


@pytest.fixture(scope="module")
def example(finished_report: Path) -> Study:
    return study.load(finished_report, KNOWN)


def only(whole: Study, group: str) -> Study:
    models = tuple(model for model in whole.info.models if model.group == group)
    info = whole.info.model_copy(update={"models": models, "reference": group})
    keys = {model.key for model in models}
    return Study(info, {k: v for k, v in whole.results.items() if k[0] in keys}, whole.provenance)


def altered(whole: Study, analysis: str, change: Callable[[Result], Result]) -> Study:
    results = {k: change(v) if k[1] == analysis else v for k, v in whole.results.items()}
    return replace(whole, results=results)


def verdicts(results: list[GateResult]) -> dict[str, str]:
    return {result.model: result.verdict for result in results}


def failed(results: list[GateResult]) -> list[str]:
    return [result.required for result in results if result.verdict == "failed"]


@pytest.mark.parametrize(
    "text",
    [
        "corruption.mean_error < 30",
        "clean.accuracy >= 99.5",
        "corruption.error[corruption=fog, severity=5] <= 40",
        "feature_drop.accuracy[drop_from=top, fraction=0.25] > -1e-05",
    ],
)
def test_a_requirement_is_read_back_as_it_is_written(text: str) -> None:
    assert str(parse_requirement(text)) == text
    assert parse_requirement(text.replace(" ", "")) == parse_requirement(text)


@pytest.mark.parametrize(
    "text",
    ["", "accuracy > 3", "clean.accuracy = 3", "clean.accuracy > nan", "clean.accuracy > much",
     "corruption.error[fog] < 3", "corruption.error[severity=] < 3", "clean.accuracy > 3 > 2"],
)  # fmt: skip
def test_what_is_no_requirement_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="expected a requirement such as"):
        parse_requirement(text)


def test_a_bound_holds_for_the_value_of_each_model(example: Study) -> None:
    errors = {
        model.group: example.results[model.key, "corruption"].value("mean_error")
        for model in example.info.models
    }
    bound = sorted(errors.values())[1]
    results = check_requirements(
        example, [parse_requirement(f"corruption.mean_error <= {bound}")], KNOWN
    )
    expected = {g: "passed" if error <= bound else "failed" for g, error in errors.items()}
    assert verdicts(results) == expected
    assert sorted(expected.values()) == ["failed", "passed", "passed"]
    strict = check_requirements(
        example, [parse_requirement(f"corruption.mean_error < {bound}")], KNOWN
    )
    assert sorted(verdicts(strict).values()) == ["failed", "failed", "passed"]


def test_a_condition_picks_one_row(example: Study) -> None:
    row = example.results["catchup-s0", "corruption"].row("error", corruption="fog", severity=5)
    assert row is not None
    text = f"corruption.error[corruption=fog, severity=5] <= {row['value']}"
    (result,) = check_requirements(example, [parse_requirement(text)], KNOWN, models=["catchup"])
    assert result.verdict == "passed"


def test_certain_needs_the_whole_interval(example: Study) -> None:
    row = example.results["catchup-s0", "clean"].row("accuracy")
    assert row is not None and row["low"] < row["value"]
    between = parse_requirement(f"clean.accuracy > {(row['low'] + row['value']) / 2}")
    plain = check_requirements(example, [between], KNOWN, models=["catchup"])
    certain = check_requirements(example, [between], KNOWN, models=["catchup"], certain=True)
    assert [r.verdict for r in (*plain, *certain)] == ["passed", "failed"]
    no_interval = parse_requirement("landscape.top_eigenvalue > 0")
    (found,) = check_requirements(example, [no_interval], KNOWN, models=["catchup"], certain=True)
    assert found.verdict == "failed" and "has no 95 % interval" in found.found


def test_what_was_not_measured_or_is_no_number_fails(example: Study) -> None:
    accuracy = parse_requirement("clean.accuracy > 0")
    without = replace(
        example, results={k: v for k, v in example.results.items() if k[1] != "clean"}
    )
    results = check_requirements(without, [accuracy], KNOWN)
    assert set(verdicts(results).values()) == {"failed"}
    assert all("not measured" in result.found for result in results)

    def no_number(result: Result) -> Result:
        return replace(result, frame=result.frame.assign(value=np.nan))

    results = check_requirements(altered(example, "clean", no_number), [accuracy], KNOWN)
    assert set(verdicts(results).values()) == {"failed"}


def test_a_name_that_is_none_is_an_error(example: Study) -> None:
    with pytest.raises(UnknownName, match="'mean_error'"):
        check_requirements(example, [parse_requirement("corruption.mean_eror < 3")], KNOWN)
    with pytest.raises(UnknownName, match="model 'cutmx'; did you mean 'cutmix'"):
        check_requirements(
            example, [parse_requirement("clean.accuracy > 0")], KNOWN, models=["cutmx"]
        )


def test_a_report_is_no_worse_than_itself(example: Study) -> None:
    results = check_no_worse(example, example, KNOWN, margin=0)
    assert {result.verdict for result in results} == {"passed"}
    assert {result.model for result in results} == set(example.groups)


def test_a_significant_loss_fails_and_a_gain_does_not(example: Study) -> None:
    """Of these networks, cutmix loses features worse (area 15 against 24, n = 100)."""
    cutmix, catchup = only(example, "cutmix"), only(example, "catchup")
    area = "area, features dropped from the top no worse"
    assert area in failed(check_no_worse(cutmix, catchup, KNOWN))
    assert area not in failed(check_no_worse(catchup, cutmix, KNOWN))


def test_a_margin_fails_what_no_test_decides(example: Study) -> None:
    before, now = only(example, "baseline"), only(example, "cutmix")  # accuracy 99 and 98, n = 100
    assert "accuracy no worse" not in failed(check_no_worse(now, before, KNOWN))
    assert "accuracy no worse" not in failed(check_no_worse(now, before, KNOWN, margin=1.0))
    assert "accuracy no worse" in failed(check_no_worse(now, before, KNOWN, margin=0.9))


def test_what_cannot_be_compared_does_not_pass(example: Study) -> None:
    other = example.info.data.model_copy(update={"fingerprint": "0" * 16})
    foreign = replace(example, info=example.info.model_copy(update={"data": other}))
    with pytest.raises(UserError, match="the reports are of different data: digits"):
        check_no_worse(example, foreign, KNOWN)

    def renamed(result: Result) -> Result:
        return replace(result, frame=result.frame.assign(protocol="clean@0"))

    old = altered(only(example, "catchup"), "clean", renamed)
    found = check_no_worse(example, old, KNOWN, models=["catchup"])
    accuracy = next(result for result in found if result.required == "accuracy no worse")
    assert accuracy.verdict == "failed" and "after clean@0" in accuracy.found
    with pytest.raises(UserError, match="expected models that both reports have"):
        check_no_worse(example, old, KNOWN, models=["cutmix", "baseline"])


def test_the_command_fails_with_1_and_passes_with_0(
    finished_report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    requirements = [parse_requirement("clean.accuracy > 90")]
    assert check_report(finished_report, requirements, finished_report) == 0
    assert "failed" not in capsys.readouterr().out
    assert (
        check_report(finished_report, [parse_requirement("clean.accuracy < 90")], quiet=True) == 1
    )
    assert capsys.readouterr().out.endswith("3 failed\n")
