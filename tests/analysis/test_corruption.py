"""The corruption question on networks whose answers are known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from catchup_eval.analysis import corruption
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.analysis.corruption import alexnet, figures
from catchup_eval.analysis.corruption.cache import CorruptionVariant, export
from catchup_eval.analysis.corruption.registry import BENCHMARK_19, CORRUPTIONS, corrupt
from catchup_eval.analysis.corruption.transforms import frost
from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.metrics.intervals import bootstrap_mean
from catchup_eval.models.classifier import Classifier, wrap
from catchup_eval.results.result import ModelResult, Result, join

ALEXNETS = np.array(list(alexnet.ERRORS.values()))
TWO: dict[str, Any] = {"corruptions": ("contrast", "gaussian_noise"), "severities": (1, 5)}


class Spread(nn.Module):
    """Says class 1 where the grey levels of an image spread by more than `limit`."""

    def __init__(self, limit: float):
        super().__init__()
        self.limit, self.head = limit, nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        spread = x.flatten(1).std(1)
        return torch.stack([torch.full_like(spread, self.limit), spread], 1)


def stripes(n: int = 12) -> TensorDataset:
    """Class 1: black and white stripes, spread 0.5 of 1."""
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[:, ::2] = 255
    part = Split(image.repeat(n, 1, 1, 1), torch.ones(n).long())
    return TensorDataset("stripes", {"test": part}, ("flat", "striped"), (0.5,) * 3, (0.25,) * 3)


def test_a_network_that_needs_contrast_fails_where_contrast_falls() -> None:
    # Contrast times 0.75, 0.5, 0.4, 0.3, 0.15: the spread passes 0.22 between 0.5 and 0.4.
    subject = EvaluationContext(wrap(Spread(0.22)), stripes())
    result = corruption.measure(subject, corruptions=("contrast", "brightness"))
    assert result.value("clean_error") == 0
    errors = result.rows("error", corruption="contrast").set_index("severity")["value"]
    assert errors.to_dict() == {1: 0, 2: 0, 3: 100, 4: 100, 5: 100}
    assert result.value("corruption_error", corruption="contrast") == 60
    assert result.value("corruption_error", corruption="brightness") == 0
    assert result.value("mean_error") == 30
    assert result.samples["correct"].shape == (12, 10)


@pytest.fixture(scope="module")
def asked(
    few_digits: TensorDataset, networks: Callable[..., Classifier]
) -> Callable[..., EvaluationContext]:
    return lambda seed=0, **settings: EvaluationContext(networks(seed), few_digits, **settings)


@pytest.fixture(scope="module")
def result(asked: Callable[..., EvaluationContext]) -> Result:
    return corruption.measure(asked(), **TWO)


def test_every_number_follows_from_the_samples(result: Result) -> None:
    wrong = ~result.samples["correct"]
    cells = result.rows("error")
    np.testing.assert_allclose(cells["value"], 100 * wrong.mean(0))
    assert list(zip(cells["corruption"], cells["severity"])) == [
        ("contrast", 1),
        ("contrast", 5),
        ("gaussian_noise", 1),
        ("gaussian_noise", 5),
    ]
    np.testing.assert_allclose(result.samples["error"], wrong.mean(1))
    assert result.value("mean_error") == pytest.approx(cells["value"].mean())
    row = result.rows("mean_error").iloc[0]
    assert (row["low"], row["high"]) == bootstrap_mean(100 * wrong.mean(1))
    assert (result.checks["value"] == 1).all()


def test_a_cell_is_the_error_on_the_corrupted_images(
    result: Result, asked: Callable[..., EvaluationContext]
) -> None:
    subject = asked()
    part = subject.data.split("test")
    images = corrupt(part.images, "gaussian_noise", 5, index=part.index)
    right = subject.model(images.float() / 255).argmax(1) == part.labels
    value = result.value("error", corruption="gaussian_noise", severity=5)
    assert value == pytest.approx(100 * (1 - right.double().mean().item()))


def test_the_interval_knows_that_cells_share_their_images() -> None:
    # All cells of an image are equal: thirty cells say no more than one.
    subject = EvaluationContext(wrap(Spread(0.0)), stripes(40))
    part = subject.data.split("test")
    labels = (torch.arange(40) % 2).long()
    data = TensorDataset(
        "half", {"test": Split(part.images, labels)}, ("a", "b"), (0.5,) * 3, (0.25,) * 3
    )
    result = corruption.measure(
        EvaluationContext(subject.model, data), corruptions=("contrast", "pixelate")
    )
    row = result.rows("mean_error").iloc[0]
    one = result.rows("error", corruption="contrast", severity=1).iloc[0]
    assert row["value"] == one["value"] == 50
    assert row["high"] - row["low"] == pytest.approx(one["high"] - one["low"], abs=3)


class Recorder(Spread):
    """Keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__(0.2)
        self.shown: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shown.append(x)
        return super().forward(x)


