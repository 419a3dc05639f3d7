"""Analyses on datasets of image files: preprocessed for each network, decoded once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from catchup_eval import api
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.datasets.file_dataset import FileDataset
from catchup_eval.datasets.files import files_from_index
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.jobs.engine import Silent
from catchup_eval.jobs.evaluate import EvaluationSettings, preprocessing, preprocessing_for
from catchup_eval.jobs.networks import ModelUnderTest, describe
from catchup_eval.jobs.task import Task
from catchup_eval.models import checkpoints
from catchup_eval.models.checkpoints import ModelCard
from catchup_eval.models.classifier import Classifier
from catchup_eval.results import study

Call = Callable[..., Any]
CARD = ModelCard(
    architecture="preactresnet10",
    options={"classes": 10, "width": 4},
    mean=(0.25,) * 3,
    std=(0.2,) * 3,
    classes=tuple(f"digit{label}" for label in range(10)),
)


def drawn(data: TensorDataset, folder: Path) -> Path:
    """The test images as PNG files, which lose nothing, in class folders."""
    part = data.split("test")
    for row, (image, label) in enumerate(zip(part.images, part.labels)):
        path = folder / f"digit{label}" / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return folder


@pytest.fixture
def folder(few_digits: TensorDataset, tmp_path: Path) -> Path:
    return drawn(few_digits, tmp_path / "numbers")


@pytest.fixture
def with_boxes(few_digits: TensorDataset, folder: Path, tmp_path: Path) -> FileDataset:
    """The same as a set of files with boxes, twice as wide as high."""
    part = few_digits.split("boxes")
    names = [f"{row}.png" for row in range(len(part))]
    for name, image in zip(names, part.images):
        wide = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((64, 32))
        wide.save(folder / name)
    boxes = part.boxes * torch.tensor([2, 1, 2, 1])
    files = files_from_index(folder, names, part.labels.tolist(), boxes=boxes)
    facts = (few_digits.classes, few_digits.mean, few_digits.std)
    return FileDataset("wide", {"test": files}, *facts, root=tmp_path, preprocess=Preprocess(32))


def candidate(network: Classifier) -> ModelUnderTest:
    return ModelUnderTest(describe(network, "net", 0, "net", {}), network)


def test_a_folder_is_evaluated_as_its_images_in_memory_are(
    call: Call, network: Classifier, few_digits: TensorDataset, folder: Path, tmp_path: Path
) -> None:
    checkpoints.save(tmp_path / "net.safetensors", network, CARD)
    words = ("evaluate", "net.safetensors", "--data", "numbers", "--data-root", "root")
    words += ("--only", "clean", "feature_drop", "--out", "reports", "--device", "cpu")
    foreseen = call(*words, "--dry-run", folder=tmp_path)
    assert "evaluate net-s0: clean (about " in foreseen.stdout
    assert ", feature_drop (about " in foreseen.stdout
    assert not list((tmp_path / "root").rglob("*.npy")), "nothing is decoded to foresee"
    done = call(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "has no preprocessing for images of varying size; taken: short" in done.stdout
    found = study.load(tmp_path / "reports" / "evaluate-numbers")
    assert found.info.models[0].preprocessing.startswith("shorter side 32 (bilinear), centre crop")
    expected = api.evaluate(network, few_digits, only=["clean", "feature_drop"], device="cpu")
    for name in ("clean", "feature_drop"):
        ours, theirs = found.results["net-s0", name].table, expected[name].table
        assert ours.metric.tolist() == theirs.metric.tolist()
        if name == "clean":  # a temperature is fitted on halves, which go by the sample's number
            ours, theirs = (
                rows[~rows.metric.str.contains("temperature|scaled")] for rows in (ours, theirs)
            )
        assert ours.value.tolist() == pytest.approx(theirs.value.tolist(), nan_ok=True, rel=1e-4)
    assert (
        "evaluate net-s0: clean, feature_drop: done already"
        in call(*words, "--dry-run", folder=tmp_path).stdout
    )


def test_each_network_gets_its_own_preprocessing(
    networks: Callable[..., Classifier],
    with_boxes: FileDataset,
    evaluate: Callable[..., study.Study],
) -> None:
    ours, others = networks(1), networks(1)
    others.preprocess = Preprocess(24, resize=28)
    analyses = EvaluationSettings(["clean"])
    keys = {analyses.key(candidate(net), with_boxes, "clean").data for net in (ours, others)}
    assert len(keys) == 2, "another preprocessing gives another key"
    for net, way in ((ours, Preprocess(32)), (others, others.preprocess)):
        (result,) = evaluate([candidate(net)], with_boxes, analyses).results.values()
        with torch.no_grad():
            logits = net(with_boxes.transform(way).split("test").images.float() / 255)
        right = (logits.argmax(1) == with_boxes.split("test").labels).numpy()
        assert (result.samples["correct"] == right).all()
    assert preprocessing(candidate(ours), with_boxes).startswith(f"{Preprocess(32)} (assumed); ")
    assert "assumed" not in preprocessing(candidate(others), with_boxes)


def test_boxes_are_evaluated_on_the_whole_image(
    network: Classifier,
    with_boxes: FileDataset,
    few_digits: TensorDataset,
    evaluate: Callable[..., study.Study],
) -> None:
    """A crop of these wide images would cut boxes; squashed, they are the digits' own again."""
    one = candidate(network)
    assert preprocessing_for(one, with_boxes, "localization") == Preprocess(32, squash=True)
    assert preprocessing_for(one, with_boxes, "clean") == Preprocess(32)
    assert preprocessing_for(one, few_digits, "localization") is None
    finished = evaluate([one], with_boxes, EvaluationSettings(["localization"]))
    (result,) = finished.results.values()
    truth = few_digits.split("boxes").boxes.numpy()
    assert result.samples["truth"] == pytest.approx(truth, abs=1e-4)


def test_progress_is_reported_while_images_are_decoded(
    network: Classifier, with_boxes: FileDataset, evaluate: Callable[..., study.Study]
) -> None:
    reported: list[tuple[int, int]] = []

    class Listening(Silent):
        def update(
            self, task: Task, done: int, total: int, note: str = "", *, line: str = ""
        ) -> None:
            reported.append((done, total))

    evaluate([candidate(network)], with_boxes, EvaluationSettings(["clean"]), display=Listening())
    assert (40, 40) in reported
