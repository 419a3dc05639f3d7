"""What every analysis owes; a new one is covered by being listed in ANALYSES."""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from catchup_eval.analysis import ANALYSES
from catchup_eval.analysis.context import EvaluationContext, require
from catchup_eval.core.errors import Missing, UnknownName
from catchup_eval.datasets.classes import imagenet_wnids
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.live import device_of
from catchup_eval.plotting import style
from catchup_eval.results.result import CHECK, COLUMNS, ModelResult, Result, join
from catchup_eval.results.store import Key, Provenance, ResultRecord, Store

# Small settings, so that each measurement takes about a second.
QUICK: dict[str, dict[str, Any]] = {
    "adversarial": {"pgd_steps": 2},
    "corruption": {"severities": (3,)},
    "filters": {"samples": 40},
    "landscape": {"points": 3, "probes": 2, "directions": 2, "samples": 10, "tolerance": 0.01},
}
NEEDS = {"test", "train", "out", "boxes", "cscores", "cue", "checkpoints", "history", "gradients"}
HISTORY = pd.DataFrame(
    {
        "epoch": range(1, 13),
        "train_loss": np.linspace(2, 0.1, 12),
        "validation_loss": np.linspace(2, 0.3, 12),
        "top1": np.linspace(20, 97, 12),
        "seconds": 1.0,
        "learning_rate": 0.1,
    }
)

Measured = Callable[..., Result]
Networks = Callable[..., Classifier]

everyone = pytest.mark.parametrize("name", ANALYSES)


def make_context(
    name: str, data: TensorDataset, model: Classifier, batch_size: int = 16
) -> EvaluationContext:
    if "cue" in ANALYSES[name].NEEDS:  # for networks of ImageNet alone
        digits = data.split("test")
        every = torch.arange(len(digits))
        cue = replace(digits, labels=16 * (every % 16) + (7 * every + 3) % 16, cscores=None)
        data = replace(data, parts={"cue": cue}, classes=imagenet_wnids())
    device = device_of(model)
    return EvaluationContext(model, data, device, batch_size=batch_size, history=HISTORY)


def make_network(name: str, networks: Networks, seed: int = 0) -> Classifier:
    return networks(seed, classes=1000 if "cue" in ANALYSES[name].NEEDS else 10)


@pytest.fixture(scope="module")
def measured(few_digits: TensorDataset, networks: Networks) -> Callable[[str, int], Result]:
    """`measured(name, seed)`: an analysis of a network, computed once in this module."""
    known: dict[tuple[str, int], Result] = {}

    def of(name: str, seed: int = 0) -> Result:
        if (name, seed) not in known:
            context = make_context(name, few_digits, make_network(name, networks, seed))
            known[name, seed] = ANALYSES[name].measure(context, **QUICK.get(name, {}))
        return known[name, seed]

    return of


