"""What is added is one file and one line of its list; nothing else needs to know its name.

`tests/core/test_registry.py` runs a plan and writes a report with what a package adds.
"""

import runpy
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.analysis import ANALYSES, choose, corruption
from catchup_eval.analysis.base import DEFAULTS, declaration
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.analysis.corruption.conventions import MCE
from catchup_eval.analysis.corruption.registry import BENCHMARK_19, CORRUPTIONS, Corruption
from catchup_eval.cli import list as listing
from catchup_eval.cli.doctor import examine
from catchup_eval.cli.options import Options
from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import generator
from catchup_eval.datasets import DATASETS, load
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.models.classifier import ModuleLayout
from catchup_eval.models.zoo import ARCHITECTURES, Architecture, build
from catchup_eval.trainers.mixing import METHODS
from catchup_eval.trainers.mixing import build as build_method
from catchup_eval.trainers.regularizers import REGULARIZERS, Regularizer, regularize

TESTS = Path(__file__).parent
EXAMPLE = TESTS.parent / "examples" / "own_package"
ADDED = {  # by list: the entry points of the example package
    "analyses": (ANALYSES, "grey", "robust_extras.grey"),
    "methods": (METHODS, "greymix", "robust_extras.greymix:greymix"),
    "models": (ARCHITECTURES, "twolayer", "robust_extras.twolayer:TWO_LAYER"),
    "data": (DATASETS, "stripes", "robust_extras.stripes:STRIPES"),
}
SHIFTS = dict.fromkeys(("cifar", "tiny_imagenet", "imagenet"), (8, 16, 24, 32, 40))


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example package, as if it were installed."""
    monkeypatch.syspath_prepend(EXAMPLE)
    for group, (registry, name, value) in ADDED.items():
        point = EntryPoint(name, value, f"catchup_eval.{group}")
        monkeypatch.setitem(vars(registry), "_others", {name: point})
        monkeypatch.setitem(vars(registry), "_loaded", {})


@pytest.fixture(autouse=True)
def forgotten() -> object:
    """The example's modules are nobody else's."""
    yield
    for name in [name for name in sys.modules if name.startswith("robust_extras")]:
        del sys.modules[name]


@pytest.mark.usefixtures("package")
def test_what_a_package_adds_is_listed() -> None:
    rows = (listing._analyses(), listing._methods(), listing._models(), listing._data())
    for (_, name, _), found in zip(ADDED.values(), rows, strict=True):
        assert found[name]


@pytest.mark.usefixtures("package")
def test_the_contracts_hold_for_what_a_package_adds() -> None:
    contract = runpy.run_path(str(TESTS / "analysis" / "test_every_analysis.py"))
    assert "grey" in contract["everyone"].args[1]
    contract["test_it_has_a_description"]("grey")
    methods = runpy.run_path(str(TESTS / "trainers" / "test_every_method.py"))
    assert "greymix" in methods["every_method"].args[1]
    data = load("stripes")
    model = build("twolayer", classes=2, mean=data.mean, std=data.std)
    result = ANALYSES["grey"].measure(EvaluationContext(model, data))
    contract["test_the_frame_is_tidy"]("grey", lambda name: result)
    contract["test_its_headlines_are_in_the_frame"]("grey", lambda name: result)
    contract["test_it_draws_several_models_and_seeds"]("grey", lambda name, seed: result)
    loss = METHODS["greymix"](model)(
        torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 0, 1]), generator(0)
    )
    assert loss.ndim == 0 and loss.isfinite()


@pytest.mark.usefixtures("package")
def test_what_an_analysis_does_not_declare_has_a_default() -> None:
    grey = ANALYSES["grey"]
    assert all(declaration(grey, name) is default for name, default in DEFAULTS.items())


def brighter(images: Tensor, _draws: object, amount: float) -> Tensor:
    """Each value raised by as much, cut at 255."""
    return (images.float() + amount).clamp(0, 255).to(torch.uint8)


def test_an_added_corruption_changes_no_mean_over_the_benchmark(
    monkeypatch: pytest.MonkeyPatch, few_digits: TensorDataset, networks: object
) -> None:
    requested = EvaluationContext(networks(0), few_digits)
    before = corruption.measure(requested, severities=(3,))
    (over_19,) = [one for one in MCE.conventions if one.name == "mean error over 19 types"]
    monkeypatch.setitem(CORRUPTIONS, "brighter", Corruption(brighter, "extra", SHIFTS))
    contract = runpy.run_path(str(TESTS / "analysis" / "corruption" / "test_corruptions.py"))
    assert "brighter" in contract["every"].args[1]
    contract["test_family_and_constants"]("brighter")
    after = corruption.measure(requested, severities=(3,))
    pd.testing.assert_frame_equal(before.frame, after.frame, check_exact=True)

    every = corruption.measure(requested, corruptions=tuple(CORRUPTIONS), severities=(3,))
    assert set(every.rows("error")["corruption"]) == {*BENCHMARK_19, "brighter"}
    printed, own = over_19.of(before), over_19.of(every)
    assert own[:3] == printed[:3] and own.note == printed.note
    np.testing.assert_array_equal(own.outcomes[0], printed.outcomes[0])
    drawn = corruption.plot(every).values()
    texts = [
        tick.get_text() for fig in drawn for axes in fig.axes for tick in axes.get_yticklabels()
    ]
    assert "brighter" in texts

    swapped = [*BENCHMARK_19[:-1], "brighter"]
    other = corruption.measure(requested, corruptions=swapped, severities=(3,))
    assert not set(other.frame["protocol"]) & set(before.frame["protocol"])


def doubled(model: nn.Module, *, by: float = 2.0) -> Regularizer:
    """The loss, as many times."""
    return Regularizer(criterion=lambda logits, labels: by * cross_entropy(logits, labels))


def test_an_added_regularizer_joins_every_method(
    monkeypatch: pytest.MonkeyPatch, networks: object
) -> None:
    monkeypatch.setattr(REGULARIZERS, "own", {**REGULARIZERS.own, "doubled": doubled})
    assert listing._regularizers()["doubled"] == "The loss, as many times."
    model = networks(0).eval()
    images, labels = torch.rand(4, 3, 32, 32), torch.arange(4)
    plain = METHODS["baseline"](model)(images, labels, generator(0))
    regularized = regularize(model, {"doubled": {"by": 3.0}})
    method = regularized.wrap(METHODS["baseline"](model, criterion=regularized.criterion))
    torch.testing.assert_close(method(images, labels, generator(0)), 3 * plain)


def test_a_broken_addition_fails_only_who_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "half_an_analysis.py").write_text("TITLE = DESCRIPTION = INTERPRETATION = 'x'")
    monkeypatch.syspath_prepend(tmp_path)
    for group, (registry, name, _) in ADDED.items():
        point = EntryPoint(name, "no_such_package:it", f"catchup_eval.{group}")
        monkeypatch.setitem(vars(registry), "_others", {name: point})
        monkeypatch.setitem(vars(registry), "_broken", {})
    half = EntryPoint("half", "half_an_analysis", "catchup_eval.analyses")
    ANALYSES._others["half"] = half
    assert "grey" not in choose() and "clean" in choose()
    assert Options().evaluation_settings().names == choose()
    assert "note: the analysis grey is left out: 'grey', which" in capsys.readouterr().err
    for only, why in (("grey", "No module named 'no_such_package'"), ("half", "lacks REFERENCE")):
        with pytest.raises(UserError, match=why):
            choose((only,))
    with pytest.raises(UserError, match=r"greymix.*raised ModuleNotFoundError"):
        build_method("greymix", nn.Flatten())
    with pytest.raises(UserError, match=r"'stripes', which .* adds to the data"):
        load("stripes")
    with pytest.raises(UserError, match=r"'twolayer', which .* adds to the models"):
        build("twolayer", classes=2, mean=(0.5,) * 3, std=(0.5,) * 3)
    lists = (listing._analyses, listing._methods, listing._models, listing._data)
    for (_, name, _), rows in zip(ADDED.values(), lists, strict=True):
        assert rows()[name].startswith("broken: ")
    assert any("added greymix" in one.name for one in examine(tmp_path))


def test_a_builder_without_docstring_is_one() -> None:
    assert Architecture(lambda: nn.Flatten(), ModuleLayout((), "x", None)).about == ""
