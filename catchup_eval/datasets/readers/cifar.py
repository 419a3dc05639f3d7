"""CIFAR-10 and CIFAR-100 from their official python files, through torchvision's reader.

CIFAR-10.1 comes as a pair of `.npy` files.

Nothing is downloaded here. The files are pickles: torchvision compares the MD5 of each with the
official one before it opens them, so that only the official bytes are ever unpickled.
"""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets.arrays import from_npy
from catchup_eval.datasets.dataset import Split, TensorDataset

MEAN_10, STD_10 = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
MEAN_100, STD_100 = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar10(root: Path) -> TensorDataset:
    """50,000 training and 10,000 test images of 10 classes, 32x32 (Krizhevsky 2009).

    Mean and std as the code of mixup, RecursiveMix and AlignMixup has them; that std is the average
    of the single images' stds, not the std of all pixels.

    Raises:
        BadFile: its folder is absent, or a file in it is not the official one.
    """
    from torchvision.datasets import CIFAR10

    return _read(Path(root), "cifar10", CIFAR10, MEAN_10, STD_10)


def cifar100(root: Path) -> TensorDataset:
    """50,000 training and 10,000 test images of 100 classes, 32x32 (Krizhevsky 2009).

    Mean and std are those of all training pixels.

    Raises:
        BadFile: its folder is absent, or a file in it is not the official one.
    """
    from torchvision.datasets import CIFAR100

    return _read(Path(root), "cifar100", CIFAR100, MEAN_100, STD_100)


def cifar10_1(root: Path) -> TensorDataset:
    """2,000 newer test images for networks that were trained on CIFAR-10 (Recht et al. 2018), v6.

    Raises:
        BadFile: its two `.npy` files are absent or damaged.
    """
    folder = root / "cifar10.1"
    if not folder.is_dir():
        raise BadFile(
            f"CIFAR-10.1 is not here: there is no folder {folder}; expected in it "
            "cifar10.1_v6_data.npy and cifar10.1_v6_labels.npy"
        )
    return replace(
        from_npy(folder / "cifar10.1_v6_data.npy"),
        name="cifar10.1",
        classes=CLASSES,
        mean=MEAN_10,
        std=STD_10,
        about="CIFAR-10.1 v6 (Recht et al. 2018; MIT): newer photographs as in CIFAR-10, 32x32",
    )


def _read(
    root: Path, name: str, reader: Any, mean: tuple[float, ...], std: tuple[float, ...]
) -> TensorDataset:
    _check(root, reader)
    with warnings.catch_warnings():  # numpy 2.4.0 to 2.4.4 warn of pickles this old
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        train, test = (reader(root, train=train) for train in (True, False))
    return TensorDataset(
        name=name,
        parts={"train": _part(train), "test": _part(test)},
        classes=tuple(train.classes),
        mean=mean,
        std=std,
        about=f"{reader.__name__} (Krizhevsky 2009; no licence stated): small photographs, 32x32",
    )


def _check(root: Path, reader: Any) -> None:
    """Name the fault, where torchvision would only say that there is one."""
    from torchvision.datasets.utils import check_integrity

    folder = root / reader.base_folder
    if not folder.is_dir():
        raise BadFile(f"{reader.__name__} is not here: there is no folder {folder}")
    meta = [reader.meta["filename"], reader.meta["md5"]]
    for name, md5 in [*reader.train_list, *reader.test_list, meta]:
        path = folder / name
        if not check_integrity(path, md5):
            fault = "not the official file" if path.is_file() else "absent"
            raise BadFile(f"{path} is {fault}")


def _part(dataset: Any) -> Split:
    images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
    return Split(images, torch.tensor(dataset.targets))
