import inspect
import logging
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from catchup_eval.analysis.adversarial.attacks import fgsm, pgd
from catchup_eval.analysis.adversarial.libraries import (
    FLAGS,
    AttackSpec,
    AutoAttack,
    parse_attacks,
    torchattacks_attack,
)
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.rng import generator
from catchup_eval.models.classifier import Classifier

EPSILON = 4 / 255
BOUNDED = (  # in l_inf by `eps`, as their papers say
    *("APGD", "APGDT", "BIM", "DIFGSM", "EOTPGD", "FAB", "FFGSM", "FGSM", "Jitter", "MIFGSM"),
    *("NIFGSM", "PGD", "PGDRS", "RFGSM", "SINIFGSM", "SPSA", "Square", "TIFGSM", "TPGD", "UPGD"),
    *("VMIFGSM", "VNIFGSM"),
)
COUNTS = ("steps", "nb_iter", "n_queries")


@pytest.fixture
def library() -> Any:
    return pytest.importorskip("torchattacks", reason="needs the extra `attacks`")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MIFGSM", AttackSpec("MIFGSM", 4.0, {"eps": EPSILON})),
        ("MIFGSM@8", AttackSpec("MIFGSM", 8.0, {"eps": 8 / 255})),
        ("MIFGSM@0.5?steps=20", AttackSpec("MIFGSM", 0.5, {"steps": 20, "eps": 0.5 / 255})),
        ("MIFGSM?eps=2/255&decay=.5", AttackSpec("MIFGSM", 2.0, {"eps": 2 / 255, "decay": 0.5})),
        ("PGD?random_start=false", AttackSpec("PGD", 4.0, {"random_start": False, "eps": EPSILON})),
        ("Square?images=100", AttackSpec("Square", 4.0, {"eps": EPSILON}, 100)),
        ("Square?norm=L2&eps=0.5", AttackSpec("Square", None, {"norm": "L2", "eps": 0.5})),
        ("PGDL2?eps=0.5", AttackSpec("PGDL2", None, {"eps": 0.5})),
        ("CW", AttackSpec("CW", None, {})),
    ],
)
@pytest.mark.usefixtures("library")
def test_one_line_asks_for_an_attack(text: str, expected: AttackSpec) -> None:
    (attack,) = parse_attacks(text)
    assert attack == expected


