import logging
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from catchup_eval.analysis.adversarial.autoattack import FLAGS, AutoAttack
from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import generator

EPSILON = 0.05


@pytest.fixture(scope="module", autouse=True)
def library() -> None:
    pytest.importorskip("pyautoattack", reason="needs the extra `autoattack`")


def linear(classes: int = 5) -> nn.Linear:
    draw = torch.Generator().manual_seed(0)
    head = nn.Linear(16, classes)
    head.weight.data = torch.randn(classes, 16, generator=draw)
    head.bias.data = -head.weight.data.sum(1) / 2  # a grey image belongs to no class
    return head


def images(count: int = 24) -> Tensor:
    """Around grey, so far from black and white that no attack meets them."""
    draw = torch.Generator().manual_seed(1)
    return 0.5 + 0.15 * torch.randn(count, 1, 4, 4, generator=draw).clamp(-2, 2)


def test_on_a_linear_model_it_fools_whom_the_closed_form_says() -> None:
    """Class j is ahead within the ball where (w_y - w_j) x < epsilon |w_y - w_j|_1."""
    head, points = linear(), images()
    model = nn.Sequential(nn.Flatten(), head)
    with torch.no_grad():
        logits = model(points)
        labels = logits.argmax(1)
        apart = head.weight[labels][:, None] - head.weight[None]  # (N, K, 16)
        margins = logits.gather(1, labels[:, None]) - logits - EPSILON * apart.abs().sum(2)
        margins[torch.arange(len(labels)), labels] = torch.inf
    standing = margins.amin(1) > 0
    attack = AutoAttack(model, EPSILON, batch_size=10)
    adversarial = attack(points, labels, generator(0))
    assert torch.equal(model(adversarial).argmax(1) == labels, standing)
    assert 0 < standing.sum() < len(labels)
    assert margins.amin(1).abs().min() > 1e-3  # none so near the boundary that rounding decides
    assert (adversarial - points).abs().max() <= EPSILON + 1e-6
    assert torch.equal(adversarial[standing], points[standing])
    assert not attack.flags.any()


def test_nothing_is_left_behind_and_warnings_become_flags(
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = nn.Sequential(nn.Flatten(), linear(), nn.Softmax(1), nn.Dropout()).train()
    points, modes = images(3), [module.training for module in model.modules()]
    with torch.no_grad():
        labels = (model[:2](points).argmax(1) + 1) % 5  # wrong already: no attack is needed
    states = torch.get_rng_state(), torch.from_numpy(np.random.get_state()[1].astype(np.int64))
    logger, before = logging.getLogger("auto-attack"), sys.gettrace()
    sys.settrace(tracer)
    try:
        attack = AutoAttack(model, EPSILON, batch_size=10)
        assert torch.equal(attack(points, labels, generator(0)), points)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    now = torch.get_rng_state(), torch.from_numpy(np.random.get_state()[1].astype(np.int64))
    torch.testing.assert_close(now, states)
    assert [module.training for module in model.modules()] == modes
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert logger.handlers == [] and logger.propagate
    assert [word for word, raised in zip(FLAGS, attack.flags) if raised] == ["probability"]
    assert capfd.readouterr() == ("", "")


def tracer(*_: object) -> None:
    return None


def test_fewer_than_four_classes_are_refused() -> None:
    attack = AutoAttack(nn.Sequential(nn.Flatten(), linear(3)), EPSILON, batch_size=10)
    with pytest.raises(UserError, match="needs 4 classes or more, got 3"):
        attack(images(2), torch.zeros(2, dtype=torch.long), generator(0))


def test_without_the_extra_the_command_that_installs_it_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(UserError, match=r'pip install "catchup-eval\[autoattack\]"'):
        AutoAttack(nn.Identity(), EPSILON, batch_size=10)