def test_the_subjects_seed_decides_and_the_batch_size_does_not() -> None:
    shown = []
    for seed, batch_size in ((0, 12), (0, 5), (1, 12)):
        network = Recorder()
        subject = EvaluationContext(wrap(network), stripes(), seed=seed, batch_size=batch_size)
        corruption.measure(subject, corruptions=("impulse_noise",), severities=(3,))
        shown.append(torch.cat(network.shown))
    assert torch.equal(shown[0], shown[1])
    assert not torch.equal(shown[0], shown[2])


@pytest.mark.parametrize(
    ("settings", "protocol"),
    [
        ({}, "cifar19of19-proceduralfrost@2"),
        ({"severities": (3, 1)}, "cifar19of19s13-proceduralfrost@2"),
        ({"preset": "tiny_imagenet"}, "tiny_imagenet19of19-proceduralfrost@2"),
    ],
)
def test_the_protocol_says_what_was_asked(settings: dict[str, Any], protocol: str) -> None:
    data = stripes(2)
    result = corruption.measure(EvaluationContext(wrap(Spread(0.2)), data), **settings)
    assert set(result.frame["protocol"]) == {protocol}


def test_another_choice_of_types_has_another_protocol() -> None:
    names = list(CORRUPTIONS)
    choices = (names[:2], names[1:3], names[1::-1])
    first, second, turned = (
        corruption._protocol(CorruptionVariant(), c, (1, 2, 3, 4, 5)) for c in choices
    )
    assert first != second and first == turned
    assert first.startswith("cifar2of19-")


def test_the_size_of_the_images_names_the_constants(networks: Callable[..., Classifier]) -> None:
    part = Split(torch.zeros(2, 3, 64, 64, dtype=torch.uint8), torch.tensor([0, 1]))
    data = TensorDataset("large", {"test": part}, ("a", "b"), (0.5,) * 3, (0.25,) * 3)
    result = corruption.measure(EvaluationContext(networks(0), data), **TWO)
    assert result.frame["protocol"].str.startswith("tiny_imagenet2of19").all()


def test_nineteen_and_fifteen_types_are_two_means(asked: Callable[..., EvaluationContext]) -> None:
    result = corruption.measure(asked(), severities=(3,))
    errors = result.rows("error").set_index("corruption")["value"]
    assert tuple(errors.index) == BENCHMARK_19
    assert result.value("mean_error") == pytest.approx(errors.mean())
    assert result.value("mean_error_15") == pytest.approx(errors[:15].mean())
    without_snow = [name for name in BENCHMARK_19 if name != "snow"]
    result = corruption.measure(asked(), corruptions=without_snow, severities=(3,))
    assert result.rows("mean_error_15").empty


def of_a_thousand_classes(data: TensorDataset) -> TensorDataset:
    names = tuple(map(str, range(1000)))
    return TensorDataset("many", data.parts, names, data.mean, data.std)


def test_alexnet_divides_only_what_is_imagenets() -> None:
    network = wrap(Spread(0.22))
    many = of_a_thousand_classes(stripes(2))
    result = corruption.measure(EvaluationContext(network, many), preset="imagenet")
    errors = result.rows("corruption_error").set_index("corruption")["value"]
    shares = [errors[name] / error for name, error in alexnet.ERRORS.items()]
    assert 0 < np.mean(shares) == pytest.approx(result.value("mce_alexnet"))
    for data, settings in (
        (stripes(2), {"preset": "imagenet"}),
        (many, {"preset": "cifar"}),
        (many, {"preset": "imagenet", "severities": (1, 2, 3, 4)}),
        (many, {"preset": "imagenet", "corruptions": BENCHMARK_19[:14]}),
    ):
        result = corruption.measure(EvaluationContext(network, data), **settings)
        assert result.rows("mce_alexnet").empty