def test_autoattack_is_not_the_one_of_torchattacks(network: Classifier) -> None:
    pytest.importorskip("pyautoattack", reason="needs the extra `autoattack`")
    (attack,) = parse_attacks("AutoAttack@1?images=5")
    assert attack == AttackSpec("AutoAttack", 1.0, {"eps": 1 / 255}, 5)
    assert isinstance(attack.build(network, 10), AutoAttack)
    assert attack.protocol.startswith("autoattack-standard-pyautoattack-")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("MIFGSM@far", r"expected NAME\[@EPSILON\]\[\?key=value&...\], got 'MIFGSM@far'"),
        ("MIFGSM?steps", "expected NAME"),
        ("CW@4", "CW is not bound by a radius in l_inf: leave out @4"),
        ("PGDL2@4", "PGDL2 is not bound"),
        ("MIFGSM?eps=4/0", "MIFGSM: expected eps as 0.01 or 4/255, got 4/0"),
        ("Square?images=some", "Square: expected a number of images, got some"),
        ("AutoAttack?version=plus", "AutoAttack is the standard one and takes images, eps"),
        (
            ["Square@4?images=9", "Square"],
            "expected attacks that differ in name or radius, got Square@4 twice",
        ),
        ("AutoAttack?norm=L2", r"in l_2 needs eps, such as AutoAttack\?norm=L2&eps=0.5"),
        ("AutoAttack?norm=L1", "takes images, eps, and norm=L2 alone"),
        ("PGD@0.0157", "PGD: expected a radius in 1/255, .* write 4"),
        ("PGD@0", "PGD: expected eps as a number above 0, got 0"),
        ("PGD@-4", "PGD: expected eps as a number above 0"),
        ("PGD@nan", "PGD: expected eps as a number above 0, got nan"),
        ("PGD@256", "PGD: expected a radius from 0 to 255, in 1/255, got 256"),
        ("PGD?eps=4", r"PGD: expected eps in units of \[0, 1\], got 4; or PGD@4"),
        ("PGD@4?alpha=2", r"PGD: expected alpha in units of \[0, 1\], such as 2/255, got 2"),
        ("PGD@4?alpha=0", "PGD: expected alpha as a number above 0, got 0"),
        ("PGD@4?alpha=0.0001", "PGD to reach the border of the ball, 4/255, but 10 steps"),
        ("PGD@40", "PGD to reach the border .* 40/255, but 10 steps of 2/255 reach 20/255"),
        ("PGD@4?steps=0", "PGD: expected steps as a whole number of 1 or more, got 0"),
        ("PGD@4?steps=many", "PGD: expected steps as a whole number of 1 or more, got many"),
        ("PGDL2?eps=10", "PGDL2 to reach the border of the ball, 10, but 10 steps of 0.2 reach 2"),
        ("CW?c=nan", "CW: expected c as a finite number, got nan"),
        ("Square?n_queries=0", "Square: expected n_queries as a whole number of 1 or more"),
        ("AutoAttack@0.0157", "AutoAttack: expected a radius in 1/255"),
    ],
)
@pytest.mark.usefixtures("library")
def test_lines_that_make_no_sense_are_refused(text: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse_attacks(text)


@pytest.mark.usefixtures("library")
def test_protocols_name_library_version_and_settings() -> None:
    attacks = parse_attacks(["MIFGSM@8?steps=20&decay=0.5", "Square?norm=L2&eps=0.5", "CW"])
    named = [attack.protocol for attack in attacks]
    stem = named[2].removesuffix("-CW")
    assert named == [
        f"{stem}-MIFGSM-steps20-decay0.5",
        f"{stem}-Square-normL2-eps0.5",
        f"{stem}-CW",
    ]
    assert stem.startswith("torchattacks-3.")


@pytest.mark.parametrize("name", BOUNDED)
def test_whoever_has_a_radius_keeps_to_it(
    network: Classifier, images: Tensor, labels: Tensor, name: str, library: Any
) -> None:
    takes = inspect.signature(getattr(library, name)).parameters
    counts = "&".join(f"{count}=2" for count in COUNTS if count in takes)
    (attack,) = parse_attacks(f"{name}@3" + ("?" + counts if counts else ""))
    points = attack.build(network, 4)(images[:4], labels[:4], generator(0))
    assert attack.epsilon == 3
    assert (points - images[:4]).abs().max() <= 3 / 255 + 1e-6
    assert points.min() >= 0 and points.max() <= 1


@pytest.mark.usefixtures("library")
def test_equal_to_torchattacks_bit_for_bit(
    network: Classifier, images: Tensor, labels: Tensor
) -> None:
    theirs = torchattacks_attack("FGSM", network, eps=EPSILON)(images, labels, generator(0))
    assert torch.equal(fgsm(network, images, labels, EPSILON), theirs)
    settings = {"eps": EPSILON, "alpha": 2 / 255, "steps": 5, "random_start": False}
    theirs = torchattacks_attack("PGD", network, **settings)(images, labels, generator(0))
    ours = pgd(network, images, labels, EPSILON, step_size=2 / 255, steps=5, generators=None)
    assert torch.equal(ours, theirs)


@pytest.mark.usefixtures("library")
def test_an_attack_is_decided_by_its_generator(network: Classifier, images: Tensor) -> None:
    with torch.no_grad():
        labels = network(images).argmax(1)
    for name in ("PGD", "APGD"):  # APGD has a seed of its own, 0 for every batch
        attack = torchattacks_attack(name, network, eps=EPSILON, steps=1)
        first, again, other = (attack(images, labels, generator(seed)) for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


@pytest.mark.usefixtures("library")
def test_the_library_is_told_how_many_classes_there_are() -> None:
    """FAB tries every other class on whom it cannot fool; by default it would look for nine."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3))
    images, labels = torch.full((4, 1, 1, 2), 0.5), torch.zeros(4, dtype=torch.long)
    model[1].weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    model[1].bias.data = torch.tensor([9.0, 0.0, 0.0])
    attack = torchattacks_attack("FAB", model, eps=0.1, multi_targeted=True)
    assert torch.equal(attack(images, labels, generator(0)), images)
    with pytest.raises(IndexError):
        attack = torchattacks_attack("FAB", model, eps=0.1, multi_targeted=True, n_classes=10)
        attack(images, labels, generator(0))


@pytest.mark.usefixtures("library")
def test_the_model_and_the_generators_are_restored(
    network: Classifier, images: Tensor, labels: Tensor, state: Callable[[], dict[str, Any]]
) -> None:
    before = state()
    for name, settings in (
        ("PGD", {"steps": 2}),
        ("CW", {"steps": 2}),
        ("Square", {"n_queries": 3}),
    ):
        torchattacks_attack(name, network, **settings)(images, labels, generator(0))
        torch.testing.assert_close(state(), before, rtol=0, atol=0)


@pytest.mark.usefixtures("library")
def test_unknown_attacks_and_settings_are_named(network: Classifier) -> None:
    with pytest.raises(UnknownName, match="did you mean 'MIFGSM'"):
        parse_attacks("MIFGSN")
    takes = r"epsilon.*it takes model, eps, alpha, steps, random_start"
    with pytest.raises(UserError, match=takes):
        torchattacks_attack("PGD", network, epsilon=EPSILON)


def test_without_the_extra_the_command_that_installs_it_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(UserError, match=r'pip install "torchattacks>='):
        parse_attacks("FGSM")
    with pytest.raises(UserError, match=r'pip install "pyautoattack>='):
        AutoAttack(nn.Identity(), EPSILON, batch_size=10)


@pytest.fixture
def autoattack() -> None:
    pytest.importorskip("pyautoattack", reason="needs the extra `autoattack`")


def linear(classes: int = 5) -> nn.Linear:
    rng = torch.Generator().manual_seed(0)
    head = nn.Linear(16, classes)
    head.weight.data = torch.randn(classes, 16, generator=rng)
    head.bias.data = -head.weight.data.sum(1) / 2  # a grey image belongs to no class
    return head


def greys(count: int) -> Tensor:
    """Around grey, so far from black and white that no attack meets them."""
    rng = torch.Generator().manual_seed(1)
    return 0.5 + 0.15 * torch.randn(count, 1, 4, 4, generator=rng).clamp(-2, 2)


@pytest.mark.usefixtures("autoattack")
@pytest.mark.parametrize(("norm", "epsilon", "dual"), [("Linf", 0.05, 1), ("L2", 0.3, 2)])
def test_autoattack_on_a_linear_model_fools_whom_the_closed_form_says(
    norm: str, epsilon: float, dual: int
) -> None:
    """Class j is ahead within the ball where (w_y - w_j) x < epsilon times its weights' dual norm.

    Square in l_2 needs five pixels a side: each weight is spread over four of 8x8.
    """
    head, points = linear(), greys(12).repeat_interleave(2, 2).repeat_interleave(2, 3)
    model = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), head)
    with torch.no_grad():
        logits = model(points)
        labels = logits.argmax(1)
        apart = head.weight[labels][:, None] - head.weight[None]  # (N, K, 16)
        reach = epsilon * torch.linalg.vector_norm(apart.repeat(1, 1, 4) / 4, dual, dim=2)
        margins = logits.gather(1, labels[:, None]) - logits - reach
        margins[torch.arange(len(labels)), labels] = torch.inf
    standing = margins.amin(1) > 0
    attack = AutoAttack(model, epsilon, batch_size=10, norm=norm)
    adversarial = attack(points, labels, generator(0))
    assert torch.equal(model(adversarial).argmax(1) == labels, standing)
    assert 0 < standing.sum() < len(labels)
    assert margins.amin(1).abs().min() > 1e-3  # none so near the boundary that rounding decides
    order = torch.inf if norm == "Linf" else 2
    moved = torch.linalg.vector_norm((adversarial - points).flatten(1), order, dim=1)
    assert moved.max() <= epsilon + 1e-6
    assert torch.equal(adversarial[standing], points[standing])
    assert not attack.flags.any()
    three = nn.Sequential(nn.Flatten(), linear(3))
    few = AutoAttack(three, epsilon, batch_size=10, norm=norm)
    with pytest.raises(UserError, match="needs 4 classes or more, got 3"):
        few(greys(2), torch.zeros(2, dtype=torch.long), generator(0))


@pytest.mark.usefixtures("autoattack")
def test_autoattack_restores_everything_and_its_warnings_become_flags(
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = nn.Sequential(nn.Flatten(), linear(), nn.Softmax(1), nn.Dropout()).train()
    points, modes = greys(3), [module.training for module in model.modules()]
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
    assert not logger.handlers and not logger.filters and logger.propagate
    assert [word for word, raised in zip(FLAGS, attack.flags) if raised] == ["probability"]
    assert capfd.readouterr() == ("", "")


def tracer(*_: object) -> None:
    return None
