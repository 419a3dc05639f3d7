"""Corrupted images on disk: whole or absent, computed once, told apart by all they depend on."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from catchup_eval.analysis.corruption import cache as module
from catchup_eval.analysis.corruption.cache import (
    CorruptionVariant,
    cached_split,
    corrupt_split,
    export,
)
from catchup_eval.analysis.corruption.registry import corrupt
from catchup_eval.core.errors import UserError
from catchup_eval.datasets.dataset import Split


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_is_kept_is_what_is_computed_and_lies_in_a_map(tmp_path: Path, noise: Split) -> None:
    images = cached_split(tmp_path, noise, "impulse_noise", 3, CorruptionVariant(seed=2)).images
    assert torch.equal(images, corrupt(noise.images, "impulse_noise", 3, index=noise.index, seed=2))
    (path,) = files(tmp_path)
    assert isinstance(np.load(path, mmap_mode="r"), np.memmap)


def test_the_second_model_does_not_compute(
    tmp_path: Path, noise: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cached_split(tmp_path, noise, "fog", 1, CorruptionVariant())
    monkeypatch.setattr(module, "corrupt", None)
    again = cached_split(tmp_path, noise, "fog", 1, CorruptionVariant())
    assert torch.equal(first.images, again.images)
    assert torch.equal(again.labels, noise.labels) and torch.equal(again.index, noise.index)


def test_each_thing_it_depends_on_has_its_own_file(
    tmp_path: Path, noise: Split, ice: list[np.ndarray]
) -> None:
    asked: list[tuple[Split, str, int, CorruptionVariant]] = [
        (noise, "frost", 3, CorruptionVariant()),
        (noise[:20], "frost", 3, CorruptionVariant()),
        (noise, "fog", 3, CorruptionVariant()),
        (noise, "frost", 4, CorruptionVariant()),
        (noise, "frost", 3, CorruptionVariant(seed=1)),
        (noise, "frost", 3, CorruptionVariant(preset="tiny_imagenet")),
        (noise, "frost", 3, CorruptionVariant(photographs=ice)),
        (noise, "frost", 3, CorruptionVariant(photographs=ice[1:])),
    ]
    for number, (part, name, severity, variant) in enumerate(asked, 1):
        images = cached_split(tmp_path, part, name, severity, variant).images
        assert torch.equal(images, corrupt_split(part, name, severity, variant))
        assert len(files(tmp_path)) == number


def test_another_version_is_computed_anew(
    tmp_path: Path, noise: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_split(tmp_path, noise, "fog", 1, CorruptionVariant())
    monkeypatch.setattr(module, "VERSION", 99)
    cached_split(tmp_path, noise, "fog", 1, CorruptionVariant())
    assert len(files(tmp_path)) == 2


def failing(error: BaseException) -> Any:
    def blocks(part: Split, *_: object) -> Iterator[np.ndarray]:
        yield part.images[:10].numpy()
        raise error

    return blocks


def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, noise: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(module, "_blocks", failing(full))
    with pytest.raises(UserError, match=r"cannot write .*fog-1\.npy: No space left on device"):
        cached_split(tmp_path, noise, "fog", 1, CorruptionVariant())
    assert files(tmp_path) == []


def test_what_was_interrupted_is_computed_anew(
    tmp_path: Path, noise: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "_blocks", failing(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            cached_split(tmp_path, noise, "fog", 1, CorruptionVariant())
    assert files(tmp_path) == []
    assert torch.equal(
        cached_split(tmp_path, noise, "fog", 1, CorruptionVariant()).images,
        corrupt_split(noise, "fog", 1, CorruptionVariant()),
    )


def test_a_file_that_is_not_whole_is_told_and_computed_again(
    tmp_path: Path, noise: Split, caplog: pytest.LogCaptureFixture
) -> None:
    first = cached_split(tmp_path, noise, "fog", 1, CorruptionVariant()).images.clone()
    (path,) = files(tmp_path)
    np.save(path, np.zeros((3, 3), np.uint8))
    assert torch.equal(cached_split(tmp_path, noise, "fog", 1, CorruptionVariant()).images, first)
    path.write_bytes(b"\x93NUMPY")
    assert torch.equal(cached_split(tmp_path, noise, "fog", 1, CorruptionVariant()).images, first)
    assert "fog-1.npy does not hold uint8 (32, 3, 32, 32); it is comp" in caplog.messages[0]
    assert "fog-1.npy cannot be read (" in caplog.messages[1]


def test_the_official_layout(tmp_path: Path, noise: Split) -> None:
    export(tmp_path, noise, ("contrast", "shot_noise"), CorruptionVariant(seed=4))
    assert [path.name for path in files(tmp_path)] == [
        "contrast.npy",
        "labels.npy",
        "shot_noise.npy",
    ]
    images, labels = np.load(tmp_path / "shot_noise.npy"), np.load(tmp_path / "labels.npy")
    assert images.shape == (160, 32, 32, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.tile(noise.labels.numpy(), 5))
    for severity in range(1, 6):
        expected = corrupt(noise.images, "shot_noise", severity, index=noise.index, seed=4)
        block = images[32 * (severity - 1) : 32 * severity]
        np.testing.assert_array_equal(block, expected.permute(0, 2, 3, 1).numpy())
