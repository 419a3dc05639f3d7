"""Logits from a file give the network's own rows; what is wrong with one has one sentence."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import catchup_eval as ce
from catchup_eval.analysis import clean, corruption, cscore, deformation, ood
from catchup_eval.analysis.context import EvaluationContext, require
from catchup_eval.analysis.corruption.cache import CorruptionVariant, corrupt_split
from catchup_eval.analysis.deformation import _deform_split
from catchup_eval.analysis.deformation.transforms import DEFORMATIONS
from catchup_eval.analysis.from_logits import context_for
from catchup_eval.core.errors import BadFile, Missing, UnknownName, UserError
from catchup_eval.datasets.cscores import with_cscores
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.jobs.networks import match_classes
from catchup_eval.models import checkpoints
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.loading import load
from catchup_eval.results.result import CHECK

TYPES = ("fog", "pixelate")
SEVERITIES = (3, 5)
CELLS = {"corruptions": TYPES, "severities": SEVERITIES}

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def data(digits: TensorDataset) -> TensorDataset:
    """The first images of each split, with C-scores."""
    scores = torch.linspace(0, 1, 120, dtype=torch.float64)
    parts = {name: part[:120] for name, part in digits.parts.items() if name != "train"}
    return with_cscores(replace(digits, parts=parts), scores, "made up")


@pytest.fixture(scope="module")
def net(networks: Callable[..., Classifier]) -> Classifier:
    return networks(0)


@pytest.fixture(scope="module")
def arrays(data: TensorDataset, net: Classifier) -> Arrays:
    """What the network gives under each condition, as a user's own script would write it."""

    @torch.no_grad()
    def logits(images: torch.Tensor) -> np.ndarray:
        return torch.cat([net(some.float() / 255) for some in images.split(100)]).numpy()

    test = data.split("test")
    found = {"labels": test.labels.numpy(), "clean": logits(test.images)}
    for name in TYPES:
        for severity in SEVERITIES:
            images = corrupt_split(test, name, severity, CorruptionVariant())
            found[f"corruption/{name}/{severity}"] = logits(images)
    change = partial(_deform_split, test, seed=0, convention="manifold")
    for each in DEFORMATIONS:
        found[f"deformation/{each.kind}/{each.strength:g}"] = logits(change(deformation=each))
    for name, part in data.parts.items():
        if name != "test":
            found[name.replace(":", "/")] = logits(part.images)
    return found


@pytest.fixture
def save(tmp_path: Path, arrays: Arrays) -> Callable[..., str]:
    """`save(**changes)`: the arrays in a file, changed; None leaves one out."""

    def write(**changes: Any) -> str:
        path = tmp_path / "logits.npz"
        every = {name: array for name, array in (arrays | changes).items() if array is not None}
        np.savez(path, **every)
        return str(path)

    return write


