"""ImageNet-A, -R, -Sketch, V2 and ReaL from tiny files in their official layouts."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.data.real_labels import RealLabelsImagenet

from catchup_eval.analysis.context import ModelOutputs
from catchup_eval.core.errors import BadFile
from catchup_eval.datasets import load
from catchup_eval.datasets.classes import imagenet_places, imagenet_wnids, match, timm_list

WNIDS = imagenet_wnids()
Photograph = Callable[..., Path]


def class_folders(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
    return folder


@pytest.mark.parametrize("name", ["a", "r"])
def test_the_masks_are_timms(name: str, tmp_path: Path, photograph: Photograph) -> None:
    """timm's lists of outputs and of WordNet numbers are two files."""
    wnids = timm_list(f"imagenet_{name}_synsets.txt").split()
    folder = class_folders(tmp_path / f"imagenet-{name}", wnids)
    photograph(folder / wnids[7] / "0.000116_digital clock _ digital clock_0.865662.jpg", 0)
    (folder / "README.txt").write_text("as in the archive")
    data = load(f"imagenet-{name}", tmp_path)
    found = match(data.classes, 1000)
    assert [*found.columns] == [*map(int, timm_list(f"imagenet_{name}_indices.txt").split())]
    assert found.protocol == "masked200of1000"
    assert data.split("test").labels.tolist() == [7]
    assert "it has 1 of the official" in data.notes[0]
    (folder / wnids[3]).rmdir()
    with pytest.raises(BadFile, match=rf"200 class folders .* are 199, no folder {wnids[3]}"):
        load(f"imagenet-{name}", tmp_path)
    class_folders(folder, [wnids[3], "n99999999"])
    with pytest.raises(BadFile, match="are 201, also a folder n99999999"):
        load(f"imagenet-{name}", tmp_path)


def test_sketch(tmp_path: Path, photograph: Photograph) -> None:
    folder = class_folders(tmp_path / "sketch", WNIDS)
    photograph(folder / WNIDS[999] / "sketch_0.JPEG", 0)
    data = load("imagenet-sketch", tmp_path)
    assert data.split("test").labels.tolist() == [999]
    assert match(data.classes, 1000) == ((), "", "")
    with pytest.raises(BadFile, match="fetch imagenet-sketch"):
        load("imagenet-sketch", tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("variant", "folder"),
    [
        ("matched-frequency", "matched-frequency"),
        ("threshold-0.7", "threshold0.7"),
        ("top-images", "top-images"),
    ],
)
def test_v2s_folders_are_outputs(
    variant: str, folder: str, tmp_path: Path, photograph: Photograph
) -> None:
    """`ImageFolder` sorts 10 before 2."""
    top = class_folders(tmp_path / f"imagenetv2-{folder}-format-val", [*map(str, range(1000))])
    for number in (10, 2, 999, 100):
        photograph(top / str(number) / f"{number:040x}.jpeg", number)
    data = load(f"imagenetv2-{variant}", tmp_path)
    part = data.split("test")
    assert {int(path.parent.name) for path in part} == {2, 10, 100, 999}
    assert part.labels.tolist() == [int(path.parent.name) for path in part]
    assert data.classes == WNIDS and imagenet_places(data.classes) == [*range(1000)]
    (top / "1000").mkdir()
    with pytest.raises(BadFile, match=r"\(0 to 999\); there are 1,001, also a folder 1000"):
        load(f"imagenetv2-{variant}", tmp_path)


def test_real_as_timm_counts_it(tmp_path: Path, photograph: Photograph) -> None:
    """The images are of class 3; image 1 shows no class, 2 shows two, 5 another two."""
    val = class_folders(tmp_path / "imagenet" / "val", WNIDS)
    for number in (3, 1, 2, 5, 4):
        photograph(val / WNIDS[231] / f"ILSVRC2012_val_{number:08d}.JPEG", number)
    data = load("imagenet-real", tmp_path)
    part = data.split("test")
    assert [path.stem[-1] for path in part] == ["2", "3", "4", "5"]
    assert part.index.tolist() == [1, 2, 3, 4], "rows of the whole set, as ImageNet-C's"
    assert part.labels.tolist() == [970, 231, 809, 516], "its own where it is one of them"
    assert part.accepted is not None
    assert part.accepted.tolist() == [[970, 795], [230, 231], [809, -1], [516, 850]]
    assert data.notes[0] == "1 of 5 images show none of the classes: left out"
    assert data.has("accepted") and set(data.parts) == {"test"}
    decoded = data.transform().split("test")
    assert torch.equal(decoded.accepted, part.accepted)
    assert torch.equal(decoded[torch.tensor([3])].accepted, part.accepted[3:])

    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 1000)))
    for row, best in enumerate((7, 795, 231, 7, 850)):
        logits[row, best] = 9
    theirs = RealLabelsImagenet([f"ILSVRC2012_val_{i + 1:08d}.JPEG" for i in range(50_000)])
    theirs.add_result(logits)
    ours = ModelOutputs(logits[1:], None, part.labels, part.index, part.accepted)
    assert ours.correct.tolist() == [True, True, False, True]
    assert 100 * ours.correct.mean() == theirs.get_accuracy(1)

    photograph(val / WNIDS[0] / "another.JPEG", 9)
    with pytest.raises(BadFile, match=r"called ILSVRC2012_val_00000001.JPEG .*another.JPEG"):
        load("imagenet-real", tmp_path)
