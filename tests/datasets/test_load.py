"""The list of datasets, and what a name may be."""

from pathlib import Path

import numpy as np
import pytest

from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.datasets import DATASETS, load
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.datasets.file_dataset import FileDataset


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"digits"}))
def test_what_is_not_here_says_what_to_put_where(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=str(tmp_path)) as error:
        load(name, tmp_path)
    assert "\n" not in str(error.value)


def test_a_name_or_a_file(tmp_path: Path, digits: TensorDataset) -> None:
    assert load("digits") is digits
    path = tmp_path / "mine.npz"
    np.savez(path, images=np.zeros((2, 8, 8), np.uint8), labels=np.array([0, 1]))
    assert load(str(path)).name == load(path).name == "mine"


def test_a_folder_of_class_folders(tree: Path, tmp_path: Path) -> None:
    data = load(tree, tmp_path / "root")
    assert isinstance(data, FileDataset) and data.name == "pets"
    assert data.transform().split("test").images.shape == (4, 3, 224, 224)
    assert (tmp_path / "root" / ".catchup-eval" / "views").is_dir()


def test_a_function_gives_a_dataset_or_arrays(tmp_path: Path, digits: TensorDataset) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import numpy as np\n"
        "from catchup_eval.datasets import load\n"
        "def arrays(): return np.zeros((2, 8, 8), np.uint8), np.array([0, 1])\n"
        "def whole(): return load('digits')\n"
        "def neither(): return 7\n"
    )
    assert load(f"{file}:arrays").name == "arrays"
    assert load(f"{file}:arrays").split("test").labels.tolist() == [0, 1]
    whole = load(f"{file}:whole")
    assert whole.fingerprint == digits.fingerprint and whole.code and not digits.code
    with pytest.raises(UserError, match=r"labels\) from your function neither in .*:5, got int"):
        load(f"{file}:neither")


def test_cifar10_1_is_a_pair_of_arrays(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    labels = np.array([3, 8, 8, 0, 6, 6, 1, 6, 3, 1, 0, 9], dtype=np.int32)
    (tmp_path / "cifar10.1").mkdir()
    np.save(tmp_path / "cifar10.1" / "cifar10.1_v6_data.npy", images)
    np.save(tmp_path / "cifar10.1" / "cifar10.1_v6_labels.npy", labels)
    data = load("cifar10.1", tmp_path)
    assert (data.name, data.classes[8], len(data.classes)) == ("cifar10.1", "ship", 10)
    part = data.split("test")
    assert np.array_equal(part.images.permute(0, 2, 3, 1).numpy(), images)
    assert part.labels.tolist() == labels.tolist()


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="'cifar1'; did you mean 'cifar10'") as error:
        load("cifar1")
    assert "FILE.npz" in str(error.value)
    with pytest.raises(BadFile, match=r"there is no file .*absent\.npz"):
        load(tmp_path / "absent.npz")