def state(model: Classifier) -> dict[str, Any]:
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return {
        "tensors": digest.hexdigest(),
        "modes": [module.training for module in model.modules()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "requires": [p.requires_grad for p in model.parameters()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": np.random.get_state()[1].tobytes(),
    }


@everyone
def test_it_has_a_description(name: str) -> None:
    analysis = ANALYSES[name]
    assert set(analysis.NEEDS) <= NEEDS
    assert analysis.VERSION >= 1
    assert analysis.DESCRIPTION.endswith("?")
    assert all((analysis.TITLE, analysis.INTERPRETATION, analysis.REFERENCE))
    assert all(headline.label for headline in analysis.HEADLINES)


@everyone
def test_a_setting_that_it_does_not_have_is_refused_first(name: str) -> None:
    with pytest.raises(UnknownName, match=f"no setting of {name} 'no_such_setting'"):
        ANALYSES[name].measure(object(), no_such_setting=1)


@everyone
def test_the_same_numbers_twice_and_all_that_it_changed_is_restored(
    name: str, few_digits: TensorDataset, measured: Measured, networks: Networks
) -> None:
    first, model = measured(name), make_network(name, networks).train()
    model.net.layer1[0].bn1.eval()  # a batch norm that its owner froze
    model.net.conv1.weight.requires_grad_(False)
    model.head.bias.grad = torch.ones_like(model.head.bias)
    before = state(model)
    again = ANALYSES[name].measure(make_context(name, few_digits, model), **QUICK.get(name, {}))
    after = state(model)
    torch.testing.assert_close(after.pop("gradients"), before.pop("gradients"))
    assert after == before
    pd.testing.assert_frame_equal(again.frame, first.frame)
    assert again.samples.keys() == first.samples.keys()
    for key, array in again.samples.items():
        np.testing.assert_array_equal(array, first.samples[key], err_msg=key)


@everyone
def test_another_batch_size_changes_nothing_but_rounding(
    name: str, few_digits: TensorDataset, measured: Measured, networks: Networks
) -> None:
    context = make_context(name, few_digits, make_network(name, networks), batch_size=7)
    again = ANALYSES[name].measure(context, **QUICK.get(name, {}))
    values = measured(name).frame["value"].to_numpy()
    # One sample of forty is 2.5 points: rounding may flip a near-tie, no more.
    np.testing.assert_allclose(again.frame["value"].to_numpy(), values, rtol=0.02, atol=2.6)


@everyone
def test_another_order_in_memory_changes_nothing_but_rounding(
    name: str, few_digits: TensorDataset, networks: Networks
) -> None:
    values = []
    for order in (torch.contiguous_format, torch.channels_last):
        classes = 1000 if "cue" in ANALYSES[name].NEEDS else 10
        model = networks(0, width=16, classes=classes)  # narrower ones crash: `memory_format`
        context = make_context(name, few_digits, model.to(memory_format=order))
        found = ANALYSES[name].measure(context, **QUICK.get(name, {}))
        values.append(found.frame["value"].to_numpy())
    assert not model.net.layer1[0].conv1.weight.is_contiguous()
    np.testing.assert_allclose(*values, rtol=0.02, atol=2.6)


@everyone
def test_the_predicted_labels_of_its_conditions_give_their_outcomes(
    name: str, measured: Measured
) -> None:
    labels = measured("clean").samples["label"]
    for one in getattr(ANALYSES[name], "conditions", lambda result: ())(measured(name)):
        assert one.predictions is not None and one.predictions.itemsize == 1 + 7 * (name == "clean")
        hits = (one.predictions == labels[:, None]).mean(1)
        np.testing.assert_allclose(hits, one.correct, err_msg=one.name)


@everyone
def test_the_frame_is_tidy(name: str, measured: Measured) -> None:
    frame = measured(name).frame
    assert list(frame.columns[-len(COLUMNS) :]) == COLUMNS
    condition = [column for column in frame.columns if column not in COLUMNS]
    assert not frame.duplicated([*condition, "metric"]).any(), "one row per number"
    assert frame["value"].notna().all()
    bounded = frame[frame["low"].notna()]
    assert (bounded["low"] <= bounded["value"] + 1e-9).all()
    assert (bounded["value"] <= bounded["high"] + 1e-9).all()
    rates = frame[frame["unit"] == "%"]
    assert rates["value"].between(0, 100).all()
    assert frame["protocol"].str.fullmatch(r"[\w.+-]+@\d+").all()


@everyone
def test_its_docstring_names_every_column_and_metric(name: str, measured: Measured) -> None:
    frame = measured(name).frame
    words = set(re.findall(r"\w+", ANALYSES[name].__doc__ or ""))
    metrics = frame[frame["unit"] != CHECK]["metric"].unique()
    columns = [column for column in frame.columns if column not in COLUMNS]
    missing = [word for word in (*columns, *metrics) if not set(re.findall(r"\w+", word)) <= words]
    assert not missing


@everyone
def test_its_headlines_are_in_the_frame(name: str, measured: Measured) -> None:
    result = measured(name)
    for headline in ANALYSES[name].HEADLINES:
        if headline.optional and not len(result.rows(headline.metric, **headline.where)):
            continue
        value = result.value(headline.metric, **headline.where)
        assert headline.better in ("higher", "lower")
        for outcome in headline.outcomes:
            mean = headline.scale * float(np.mean(result.samples[outcome]))
            assert mean == pytest.approx(value, abs=1e-3), (headline.label, outcome)
        if isinstance(headline.chance, str):
            assert np.isfinite(result.value(headline.chance, **headline.where))


def pictures(figures_: dict[str, Figure]) -> Iterator[tuple[str, bytes]]:
    for key, figure in figures_.items():
        buffer = BytesIO()
        with style.figure_style():
            figure.savefig(buffer, format="png", dpi=60)
        yield key, buffer.getvalue()


@everyone
def test_it_redraws_from_its_own_files(name: str, tmp_path: Path, measured: Measured) -> None:
    result = measured(name)
    key = Key(weights="w", data="d", analysis=name, version=1, seed=0, settings={})
    how = Provenance(seconds=0, device="cpu", versions={}, date="")
    Store(tmp_path).put("m", result, ResultRecord(key=key, provenance=how))
    stored = Store(tmp_path).get("m", name)
    drawn, again = (dict(pictures(ANALYSES[name].plot(r))) for r in (result, stored))
    assert drawn and drawn == again


@everyone
def test_it_draws_several_models_and_seeds(name: str, measured: Measured) -> None:
    several = join(
        ModelResult(model, seed, measured(name, seed))
        for model in ("base", "ours")
        for seed in (0, 1)
    )
    drawn = ANALYSES[name].plot(several)
    with style.figure_style():
        for figure in drawn.values():
            figure.draw_without_rendering()
    assert drawn


@everyone
def test_it_draws_in_a_style(name: str, measured: Measured) -> None:
    """At a column's width, with other names, in another order; the size of the text stays."""
    several = join(ModelResult(model, 0, measured(name)) for model in ("base", "ours"))
    own = style.Style(columns=1, names={"base": "$Vanilla_1$"}, order=("ours",))
    for key, figure in ANALYSES[name].plot(several, own).items():
        with style.figure_style(own):
            figure.draw_without_rendering()
        texts = [text for text in figure.findobj(Text) if text.get_text()]
        assert figure.get_figwidth() == pytest.approx(style.COLUMN)
        assert min(text.get_fontsize() for text in texts) >= 6.5
        words = " ".join(text.get_text() for text in texts)
        assert "base" not in words.replace("baseline", "")
        if "$Vanilla_1$" in words and "ours" in words and key != "difference":
            assert words.index("ours") < words.index("$Vanilla_1$")


@everyone
def test_what_the_context_lacks_is_named(
    name: str, few_digits: TensorDataset, networks: Networks
) -> None:
    empty = TensorDataset("empty", {}, few_digits.classes, few_digits.mean, few_digits.std)
    with pytest.raises(Missing, match="|".join(ANALYSES[name].NEEDS)):
        require(EvaluationContext(networks(0), empty), ANALYSES[name].NEEDS)
