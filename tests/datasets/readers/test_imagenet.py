"""ImageNet from folders by WordNet number, ImageNet-O beside it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models import squeezenet1_1

from catchup_eval.analysis import ood
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.core.errors import BadFile
from catchup_eval.datasets import load
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.models.classifier import Classifier

WNIDS = [f"n{number:08d}" for number in range(1000)]


def class_folders(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
    return folder


@pytest.fixture
def root(tmp_path: Path, photograph: Callable[..., Path]) -> Path:
    val = class_folders(tmp_path / "imagenet" / "val", WNIDS)
    photograph(val / WNIDS[999] / "ILSVRC2012_val_00000001.JPEG", 1)
    photograph(val / WNIDS[3] / "ILSVRC2012_val_00000009.JPEG", 2)
    photograph(val / WNIDS[3] / "ILSVRC2012_val_00000002.JPEG", 3)
    return tmp_path


def test_validation_alone(root: Path) -> None:
    data = load("imagenet", root)
    assert data.classes == tuple(WNIDS) and set(data.parts) == {"test"}
    theirs = ImageFolder(root / "imagenet" / "val", allow_empty=True)
    ours = data.split("test")
    assert [(str(path), label) for path, label in zip(ours, ours.labels.tolist())] == theirs.imgs
    assert data.preprocessing_for(None) == Preprocess(224, resize=256)


def test_training_and_ood_images_where_they_are(
    root: Path, photograph: Callable[..., Path]
) -> None:
    photograph(root / "imagenet" / "train" / WNIDS[7] / f"{WNIDS[7]}_1.JPEG", 4)
    photograph(root / "imagenet-o" / WNIDS[5] / "a.JPEG", 5)
    photograph(root / "imagenet-o" / WNIDS[4] / "b.JPEG", 6)
    data = load("imagenet", root)
    assert data.split("train").labels.tolist() == [7], "of all classes, though train has one folder"
    assert data.split("out").labels.tolist() == [-1, -1]
    assert [path.name for path in data.split("out")] == ["b.JPEG", "a.JPEG"]


def test_cue_conflict_images_where_they_are(root: Path, photograph: Callable[..., Path]) -> None:
    photograph(root / "cue-conflict" / "cat" / "cat1-dog1.png", 7)
    data = load("imagenet", root)
    assert set(data.parts) == {"test", "cue"} and len(data.split("cue")) == 1


def test_what_is_missing_is_reported(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"ImageNet is not here: .* expected imagenet/val/WNID"):
        load("imagenet", tmp_path / "nowhere")
    (root / "imagenet" / "val" / WNIDS[0]).rmdir()
    with pytest.raises(BadFile, match=r"expected 1,000 folders by WordNet number in .* got 999"):
        load("imagenet", root)


def test_a_published_network_on_real_images(shared: Path, tmp_path: Path) -> None:
    """Predictions as torchvision's own reader and transforms give them; ImageNet-O's protocol."""
    with np.load(shared / "imagenet_eli500_s256.npz") as pack:
        blob, offsets, wnids = pack["blob"].tobytes(), pack["offsets"], pack["wnids"].astype(str)
        labels = pack["labels"]
    val = class_folders(tmp_path / "imagenet" / "val", wnids.tolist())
    for row in range(0, 500, 50):
        path = val / wnids[labels[row]] / f"{row}.JPEG"
        path.write_bytes(blob[offsets[row] : offsets[row + 1]])
    with np.load(shared / "dtd10_240_s256.npz") as pack:
        outside = class_folders(tmp_path / "imagenet-o", [wnids[1]])
        for row in range(5):
            bounds = pack["offsets"][row : row + 2]
            textures = pack["blob"][bounds[0] : bounds[1]].tobytes()
            (outside / wnids[1] / f"{row}.JPEG").write_bytes(textures)

    net = squeezenet1_1()
    with np.load(shared / "checkpoints" / "torchvision_squeezenet1_1_fp16.npz") as weights:
        state = {key: torch.from_numpy(weights[key]).float() for key in net.state_dict()}
    net.load_state_dict(state)
    net.eval()
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    theirs = ImageFolder(
        val, transforms.Compose([*steps, transforms.Normalize(mean, std)]), allow_empty=True
    )
    with torch.no_grad():
        expected = net(torch.stack([image for image, _ in theirs]))

    data = load("imagenet", tmp_path)
    model = Classifier(
        nn.Sequential(net, nn.Linear(1000, 1000)), mean=mean, std=std, head="1", pool=None
    )
    model.net[1].weight.data, model.net[1].bias.data = torch.eye(1000), torch.zeros(1000)
    subject = EvaluationContext(model, data.transform(Preprocess(224, resize=256)), batch_size=10)
    assert torch.allclose(subject.outputs("test").logits, expected, atol=1e-3)
    assert 100 * subject.clean_correct.mean() > 40, "63.6 % on all 500"
    requested = ood._select_classes(subject, None)
    assert requested.protocol == "hendrycks200" and len(requested.select(subject, "out")) == 5
