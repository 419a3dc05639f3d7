"""What is damaged: a sound network, images, reports, lists, and the accuracy that is the truth."""

import json
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd

from tests.fuzz import children

PER_CLASS = 5
NETS = """
import torch
from catchup_eval.models.zoo import build

def net(classes=10):
    plain = dict(mean=(0.5,) * 3, std=(0.25,) * 3)
    return build("preactresnet10", classes=classes, width=4, final_norm=True, **plain).net
"""
PLAN = """
name = "small"
methods = ["baseline", "cutmix"]
recipe = "{recipe}"
reference = "baseline"
only = ["clean", "deformation"]

[settings.deformation]
convention = "patchup"
"""
RECIPE = """
base = "tiny"
epochs = 2
share = 0.3
batch_size = 40

[options]
width = 2

[optimiser]
lr = 0.05
"""
CLAIMS = """
title = "Mine"
[[claims]]
text = "Catch-up Mix is more accurate."
method = "catchup"
relation = "better"
metric = "clean.accuracy"
than = ["baseline"]
by = 1.0
"""
SOURCES = """
[small]
about = "a small set"
images = 1
classes = 1
licence = "none"
citation = "Nobody 2000"
page = "http://set.invalid/"

[[small.files]]
name = "small.zip"
addresses = ["http://127.0.0.1:{port}/{path}"]
size = {size}
md5 = "{md5}"
top = ["set"]
counts = {{"set/*" = 2}}
"""


@dataclass
class Material:
    """Sound files below a folder, which nothing may change.

    Args:
        folder: of the files; made once.
    """

    folder: Path
    truths: dict[str, float] = field(default_factory=dict)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @cached_property
    def images(self) -> np.ndarray:
        """(N, 32, 32, 3) uint8, class by class."""
        return self._arrays["images"]

    @cached_property
    def labels(self) -> np.ndarray:
        """(N,) int64."""
        return self._arrays["labels"]

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        with np.load(self / "digits.npz") as pack:
            return dict(pack)

    @property
    def spec(self) -> str:
        """The network from a foreign file."""
        return f"net=preactresnet10@{self / 'net.pth'}?width=4&final_norm=true&norm=half"

    @property
    def truth(self) -> float:
        """The network's accuracy on the images, in percent."""
        return self.truths["digits"]


