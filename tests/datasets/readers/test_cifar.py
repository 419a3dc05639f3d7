"""CIFAR's official layout, written small; torchvision's MD5s are exchanged for our files'."""

import hashlib
import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets import load

READERS = {"cifar10": CIFAR10, "cifar100": CIFAR100}
both = pytest.mark.parametrize("name", READERS)


class OldPickler(pickle.Pickler):
    """Writes numpy types as the numpy of 2009 did: numbers where truth values stand today."""

    def reducer_override(self, thing: Any) -> Any:
        if not isinstance(thing, np.dtype):
            return NotImplemented
        build, (kind, *_), state = thing.__reduce__()
        return build, (kind, 0, 1), state


def pickled(thing: Any) -> bytes:
    file = BytesIO()
    OldPickler(file, protocol=2).dump(thing)
    return file.getvalue()


Official = Callable[[str], tuple[Path, dict[str, np.ndarray]]]


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Official:
    """`official(name)`: a folder laid out as the official one, and the images of each file."""

    def write(name: str) -> tuple[Path, dict[str, np.ndarray]]:
        reader, draw = READERS[name], np.random.default_rng(0)
        folder = tmp_path / reader.base_folder
        folder.mkdir()
        labels = "labels" if name == "cifar10" else "fine_labels"
        images: dict[str, np.ndarray] = {}
        for attribute in ("train_list", "test_list"):
            listed = []
            for file, _ in getattr(reader, attribute):
                images[file] = draw.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
                batch = {"data": images[file].reshape(4, 3072), labels: [3, 1, 2, 0]}
                listed.append([file, save(folder / file, batch)])
            monkeypatch.setattr(reader, attribute, listed)
        names = {reader.meta["key"]: ["plane", "car", "bird", "cat"]}
        md5 = save(folder / reader.meta["filename"], names)
        monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": md5})
        return folder, images

    return write


def save(path: Path, thing: Any) -> str:
    content = pickled(thing)
    path.write_bytes(content)
    return hashlib.md5(content).hexdigest()


@both
def test_it_is_read_in_order(name: str, official: Official) -> None:
    folder, images = official(name)
    data = load(name, folder.parent)
    *train, test = images.values()
    assert data.name == name and data.classes == ("plane", "car", "bird", "cat")
    assert torch.equal(data.split("train").images, torch.from_numpy(np.concatenate(train)))
    assert torch.equal(data.split("test").images, torch.from_numpy(test))
    assert data.split("test").labels.tolist() == [3, 1, 2, 0]
    assert data.split("train").labels.tolist() == [3, 1, 2, 0] * len(train)
    assert not data.has("boxes") and not data.has("out")
    assert len(data.mean) == len(data.std) == 3


@both
def test_an_absent_folder_is_reported_with_the_command_that_gets_it(
    name: str, tmp_path: Path
) -> None:
    folder = READERS[name].base_folder
    with pytest.raises(BadFile, match=rf"no folder .*{folder}; .*data fetch {name} ") as error:
        load(name, tmp_path)
    assert str(error.value).endswith(f"--data-root {tmp_path}")


@both
@pytest.mark.parametrize("broken", [b"", b"<html>not found</html>", None])
def test_a_broken_file_is_named_and_never_unpickled(
    name: str, broken: bytes | None, official: Official, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, images = official(name)
    monkeypatch.setattr(pickle, "load", lambda *_a, **_k: pytest.fail("unpickled"))
    for file in (*images, READERS[name].meta["filename"]):
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(whole[:-1] if broken is None else broken)
        with pytest.raises(BadFile, match=f"{file} is not the official file; to get it"):
            load(name, folder.parent)
        (folder / file).unlink()
        with pytest.raises(BadFile, match=f"{file} is absent; to get it"):
            load(name, folder.parent)
        (folder / file).write_bytes(whole)
