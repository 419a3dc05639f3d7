from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from catchup_eval.analysis import adversarial, check_settings
from catchup_eval.analysis.adversarial import figures, masking
from catchup_eval.analysis.adversarial.attacks import fgsm
from catchup_eval.analysis.adversarial.libraries import FLAGS, AttackSpec
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.metrics.intervals import wilson
from catchup_eval.models import loading
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.wrapping import wrap
from catchup_eval.results.result import ModelResult, Result, join

Networks = Callable[..., Classifier]


def dataset(images: Tensor, labels: Tensor, first: int = 0, classes: int = 10) -> TensorDataset:
    split = Split(images, labels, first + torch.arange(len(images)))
    names = tuple("0123456789"[:classes])
    return TensorDataset("made", {"test": split}, names, (0.5,) * 3, (0.5,) * 3)


@pytest.fixture(scope="module")
def context(networks: Networks, noise: Split) -> EvaluationContext:
    """A network and images that it classifies correctly, nearly all."""
    model = networks(0)
    with torch.no_grad():
        labels = model(noise.images.float() / 255).argmax(1)
    labels[:2] = (labels[:2] + 1) % 10
    return EvaluationContext(model, dataset(noise.images, labels, 100))


@pytest.fixture(scope="module")
def result(context: EvaluationContext) -> Result:
    return adversarial.measure(context, epsilons=(0, 0.5, 4), pgd_epsilons=(0.5,), pgd_steps=4)


def test_rows_are_what_the_attack_leaves(context: EvaluationContext, result: Result) -> None:
    batch = context.data.split("test").batch(slice(None))
    points = fgsm(context.model, batch.images, batch.labels, 4 / 255)
    correct = (context.logits(points).argmax(1) == batch.labels).numpy()
    np.testing.assert_array_equal(result.samples["fgsm@4"], correct)
    accuracy = result.value("accuracy", attack="fgsm", epsilon=4)
    assert accuracy == pytest.approx(100 * correct.mean())
    assert result.value("error", attack="fgsm", epsilon=4) == pytest.approx(100 - accuracy)
    np.testing.assert_array_equal(result.samples["index"], np.arange(100, 132))
    assert result.value("zero_gradient", attack="fgsm") == 0
    assert not result.samples["zero-gradient"].any()


def test_epsilon_0_is_the_clean_accuracy_and_the_gap_that_of_two(result: Result) -> None:
    clean = result.value("accuracy", attack="fgsm", epsilon=0)
    assert clean == 100 * 30 / 32
    np.testing.assert_array_equal(result.samples["fgsm@0"], np.arange(32) >= 2)
    one, many = (result.value("accuracy", attack=attack, epsilon=0.5) for attack in ("fgsm", "pgd"))
    assert result.value("masking_gap", epsilon=0.5) == pytest.approx(one - many)
    assert many < clean


def test_without_a_bound_nothing_is_left(context: EvaluationContext) -> None:
    result = adversarial.measure(context, epsilons=(0,), pgd_epsilons=(), unbounded=10)
    rows = result.rows("accuracy", attack="pgd-unbounded")
    assert rows[["value", "n", "epsilon"]].values.tolist() == [[0, 10, 255]]
    assert (result.checks["value"] == 1).all()


def test_protocols_name_what_was_set(result: Result) -> None:
    found = set(result.rows("accuracy")["protocol"])
    assert found == {"fgsm@1", "pgd-4x2@1", "pgd-32x8-unbounded@1"}
    assert adversarial.PGDSettings(1, 2, 3).protocol == "pgd-1x2-r3@1"


NOTHING: dict[str, Any] = {"epsilons": (), "pgd_epsilons": (), "unbounded": 0}


