"""The Python face, as a notebook uses it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

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
