"""Corrupted images on disk: whole or absent, computed once, told apart by all they depend on."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from catchup_eval.analysis.corruption import cache
from catchup_eval.analysis.corruption.cache import CorruptionVariant, corrupt_split
from catchup_eval.analysis.corruption.registry import corrupt
from catchup_eval.core.errors import UserError
from catchup_eval.datasets.dataset import Split

DEFAULT = CorruptionVariant()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def fog(folder: Path, noise: Split) -> Split:
    return cache.cached_split(folder, noise, "fog", 1, DEFAULT)


def test_what_is_cached_is_what_is_computed_and_lies_in_a_map(tmp_path: Path, noise: Split) -> None:
    variant = CorruptionVariant(seed=2)
    images = cache.cached_split(tmp_path, noise, "impulse_noise", 3, variant).images
    assert torch.equal(images, corrupt(noise.images, "impulse_noise", 3, index=noise.index, seed=2))
    (path,) = files(tmp_path)
    assert isinstance(np.load(path, mmap_mode="r"), np.memmap)


def test_the_second_model_does_not_compute_unless_the_version_is_another(
    tmp_path: Path, noise: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fog(tmp_path, noise)
    with monkeypatch.context() as patch:
        patch.setattr(cache, "corrupt", None)
        again = fog(tmp_path, noise)
    assert torch.equal(first.images, again.images)
    assert torch.equal(again.labels, noise.labels) and torch.equal(again.index, noise.index)
    monkeypatch.setattr(cache, "VERSION", 99)
    fog(tmp_path, noise)
    assert len(files(tmp_path)) == 2


def test_each_thing_it_depends_on_has_its_own_file(
    tmp_path: Path, noise: Split, ice: list[np.ndarray]
) -> None:
    cells: list[tuple[Split, str, int, CorruptionVariant]] = [
        (noise, "frost", 3, DEFAULT),
        (noise[:20], "frost", 3, DEFAULT),
        (noise, "fog", 3, DEFAULT),
        (noise, "frost", 4, DEFAULT),
        (noise, "frost", 3, CorruptionVariant(seed=1)),
        (noise, "frost", 3, CorruptionVariant(preset="tiny_imagenet")),
        (noise, "frost", 3, CorruptionVariant(photographs=ice)),
        (noise, "frost", 3, CorruptionVariant(photographs=ice[1:])),
    ]
    for number, cell in enumerate(cells, 1):
        images = cache.cached_split(tmp_path, *cell).images
        assert torch.equal(images, corrupt_split(*cell))
        assert len(files(tmp_path)) == number


def failing(error: BaseException) -> Any:
    def blocks(split: Split, *_: object) -> Iterator[np.ndarray]:
        yield split.images[:10].numpy()
        raise error

    return blocks


def test_what_could_not_be_finished_leaves_nothing_and_is_computed_anew(
    tmp_path: Path, noise: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_blocks", failing(full))
        with pytest.raises(UserError, match=r"cannot write .*fog-1\.npy: No space left on device"):
            fog(tmp_path, noise)
        assert files(tmp_path) == []
        patch.setattr(cache, "_blocks", failing(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            fog(tmp_path, noise)
        assert files(tmp_path) == []
    assert torch.equal(fog(tmp_path, noise).images, corrupt_split(noise, "fog", 1, DEFAULT))


def test_a_file_that_is_not_whole_is_reported_and_computed_again(
    tmp_path: Path, noise: Split, caplog: pytest.LogCaptureFixture
) -> None:
    first = fog(tmp_path, noise).images.clone()
    (path,) = files(tmp_path)
    np.save(path, np.zeros((3, 3), np.uint8))
    assert torch.equal(fog(tmp_path, noise).images, first)
    path.write_bytes(b"\x93NUMPY")
    assert torch.equal(fog(tmp_path, noise).images, first)
    assert "fog-1.npy does not hold uint8 (32, 3, 32, 32); it is comp" in caplog.messages[0]
    assert "fog-1.npy cannot be read (" in caplog.messages[1]


def test_the_official_layout(tmp_path: Path, noise: Split) -> None:
    cache.export(tmp_path, noise, ("contrast", "shot_noise"), CorruptionVariant(seed=4))
    names = [path.name for path in files(tmp_path)]
    assert names == ["contrast.npy", "labels.npy", "shot_noise.npy"]
    images, labels = np.load(tmp_path / "shot_noise.npy"), np.load(tmp_path / "labels.npy")
    assert images.shape == (160, 32, 32, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.tile(noise.labels.numpy(), 5))
    for severity in range(1, 6):
        expected = corrupt(noise.images, "shot_noise", severity, index=noise.index, seed=4)
        block = images[32 * (severity - 1) : 32 * severity]
        np.testing.assert_array_equal(block, expected.permute(0, 2, 3, 1).numpy())
