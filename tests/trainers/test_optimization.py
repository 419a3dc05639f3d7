from itertools import pairwise

import pytest
import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from catchup_eval.core.settings import check
from catchup_eval.trainers.optimization import (
    AdamW,
    AverageSettings,
    CosineSchedule,
    OneCycleSchedule,
    StepSchedule,
    WeightAverage,
    make_optimiser,
)


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


@pytest.mark.parametrize("end", [0.0, 0.1])
def test_a_cosine_after_a_warm_up_as_torch_has_it(end):
    first = optimiser()
    rise = lr_scheduler.LinearLR(first, start_factor=0.01, total_iters=4)
    fall = lr_scheduler.CosineAnnealingLR(first, T_max=8, eta_min=0.1 * end)
    expected = rates_of_torch(lr_scheduler.SequentialLR(first, [rise, fall], [4]), 12)
    schedule = CosineSchedule(warmup_epochs=4, warmup_start=0.01, end=end)
    assert rates_of(schedule, 1, 12) == pytest.approx(expected)
    by_step = CosineSchedule(every="step", warmup_epochs=2, warmup_start=0.01, end=end)
    assert rates_of(by_step, 2, 6) == pytest.approx(expected)


@pytest.mark.trained
def test_a_step_of_adamw_by_hand():
    """Both means are corrected to the first gradient itself: the sign moves each weight by lr."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    model = nn.Module()
    model.weight = weight
    settings = check(AdamW, {"kind": "adamw", "lr": 0.1, "weight_decay": 0.5}, "test")
    steps = make_optimiser(model, lambda *_: None, settings)
    weight.grad = torch.tensor([0.25, -3.0])
    steps.step()
    # 1 * (1 - 0.1 * 0.5) - 0.1 and -2 * (1 - 0.1 * 0.5) + 0.1
    torch.testing.assert_close(weight.detach(), torch.tensor([0.85, -1.8]))


@pytest.fixture
def moving():
    """A network and a function that changes its weights and its batch norm's statistics."""
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    source = torch.Generator().manual_seed(0)

    def move():
        net(torch.rand(4, 1, 5, 5, generator=source))
        with torch.no_grad():
            for value in net.parameters():
                value.add_(torch.randn(value.shape, generator=source))

    return net, move


@pytest.mark.parametrize("warmup", [False, True])
def test_the_average_is_timms(moving, warmup):
    net, move = moving
    average = WeightAverage(net, AverageSettings(decay=0.5, warmup=warmup))
    reference = ModelEmaV3(net, decay=0.5, use_warmup=warmup)
    for step in range(1, 6):
        move()
        average.update(step)
        reference.update(net, step)
    for name, value in reference.module.state_dict().items():
        assert torch.equal(average.tensors[name], value), name


def test_the_average_is_torchs(moving):
    net, move = moving
    average = WeightAverage(net, AverageSettings(decay=0.9))
    reference = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for step in range(1, 6):
        move()
        average.update(step)
        reference.update_parameters(net)
    for name, value in reference.module.state_dict().items():
        if value.is_floating_point():  # it averages counters too, and rounds them
            torch.testing.assert_close(average.tensors[name], value)


def test_the_network_has_the_average_for_a_while(moving):
    net, move = moving
    average = WeightAverage(net, AverageSettings(decay=0.9))
    for step in (1, 2):
        move()
        average.update(step)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with average.in_the_network():
        assert all(torch.equal(v, average.tensors[n]) for n, v in net.state_dict().items())
        assert not torch.equal(net[0].weight, before["0.weight"])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
