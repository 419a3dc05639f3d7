"""OOD datasets that --ood adds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as F

from catchup_eval.core.errors import BadFile, Missing, UnknownName, UserError
from catchup_eval.datasets.cscores import with_cscores
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.datasets.file_dataset import FileDataset
from catchup_eval.datasets.folders import from_folder
from catchup_eval.datasets.ood import check_ood, with_ood
from catchup_eval.datasets.preprocessing import Preprocess


@pytest.fixture
def inside(digits: TensorDataset) -> TensorDataset:
    """Digits without OOD images of their own."""
    data = digits.subsample(20)
    parts = {name: data.split(name) for name in ("train", "test")}
    return replace(data, parts=parts, subset="")


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """Three images of the digits' size, and labels that do not count."""
    path, draw = tmp_path / "noise.npz", np.random.default_rng(0)
    np.savez(path, images=draw.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8), labels=[7, 7, 8])
    return path


def test_arrays_of_the_same_size_stay_in_memory(
    inside: TensorDataset, arrays: Path, tmp_path: Path
) -> None:
    data = with_ood(inside, [str(arrays), f"near/a={arrays}"], tmp_path)
    assert isinstance(data, TensorDataset)
    assert list(data.parts) == ["train", "test", "out:noise", "out:near/a"]
    out = data.split("out:noise")
    assert out.labels.tolist() == [-1] * 3
    with np.load(arrays) as given:
        assert np.array_equal(out.images.permute(0, 2, 3, 1).numpy(), given["images"])
    assert data.ood == (str(arrays), f"near/a={arrays}")
    assert with_ood(inside, [], tmp_path) is inside


def test_a_dataset_has_the_need_out_by_any_name(
    inside: TensorDataset, arrays: Path, tmp_path: Path
) -> None:
    assert not inside.has("out")
    data = with_ood(inside, [str(arrays)], tmp_path)
    assert data.has("out")
    with pytest.raises(Missing):
        data.split("out")


def test_photographs_are_brought_to_the_size_of_arrays_when_they_are_used(
    inside: TensorDataset, arrays: Path, tree: Path, tmp_path: Path
) -> None:
    grey = tmp_path / "grey.npy"
    np.save(grey, np.random.default_rng(1).integers(0, 256, (2, 28, 28), dtype=np.uint8))
    root = tmp_path / "root"
    given = [f"far/pets={tree / 'val'}", str(grey), str(arrays)]
    data = with_ood(inside, given, root)
    assert not list(root.rglob("views/*")), "nothing is decoded before it is used"
    assert isinstance(data, FileDataset)
    timm_like = Preprocess(224)
    assert data.preprocessing_for(timm_like) is None, "the test images have their size"
    used = data.transform(data.preprocessing_for(timm_like))
    for name in ("train", "test"):
        assert torch.equal(used.split(name).images, inside.split(name).images)
        assert used.split(name).fingerprint == inside.split(name).fingerprint
    assert data.transform_fingerprint() == used.fingerprint
    theirs = [Image.open(path).convert("RGB") for path in data.split("out:far/pets")]  # type: ignore[attr-defined]
    expected = [F.pil_to_tensor(F.center_crop(F.resize(image, [32]), [32, 32])) for image in theirs]
    away = used.split("out:far/pets").images.int() - torch.stack(expected).int()
    assert away.abs().max() <= 2, "Pillow's weights have more bits"
    first = Image.fromarray(np.load(grey)[0]).convert("RGB").resize((32, 32), Image.BILINEAR)
    away = used.split("out:grey").images[0].permute(1, 2, 0).int() - torch.tensor(np.array(first))
    assert away.abs().max() <= 2
    few = data.subsample(2)
    assert len(few.split("out:far/pets")) == 2 and "out:far/pets n=2 of 4" in few.subset


