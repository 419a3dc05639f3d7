"""OpenOOD v1.5's official layout, on tiny files of that very form."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision import transforms

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets import load
from catchup_eval.datasets.dataset import SplitLike
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.datasets.readers.openood import SUITES, near_far

Photograph = Callable[..., Path]
CIFAR: Mapping[str, tuple[str, ...]] = {
    "train_cifar10": ("cifar10/train/airplane/0001.png 0", "cifar10/train/cat/0002.png 1"),
    "test_cifar10": ("cifar10/test/cat/0003.png 1", "cifar10/test/airplane/0001.png 0"),
    "test_cifar100": ("cifar100/test/apple/0001.png -1", "cifar100/test/bed/0002.png -1"),
    "test_tin": ("tin/val/n01443537/images/val_1.JPEG -1",),
    "test_mnist": ("mnist/test/3/1.png -1",),
    "test_svhn": ("svhn/test/1.png -1",),
    "test_texture": ("texture/banded/banded_0002.jpg -1",),
    "test_places365": ("places365/airfield/1.jpg -1", "places365/airfield/2.jpg -1"),
}


def write_suite(
    root: Path, suite: str, lists: Mapping[str, tuple[str, ...]], photograph: Photograph
) -> Path:
    folder = root / "benchmark_imglist" / suite
    folder.mkdir(parents=True)
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
        images = SUITES[suite].folder(name.removeprefix("test_"))
        for line in lines:
            path = root / images / line.split()[0]
            photograph(path, len(str(path)) % 7)
    return root


@pytest.fixture
def root(tmp_path: Path, photograph: Photograph) -> Path:
    write_suite(tmp_path / "openood", "cifar10", CIFAR, photograph)
    return tmp_path


def test_every_list_is_a_split_and_the_lists_decide(root: Path) -> None:
    data = load("openood-cifar10", root)
    assert data.classes == ("airplane", "cat"), "the folders of the training images, by label"
    near, far = ("cifar100", "tin"), ("mnist", "svhn", "texture", "places365")
    outs = [f"out:near/{name}" for name in near] + [f"out:far/{name}" for name in far]
    assert list(data.parts) == ["test", "train", *outs]
    assert data.split("test").labels.tolist() == [1, 0], "in the list's order"
    assert all((data.split(out).labels == -1).all() for out in outs)
    assert len(data.split("out:far/places365")) == 2 and not data.notes
    assert data.has("out") and data.preprocessing_for(None) == Preprocess(32)


def test_images_are_preprocessed_as_openood_does(root: Path) -> None:
    """Resize(32), then CenterCrop(32), bilinear, on RGB; also of images that are no squares.

    OpenOOD resizes with Pillow, whose weights have 22 bits and torch's 15.
    """
    theirs = transforms.Compose(
        [transforms.Resize(32), transforms.CenterCrop(32), transforms.PILToTensor()]
    )
    data = load("openood-cifar10", root)
    ours = data.transform()
    for name in ("test", "out:near/tin", "out:far/places365"):
        images = [theirs(Image.open(path).convert("RGB")) for path in data.split(name)]  # type: ignore[attr-defined]
        away = (ours.split(name).images.int() - torch.stack(images).int()).abs()
        assert away.max() <= 2 and away.float().mean() < 0.05


def test_the_same_images_as_pytorch_ood_lists(root: Path) -> None:
    img = pytest.importorskip("pytorch_ood.dataset.img", reason="needs the extra `ood`")
    data, base = load("openood-cifar10", root), root / "openood"

    def listed(name: str) -> list[str]:
        path = base / "benchmark_imglist" / "cifar10" / f"test_{name}.txt"
        return [*img.ImageListDataset(str(base / "images_classic"), str(path)).files]

    def ours(part: SplitLike) -> list[str]:
        return [str(path) for path in part]  # type: ignore[attr-defined]

    for group, names in SUITES["cifar10"].sets.items():
        for name in names:
            assert ours(data.split(f"out:{group}/{name}")) == listed(name)
    assert ours(data.split("test")) == listed("cifar10")


def test_the_suites_are_those_of_pytorch_ood() -> None:
    module = "pytorch_ood.benchmark.img.openood"
    theirs = pytest.importorskip(module, reason="needs the extra `ood`")
    for suite, name in (
        *(("cifar10", "CIFAR10_OpenOOD"), ("cifar100", "CIFAR100_OpenOOD")),
        *(("imagenet200", "ImageNet200_OpenOOD"), ("imagenet", "ImageNet_OpenOOD")),
    ):
        kind, sets = getattr(theirs, name), SUITES[suite].sets
        lists = [f"test_{each}.txt" for group in ("near", "far") for each in sets[group]]
        assert lists == [file for _, file in kind._ood_imglists]
        assert kind._subdir == suite
        assert kind._test_id_imglist == f"test_{SUITES[suite].own}.txt"
        assert len(kind._near_ood) == len(sets["near"])


def test_imagenet_200_has_textures_elsewhere_and_needs_no_training_images(
    tmp_path: Path, photograph: Photograph
) -> None:
    lists = {
        "test_imagenet200": ("imagenet_1k/val/ILSVRC2012_val_00000293.JPEG 1",),
        "test_ssb_hard": ("ssb_hard/n00470682/1.JPEG -1",),
        "test_ninco": ("ninco/amphiuma/1.jpg -1",),
        "test_inaturalist": ("inaturalist/images/1.jpg -1",),
        "test_textures": ("texture/banded/banded_0002.jpg -1",),
        "test_openimage_o": ("openimage_o/images/1.jpg -1",),
    }
    write_suite(tmp_path, "imagenet200", lists, photograph)
    train = tmp_path / "benchmark_imglist" / "imagenet200" / "train_imagenet200.txt"
    train.write_text(
        "imagenet_1k/train/n01443537/n01443537_1.JPEG 0\n"
        "imagenet_1k/train/n01484850/n01484850_1.JPEG 1\n"
    )
    data = load("openood-imagenet200", tmp_path)  # the data root itself may be OpenOOD's folder
    assert data.classes == ("n01443537", "n01484850")
    assert (tmp_path / "images_classic" / "texture").is_dir()
    assert len(data.split("out:far/textures")) == 1 and not data.has("train")
    assert data.notes == (
        "without training images: there is no images_largescale/imagenet_1k/train/n01443537/"
        "n01443537_1.JPEG, which its list names",
    )
    assert data.preprocessing_for(None) == Preprocess(224, resize=256)


def test_what_is_absent_is_left_out_and_named(root: Path) -> None:
    base = root / "openood"
    (base / "benchmark_imglist" / "cifar10" / "test_tin.txt").unlink()
    (base / "images_classic" / "places365" / "airfield" / "2.jpg").unlink()
    sets, notes = near_far("cifar10", root)
    assert set(sets) == {"near/cifar100", "far/mnist", "far/svhn", "far/texture"}
    assert notes == (
        "OpenOOD's near OOD is without 1 of its 2 sets: tin (there is no "
        "benchmark_imglist/cifar10/test_tin.txt)",
        "OpenOOD's far OOD is without 1 of its 4 sets: places365 (there is no "
        "images_classic/places365/airfield/2.jpg, which its list names)",
    )
    assert load("openood-cifar10", root).notes == notes
    for name in ("cifar100", "mnist", "svhn", "texture", "places365"):
        (base / "benchmark_imglist" / "cifar10" / f"test_{name}.txt").unlink()
    with pytest.raises(BadFile, match="no OOD set is here: OpenOOD's near OOD is without 2 of its"):
        near_far("cifar10", root)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("../../etc/passwd -1\n", "names ../../etc/passwd, which leaves its folder"),
        ("/etc/passwd -1\n", "names /etc/passwd, which leaves its folder"),
        ("tin/1.png\n", "expected a path and a label in each line"),
        ("tin/1.png cat\n", "expected a path and a label in each line"),
        ("\n", "names no image"),
    ],
)
def test_a_list_that_is_none_is_named(root: Path, text: str, says: str) -> None:
    path = root / "openood" / "benchmark_imglist" / "cifar10" / "test_cifar10.txt"
    path.write_text(text)
    with pytest.raises(BadFile, match=says):
        load("openood-cifar10", root)
