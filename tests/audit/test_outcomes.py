"""The same, near, altered: worked by hand."""

import numpy as np
import pytest
import torch

from catchup_eval.audit import outcomes
from catchup_eval.audit.findings import AuditStatus
from catchup_eval.metrics.calibration import margins

MARGINS = np.array([0.001, 1.0, 2.0, 3.0])  # their standard deviation is 1.1
RIGHT = np.array([True, True, False, False])


def one(stored: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> outcomes.OutcomeComparison:
    return outcomes.compare(stored, found)[0]


def test_an_outcome_with_a_small_margin_may_flip_and_no_other() -> None:
    printed = {"correct": ~RIGHT, "margin": MARGINS}
    found = one(printed, {"correct": RIGHT, "margin": MARGINS})
    assert found.near.tolist() == [True, False, False, False]
    assert found.unexplained.tolist() == [False, True, True, True]


def test_a_margin_that_was_stored_small_alone_helps_nobody() -> None:
    printed = {"correct": ~RIGHT, "margin": np.zeros(4)}
    found = one(printed, {"correct": RIGHT, "margin": MARGINS})
    assert found.unexplained.tolist() == [False, True, True, True]


def test_an_attack_has_its_own_margin() -> None:
    printed = {"pgd@4": ~RIGHT, "margin": np.zeros(4), "margin-pgd@4": MARGINS}
    found = one(printed, {"pgd@4": RIGHT, "margin": np.zeros(4), "margin-pgd@4": MARGINS})
    assert found.unexplained.tolist() == [False, True, True, True]
    without = one({"pgd@4": ~RIGHT, "margin": MARGINS}, {"pgd@4": RIGHT, "margin": MARGINS})
    assert without.unexplained.all()


def test_numbers_are_the_same_near_or_neither_by_their_spread() -> None:
    values = np.array([0.0, 1.0, 2.0, 3.0, 4.0])  # a standard deviation of 1.41
    gaps = np.array([0, 1e-3, 1e-2, 1e-1, np.nan])
    found = one({"nll": values + gaps}, {"nll": values})
    assert found.same.tolist() == [True, True, False, False, False]
    assert found.near.tolist() == [False, False, True, False, False]


def test_other_shapes_and_types_are_other_values() -> None:
    assert one({"a": np.arange(4)}, {"a": np.arange(8).reshape(4, 2)}).unexplained.all()
    assert one({"a": np.arange(4.0)}, {"a": np.arange(4)}).unexplained.all()


def test_what_changed_networks_reach_is_near() -> None:
    stored, found = np.array([True, True, True]), np.array([True, False, False])
    first = one({"hit": stored}, {"hit": found})
    answers = [np.array([True, False]), np.array([False, False])]  # of images 1 and 2
    settled = outcomes.accept_rounding(first, answers, np.array([1, 2]))
    assert settled.near.tolist() == [False, True, False]
    printed = outcomes.differences("m", "q", "test", settled, np.array([7, 8, 9]))
    assert [(each.image, each.verdict) for each in printed] == [
        (8, AuditStatus.NEAR),
        (9, AuditStatus.CONTRADICTED),
    ]


@pytest.mark.parametrize(("stored", "near"), [(1.03, True), (1.3, False), (0.6, False)])
def test_a_number_is_near_within_four_deviations(stored: float, near: bool) -> None:
    compared = one({"x": np.array([stored, 5.0])}, {"x": np.array([1.0, 5.0])})
    answers = [np.array([1.0 + gap]) for gap in (0.01, -0.01, 0.01, -0.01)]
    settled = outcomes.accept_rounding(compared, answers, np.array([0]))
    assert bool(settled.near[0]) is near


def test_margins_of_logits() -> None:
    assert margins(torch.tensor([[3.0, 1.0, 2.5], [0.0, 0.0, -1.0]])).tolist() == [0.5, 0.0]
    assert margins(torch.tensor([[2.0]])).tolist() == [0.0]