def test_attacks_of_libraries_have_rows_of_their_own(context: EvaluationContext) -> None:
    pytest.importorskip("torchattacks", reason="needs the extra `attacks`")
    attacks = ["PGD@0.5?alpha=1/255&steps=1&random_start=false", "Square@4?images=10&n_queries=2"]
    result = adversarial.measure(
        context, epsilons=(0.5,), pgd_epsilons=(4,), pgd_steps=2, unbounded=0, attacks=attacks
    )
    one_step = result.rows("accuracy", attack="PGD", epsilon=0.5)
    assert one_step["value"].item() == result.value("accuracy", attack="fgsm", epsilon=0.5)
    assert one_step["protocol"].str.match(r"torchattacks-3\.[\d.]+-PGD-alpha0\.00392").all()
    assert result.rows("accuracy", attack="Square", epsilon=4)["n"].item() == 10
    index = result.samples["Square@4-index"]
    np.testing.assert_array_equal(index, context.data.split("test").subsample(10).index)
    claim = result.checks[result.checks["metric"].str.startswith("Square")]
    assert claim[["value", "n"]].values.tolist() == [[1, 10]]
    row = adversarial.measure(context, **NOTHING, attacks="GN").rows("accuracy", attack="GN")
    assert row["n"].item() == 32 and row["epsilon"].isna().all()


def test_autoattack_brings_its_own_checks(context: EvaluationContext) -> None:
    pytest.importorskip("pyautoattack", reason="needs the extra `autoattack`")
    result = adversarial.measure(context, **NOTHING, attacks="AutoAttack@8?images=6")
    row = result.rows("accuracy", attack="AutoAttack", epsilon=8)
    # An untrained network withstands nothing.
    assert row[["value", "n"]].values.tolist() == [[0, 6]]
    checks = result.checks[result.checks["metric"].str.startswith("AutoAttack")]
    assert checks["metric"].tolist() == list(FLAGS.values())
    assert (checks["n"] == 6).all() and (checks["value"] == 1).all()


def test_a_wrong_attack_stops_before_anything_is_computed(context: EvaluationContext) -> None:
    pytest.importorskip("torchattacks", reason="needs the extra `attacks`")
    fresh = EvaluationContext(wrap(Unasked()), context.data)
    with pytest.raises(UnknownName, match="MIFGSN"):
        adversarial.measure(fresh, attacks="MIFGSN")
    with pytest.raises(UserError, match="colour"):
        adversarial.measure(fresh, attacks="MIFGSM?colour=red")


DEFAULT = adversarial.PGDSettings(20, 2)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"epsilons": (-4, 4)},
            "expected epsilons.0 as a number from 0, got -4",
        ),
        ({"epsilons": (0, 400)}, "expected a radius from 0 to 255, in 1/255, got 400"),
        ({"epsilons": (0, 4 / 255)}, "0.0156863 in units of .0, 1. is 4/255: write 4"),
        ({"epsilons": (0.1,)}, "expected a radius in 1/255, of 0.2 or more, .* write 25.5"),
        ({"epsilons": (0, float("nan"))}, "expected epsilons.1 as a number from 0"),
        ({"epsilons": (0, float("inf"))}, "expected epsilons.1 as a number from 0"),
        ({"epsilons": (4, 4)}, r"expected epsilons as a list of different values, got \(4, 4\)"),
        ({"epsilons": (4, 4.0000001)}, "expected epsilons that differ in six digits"),
        ({"epsilons": 4}, "expected epsilons as a list, got 4"),
        ({"epsilons": "4/255"}, "expected epsilons as a list, got '4/255'"),
        ({"epsilons": ("4",)}, "expected epsilons.0 as a number from 0, got '4'"),
        ({"pgd_epsilons": (0,)}, "expected pgd_epsilons.0 as a number above 0, got 0"),
        ({"pgd_epsilons": (0.0157,)}, "write 4"),
        (
            {"pgd_epsilons": (41,)},
            "the border of the ball, 41/255, but 20 .* of 2/255 reach 40/255",
        ),
        ({"pgd_step_size": 2 / 255}, "0.00784314 in units of .0, 1. is 2/255"),
        ({"pgd_step_size": 0}, "pgd_step_size as a number above 0 up to 255, got 0"),
        ({"pgd_step_size": -2}, "expected pgd_step_size"),
        ({"pgd_step_size": 256}, "pgd_step_size as a number above 0 up to 255, got"),
        ({"pgd_steps": 0}, "pgd_steps as a whole number from 1 to .*, got 0"),
        ({"pgd_steps": 2.5}, "pgd_steps as a whole number from 1 to .*, got 2.5"),
        ({"pgd_steps": True}, "pgd_steps as a whole number from 1 to .*, got True"),
        ({"pgd_restarts": 0}, "expected pgd_restarts"),
        ({"unbounded": -1}, "unbounded as a whole number from 0 to .*, got -1"),
        ({"attacks": 3}, "expected attacks as a list, got 3"),
        ({"epsilon": (4,)}, "no setting of adversarial 'epsilon'; did you mean 'epsilons'"),
        ({"epsilons": (), "pgd_epsilons": (), "unbounded": 0}, "expected something to measure"),
    ],
)
def test_a_setting_that_makes_no_sense_costs_no_pass(
    context: EvaluationContext, settings: dict[str, Any], says: str
) -> None:
    fresh = EvaluationContext(wrap(Unasked()), context.data)
    with pytest.raises(UserError, match=says):
        adversarial.measure(fresh, **settings)
    with pytest.raises(UserError, match=says):
        check_settings({"adversarial": settings})


