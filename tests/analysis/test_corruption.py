"""The corruption analysis on networks whose answers are known."""

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
from torch.nn import functional as F

from catchup_eval.analysis import corruption
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.analysis.corruption import alexnet, figures
from catchup_eval.analysis.corruption.cache import CorruptionVariant, export
from catchup_eval.analysis.corruption.registry import BENCHMARK_19, CORRUPTIONS, corrupt
from catchup_eval.analysis.corruption.transforms import frost
from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.metrics.intervals import bootstrap_mean
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.wrapping import wrap
from catchup_eval.results.result import ModelResult, Result, join

Contexts = Callable[..., EvaluationContext]
TWO: dict[str, Any] = {"corruptions": ("contrast", "gaussian_noise"), "severities": (1, 5)}


class Spread(nn.Module):
    """Says class 1 where the grey levels of an image spread by more than `limit`; keeps images."""

    def __init__(self, limit: float, classes: int = 2):
        super().__init__()
        self.others = classes - 2  # outputs that are never the largest
        self.limit, self.head = limit, nn.Linear(2, 2)
        self.images: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.images.append(x)
        spread = x.flatten(1).std(1)
        both = torch.stack([torch.full_like(spread, self.limit), spread], 1)
        return F.pad(both, (0, self.others), value=-1.0)


def stripes(labels: Tensor, classes: int = 2, side: int = 32) -> TensorDataset:
    """Black and white stripes, spread 0.5 of 1."""
    image = torch.zeros(3, side, side, dtype=torch.uint8)
    image[:, ::2] = 255
    split = Split(image.repeat(len(labels), 1, 1, 1), labels)
    names = tuple(map(str, range(classes)))
    return TensorDataset("stripes", {"test": split}, names, (0.5,) * 3, (0.25,) * 3)


def striped(n: int, limit: float = 0.22, **options: Any) -> EvaluationContext:
    """A network that says class 1 above the limit, and n images of class 1."""
    return EvaluationContext(wrap(Spread(limit)), stripes(torch.ones(n).long()), **options)


def test_a_network_that_needs_contrast_fails_where_contrast_falls() -> None:
    # Contrast times 0.75, 0.5, 0.4, 0.3, 0.15: the spread passes 0.22 between 0.5 and 0.4.
    result = corruption.measure(striped(12), corruptions=("contrast", "brightness"))
    assert result.value("clean_error") == 0
    errors = result.rows("error", corruption="contrast").set_index("severity")["value"]
    assert errors.to_dict() == {1: 0, 2: 0, 3: 100, 4: 100, 5: 100}
    assert result.value("corruption_error", corruption="contrast") == 60
    assert result.value("corruption_error", corruption="brightness") == 0
    assert result.value("mean_error") == 30
    assert result.samples["correct"].shape == (12, 10)


@pytest.fixture(scope="module")
def contexts(few_digits: TensorDataset, networks: Callable[..., Classifier]) -> Contexts:
    return lambda **settings: EvaluationContext(networks(0), few_digits, **settings)


@pytest.fixture(scope="module")
def result(contexts: Contexts) -> Result:
    return corruption.measure(contexts(), **TWO)


def test_every_number_follows_from_the_samples(result: Result) -> None:
    wrong = ~result.samples["correct"]
    cells = result.rows("error")
    np.testing.assert_allclose(cells["value"], 100 * wrong.mean(0))
    expected = [(name, severity) for name in TWO["corruptions"] for severity in TWO["severities"]]
    assert list(zip(cells["corruption"], cells["severity"])) == expected
    np.testing.assert_allclose(result.samples["error"], wrong.mean(1))
    assert result.value("mean_error") == pytest.approx(cells["value"].mean())
    row = result.rows("mean_error").iloc[0]
    assert (row["low"], row["high"]) == bootstrap_mean(100 * wrong.mean(1))
    assert (result.checks["value"] == 1).all()


def test_a_cell_is_the_error_on_the_corrupted_images(result: Result, contexts: Contexts) -> None:
    context = contexts()
    split = context.data.split("test")
    images = corrupt(split.images, "gaussian_noise", 5, index=split.index)
    correct = context.model(images.float() / 255).argmax(1) == split.labels
    value = result.value("error", corruption="gaussian_noise", severity=5)
    assert value == pytest.approx(100 * (1 - correct.double().mean().item()))


