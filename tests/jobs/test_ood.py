"""`evaluate --ood`: from the command to the rows, and to an audit of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.models import checkpoints
from catchup_eval.models.checkpoints import ModelCard
from catchup_eval.models.classifier import Classifier
from catchup_eval.results import study

Call = Callable[..., Any]


@pytest.fixture
def folder(network: Classifier, few_digits: TensorDataset, tmp_path: Path) -> Path:
    """A network, images with labels, and OOD images of another size."""
    names = tuple(f"digit{label}" for label in range(10))
    card = ModelCard(
        architecture="preactresnet10",
        options={"classes": 10, "width": 4},
        mean=(0.25,) * 3,
        std=(0.2,) * 3,
        classes=names,
    )
    checkpoints.save(tmp_path / "net.safetensors", network, card)
    test = few_digits.split("test")
    pixels = test.images.permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "mine.npz", images=pixels, labels=test.labels, class_names=names)
    np.savez(tmp_path / "small.npz", images=pixels[:12, 8:, 8:])
    np.savez(tmp_path / "same.npz", images=few_digits.split("out").images.permute(0, 2, 3, 1))
    return tmp_path


def test_ood_datasets_of_a_command_are_evaluated_and_audited(
    call: Call, folder: Path, sketches: None
) -> None:
    words = ("evaluate", "net.safetensors", "--data", "mine.npz", "--data-root", "root")
    words += ("--only", "ood", "--device", "cpu", "--ood", "near/small=small.npz", "same.npz")
    foreseen = call(*words, "--dry-run", folder=folder)
    assert foreseen.returncode == 0 and not list((folder / "root").rglob("*.npy"))
    done = call(*words, "--set", "ood.scores=['odin', 'knn']", folder=folder)
    assert done.returncode == 0, done.stderr
    report = folder / "reports" / "evaluate-mine"
    found = study.load(report)
    assert found.info.data.ood == ("near/small=small.npz", "same.npz")
    result = found.results["net-s0", "ood"]
    assert set(result.frame["out"].dropna()) == {"near/small", "near/mean", "same", "mean"}
    assert "odin" in set(result.frame["score"])
    assert "the OOD score knn is left out: it needs train" in found.notes("net", "ood")
    assert "near-OOD AUROC" in done.stdout and "mean OOD AUROC" in done.stdout
    audit = call("verify", str(report), "--data", "mine.npz", "--data-root", "root", folder=folder)
    assert audit.returncode == 0, audit.stdout
    assert "evaluated again: ood" in audit.stdout and "contradicted" not in audit.stdout
    for wrong in ("nowhere", "near-far"):
        mistake = call(*words, wrong, folder=folder)
        assert mistake.returncode == 2 and mistake.stderr.count("\n") == 1