def make(folder: Path, example: Path, *, bomb: int = 1 << 31) -> Material:
    """Write all files; the network's head is fitted in closed form, nothing is trained.

    Args:
        folder: a new one.
        example: a zipped report.
        bomb: bytes that two small archives unfold to.
    """
    import torch
    from PIL import Image

    from catchup_eval.core.rng import fork_global_rng, generator
    from catchup_eval.models import checkpoints
    from catchup_eval.models.zoo import build

    folder.mkdir(parents=True)
    train, test = _digits()
    with fork_global_rng(generator(0, "fuzz")):
        model = build(
            "preactresnet10", classes=10, width=4, final_norm=True, mean=(0.5,) * 3, std=(0.5,) * 3
        )
    pixels = torch.from_numpy(train[0]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the mean over what it has seen
                module.reset_running_stats()
        model.train()(pixels)
        features = model.eval().trace(pixels).features.double()
        ones = torch.cat([features, torch.ones(len(features), 1).double()], 1)
        targets = torch.nn.functional.one_hot(torch.from_numpy(train[1]), 10).double() - 0.1
        penalty = 1e-3 * torch.eye(ones.shape[1]).double()
        fitted = torch.linalg.solve(ones.T @ ones + penalty, ones.T @ targets).T
        head = next(m for m in model.modules() if isinstance(m, torch.nn.Linear))
        head.weight.copy_(12 * fitted[:, :-1])
        head.bias.copy_(12 * fitted[:, -1])
    card = checkpoints.ModelCard(
        architecture="preactresnet10",
        options={"classes": 10, "width": 4, "final_norm": True},
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        classes=tuple("0123456789"),
        data="digits",
        method="baseline",
        seed=0,
    )
    checkpoints.save(folder / "net.safetensors", model, card)
    torch.save({"state_dict": model.net.state_dict(), "epoch": 3}, folder / "net.pth")

    images, labels = test
    names, out = np.array([*"0123456789"]), images[:20].transpose(0, 2, 1, 3)[:, ::-1]
    np.savez(folder / "digits.npz", images=images, labels=labels, class_names=names, out_images=out)
    np.save(folder / "ximages.npy", images)
    np.save(folder / "xlabels.npy", labels)
    scores = np.linspace(0.1, 0.9, len(labels))
    np.savez(folder / "scores.npz", labels=labels, scores=scores)
    for place, (image, label) in enumerate(zip(images, labels)):
        path = folder / "photos" / str(label) / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    for name, text in {
        "nets.py": NETS,
        "recipe.toml": RECIPE,
        "plan.toml": PLAN.format(recipe=folder / "recipe.toml"),
        "claims.toml": CLAIMS,
        "models.toml": f'[models.a]\nspec = "{folder / "net.safetensors"}"\n\n'
        f'[models.b]\nspec = "preactresnet10@{folder / "net.pth"}"\n'
        'norm = "half"\nwidth = 4\nfinal_norm = true\n',
    }.items():
        (folder / name).write_text(text)
    with ZipFile(example) as archive:
        archive.extractall(folder / "report")
    write_bomb(folder / "bomb.npz", "images.npy", bomb)
    write_bomb(folder / "bomb.zip", "set/words.txt", bomb)
    made = Material(folder)
    made.truths["digits"] = accuracy(made, str(folder / "digits.npz"))
    return made


Arrays = tuple[np.ndarray, np.ndarray]


def _digits() -> tuple[Arrays, Arrays]:
    """Images (N, 32, 32, 3) and labels, to fit on and to test on, of the digits that all have."""
    from sklearn.datasets import load_digits

    source = load_digits()
    large = np.kron(source.images / 16, np.ones((4, 4)))
    images = np.round(255 * large[..., None] * [1.0, 0.8, 0.6]).astype(np.uint8)
    places = [np.flatnonzero(source.target == k)[-PER_CLASS:] for k in range(10)]
    chosen, rest = np.concatenate(places), slice(0, 800)
    labels = source.target.astype(np.int64)
    return (images[rest], labels[rest]), (images[chosen], labels[chosen])


def accuracy(material: Material, data: str) -> float:
    """Of the sound network on some data, in percent."""
    with TemporaryDirectory(dir=material.folder.parent) as box:
        words = ["evaluate", material.spec, "--data", data, "--only", "clean", "-q", "--out", box]
        ended = children.call(words, Path(box))
        assert ended.code == 0, ended.stderr
        (found,) = accuracies(Path(box))
    return found


def accuracies(folder: Path) -> list[float]:
    """The accuracies that the results below a folder state, in percent."""
    values = []
    for path in folder.glob("**/results/*/clean.csv"):
        if path.with_suffix(".json").is_file():
            frame = pd.read_csv(path)
            values += frame.loc[frame["metric"] == "accuracy", "value"].tolist()
    return values


def flags(folder: Path) -> str:
    """All sentences that stand beside the numbers below a folder."""
    texts = []
    for path in [*folder.glob("**/results/*/*.json"), *folder.glob("**/study.json")]:
        texts += _sentences(json.loads(path.read_text()), False)
    return "\n".join(texts)


def _sentences(value: Any, inside: bool) -> list[str]:
    if isinstance(value, dict):
        return [
            text
            for key, item in value.items()
            for text in _sentences(item, inside or key in ("note", "notes", "skipped"))
        ]
    if isinstance(value, list):
        return [text for item in value for text in _sentences(item, inside)]
    return [value] if inside and isinstance(value, str) else []


def write_bomb(path: Path, name: str, size: int) -> None:
    """A zip archive with one member of this many zeros, at about a thousandth of it."""
    block = 1 << 20
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = b""
    if name.endswith(".npy"):
        head = np.lib.format.magic(1, 0)
        text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size // 3072}, 32, 32, 3), }}"
        text += " " * (117 - len(text)) + "\n"
        head += struct.pack("<H", len(text)) + text.encode()
    first = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    repeated = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)
    count = size // block
    packed = first + repeated * count + packer.flush()
    check = zlib.crc32(head)
    for _ in range(count):
        check = zlib.crc32(bytes(block), check)
    whole = len(head) + block * count
    common = struct.pack("<HHHHHIII", 20, 0, 8, 0, 33, check, len(packed), whole)
    length = struct.pack("<HH", len(name), 0)
    local = b"PK\3\4" + common + length + name.encode() + packed
    central = b"PK\1\2" + struct.pack("<H", 20) + common + length
    central += struct.pack("<HHHII", 0, 0, 0, 0, 0) + name.encode()
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    path.write_bytes(local + central + end)
    assert zipfile.is_zipfile(path)
