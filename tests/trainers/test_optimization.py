from itertools import pairwise

import pytest
import torch
from torch.optim import lr_scheduler

from catchup_eval.trainers.optimization import CosineSchedule, OneCycleSchedule, StepSchedule


def optimiser(lr=0.1):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates_of_torch(scheduler, steps):
    """The learning rate that each step is taken with."""
    rates = []
    for _ in range(steps):
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def rates_of(schedule, steps_per_epoch, epochs, lr=0.1):
    return [
        lr * schedule.factor(step, steps_per_epoch=steps_per_epoch, epochs=epochs)
        for step in range(steps_per_epoch * epochs)
    ]


def test_steps_as_torch_has_them():
    expected = rates_of_torch(lr_scheduler.MultiStepLR(optimiser(), [3, 5], gamma=0.2), 8)
    assert rates_of(StepSchedule(milestones=(3, 5), gamma=0.2), 1, 8) == pytest.approx(expected)


def test_a_milestone_is_counted_in_finished_epochs():
    rates = rates_of(StepSchedule(milestones=(2,)), steps_per_epoch=3, epochs=3)
    assert rates == pytest.approx([0.1] * 6 + [0.01] * 3)


def test_cosine_as_torch_has_it_and_constant_within_an_epoch():
    expected = rates_of_torch(lr_scheduler.CosineAnnealingLR(optimiser(), T_max=7), 7)
    assert rates_of(CosineSchedule(), 1, 7) == pytest.approx(expected)
    for first, second in zip(*[iter(rates_of(CosineSchedule(), 2, 7))] * 2, strict=True):
        assert first == second


def test_cosine_by_step_as_torch_has_it():
    expected = rates_of_torch(lr_scheduler.CosineAnnealingLR(optimiser(), T_max=12), 12)
    assert rates_of(CosineSchedule(every="step"), 3, 4) == pytest.approx(expected)


@pytest.mark.parametrize(("steps_per_epoch", "epochs"), [(13, 30), (1, 4), (4, 10)])
def test_one_cycle_as_torch_has_it(steps_per_epoch, epochs):
    steps = steps_per_epoch * epochs
    reference = lr_scheduler.OneCycleLR(
        optimiser(), max_lr=0.1, total_steps=steps, cycle_momentum=False
    )
    expected = rates_of_torch(reference, steps - 1)  # torch's own counter ends one step early
    assert rates_of(OneCycleSchedule(), steps_per_epoch, epochs)[:-1] == pytest.approx(expected)


def test_one_cycle_with_other_settings_as_torch_has_it():
    reference = lr_scheduler.OneCycleLR(
        optimiser(),
        max_lr=0.1,
        total_steps=40,
        pct_start=0.1,
        div_factor=5,
        final_div_factor=100,
        cycle_momentum=False,
    )
    schedule = OneCycleSchedule(warmup=0.1, start_divisor=5.0, end_divisor=100.0)
    assert rates_of(schedule, 4, 10)[:-1] == pytest.approx(rates_of_torch(reference, 39))


def test_one_cycle_ends_where_it_says():
    rates = rates_of(OneCycleSchedule(), steps_per_epoch=10, epochs=2)
    assert rates[0] == pytest.approx(0.1 / 25)
    assert rates[5] == pytest.approx(0.1)  # the last of 30 % of 20 steps
    assert rates[-1] == pytest.approx(0.1 / 25 / 1e4)
    assert all(a > b for a, b in pairwise(rates[5:]))


@pytest.mark.parametrize(("steps_per_epoch", "epochs"), [(1, 1), (1, 2), (2, 1), (3, 1), (2, 5)])
@pytest.mark.parametrize(
    "schedule", [OneCycleSchedule(), OneCycleSchedule(warmup=0.1), CosineSchedule()]
)
def test_the_shortest_trainings_have_a_rate(schedule, steps_per_epoch, epochs):
    rates = rates_of(schedule, steps_per_epoch, epochs)
    assert all(0 < rate <= 0.1 for rate in rates)