def test_the_interval_knows_that_cells_share_their_images() -> None:
    # All cells of an image are equal: thirty cells say no more than one.
    context = EvaluationContext(wrap(Spread(0.0)), stripes(torch.arange(40) % 2))
    result = corruption.measure(context, corruptions=("contrast", "pixelate"))
    row = result.rows("mean_error").iloc[0]
    one = result.rows("error", corruption="contrast", severity=1).iloc[0]
    assert row["value"] == one["value"] == 50
    assert row["high"] - row["low"] == pytest.approx(one["high"] - one["low"], abs=3)


def test_the_contexts_seed_decides_and_the_batch_size_does_not() -> None:
    images = []
    for seed, batch_size in ((0, 12), (0, 5), (1, 12)):
        context = striped(12, seed=seed, batch_size=batch_size)
        context.inspect()
        context.model.net.images.clear()
        corruption.measure(context, corruptions=("impulse_noise",), severities=(3,))
        images.append(torch.cat(context.model.net.images))
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


def test_the_protocol_says_what_was_measured() -> None:
    default, tiny = CorruptionVariant(), CorruptionVariant(preset="tiny_imagenet")
    every, names = (1, 2, 3, 4, 5), list(CORRUPTIONS)
    protocol = corruption._protocol
    assert protocol(default, BENCHMARK_19, every) == "cifar19of19-proceduralfrost@2"
    assert protocol(default, BENCHMARK_19, (3, 1)) == "cifar19of19s13-proceduralfrost@2"
    assert protocol(tiny, BENCHMARK_19, every) == "tiny_imagenet19of19-proceduralfrost@2"
    choices = (names[:2], names[1:3], names[1::-1])
    first, second, reversed_ = (protocol(default, choice, every) for choice in choices)
    assert first != second and first == reversed_
    assert first.startswith("cifar2of19-")


def test_the_size_of_the_images_names_the_constants(networks: Callable[..., Classifier]) -> None:
    context = EvaluationContext(networks(0), stripes(torch.tensor([0, 1]), side=64))
    result = corruption.measure(context, **TWO)
    assert result.frame["protocol"].str.startswith("tiny_imagenet2of19").all()


def test_nineteen_and_fifteen_types_are_two_means(contexts: Contexts) -> None:
    result = corruption.measure(contexts(), severities=(3,))
    errors = result.rows("error").set_index("corruption")["value"]
    assert tuple(errors.index) == BENCHMARK_19
    assert result.value("mean_error") == pytest.approx(errors.mean())
    assert result.value("mean_error_15") == pytest.approx(errors[:15].mean())
    without_snow = [name for name in BENCHMARK_19 if name != "snow"]
    result = corruption.measure(striped(2), corruptions=without_snow, severities=(3,))
    assert result.rows("mean_error_15").empty


def test_alexnet_divides_only_what_is_imagenets() -> None:
    few = striped(2)
    data = stripes(torch.ones(2).long(), classes=1000)
    many = EvaluationContext(wrap(Spread(0.22, classes=1000)), data)
    result = corruption.measure(many, preset="imagenet")
    errors = result.rows("corruption_error").set_index("corruption")["value"]
    relative = [errors[name] / error for name, error in alexnet.ERRORS.items()]
    assert 0 < np.mean(relative) == pytest.approx(result.value("mce_alexnet"))
    for context, settings in (
        (few, {"preset": "imagenet"}),
        (many, {"preset": "cifar"}),
        (many, {"preset": "imagenet", "severities": (1, 2, 3, 4)}),
        (many, {"preset": "imagenet", "corruptions": BENCHMARK_19[:14]}),
    ):
        assert corruption.measure(context, **settings).rows("mce_alexnet").empty


def test_alexnet_itself_has_100() -> None:
    # Its own errors, as fractions of 10,000 images, at each of five severities.
    rank = np.linspace(0, 1, 10_000, endpoint=False)[:, None]
    wrong = np.repeat(rank < np.array(list(alexnet.ERRORS.values())), 5, axis=1)
    names = [name for name in alexnet.ERRORS for _ in range(5)]
    assert tuple(alexnet.ERRORS) == BENCHMARK_19[:15]
    assert alexnet.alexnet_relative_error(wrong, names).mean() == pytest.approx(100, abs=0.02)