def test_alexnet_itself_has_100() -> None:
    # Its own errors, as shares of 10,000 images, at each of five severities.
    rank = np.linspace(0, 1, 10_000, endpoint=False)[:, None]
    wrong = np.repeat(rank < ALEXNETS, 5, axis=1)
    names = [name for name in alexnet.ERRORS for _ in range(5)]
    assert tuple(alexnet.ERRORS) == BENCHMARK_19[:15]
    assert alexnet.alexnet_relative_error(wrong, names).mean() == pytest.approx(100, abs=0.02)


def test_kept_images_give_the_same_numbers(
    result: Result, asked: Callable[..., EvaluationContext], tmp_path: Path
) -> None:
    for _ in range(2):
        again = corruption.measure(replace(asked(), data_root=tmp_path), **TWO)
        pd.testing.assert_frame_equal(again.frame, result.frame)
    assert len(list((tmp_path / "corrupted").rglob("*.npy"))) == 4
    corruption.measure(replace(asked(), data_root=tmp_path / "absent"), **TWO)
    assert not (tmp_path / "absent").exists(), "a data root is used, not made"


def test_photographs_of_frost_are_named_by_the_protocol(
    tmp_path: Path, asked: Callable[..., EvaluationContext]
) -> None:
    one: dict[str, Any] = {"corruptions": ("frost",), "severities": (5,)}

    def protocol(**settings: str) -> str:
        frame = corruption.measure(asked(), **one, **settings).frame
        return str(frame["protocol"].unique().item())

    assert protocol().endswith("s5-proceduralfrost@2")
    with pytest.raises(BadFile, match=r"there is no .*frost1"):
        protocol(photographs=str(tmp_path))
    for name in frost.NAMES:
        Image.new("RGB", (300, 300), (200, 210, 220)).save(tmp_path / name)
    assert protocol(photographs=str(tmp_path)).endswith("s5@2")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"corruptions": ("fogg",)}, UnknownName, "did you mean 'fog'"),
        ({"corruptions": ()}, UserError, "expected corruptions, each once"),
        ({"corruptions": ("fog", "fog")}, UserError, "each once"),
        ({"severities": (1, 6)}, UserError, r"from 1 to 5, got \[1, 6\]"),
        ({"preset": "cifar10"}, UnknownName, "did you mean 'cifar'"),
    ],
)
def test_mistakes_are_named(
    settings: dict[str, Any],
    error: type[UserError],
    message: str,
    asked: Callable[..., EvaluationContext],
) -> None:
    with pytest.raises(error, match=message):
        corruption.measure(asked(), **settings)


def test_the_difference_is_drawn_only_between_models(result: Result) -> None:
    assert set(figures.plot(result)) == {"corruption"}
    one = join([ModelResult("a", 0, result), ModelResult("a", 1, result)])
    assert set(figures.plot(one)) == {"corruption"}
    two = join([ModelResult("a", 0, result), ModelResult("b", 0, result)])
    pictures = figures.plot(two)
    assert set(pictures) == {"corruption", "difference"}
    numbers = {text.get_text() for text in pictures["difference"].axes[0].texts}
    assert numbers == {"+0.0"}, "the same network differs by nothing"


def test_the_heat_map_shows_the_measured_errors_and_their_means(result: Result) -> None:
    fig = figures.plot(result)["corruption"]
    heat = fig.axes[1]
    shown = [float(text.get_text()) for text in heat.texts]
    table = result.rows("error")["value"].to_numpy().reshape(2, 2)[::-1]  # noise comes first
    expected = np.vstack([table, table.mean(0)])
    expected = np.hstack([expected, expected.mean(1, keepdims=True)])
    np.testing.assert_allclose(shown, expected.flatten(), atol=0.051)


def test_released_files_are_shown_in_place_of_corrupting(
    result: Result, asked: Callable[..., EvaluationContext], tmp_path: Path
) -> None:
    subject = asked()
    part = subject.data.split("test")
    numbered = replace(part, index=torch.arange(len(part)))
    data = replace(subject.data, parts={"test": numbered})
    export(tmp_path, numbered, TWO["corruptions"], CorruptionVariant())
    again = corruption.measure(replace(subject, data=data), **TWO, files=str(tmp_path))
    assert again.frame["protocol"].unique().item().startswith("released2of19")
    assert (again.checks["value"] == 1).all()
    made = corruption.measure(replace(subject, data=data), **TWO)
    np.testing.assert_array_equal(again.samples["correct"], made.samples["correct"])
