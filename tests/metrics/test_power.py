"""What a sample finds: the closed form, the binomial bound, and drawing it."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchup_eval.metrics.power import (
    detection_probability,
    required_samples,
    smallest_detectable_count,
    statement,
)


def test_299_find_one_percent_with_95_percent() -> None:
    assert required_samples() == 299
    assert 0.99**299 <= 0.05 < 0.99**298


@given(st.integers(1, 60), st.data())
def test_the_power_is_what_counting_gives(population: int, data: st.DataObject) -> None:
    altered = data.draw(st.integers(1, population))
    sampled = data.draw(st.integers(0, population))
    missed = comb(population - altered, sampled) / comb(population, sampled)
    assert detection_probability(population, altered, sampled) == pytest.approx(
        1 - missed, abs=1e-9
    )


@pytest.mark.parametrize("population", [299, 500, 1500, 30000])
def test_no_report_is_too_large_for_the_bound(population: int) -> None:
    altered = -(-population // 100)
    assert detection_probability(population, altered, 299) >= 1 - 0.99**299 >= 0.95


def test_drawing_finds_as_often_as_is_reported() -> None:
    draw = np.random.default_rng(0)
    found = [draw.permutation(200)[:40].min() < 5 for _ in range(4000)]
    assert np.mean(found) == pytest.approx(detection_probability(200, 5, 40), abs=0.03)


def test_the_fewest_that_are_found() -> None:
    fewest = smallest_detectable_count(1000, 299)
    assert (
        detection_probability(1000, fewest, 299)
        >= 0.95
        > detection_probability(1000, fewest - 1, 299)
    )
    assert smallest_detectable_count(10, 10) == 1


def test_a_sentence_says_it() -> None:
    assert statement(10, 10) == "all 10 re-evaluated: any altered one is found"
    assert "299 of 1,500" in statement(1500, 299)