def test_c_scores_stay_with_the_test_images(
    inside: TensorDataset, tree: Path, tmp_path: Path
) -> None:
    n = len(inside.split("test"))
    scored = with_cscores(inside, torch.linspace(0, 1, n, dtype=torch.float64), "made up")
    data = with_ood(scored, [str(tree / "val")], tmp_path)
    assert data.has("cscores") and not data.without_cscores.has("cscores")
    plain = with_ood(inside, [str(tree / "val")], tmp_path)
    assert data.without_cscores.fingerprint == plain.fingerprint


def test_photographs_and_arrays_beside_photographs_get_their_preprocessing(
    tree: Path, arrays: Path, tmp_path: Path
) -> None:
    data = with_ood(from_folder(tree, tmp_path), [str(arrays), "digits"], tmp_path)
    assert isinstance(data, FileDataset) and len(data.split("out:digits")) == 500
    used = data.subsample(2).transform(Preprocess(64, resize=72))
    with np.load(arrays) as given:
        images = [Image.fromarray(image) for image in given["images"]]
    whole = data.split("out:noise").subsample(2).index
    expected = [Preprocess(64, resize=72).pixels(images[row]) for row in whole]
    assert torch.equal(used.split("out:noise").images, torch.stack(expected))
    assert used.split("out:digits").images.shape == (2, 3, 64, 64)
    assert used.split("out").images.shape == (2, 3, 64, 64), "its own are still there"


def test_near_far_names_the_suite_of_the_data(
    inside: TensorDataset, tmp_path: Path, photograph: Callable[..., Path]
) -> None:
    folder = tmp_path / "elsewhere" / "benchmark_imglist" / "cifar10"
    folder.mkdir(parents=True)
    (folder / "test_tin.txt").write_text("tin/1.JPEG -1\n")
    photograph(tmp_path / "elsewhere" / "images_classic" / "tin" / "1.JPEG", 1)
    data = with_ood(
        replace(inside, name="cifar10"), [f"near-far={tmp_path / 'elsewhere'}"], tmp_path
    )
    assert [name for name in data.parts if name.startswith("out")] == ["out:near/tin"]
    near, far = data.notes
    assert near.startswith("OpenOOD's near OOD is without 1 of its 2 sets: cifar100 (there is no")
    assert far.startswith("OpenOOD's far OOD is without 4 of its 4 sets: mnist")
    assert "(--data openood-cifar10)" in data.about
    with pytest.raises(UserError, match=r"near-far is for cifar10, .*, got digits; name each OOD"):
        with_ood(inside, ["near-far"], tmp_path)
    with pytest.raises(BadFile, match=r"there is no folder .*benchmark_imglist/cifar10; expected"):
        with_ood(replace(inside, name="cifar10"), ["near-far"], tmp_path)


def test_mistakes_are_a_sentence(
    inside: TensorDataset, arrays: Path, tree: Path, tmp_path: Path
) -> None:
    for given, kind, says in (
        (["nowhere"], UnknownName, "there is no OOD dataset 'nowhere'"),
        (["x="], UnknownName, "there is no OOD dataset ''"),
        (["x.npz"], BadFile, "there is no file x.npz"),
        ([f"a/b/c={arrays}"], UserError, "at most one '/', got 'a/b/c'"),
        ([f"mean of={arrays}"], UserError, "expected --ood as NAME=SOURCE"),
        ([str(arrays), f"noise={arrays}"], UserError, "two OOD datasets would be called noise"),
    ):
        with pytest.raises(kind, match=says):
            check_ood(given)
    once = with_ood(inside, [str(arrays)], tmp_path)
    with pytest.raises(UserError, match="digits has an OOD dataset noise already; write NAME"):
        with_ood(once, [str(arrays)], tmp_path)
    both = tmp_path / "both.npz"
    np.savez(both, a=np.zeros((2, 8, 8), np.uint8), b=np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(UserError, match=r"both\.npz: expected one array of images, got a, b"):
        with_ood(inside, [str(both)], tmp_path)
    wide = replace(
        inside,
        parts={"test": replace(inside.split("test"), images=inside.split("test").images[..., :30])},
    )
    with pytest.raises(UserError, match="expected OOD images of 30 x 32 pixels, as digits has"):
        with_ood(wide, [str(tree / "val")], tmp_path)
