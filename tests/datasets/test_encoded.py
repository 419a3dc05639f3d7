"""Splits above the user's limit: packed, decoded as they are used, to the same pixels."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest
import torch

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.datasets import encoded, file_dataset
from catchup_eval.datasets.decoding import decode_images
from catchup_eval.datasets.encoded import LIMIT, EncodedImages, Files, exceeds_limit, load_or_pack
from catchup_eval.datasets.file_dataset import FileDataset
from catchup_eval.datasets.folders import from_folder
from catchup_eval.datasets.preprocessing import Preprocess

SMALL, LARGE = Preprocess(16, resize=20), Preprocess(112, resize=128)
PILLOWS = Preprocess(16, resize=20, interpolation="lanczos")  # no threads, which forks lack
CONTEXT = multiprocessing.get_context("fork")


@pytest.fixture
def data(tree: Path, tmp_path: Path) -> FileDataset:
    return from_folder(tree, tmp_path / "root")


@pytest.fixture
def other(tree: Path, tmp_path: Path) -> FileDataset:
    """The same, decoded in another root."""
    return from_folder(tree, tmp_path / "other")


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return partial(monkeypatch.setenv, LIMIT)


@pytest.mark.parametrize("preprocess", [SMALL, LARGE, SMALL.without_crop])
def test_batches_fingerprints_and_rows_are_those_of_the_map(
    data: FileDataset, other: FileDataset, limited: Callable[[str], None], preprocess: Preprocess
) -> None:
    mapped = other.transform(preprocess)
    expected = mapped.split("train")
    limited("1kB")
    view = data.transform(preprocess)
    part = view.split("train")
    assert isinstance(part.images, EncodedImages) and view.fingerprint == mapped.fingerprint
    for ours, theirs in zip(part.batches(4), expected.batches(4), strict=True):
        assert torch.equal(ours.images, theirs.images) and torch.equal(ours.index, theirs.index)
    rows = torch.tensor([5, 0, 5])
    assert torch.equal(part[rows].images.clone(), expected.images[rows])
    assert part.fingerprint == expected.fingerprint
    assert not list(data.root.rglob("views/*"))


def test_it_acts_as_a_tensor_and_rows_stay_encoded(
    data: FileDataset, other: FileDataset, limited: Callable[[str], None]
) -> None:
    pixels = other.transform(SMALL).split("train").images.clone()
    limited("0")
    images = data.transform(SMALL).split("train").images
    assert (images.shape, images.dtype, images.nbytes) == (pixels.shape, torch.uint8, pixels.nbytes)
    picks: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda x: x[2:5], lambda x: x[::2], lambda x: x[[3, 1]], lambda x: x[x.new_ones(6).bool()],
        lambda x: torch.split(x, 4)[1], lambda x: x[1:][[0, 2]], lambda x: x[-2:].detach(),
    ]  # fmt: skip
    for pick in picks[:3] + picks[4:]:
        assert isinstance(pick(images), EncodedImages)
        assert torch.equal(pick(images).clone(), pick(pixels))
    uses: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda x: x[2], lambda x: x[-1], lambda x: x[:, 1], lambda x: x.float() / 255,
        lambda x: x[1:3, ..., 4:], lambda x: torch.stack([*x]), lambda x: x.permute(0, 2, 3, 1),
        lambda x: torch.from_numpy(x.numpy()), lambda x: torch.tensor(np.asarray(x)),
        lambda x: torch.cat([x, x]), lambda x: x.cpu().flip(0), lambda x: x[:0].clone(),
    ]  # fmt: skip
    for use in uses:
        assert not isinstance(use(images), EncodedImages)
        assert torch.equal(use(images), use(pixels))
    assert repr(images) == "EncodedImages(6, 3, 16, 16)"


def test_one_pack_serves_all_preprocessings_and_opens_no_image(
    data: FileDataset, limited: Callable[[str], None]
) -> None:
    limited("1 kB")
    first = data.transform(SMALL).split("test").images.clone()
    for path in data.split("test"):
        path.unlink()
    assert torch.equal(data.transform(SMALL).split("test").images.clone(), first)
    assert data.transform(LARGE).split("test").images[:].clone().shape == (4, 3, 112, 112)
    assert len(list(data.root.rglob("packs/*.npy"))) == 2, "the bytes and the offsets"


def test_below_the_limit_and_where_there_is_a_map_pixels_are_mapped(
    data: FileDataset, limited: Callable[[str], None]
) -> None:
    limited("3072")  # what the four test images take
    assert not isinstance(data.transform(SMALL).split("test").images, EncodedImages)
    assert isinstance(data.transform(SMALL).split("train").images, EncodedImages)
    limited("1")
    assert not isinstance(data.transform(SMALL).split("test").images, EncodedImages)


def test_the_cost_is_that_of_the_files(
    data: FileDataset, limited: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    limited("0.001MB")
    sizes = {name: int(part.sizes.sum()) for name, part in data.parts.items()}  # type: ignore[attr-defined]
    assert data.bytes_to_decode(SMALL) == sum(sizes.values())
    data.transform(SMALL).split("train")
    assert data.bytes_to_decode(LARGE) == sum(sizes.values()) - sizes["train"]
    free = type("", (), {"free": sizes["test"] - 1})()
    monkeypatch.setattr(file_dataset.shutil, "disk_usage", lambda _: free)
    with pytest.raises(UserError, match=r"need 0.0 GB in .*packs, where 0.0 GB are free"):
        data.transform(SMALL).split("test")


@pytest.mark.parametrize("text", ["", " "])
def test_without_a_limit_nothing_exceeds_it(text: str, limited: Callable[[str], None]) -> None:
    limited(text)
    assert not exceeds_limit(10**15)


def test_a_limit_has_a_unit_or_is_in_bytes(limited: Callable[[str], None]) -> None:
    for text, size in {"1500": 1500, "1.5kB": 1500, "2 MB": 2 * 10**6, "50GB": 50 * 10**9}.items():
        limited(text)
        assert exceeds_limit(size + 1) and not exceeds_limit(size)
    for text in ("50 G", "much", "-1", "1e9", "5gb"):
        limited(text)
        with pytest.raises(UserError, match=rf"expected a size such as 50GB in {LIMIT}, got '"):
            exceeds_limit(1)


def test_a_damaged_image_is_named_where_its_batch_is_due(
    data: FileDataset, limited: Callable[[str], None]
) -> None:
    path = list(data.split("test"))[3]
    content = bytearray(path.read_bytes())
    table = content.index(b"\xff\xc4") + 5  # of Huffman codes: how many there are of each length
    content[table : table + 16] = 16 * b"\xff"
    path.write_bytes(content)
    data = from_folder(path.parents[2], data.root)
    limited("1")
    batches = data.transform(LARGE).split("test").batches(2)
    assert len(next(batches).images) == 2
    with pytest.raises(BadFile, match=rf"^{path} cannot be decoded: [^\n]*$"):
        next(batches)


def test_a_file_that_changes_while_it_is_packed_is_named(tmp_path: Path) -> None:
    files = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for path in files:
        path.write_bytes(b"12345")
    load_or_pack(tmp_path / "pack.npy", files)
    (tmp_path / "pack.npy").unlink()
    files[1].write_bytes(b"123")
    with pytest.raises(
        BadFile, match=r"b.jpg cannot be decoded: its size is not the one in .*pack-"
    ):
        load_or_pack(tmp_path / "pack.npy", files)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.jpg",
        "b.jpg",
        "pack-offsets.npy",
    ]


def view(path: Path, files: list[Path], result: Path, third: Event | None = None) -> None:
    """Pack one file at a time, then decode all; with an event it stays at the third."""
    os.getpid = lambda: 1
    encoded.BLOCK = 1

    def wait(done: int, total: int) -> None:
        if third and done == 3:
            third.set()
            signal.pause()

    images = Files(files, (16, 16), PILLOWS, pack=load_or_pack(path, files, wait))
    np.save(result, np.stack([images.decode(number).numpy() for number in range(len(files))]))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_killed_packer_leaves_nothing_half_and_who_waits_takes_over(
    data: FileDataset, tmp_path: Path
) -> None:
    """Both believe to be process 1, as in containers."""
    files = [*data.split("train")]  # type: ignore[misc]
    path, third = tmp_path / "packs" / "a.npy", CONTEXT.Event()
    first = CONTEXT.Process(target=view, args=(path, files, tmp_path / "1.npy", third))
    first.start()
    assert third.wait(20)
    assert not path.exists()
    second = CONTEXT.Process(target=view, args=(path, files, tmp_path / "2.npy"))
    second.start()
    second.join(0.05)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    second.join(20)
    first.join(20)
    assert (second.exitcode, (tmp_path / "1.npy").exists()) == (0, False)
    assert np.array_equal(np.load(tmp_path / "2.npy"), torch.stack(decode_images(files, PILLOWS)))
    assert sorted(each.name for each in path.parent.iterdir()) == ["a-offsets.npy", "a.npy"]