def without_origin(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that are about the logits alone."""
    return frame[frame["unit"] != CHECK].drop(columns="protocol").reset_index(drop=True)


def test_the_rows_are_the_networks(save: Any, data: TensorDataset, net: Classifier) -> None:
    context = context_for(load(save()).model, data)
    known = EvaluationContext(net, data)
    settings = {corruption: CELLS}
    for analysis in (clean, corruption, deformation, ood, cscore):
        frames = [analysis.measure(c, **settings.get(analysis, {})).frame for c in (context, known)]
        frame, expected = map(without_origin, frames)
        pd.testing.assert_frame_equal(frame, expected, rtol=1e-6)
        own = analysis in (corruption, deformation)  # what was done to the images is not known here
        assert set(frames[0]["protocol"].str.startswith("logits")) == {own}


def test_some_images_have_their_rows(save: Any, data: TensorDataset, net: Classifier) -> None:
    some = data.subsample(30)
    context = context_for(load(save()).model, some)
    known = EvaluationContext(net, some).outputs("test")
    torch.testing.assert_close(context.outputs("test").logits, known.logits)


def test_rows_in_another_order_are_found_by_their_numbers(
    save: Any, data: TensorDataset, arrays: Arrays
) -> None:
    order = np.random.default_rng(0).permutation(120)
    shuffled = {n: a[order] for n, a in arrays.items() if not n.startswith("out")}
    context = context_for(load(save(index=order, **shuffled)).model, data)
    assert np.array_equal(context.outputs("test").logits.numpy(), arrays["clean"])


def test_types_that_are_absent_are_named(save: Any, data: TensorDataset) -> None:
    context = context_for(load(save()).model, data)
    result = corruption.measure(context, severities=SEVERITIES)
    assert set(result.rows("error")["corruption"]) == set(TYPES)
    assert result.frame["protocol"].str.startswith("logits2of19-").all()
    assert any("snow" in note and "are not in logits.npz" in note for note in context.notes)
    with pytest.raises(Missing, match=r"^corruption/.*/1 or others, which logits\.npz lacks"):
        corruption.measure(context)


def test_what_it_lacks_is_skipped(save: Any, data: TensorDataset) -> None:
    absent = {"deformation/zoom/60": None, "out": None}
    context = context_for(load(save(**absent)).model, data)
    with pytest.raises(Missing, match=r"^deformation/zoom/60, which logits\.npz does not have$"):
        deformation.measure(context)
    with pytest.raises(Missing, match=r"^out, which logits\.npz does not have$"):
        ood.measure(context)
    with pytest.raises(Missing, match=r"^gradients, which logits\.npz does not give$"):
        require(context, {"gradients"})
    with pytest.raises(Missing, match="a network, in place of the logits"):
        context.logits(torch.rand(2, 3, 32, 32))
    with pytest.raises(Missing, match="a network, in place of the logits"):
        context.correct(data.split("test"), lambda some: some.images)


def test_in_python(save: Any, data: TensorDataset) -> None:
    with pytest.warns(UserWarning, match="how its images were made is not known here"):
        model = ce.load(save())
    found = ce.evaluate(model, data.subsample(40), settings={"corruption": CELLS})
    assert set(found) == {"clean", "corruption", "deformation", "ood", "cscore"}
    assert any("logits.npz" in note for note in found.notes)
    reasons = found.skipped_analyses.set_index("analysis")["reason"]
    assert reasons["adversarial"] == "needs gradients, which logits.npz does not give"


def test_probabilities_and_float16(save: Any, data: TensorDataset, arrays: Arrays) -> None:
    p = torch.from_numpy(arrays["clean"]).softmax(1).numpy()
    context = context_for(load(save(clean=p)).model, data)
    expected = torch.from_numpy(arrays["clean"]).log_softmax(1)
    torch.testing.assert_close(context.outputs("test").logits, expected)
    half = context_for(load(save(clean=arrays["clean"].astype(np.float16))).model, data)
    assert half.outputs("test").logits.dtype == torch.float32


def test_results_are_of_the_files_bytes(save: Any, arrays: Arrays) -> None:
    before = checkpoints.fingerprint(load(save()).model)
    other = arrays["out"].copy()
    other[7, 3] += 1
    assert checkpoints.fingerprint(load(save(out=other)).model) != before


def broken(arrays: Arrays, row: int, value: float) -> np.ndarray:
    clean = arrays["clean"].copy()
    clean[row, 0] = value
    return clean


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda a: {"clean": None}, "expected logits in .* as labels and clean, at least, got:"),
        (lambda a: {"labels": None}, "expected logits in .* as labels and clean, at least, got:"),
        (lambda a: {"clean": broken(a, 3, np.nan)}, r"1 of 120 rows of clean are not finite"),
        (lambda a: {"clean": broken(a, 3, np.inf)}, r"1 of 120 rows of clean are not finite"),
        (lambda a: {"clean": a["clean"][:9]}, "expected corruption/fog/3 as .9, 10., as clean is"),
        (lambda a: {"labels": a["labels"][:9]}, "expected a label for each of 120 rows, got 9"),
        (lambda a: {"labels": a["labels"] + 5}, "expected labels from 0 to 9, got 14"),
        (lambda a: {"labels": a["labels"] - 1}, "expected labels from 0 to 9, got -1"),
        (lambda a: {"labels": a["labels"] * 1.0}, r"expected labels as \(N,\) integers, got float"),
        (lambda a: {"clean": a["labels"]}, "expected clean as floats, a row of K logits for each"),
        (lambda a: {"out": a["out"][:, :9]}, r"expected out as \(M, 10\), .* got \(120, 9\)"),
        (
            lambda a: {"corruption/fog": a["clean"]},
            "expected the arrays labels, .* got corrup.*/fog",
        ),
        (lambda a: {"index": a["labels"]}, "expected 120 different numbers in index"),
        (lambda a: {"clean": a["clean"].astype(object)}, "nothing is unpickled"),
    ],
)
def test_files_that_are_refused(
    save: Any, arrays: Arrays, change: Callable[[Arrays], Arrays], sentence: str
) -> None:
    with pytest.raises(BadFile, match=sentence):
        load(save(**change(arrays)))


def test_logits_of_other_images(save: Any, data: TensorDataset, arrays: Arrays) -> None:
    def check(**changes: Any) -> None:
        match_classes(load(save(**changes)).model, data)

    check()
    with pytest.raises(UserError, match=r"logits\.npz: \d+ of 120 labels are not those of digits"):
        check(labels=np.roll(arrays["labels"], 1))
    tests = {n: a[:110] for n, a in arrays.items() if not n.startswith("out")}
    with pytest.raises(UserError, match=r"expected 120 rows of clean, .* of digits, got 110"):
        check(**tests)
    with pytest.raises(UserError, match=r"expected 120 rows of out, .* of digits, got 20"):
        check(out=arrays["out"][:20])


def test_other_keys_and_another_number_of_classes(
    save: Any, data: TensorDataset, arrays: Arrays, tmp_path: Path
) -> None:
    with pytest.raises(UnknownName, match=r"there is no key of logits\.npz 'norm'"):
        load(save() + "?norm=none")
    wider = {n: np.pad(a, ((0, 0), (1, 0))) for n, a in arrays.items() if n != "labels"}
    path = save(**wider)
    (tmp_path / "names.txt").write_text("\n".join(["none", *data.classes]))
    model = match_classes(load(f"{path}?classes={tmp_path / 'names.txt'}").model, data)
    outputs = context_for(model, data).outputs("test")
    assert np.array_equal(outputs.logits.numpy(), arrays["clean"])


def test_the_command(
    save: Any, data: TensorDataset, call: Any, tmp_path: Path, sketches: None
) -> None:
    test = data.split("test")
    images = str(tmp_path / "images.npz")
    np.savez(images, images=test.images.permute(0, 2, 3, 1).numpy(), labels=test.labels.numpy())
    words = ("--data", images, "--only", "clean", "adversarial", "--out", str(tmp_path / "out"))
    ended = call("evaluate", save(), *words)
    assert ended.returncode == 3  # asked for by name, and skipped
    assert "how its images were made is not known" in ended.stdout
    assert "needs gradients, which logits.npz does not give" in ended.stdout
    ended = call("evaluate", save(labels=np.zeros(120, int)), *words)
    assert ended.returncode == 2 and "labels are not those of images" in ended.stderr
    assert ended.stderr.count("error") == 1 and "Traceback" not in ended.stderr
