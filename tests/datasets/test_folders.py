"""Folders of class folders: what is found in them, and that they are listed once."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets import folders
from catchup_eval.datasets.folders import from_folder, listing
from catchup_eval.datasets.preprocessing import Preprocess


def settled(folder: Path) -> None:
    """As if nothing had changed for a while."""
    for place, _, _ in os.walk(folder):
        os.utime(place, (10**9, 10**9))


def test_the_order_is_that_of_torchvision(tree: Path, tmp_path: Path) -> None:
    for name, part in (("train", "train"), ("val", "test")):
        theirs = ImageFolder(tree / name)
        ours = from_folder(tree, tmp_path).split(part)
        assert [
            (str(path), label) for path, label in zip(ours, ours.labels.tolist())
        ] == theirs.imgs
    assert from_folder(tree, tmp_path).classes == tuple(theirs.classes)


def test_splits_are_known_without_opening_an_image(tree: Path, tmp_path: Path) -> None:
    for path in tree.rglob("*/*/*.*"):
        path.write_bytes(b"?" * 7)
    shutil.copy(next(Path(__file__).parent.glob("*.py")), tree / "train" / "cat" / "notes.txt")
    os.mkdir(tree / "train" / ".hidden")
    found = listing(tree / "train")
    assert found.classes == ("cat", "dog")
    assert len(found.paths) == 6 and set(found.sizes.tolist()) == {7}


def test_a_dataset_of_folders(tree: Path, tmp_path: Path) -> None:
    data = from_folder(tree, tmp_path)
    assert data.name == "pets"
    sizes = {name: len(part) for name, part in data.parts.items()}
    assert sizes == {"train": 6, "test": 4, "out": 2}
    assert data.split("out").labels.tolist() == [-1, -1]
    assert data.has("out") and not data.has("boxes")
    few = data.subsample(2)
    assert few.subset == "subset: test n=2 of 4" and few.split("test").labels.tolist() == [0, 1]
    alone = from_folder(tree / "train", tmp_path)
    assert set(alone.parts) == {"test"} and len(alone.split("test")) == 6


def test_labels_are_those_of_the_training_classes(
    tree: Path, tmp_path: Path, photograph: Callable[..., Path]
) -> None:
    shutil.rmtree(tree / "val" / "cat")
    assert from_folder(tree, tmp_path).split("test").labels.tolist() == [1, 1], "dog stays 1"
    photograph(tree / "val" / "fox" / "1.jpg", 1)
    with pytest.raises(BadFile, match="the class fox, which the training images do not have"):
        from_folder(tree, tmp_path)


def test_folders_are_listed_once(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(tree)
    first = listing(tree / "train", tmp_path)
    monkeypatch.setattr(folders, "_scan", lambda _folder: pytest.fail("listed again"))
    again = listing(tree / "train", tmp_path)
    assert first.classes == again.classes
    for ours, theirs in zip(first[1:4], again[1:4]):
        assert np.array_equal(ours, theirs) and ours.dtype == theirs.dtype
    assert first[4:] == again[4:]


@pytest.mark.parametrize("change", ["new file", "no file", "new class", "no class"])
def test_a_change_is_noticed(
    tree: Path, tmp_path: Path, photograph: Callable[..., Path], change: str
) -> None:
    settled(tree)
    assert len(listing(tree / "train", tmp_path).paths) == 6
    if change == "new file":
        photograph(tree / "train" / "cat" / "new.jpg", 3)
    elif change == "no file":
        (tree / "train" / "cat" / "a.jpg").unlink()
    elif change == "new class":
        (tree / "train" / "ant").mkdir()
    else:
        shutil.rmtree(tree / "train" / "dog")
    found, fresh = listing(tree / "train", tmp_path), listing(tree / "train")
    assert found.classes == fresh.classes
    assert np.array_equal(found.paths, fresh.paths) and np.array_equal(found.labels, fresh.labels)


def test_folders_that_changed_just_now_are_not_trusted(tree: Path, tmp_path: Path) -> None:
    os.utime(tree / "train", ns=(2**62, 2**62))  # later than the listing
    listing(tree / "train", tmp_path)
    assert not list(tmp_path.rglob("*.npz"))


def test_a_damaged_list_is_made_again_and_one_that_cannot_be_written_is_no_error(
    tree: Path, tmp_path: Path
) -> None:
    settled(tree)
    listing(tree / "train", tmp_path)
    (cached,) = tmp_path.rglob("*.npz")
    cached.write_bytes(cached.read_bytes()[:50])
    assert len(listing(tree / "train", tmp_path).paths) == 6
    (tmp_path / "file").write_text("")
    assert len(listing(tree / "train", tmp_path / "file").paths) == 6


def test_images_of_one_square_size_are_left_as_they_are(
    tmp_path: Path, photograph: Callable[..., Path]
) -> None:
    for seed in range(4):
        photograph(tmp_path / "set" / f"c{seed % 2}" / f"{seed}.jpg", seed, (20, 20))
    assert from_folder(tmp_path / "set", tmp_path).preprocess == Preprocess(20)
    photograph(tmp_path / "set" / "c0" / "9.jpg", 9, (20, 21))
    assert from_folder(tmp_path / "set", tmp_path).preprocess == Preprocess(224, resize=256)


def test_a_folder_without_images_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    with pytest.raises(BadFile, match=r"expected folders by class in .*empty.* got no image"):
        from_folder(tmp_path / "empty", tmp_path)
    with pytest.raises(BadFile, match="there is no folder"):
        from_folder(tmp_path / "absent", tmp_path)


def test_class_names_that_are_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    for name in range(12):
        (tmp_path / "set" / str(name)).mkdir(parents=True)
        Image.new("RGB", (4, 4), (name, 0, 0)).save(tmp_path / "set" / str(name) / "a.png")
    data = from_folder(tmp_path / "set", tmp_path / "root")
    assert data.classes == tuple(map(str, range(12)))
    split = data.split("test")
    assert split.labels.tolist() == list(range(12))
    assert data.about.endswith("; classes sorted as numbers")
    (tmp_path / "set" / "other").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "set" / "other" / "a.png")
    assert data.notes == ("the class folders, 0, 1, 2, 3, ... (12), are sorted as numbers",)
    named = from_folder(tmp_path / "set", tmp_path / "root")
    assert named.classes[:4] == ("0", "1", "10", "11") and "numbers" not in named.about
    assert named.notes == ()


def make(folder: Path, *files: str) -> Path:
    """Files below a folder: small images where the ending says so; "x/" is an empty folder."""
    for file in files:
        path = folder / file
        if file.endswith("/"):
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        is_image = path.suffix.lower() in folders.ENDINGS and not path.name.startswith(".")
        if is_image:
            Image.new("RGB", (4, 4)).save(path, format="PNG")
        else:
            path.write_bytes(b"?")
    return folder


PAIR = ("cat/1.png", "dog/1.png")


def below(*places: str) -> list[str]:
    return [f"{place}/{file}" for place in places for file in PAIR]


@pytest.mark.parametrize(
    ("files", "splits", "note"),
    [
        (below("Train", "Val"), "test train", ""),
        (below("training", "testing"), "test train", ""),
        (below("seg_train/seg_train", "seg_test/seg_test"), "test train", ""),
        (below("training_set", "test-set"), "test train", ""),
        ([*below("train", "val"), "test/1.png"], "test train", "test, .* 1 image outside class"),
        ([*below("train", "val"), "Test/", "out/a.gif"], "test train", "without .* Test, out"),
        ([*below("train", "val"), "out/1.png", "out/a/2.png"], "out test train", ""),
        ([*below("train", "val"), "mockups/1.png"], "test train", "passed over beside .* mockups"),
        ([*below("train", "val"), "annotations/a.xml"], "test train", ""),
        (below("images"), "test", "taken from its folder images"),
        (below("a/b/val"), "test", "taken from its folder a/b"),
        ([*below("."), "__MACOSX/cat/._1.png"], "test", "passed over: 1 hidden"),
        ([*below("."), "cat/._1.png", "dog/.cache/1.png"], "test", "2 hidden"),
        ([*below("."), "dog/a.gif", "dog/b.gif", "cat/LICENSE"], "test", "2 .gif, 1 without an"),
        ([*below("."), "README.md"], "test", ""),
        ([*below("."), "stray.png"], "test", "1 image outside class folders"),
        (["cat/images/1.png", "dog/images/1.png"], "test", ""),
        (["cat/a/1.png", "cat/b/1.png", "dog/1.png"], "test", ""),
        (["cat/1.png", "dog/images/1.png"], "test", ""),
    ],
)
def test_folders_as_they_are_in_the_wild(
    files: list[str], splits: str, note: str, tmp_path: Path
) -> None:
    data = from_folder(make(tmp_path / "wild", *files), tmp_path / "root")
    assert data.classes == ("cat", "dog") and " ".join(sorted(data.parts)) == splits
    assert set(data.split("test").labels.tolist()) == {0, 1}
    assert len(data.split("test")) == (3 if "cat/a/1.png" in files else 2)
    assert bool(data.notes) == bool(note)
    assert not note or re.search(note, data.notes[0])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (below("train"), "has train, but no images to evaluate on; expected one of test, .*"),
        ([*below("train"), "val/1.png"], "class in .*val, .* got no image, but 1 image outside"),
        (["train/1.png", "val/1.png"], "got no image, but 1 image outside class folders"),
        (["1.png", "2.jpg"], "got no image, but 2 images outside class folders"),
        (["a.npy", "b.npy", "labels.npy"], "got no image, but 3 .npy"),
        (below("Train", "training", "val"), "has both Train and training"),
        (below("val", "extra"), r"folders of class folders \(val\) beside others \(extra\)"),
        (
            ["cat/train/1.png", "cat/val/1.png", "dog/train/1.png", "dog/val/1.png"],
            r"splits \(train, val\)",
        ),
        (["cat/", "dog/"], "got no image"),
    ],
)
def test_what_may_be_meant_in_two_ways_is_refused(
    files: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadFile, match=message):
        from_folder(make(tmp_path / "wild", *files), tmp_path / "root")


def test_folders_that_each_class_has_are_told(tmp_path: Path) -> None:
    data = from_folder(make(tmp_path / "severity", *below("1", "2", "3")), tmp_path / "root")
    note = "the classes are 1, 2, 3, and not the folders in each of these (cat, dog)"
    assert data.classes == ("1", "2", "3") and data.notes == (note,)


def test_an_empty_class_folder_counts_and_is_told(tmp_path: Path) -> None:
    data = from_folder(make(tmp_path / "wild", *PAIR, "cow/"), tmp_path / "root")
    assert data.classes == ("cat", "cow", "dog") and data.split("test").labels.tolist() == [0, 2]
    assert data.notes == ("1 class folder without images: cow",)


def test_a_class_may_have_the_name_of_a_split(tmp_path: Path) -> None:
    for files in (["bus/1.png", "train/1.png"], ["bus/i/1.png", "train/i/1.png"]):
        data = from_folder(
            make(tmp_path / files[0][:5].replace("/", ""), *files), tmp_path / "root"
        )
        assert data.classes == ("bus", "train") and set(data.parts) == {"test"}


def test_names_that_are_no_text_are_shown(tmp_path: Path) -> None:
    folder = make(tmp_path / "wild", "cat/1.png")
    os.makedirs(os.fsencode(folder) + b"/caf\xe9")
    data = from_folder(folder, tmp_path / "root")
    assert data.classes == (r"caf\xe9", "cat")
    assert data.notes == (r"1 class folder without images: caf\xe9",)


def test_links_that_go_round_or_lead_nowhere_are_passed_over(tmp_path: Path) -> None:
    folder = make(tmp_path / "wild", *PAIR)
    (folder / "cat" / "round").symlink_to(folder)
    (folder / "dog" / "gone.png").symlink_to(folder / "absent.png")
    os.mkfifo(folder / "dog" / "pipe.png")
    data = from_folder(folder, tmp_path / "root")
    assert len(data.split("test")) == 2
    (note,) = data.notes
    assert note == "passed over: 2 broken links or special files, 1 links to a folder above"