class Unasked(nn.Linear):
    def __init__(self) -> None:
        super().__init__(1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        pytest.fail("the network was called")


def test_sensible_settings_are_taken() -> None:
    """Unsorted; a quarter of 1/255; a radius just reached; FGSM from a random start."""
    for settings in (
        {"epsilons": [8, 0, 0.25]},
        {"pgd_epsilons": [0.5, 40]},
        {"pgd_steps": 1, "pgd_step_size": 4},
    ):
        check_settings({"adversarial": settings})


class Changed(nn.Module):
    """A network whose pixels or logits are changed on their way."""

    def __init__(
        self,
        net: nn.Module,
        pixels: Callable[[Tensor], Tensor] = lambda x: x,
        logits: Callable[[Tensor], Tensor] = lambda y: y,
    ):
        super().__init__()
        self.net, self.pixels, self.logits = net, pixels, logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits(self.net(self.pixels(images)))


def as_bytes(pixels: Tensor) -> Tensor:
    return (255 * pixels).to(torch.uint8).float() / 255


def shattered(pixels: Tensor) -> Tensor:
    """Between two levels the slope turns around several times."""
    return pixels + 0.02 * torch.sin(2000 * pixels)


def linear(scale: float) -> nn.Module:
    """Class 1 where an image is brighter than 0.5; its logits are `scale` times the mean."""
    head = nn.Linear(768, 2)
    head.weight.data = scale * torch.tensor([[0.0], [1.0]]).expand(2, 768) / 768
    head.bias.data = scale * torch.tensor([0.0, -0.5])
    return nn.Sequential(nn.Flatten(), head)


BRIGHT = torch.arange(40).view(40, 1, 1, 1) % 2 * 128 + 64  # 64 or 192 everywhere
SMALL = BRIGHT.expand(40, 3, 16, 16).to(torch.uint8)
ZERO, FREE = "at most 1 % of the images", "PGD without a bound"
SAME = "an image gets the same logits"


@pytest.mark.parametrize(
    ("change", "failing", "cause"),
    [
        # what is no fault of the gradient
        (lambda net: net, [], ""),
        (lambda net: Changed(net, logits=lambda y: 1e3 * y), [], ""),
        (lambda net: linear(10.0), [], ""),  # robust: nothing within 8/255 crosses 0.25 of gray
        # what masks it
        (lambda net: Changed(net, logits=lambda y: 1e6 * y), [ZERO, FREE], "softmax saturates"),
        (lambda net: linear(1e5), [ZERO, FREE], "softmax saturates"),
        (lambda net: Changed(net, lambda x: (8 * x).round() / 8), [ZERO, FREE], "quantisation"),
        (lambda net: Changed(net, as_bytes), [ZERO, FREE], "quantisation"),
        (lambda net: Changed(net, shattered), ["FGSM", "PGD acc", FREE], "masked gradients"),
        # what is random, or knows nothing
        (
            lambda net: Changed(net, lambda x: x + 0.5 * torch.randn_like(x)),
            ["epsilon 0", SAME],
            "random",
        ),
        (lambda net: linear(0.0), [ZERO, FREE], "at chance or constant"),
    ],
)
def test_failed_checks_name_their_cause_and_ordinary_networks_pass(
    networks: Networks,
    noise: Split,
    change: Callable[[nn.Module], nn.Module],
    failing: list[str],
    cause: str,
) -> None:
    """Labels are the network's own predictions, so that all are correct before the attack."""
    net = change(networks(0))
    model = wrap(net, head="net.head" if isinstance(net, Changed) else None)
    images = SMALL if isinstance(net, nn.Sequential) else noise.images[:, :, :16, :16]
    with fork_global_rng(generator(0)), torch.no_grad():
        labels = model(images.float() / 255).argmax(1)
        if not model(images.float() / 255).any():
            labels = torch.arange(len(images)) % 2
        data = dataset(images.contiguous(), labels, classes=2 if images is SMALL else 10)
        result = adversarial.measure(EvaluationContext(model, data), pgd_steps=4)
    failed = result.checks[result.checks["value"] == 0]
    assert len(failed) == len(failing), failed["metric"].tolist()
    assert all(map(str.startswith, failed["metric"], failing))
    assert all(cause in text for text in failed["cause"])
    assert result.checks["cause"].notna().sum() == len(failing)


def test_published_networks_are_not_accused(
    shared: Path, cifar10_test: Callable[[int], tuple[Tensor, Tensor]]
) -> None:
    """ResNet-8 of 200 images: FGSM 3.5 % at 4/255 and 4.0 % at 8/255, PGD 0; here 20 of them."""
    weights = shared / "checkpoints" / "karanchahal_resnet8_cifar10.pth"
    pixels, labels = cifar10_test(20)
    data = dataset((255 * pixels).round().to(torch.uint8), labels)
    context = EvaluationContext(loading.load(f"{weights}?norm=cifar10").model, data)
    result = adversarial.measure(context, epsilons=(0, 4, 8), pgd_steps=2)
    assert result.samples["clean"].mean() > 0.7
    assert (result.checks["value"] == 1).all()


SQUARE = AttackSpec("Square", 4.0, {}, 50)
FIFTY = np.arange(0, 100, 2)
NONE = np.zeros(100, bool)
ALL = np.ones(100, bool)


def with_samples(
    settings: adversarial.PGDSettings = DEFAULT,
    library: Sequence[AttackSpec] = (),
    **samples: np.ndarray,
) -> Result:
    whole = {"index": np.arange(100), "clean": ALL} | samples
    return Result(adversarial._rows(whole, settings, library).frame(), whole)


def faked(
    fgsm_rate: float, pgd_rate: float, *, clean: float = 1.0, square: float | None = None
) -> Result:
    """The result of a network of 100 images with these rates at 4/255; Square had every second."""
    rates = {"fgsm@0": clean, "fgsm@4": fgsm_rate, "pgd@4": pgd_rate}
    samples = {name: np.arange(100) < 100 * rate for name, rate in rates.items()}
    if square is None:
        return with_samples(**samples)
    samples |= {"Square@4": 100 * square > FIFTY, "Square@4-index": FIFTY}
    return with_samples(library=[SQUARE], **samples)


@pytest.mark.parametrize(("n", "fails"), [(20, False), (200, True)])
def test_few_images_fail_no_check(n: int, fails: bool) -> None:
    """PGD leaves 5 points more than FGSM, on images that FGSM changes: 1 of 20, 10 of 200."""
    ranks = np.arange(n)
    samples = {"fgsm@4": ranks < n // 2, "pgd@4": ranks < n // 2 + n // 20}
    checks = with_samples(index=ranks, clean=ranks >= 0, **samples).checks
    assert checks[checks["value"] == 0]["metric"].tolist() == [masking.BELOW] * fails


def test_pgd_is_compared_with_fgsm_of_smaller_balls() -> None:
    """No FGSM at 8/255, but what leaves 90 at 8/255 cannot leave 60 at 4/255."""
    result = with_samples(**{"fgsm@4": np.arange(100) < 60, "pgd@8": np.arange(100) < 90})
    checks = result.checks.set_index("metric")
    assert checks["value"][masking.BELOW] == 0
    assert checks["cause"][masking.BELOW] == masking.MASKED


def test_steps_that_barely_reach_the_border_are_the_first_suspect() -> None:
    """Four steps of 1/255 reach 4/255, but from the other side of the ball not its border."""
    samples = {"fgsm@4": np.arange(100) < 60, "pgd@4": ALL}
    checks = with_samples(adversarial.PGDSettings(4, 1), **samples).checks.set_index("metric")
    assert checks["cause"][masking.BELOW] == masking.STEPS


@pytest.mark.parametrize(
    ("result", "failing"),
    [
        (faked(0.6, 0.5), []),
        (faked(0.6, 0.5, clean=0.99), ["epsilon 0 changes no prediction"]),
        (faked(0.6, 0.5, clean=0.3), ["epsilon 0", "FGSM accuracy falls", "PGD accuracy is not"]),
        (faked(1.0, 0.9), ["FGSM accuracy falls"]),
        (faked(0.0, 0.0), []),
        (faked(0.5, 0.6), ["PGD accuracy is not above"]),
        (faked(0.6, 0.3), []),  # 30 points, and as few as 21 by its interval
        (faked(0.9, 0.3), ["FGSM is less than 30 points above"]),
        (faked(0.6, 0.5, square=0.5), []),
        (faked(0.6, 0.5, square=0.7), []),
        (faked(0.6, 0.5, square=0.44), []),  # 3 of 50 images
        (faked(0.6, 0.5, square=0.3), ["Square accuracy is not below"]),
        (with_samples(**{"fgsm@0": ALL, "fgsm@0.25": ALL < 0}), ["no epsilon is below 0.5"]),
        (with_samples(**{"pgd@0.9": ALL < 0}), ["PGD's steps are no wider"]),
        (with_samples(**{"pgd@1": ALL < 0}), []),
        (with_samples(**{"pgd-unbounded": np.zeros(9, bool)}), []),
        (with_samples(**{"pgd-unbounded": np.arange(9) == 0}), ["PGD without a bound"]),
        (with_samples(**{"AutoAttack@1": NONE, "AutoAttack@1-flags": np.zeros(5, bool)}), []),
        (
            with_samples(**{"AutoAttack@1": NONE, "AutoAttack@1-flags": np.arange(5) == 4}),
            ["AutoAttack: Square"],
        ),
    ],
)
def test_each_sanity_check_can_fail(result: Result, failing: list[str]) -> None:
    checks = result.checks
    failed = checks[checks["value"] == 0]["metric"].tolist()
    assert len(failed) == len(failing)
    assert all(claim.startswith(start) for claim, start in zip(failed, failing, strict=True))
    ran = any(name.startswith("Square") for name in result.samples)
    assert checks["metric"].str.startswith("Square").any() == ran


def test_the_figure_warns_where_gradients_may_be_masked() -> None:
    results = faked(0.6, 0.5), faked(0.9, 0.3), faked(0.5, 0.6), faked(0.6, 0.5, square=0.3)
    joined = join(ModelResult(name, 0, one) for name, one in zip("abcd", results))
    title = figures.plot(joined)["accuracy"].get_suptitle().split("\n")
    assert title == [
        "b: FGSM 60 points above PGD (4/255) (one step",
        "is too weak here: read PGD's accuracy)",
        "c: PGD above FGSM",
        "d: Square below PGD",
        "Gradients may be masked: trust the lowest.",
    ]
    assert not figures.plot(faked(0.6, 0.5))["accuracy"].get_suptitle()


def test_the_figure_names_attacks_and_shows_other_ones_as_points() -> None:
    figure = figures.plot(faked(0.6, 0.5, square=0.4))["accuracy"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["model", "FGSM", "PGD", "Square"]
    (bars,) = figure.axes[0].containers
    assert bars.lines[0].get_xydata().tolist() == [[4, 40]]


def test_seeds_are_drawn_at_their_mean() -> None:
    seeds = join(
        [ModelResult("a", seed, faked(rate, 0.2)) for seed, rate in enumerate((0.5, 0.6, 0.7))]
    )
    axes = figures.plot(seeds)["accuracy"].axes[0]
    line = next(line for line in axes.lines if line.get_label() == "a")
    np.testing.assert_allclose(line.get_xydata(), [[0, 100], [4, 60]])
    low, high = axes.get_ylim()
    assert 0 < low < 20 and 100 < high < 106, "the axis goes as far as the lines do"


MNIST_NET = """
from torch import nn

def net():
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 100), nn.ReLU(), nn.Linear(100, 10),
    )
"""


def test_a_published_robust_network_has_its_measured_accuracies(
    shared: Path, tmp_path: Path
) -> None:
    """MNIST, trained with FGSM at 0.3 (Wong et al. 2020); of all 10,000 images 98.50 % are right,
    94.87 % under FGSM and 91.02 % under PGD of 50 steps of 0.01. Here every 20th of them."""
    (tmp_path / "mnist.py").write_text(MNIST_NET)
    weights = shared / "checkpoints" / "fast_adversarial_mnist_fgsm.pth"
    model = loading.load(f"{tmp_path}/mnist.py:net@{weights}?norm=0/1&head=7").model
    with np.load(shared / "mnist_t10k.npz") as pack:
        images, labels = (torch.from_numpy(pack[name]) for name in ("images", "labels"))
    part = Split(images.unsqueeze(1), labels.long())[slice(None, None, 20)]
    data = TensorDataset("mnist", {"test": part}, tuple("0123456789"), (0.0,), (1.0,))
    radius = 0.3 * 255
    result = adversarial.measure(
        EvaluationContext(model, data),
        epsilons=(0, radius),
        pgd_epsilons=(radius,),
        pgd_steps=50,
        pgd_step_size=2.55,
    )
    for name, percent in (("fgsm@0", 98.50), (f"fgsm@{radius:g}", 94.87), ("pgd@76.5", 91.02)):
        low, high = wilson(int(result.samples[name].sum()), 500)
        assert low <= percent <= high, name
    assert (result.checks["value"] == 1).all()


def test_the_l2_ball_has_rows_of_its_own(context: EvaluationContext) -> None:
    nothing: dict[str, Any] = {"epsilons": (0,), "pgd_epsilons": (), "unbounded": 0}
    more = {"l2_epsilons": (0.5,), "pgd_l2_epsilons": (0.25, 0.5), "pgd_steps": 3}
    result = adversarial.measure(context, **nothing, **more)
    rows = result.rows("accuracy").set_index(["attack", "epsilon"])
    assert rows.loc[("pgd-l2", 0.5), "protocol"] == "pgd-l2-3x2.5r@1"
    assert rows.loc[("fgm-l2", 0.5), "protocol"] == "fgm-l2@1"
    values = rows["value"]
    assert values["pgd-l2", 0.5] <= values["pgd-l2", 0.25] <= values["fgsm", 0.0]
    for epsilon in (0.25, 0.5):
        mean = 100 * result.samples[f"pgd-l2@{epsilon:g}"].mean()
        assert values["pgd-l2", epsilon] == pytest.approx(mean)
    figure = figures.plot(result)["accuracy"]
    assert not any("l2" in text.get_text() for text in figure.legends[0].texts)


def test_a_preset_is_what_is_compared_elsewhere(
    context: EvaluationContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        adversarial.libraries, "parse_attacks", lambda lines: seen.append(lines) or []
    )
    few: dict[str, Any] = {"epsilons": (0,), "pgd_epsilons": (), "unbounded": 0, "pgd_steps": 8}
    linf = adversarial.measure(context, **few, preset="robustbench-linf")
    l2 = adversarial.measure(context, **few, preset="robustbench-l2")
    assert seen[1::2] == [("AutoAttack@8",), ("AutoAttack?norm=L2&eps=0.5",)]
    assert {"fgsm@8", "pgd@8"} <= linf.samples.keys()
    assert {"fgm-l2@0.5", "pgd-l2@0.5"} <= l2.samples.keys()
