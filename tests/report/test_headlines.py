"""From a study to its headlines: values, intervals, chance and outcomes as they were measured."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from catchup_eval.metrics.agreement import cohen_kappa
from catchup_eval.metrics.intervals import t_interval
from catchup_eval.results import agreement, summary


def test_one_network_each_keeps_its_own_numbers(three, analyses):
    lines = summary.summarize(three, analyses)
    labels = [line.headline.label for line in lines]
    assert labels == ["accuracy", "error", "AUROC", "top eigenvalue"]
    assert [line.primary for line in lines] == [True, False, True, True]
    for key, group in (("m0-s0", "baseline"), ("m2-s0", "catchup")):
        row = three.results[key, "right"].rows("accuracy").iloc[0]
        reading = lines[0].readings[group]
        assert reading.values == (row["value"],)
        assert reading.interval == (row["low"], row["high"])
        assert (reading.n, reading.protocol, reading.chance) == (400, "clean@1", 10.0)


def test_seeds_are_averaged_and_have_students_interval(methods, analyses):
    accuracy = summary.summarize(methods, analyses)[0].readings["cutmix"]
    values = [methods.results[f"m1-s{seed}", "right"].value("accuracy") for seed in range(5)]
    assert accuracy.values == tuple(values)
    assert accuracy.interval == pytest.approx(t_interval(values))


def test_the_outcomes_average_to_the_value(three, methods, analyses):
    for study in (three, methods):
        for line in summary.summarize(study, analyses):
            for reading in line.readings.values():
                for stratum in reading.outcomes:
                    assert stratum.mean() == pytest.approx(reading.mean)


def test_chance_is_a_number_a_metric_or_none(three, analyses):
    accuracy, error, auroc, _ = summary.summarize(three, analyses)
    assert accuracy.readings["cutmix"].chance == 10.0
    assert np.isnan(error.readings["cutmix"].chance)
    assert auroc.readings["cutmix"].chance == 50.0


def test_a_headline_that_a_network_lacks_is_left_out(three, analyses):
    key = ("m1-s0", "right")
    frame = three.results[key].frame
    bare = replace(three.results[key], frame=frame[frame["metric"] != "error"])
    lines = summary.summarize(replace(three, results={**three.results, key: bare}), analyses)
    assert list(lines[1].readings) == ["baseline", "catchup"]


def test_an_analysis_without_results_has_no_line(three, analyses):
    results = {key: value for key, value in three.results.items() if key[1] != "sharp"}
    lines = summary.summarize(replace(three, results=results), analyses)
    assert {line.analysis for line in lines} == {"right", "outside"}


def test_a_headline_must_pick_one_row(three, analyses):
    key = ("m0-s0", "right")
    frame = pd.concat([three.results[key].frame] * 2)
    results = {**three.results, key: replace(three.results[key], frame=frame)}
    with pytest.raises(KeyError, match="2 rows of accuracy"):
        summary.summarize(replace(three, results=results), analyses)


def test_agreement_is_between_different_networks(three, methods):
    single = agreement.agreement(three)
    assert single.of == "correctness"
    assert np.isnan(np.diag(single.kappa)).all()
    hits = [three.results[f"m{i}-s0", "right"].samples["correct"] for i in (0, 2)]
    assert single.kappa[2, 0] == pytest.approx(cohen_kappa(*hits))
    several = agreement.agreement(methods).kappa
    assert np.isfinite(several).all()
    assert several == pytest.approx(several.T)


def test_uniquely_correct_samples_are_those_of_one_model_only(three):
    found = agreement.uniquely_correct(three)
    hits = {m.model: m.result.samples["correct"] for m in three.members("right")}
    expected = hits["catchup"] & ~hits["baseline"] & ~hits["cutmix"]
    assert set(found["catchup"]) == set(np.flatnonzero(expected))
    places = np.concatenate(list(found.values()))
    assert len(set(places)) == len(places)
    assert len(found["catchup"]) > len(found["baseline"])


def test_one_group_agrees_with_nobody(made):
    alone = made(abilities={"only": (80.0, 1.0, 40.0)})
    assert agreement.agreement(alone) is None
    assert agreement.uniquely_correct(alone) == {}


def test_an_interval_over_seeds_stays_within_the_rates():
    low, high = summary.seeds_interval([99.0, 99.9, 99.5], "%")
    assert low < 99.0
    assert high == 100.0
    assert summary.seeds_interval([99.0, 99.9, 99.5], "nats").high > 100
    assert np.isnan(summary.seeds_interval([99.0, 99.9], "%")).all()
