"""Tiny-ImageNet from a tree of its exact layout."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets import load

WNIDS = ["n02124075", "n01443537"]  # not sorted, as in the official wnids.txt


@pytest.fixture
def root(tmp_path: Path, photograph: Callable[..., Path]) -> Path:
    folder = tmp_path / "tiny-imagenet-200"
    folder.mkdir()
    (folder / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    for place, wnid in enumerate(WNIDS):
        rows = []
        for number in range(3):
            name = f"{wnid}_{number}.JPEG"
            photograph(folder / "train" / wnid / "images" / name, 3 * place + number, (64, 64))
            rows.append(f"{name}\t{number}\t{place}\t40\t63\n")
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text("".join(rows))
    rows = []
    for number, wnid in enumerate([WNIDS[0], WNIDS[1], WNIDS[0]]):
        photograph(folder / "val" / "images" / f"val_{number}.JPEG", 10 + number, (64, 64))
        rows.append(f"val_{number}.JPEG\t{wnid}\t0\t32\t44\t{60 + number}\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(rows))
    (folder / "test" / "images").mkdir(parents=True)  # without labels: not read
    return tmp_path


def test_classes_are_numbered_as_by_image_folder(root: Path) -> None:
    data = load("tiny-imagenet", root)
    theirs = ImageFolder(root / "tiny-imagenet-200" / "train")
    assert data.classes == tuple(theirs.classes) == tuple(sorted(WNIDS))
    train = data.parts["train"]
    assert [(str(path), label) for path, label in zip(train, train.labels.tolist())] == theirs.imgs
    assert data.split("test").labels.tolist() == [1, 0, 1], "by name, not by line of wnids.txt"
    assert set(data.parts) == {"train", "test"}
    # Boxes end after their last pixels.
    assert data.split("boxes").boxes.tolist() == [[0, 32, 45, last] for last in (61, 62, 63)]
    assert data.split("train").boxes.tolist()[0] == [0, 1, 41, 64], "of n01443537_0"
    assert data.split("train").boxes.tolist()[5] == [2, 0, 41, 64], "of n02124075_2"


def test_val_may_be_sorted_into_folders(root: Path) -> None:
    official = load("tiny-imagenet", root).split("test")
    val = root / "tiny-imagenet-200" / "val"
    for number, wnid in enumerate([WNIDS[0], WNIDS[1], WNIDS[0]]):
        (val / wnid / "images").mkdir(parents=True, exist_ok=True)
        name = f"val_{number}.JPEG"
        (val / "images" / name).rename(val / wnid / "images" / name)
    part = load("tiny-imagenet", root).split("test")
    assert [path.name for path in part] == [path.name for path in official]
    assert part.labels.tolist() == official.labels.tolist()
    assert torch.equal(part.boxes, official.boxes)
    (val / "val_annotations.txt").unlink()
    (val / "images").rmdir()
    part = load("tiny-imagenet", root).split("test")
    assert part.boxes is None and part.labels.tolist() == [0, 1, 1]


def test_images_are_used_as_they_are(root: Path) -> None:
    part = load("tiny-imagenet", root).transform().split("test")
    path = root / "tiny-imagenet-200" / "val" / "images" / "val_1.JPEG"
    pixels = np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)
    assert part.images.shape == (3, 3, 64, 64)
    assert torch.equal(part.images[1], torch.from_numpy(pixels.copy()))
    assert part.boxes.tolist()[0] == [0, 32, 45, 61]


def test_what_is_missing_is_reported(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"there is no folder .*tiny-imagenet-200; expected tiny-"):
        load("tiny-imagenet", tmp_path / "nowhere")
    folder = root / "tiny-imagenet-200"
    (folder / "val" / "images" / "val_2.JPEG").unlink()
    with pytest.raises(BadFile, match=r"val_2\.JPEG is named in the lists, but absent"):
        load("tiny-imagenet", root)
    (folder / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn99999999\t0\t0\t1\t1\n")
    with pytest.raises(BadFile, match=r"not those of Tiny-ImageNet: KeyError 'n99999999'"):
        load("tiny-imagenet", root)
    (folder / "train" / WNIDS[0]).rename(folder / "train" / "other")
    with pytest.raises(BadFile, match=r"expected in .* the 2 folders that wnids.txt names"):
        load("tiny-imagenet", root)


def test_the_real_validation_images(shared: Path, tmp_path: Path) -> None:
    """Forty of them, in the official layout; no box leaves its image."""
    with np.load(shared / "tiny_imagenet_val5000.npz") as pack:
        blob, offsets = pack["blob"].tobytes(), pack["offsets"]
        names, labels = pack["files"][:40].astype(str), pack["labels"][:40]
        boxes, wnids = pack["boxes_xyxy"][:40], pack["wnids"].astype(str)
    folder = tmp_path / "tiny-imagenet-200"
    (folder / "val" / "images").mkdir(parents=True)
    (folder / "wnids.txt").write_text("\n".join(wnids))
    for wnid in wnids:
        (folder / "train" / wnid).mkdir(parents=True)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
    rows = []
    for place, name in enumerate(names):
        (folder / "val" / "images" / name).write_bytes(blob[offsets[place] : offsets[place + 1]])
        words = [name, wnids[labels[place]], *map(str, boxes[place])]
        rows.append("\t".join(words) + "\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(rows))
    data = load("tiny-imagenet", tmp_path)
    part = data.transform().split("test")
    assert [data.classes[label] for label in part.labels] == wnids[labels].tolist()
    last = np.array(Image.open(BytesIO(blob[offsets[39] : offsets[40]])).convert("RGB"))
    assert torch.equal(part.images[39].permute(1, 2, 0), torch.from_numpy(last))
    assert part.boxes.max() == 64, "some reach the edge, none goes beyond"
    assert (part.boxes[:, 2:] > part.boxes[:, :2]).all()
