"""The Python face, as a notebook uses it."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils import data as td
from torchvision import transforms as v1

import catchup_eval as ce
from catchup_eval.plotting.style import Style


@pytest.fixture(scope="module")
def data() -> ce.TensorDataset:
    return ce.data("digits").subsample(30)


def test_evaluate_gives_findings(data: ce.TensorDataset, networks) -> None:
    findings = ce.evaluate(networks(0, name="ours"), data, only=["clean", "feature_drop"])
    assert list(findings) == ["clean", "feature_drop"] and len(findings) == 2
    assert "<table" in findings._repr_html_()
    clean = findings["clean"]
    assert clean.result.value("accuracy") == pytest.approx(
        clean.table.set_index("metric").loc["accuracy", "value"]
    )
    assert "data:image/png;base64," in clean.plot()._repr_html_()
    with pytest.raises(ce.UnknownName, match="did you mean 'clean'"):
        findings["claen"]


def test_every_number_and_every_figure_in_a_style(data: ce.TensorDataset, networks) -> None:
    findings = ce.evaluate(networks(0, name="ours"), data, only=["clean"])
    row = findings.frame.query("analysis == 'clean' and metric == 'accuracy'").iloc[0]
    assert row["value"] == findings["clean"].result.value("accuracy")
    cost = findings.frame.query("analysis == 'cost'").set_index("metric")["value"]
    assert cost["flops"] > cost["parameters"] > 0 and cost["latency"] > 0
    narrow = findings["clean"].plot(Style(width=2.5))
    assert {figure.get_figwidth() for figure in narrow.values()} == {2.5}


def test_what_is_missing_is_reported(data: ce.TensorDataset, networks) -> None:
    findings = ce.evaluate(networks(0), data, only=["training"])
    assert findings.skipped_analyses["reason"].tolist() == ["needs history"]


@pytest.mark.usefixtures("sketches")
def test_compare_saves_a_page(data: ce.TensorDataset, networks, tmp_path: Path) -> None:
    study = ce.compare(
        {"base": [networks(0), networks(1)], "ours": [networks(2), networks(3)]},
        data,
        reference="base",
        only=["clean"],
    )
    page = study.save(tmp_path / "friday")
    assert page.name == "index.html" and "friday" in page.read_text()
    assert set(study["clean"].result.frame["model"]) == {"base", "ours"}


def test_mistakes(data: ce.TensorDataset, networks) -> None:
    with pytest.raises(ce.UnknownName, match="did you mean 'clean'"):
        ce.evaluate(networks(0), data, only=["clena"])
    with pytest.raises(ce.UnknownName, match="did you mean 'points'"):
        ce.evaluate(networks(0), data, settings={"landscape": {"pints": 3}})
    with pytest.raises(ce.UnknownName):
        ce.compare({"a": networks(0)}, data, reference="b")
    with pytest.raises(ce.UserError, match="at least one model"):
        ce.compare({}, data)


def test_a_network_with_too_few_logits_is_reported(data: ce.TensorDataset) -> None:
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    with pytest.raises(ce.UserError, match="the network has 2 outputs, the dataset 10 classes"):
        ce.evaluate(ce.wrap(net), data, only=["clean"])


def test_from_arrays(networks) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    data = ce.from_arrays(images, np.arange(12) % 10)
    assert len(ce.evaluate(networks(0), data, only=["clean"])) == 1


IMAGES = np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)
LABELS = np.arange(12) % 10
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


class Photos(td.Dataset):
    """As a user writes one: floats, normalised by torchvision."""

    def __init__(self) -> None:
        self.transform = v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.transform(IMAGES[row].transpose(1, 2, 0)), int(LABELS[row])


class Answering(nn.Module):
    """A network whose answer has some form; it keeps how many images it was given at once."""

    def __init__(self, form: Callable[[torch.Tensor], Any] = lambda logits: logits):
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 10)
        for number, parameter in enumerate(self.parameters()):
            nn.init.normal_(parameter, generator=torch.Generator().manual_seed(number))
        self.form, self.sizes = form, set()

    def forward(self, images: torch.Tensor) -> Any:
        self.sizes.add(len(images))
        return self.form(self.fc(self.bn(self.conv(images)).relu().mean((2, 3))))


FORMS = {
    "tensor": lambda logits: logits,
    "tuple": lambda logits: (logits, "more"),
    "mapping": lambda logits: {"logits": logits},
    ".logits": lambda logits: SimpleNamespace(logits=logits),
}
LIVE: dict[str, Callable[[], Any]] = {
    "dataset": Photos,
    "loader": lambda: td.DataLoader(Photos(), batch_size=5, shuffle=True),
    "subset": lambda: td.Subset(Photos(), range(12)),
}


def clean(net: nn.Module, data: Any) -> pd.DataFrame:
    return ce.evaluate(net, data, only=["clean"])["clean"].result.frame


@pytest.fixture(scope="module")
def expected() -> pd.DataFrame:
    net = ce.wrap(Answering(), mean=MEAN, std=STD)
    return clean(net, ce.from_arrays(IMAGES, LABELS))


@pytest.mark.parametrize("form", FORMS)
def test_a_plain_module_gives_the_numbers_of_a_wrapped_one(
    form: str, expected: pd.DataFrame
) -> None:
    pd.testing.assert_frame_equal(clean(Answering(FORMS[form]), Photos()), expected)


@pytest.mark.parametrize("kind", LIVE)
def test_live_data_gives_the_numbers_of_its_arrays(kind: str, expected: pd.DataFrame) -> None:
    net = Answering()
    pd.testing.assert_frame_equal(clean(net, LIVE[kind]()), expected)
    assert (5 in net.sizes) == (kind == "loader")  # its batch size


def test_a_plain_module_without_any_normalisation_warns_where_it_was_called() -> None:
    net = Answering()
    with pytest.warns(UserWarning, match="answering: no normalisation is known") as warned:
        findings = ce.evaluate(net, (IMAGES, LABELS), only=["clean"])
    assert warned[0].filename == __file__
    assert "no normalisation is known" in repr(findings) and "<li>" in findings._repr_html_()
    silent = clean(ce.wrap(Answering()), (IMAGES, LABELS))
    pd.testing.assert_frame_equal(findings["clean"].result.frame, silent)


def test_a_module_is_given_back_as_it_was() -> None:
    net = Answering().train()
    net.bn.eval()
    net.fc.bias.requires_grad_(False)
    net.conv.weight.grad = torch.ones_like(net.conv.weight)
    calls: list[int] = []
    net.fc.register_forward_hook(lambda *_: calls.append(1))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    few = {"adversarial": {"epsilons": [8], "pgd_steps": 2, "unbounded": 0}}
    ce.evaluate(net, Photos(), only=["clean", "filters", "adversarial"], settings=few)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training and net.conv.training and not net.bn.training
    assert [p.requires_grad for p in net.parameters()] == [True] * 5 + [False]
    assert torch.equal(net.conv.weight.grad, torch.ones_like(net.conv.weight))
    assert all(p.grad is None for p in list(net.parameters())[1:])
    assert len(net.fc._forward_hooks) == 1 and calls
    assert not (net.conv._forward_hooks or net.bn._forward_hooks or net._forward_hooks)


def test_a_limit_is_told() -> None:
    findings = ce.evaluate(Answering(), Photos(), only=["clean"], limit=5)
    assert findings.study.info.data.subset == "subset: test n=5 of 12"
    assert set(findings["clean"].result.frame["n"]) == {5}
    with pytest.raises(ce.UserError, match="expected limit of at least 1, got 0"):
        ce.evaluate(Answering(), Photos(), limit=0)


def test_ood_beside_a_dataset() -> None:
    noise = np.zeros((4, 32, 32, 3), np.uint8)
    for test in (Photos(), ce.from_arrays(IMAGES, LABELS)):
        data = ce.data(test, ood={"black": noise})
        assert data.has("out:black") and len(data.split("out:black")) == 4
    with pytest.raises(ce.UserError, match="train and name are for live objects"):
        ce.data("digits", name="mine")


def test_a_network_that_fails_ends_alone() -> None:
    broken = Answering(lambda logits: logits / "0")
    with pytest.raises(ce.UserError, match=r"answering-s0: clean failed: TypeError: unsupported"):
        ce.evaluate(broken, Photos(), only=["clean"])
    with pytest.warns(UserWarning, match="broken-s0: clean failed: TypeError") as warned:
        study = ce.compare({"sound": Answering(), "broken": broken}, Photos(), only=["clean"])
    assert [each.filename for each in warned] == [__file__]
    assert any(note.startswith("broken: clean failed") for note in study.notes)


def test_what_is_no_network_or_no_data() -> None:
    with pytest.raises(ce.UserError, match=r"expected a network, an nn.Module, got int$"):
        ce.evaluate(3, Photos())  # type: ignore[arg-type]
    for models in ("net.pth", {"a": "net.pth"}, {"a": ["net.pth"]}):
        call: Any = ce.evaluate if isinstance(models, str) else ce.compare
        with pytest.raises(ce.UserError, match=r"Module, got str; load\('net.pth'\) gives one"):
            call(models, Photos())
    with pytest.raises(ce.UserError, match=r"expected a torch Dataset or DataLoader, .*got int"):
        ce.evaluate(Answering(), 3)  # type: ignore[arg-type]
    with pytest.raises(ce.UnknownName, match="there is no dataset 'digit'; did you mean 'digits'"):
        ce.evaluate(Answering(), "digit")


@pytest.mark.usefixtures("sketches")
def test_open_gives_what_was_saved(tmp_path: Path) -> None:
    study = ce.compare({"a": Answering(), "b": ce.wrap(Answering())}, Photos(), only=["clean"])
    study.save(tmp_path / "report")
    opened = ce.open(tmp_path / "report")
    pd.testing.assert_frame_equal(opened["clean"].result.frame, study["clean"].result.frame)
    assert repr(opened) == repr(study) and opened["clean"].plot()
    page = opened.save(tmp_path / "copy")
    pd.testing.assert_frame_equal(ce.open(page.parent).table, study.table)
    with pytest.raises(ce.BadFile, match="holds no report"):
        ce.open(tmp_path)


@pytest.mark.trained
def test_train_on_live_images_and_on_arrays(tmp_path: Path) -> None:
    settings = {"options": {"width": 2}, "batch_size": 6, "keep": []}
    like = ce.from_arrays(IMAGES, LABELS, train=(IMAGES, LABELS), mean=MEAN, std=STD)
    how: dict[str, Any] = {"recipe": "digits", "settings": settings, "epochs": 1, "seed": 1}
    model, history = ce.train(Photos(), test=Photos(), method="cutmix", **how, device="cpu")
    assert list(history["epoch"]) == [1] and history["top1"].notna().all()
    assert not model.training and model.name == "cutmix"

    kept = ce.train(like, method="cutmix", **how, folder=tmp_path, device="cpu")
    assert (tmp_path / "cutmix-s1.safetensors").is_file()
    for name, value in kept.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert ce.train(like, method="cutmix", **how, folder=tmp_path).history.equals(kept.history)
    with pytest.raises(ce.UserError, match="test is for live objects"):
        ce.train("digits", test=Photos())
    with pytest.raises(ce.UserError, match="expected training images to learn from"):
        ce.train(ce.from_arrays(IMAGES, LABELS))


@pytest.mark.trained
def test_a_method_in_anyones_own_loop() -> None:
    """The README's three lines, on a network that the toolkit does not know."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    part = ce.data("digits").split("train")
    generator = np.random.default_rng(0)

    model = ce.wrap(net, stages=["1", "3"])
    catchup = ce.methods.catchup(model, alpha=1.0)
    for batch in list(part.batches(100))[:2]:
        optimiser.zero_grad()
        loss = catchup(batch.images, batch.labels, generator)
        loss.backward()
        optimiser.step()
    catchup.close()
    assert torch.isfinite(loss)


def test_analyses_run_in_full_precision(
    data: ce.TensorDataset, networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    from catchup_eval.analysis import clean

    seen = []
    measure = clean.measure

    def looked(subject: ce.EvaluationContext) -> ce.Result:
        seen.append(torch.backends.cudnn.allow_tf32)
        return measure(subject)

    monkeypatch.setattr(clean, "measure", looked)
    ce.evaluate(networks(0), data, only=["clean"])
    assert seen == [False]