def test_cached_images_give_the_same_numbers(
    result: Result, contexts: Contexts, tmp_path: Path
) -> None:
    for _ in range(2):
        again = corruption.measure(contexts(data_root=tmp_path), **TWO)
        pd.testing.assert_frame_equal(again.frame, result.frame)
    assert len(list((tmp_path / "corrupted").rglob("*.npy"))) == 4
    corruption.measure(contexts(data_root=tmp_path / "absent"), **TWO)
    assert not (tmp_path / "absent").exists(), "a data root is used, not made"


def test_photographs_of_frost_are_named_by_the_protocol(tmp_path: Path) -> None:
    def protocol(**settings: str) -> str:
        context = striped(2)
        result = corruption.measure(context, corruptions=("frost",), severities=(5,), **settings)
        return str(result.frame["protocol"].unique().item())

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
        ({"severities": (1, 6)}, UserError, r"from 1 to 5, got 6"),
        ({"preset": "cifar10"}, UnknownName, "did you mean 'cifar'"),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], error: type[UserError], message: str) -> None:
    with pytest.raises(error, match=message):
        corruption.measure(striped(1), **settings)


def test_the_difference_is_drawn_only_between_models(result: Result) -> None:
    assert set(figures.plot(result)) == {"corruption", "severities"}
    one = join([ModelResult("a", 0, result), ModelResult("a", 1, result)])
    assert set(figures.plot(one)) == {"corruption", "severities"}
    two = join([ModelResult("a", 0, result), ModelResult("b", 0, result)])
    pictures = figures.plot(two)
    assert set(pictures) == {"corruption", "severities", "difference"}
    numbers = {text.get_text() for text in pictures["difference"].axes[0].texts}
    assert numbers == {"+0.0"}, "the same network differs by nothing"


def test_positive_differences_are_fewer_errors(result: Result) -> None:
    worse = Result(result.frame.assign(value=result.frame["value"] + 5), result.samples)
    two = join([ModelResult("a", 0, worse), ModelResult("b", 0, result)])
    numbers = {text.get_text() for text in figures.plot(two)["difference"].axes[0].texts}
    assert numbers == {"+5.0"}


def test_the_heat_map_shows_the_measured_errors_and_their_means(result: Result) -> None:
    heat = figures.plot(result)["severities"].axes[0]
    printed = [float(text.get_text()) for text in heat.texts]
    table = result.rows("error")["value"].to_numpy().reshape(2, 2)[::-1]  # noise comes first
    expected = np.vstack([table, table.mean(0)])
    expected = np.hstack([expected, expected.mean(1, keepdims=True)])
    np.testing.assert_allclose(printed, expected.flatten(), atol=0.051)


def test_released_files_are_used_in_place_of_corrupting(contexts: Contexts, tmp_path: Path) -> None:
    context = contexts()
    split = context.data.split("test")
    numbered = replace(split, index=torch.arange(len(split)))
    context = replace(context, data=replace(context.data, parts={"test": numbered}), _outputs={})
    export(tmp_path, numbered, TWO["corruptions"], CorruptionVariant())
    released = corruption.measure(context, **TWO, files=str(tmp_path))
    assert released.frame["protocol"].unique().item().startswith("released2of19")
    assert (released.checks["value"] == 1).all()
    computed = corruption.measure(context, **TWO, files="none")
    np.testing.assert_array_equal(released.samples["correct"], computed.samples["correct"])


def test_released_files_in_the_data_root_are_taken_by_themselves(
    contexts: Contexts, tmp_path: Path
) -> None:
    assert corruption.resolve({}, "cifar100", tmp_path) == {}
    context = contexts()
    split = context.data.split("test")
    numbered = replace(split, index=torch.arange(len(split)))
    export(tmp_path / "CIFAR-100-C", numbered, TWO["corruptions"], CorruptionVariant())
    assert corruption.resolve({}, "cifar10", tmp_path) == {}
    assert corruption.resolve({"files": "none"}, "cifar100", tmp_path) == {"files": "none"}
    settings = corruption.resolve({}, "cifar100", tmp_path)
    data = replace(context.data, name="cifar100", parts={"test": numbered})
    here = replace(context, data=data, data_root=tmp_path, _outputs={})
    found = corruption.measure(here, **TWO, **settings)
    assert found.frame["protocol"].unique().item().startswith("released2of19")
    with pytest.raises(BadFile, match="no released files of cifar100 in the data root"):
        corruption.measure(replace(here, data_root=None, _outputs={}), **TWO, **settings)
