"""ObjectNet from tiny files in its official layout."""

import json
from pathlib import Path

import pytest
from PIL import Image

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets import load
from catchup_eval.datasets.classes import imagenet_wnids, match
from catchup_eval.datasets.preprocessing import Preprocess

WNIDS = imagenet_wnids()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three folders; the lists' order is the reverse of the outputs'."""
    folder = tmp_path / "objectnet-1.0"
    (folder / "mappings").mkdir(parents=True)
    lists = {
        "folder_to_objectnet_label.json": {
            "alarm_clock": "Alarm clock",
            "banana": "Banana",
            "air_freshener": "Air freshener",
        },
        "objectnet_to_imagenet_1k.json": {
            "Alarm clock": "analog clock; digital clock",
            "Banana": "banana",
        },
        "pytorch_to_imagenet_2012_id.json": {str(output): 999 - output for output in range(1000)},
    }
    for name, content in lists.items():
        (folder / "mappings" / name).write_text(json.dumps(content))
    names = {409: "analog clock", 530: "digital clock", 954: "banana"}
    lines = [names.get(999 - line, f"thing {line}") for line in range(1000)]
    (folder / "mappings" / "imagenet_to_label_2012_v2").write_text("\n".join(lines) + "\n")
    for number, name in enumerate(["alarm_clock", "banana", "air_freshener", "banana"]):
        image = Image.new("RGB", (44, 34), (255, 0, 0))
        image.paste((0, 100, 200), (2, 2, 42, 32))
        (folder / "images" / name).mkdir(parents=True, exist_ok=True)
        image.save(folder / "images" / name / f"{number:015x}.png")
    return tmp_path


def test_a_prediction_may_be_any_of_the_mapped_classes(root: Path) -> None:
    data = load("objectnet", root)
    part = data.split("test")
    assert [path.parent.name for path in part] == ["alarm_clock", "banana", "banana"]
    assert data.classes == (WNIDS[409], WNIDS[530], WNIDS[954])
    assert part.labels.tolist() == [0, 2, 2] and part.accepted is not None
    assert part.accepted.tolist() == [[0, 1], [2, -1], [2, -1]]
    assert data.notes[0] == "1 of 4 images have no ImageNet class: left out"
    found = match(data.classes, 1000, mask=data.masked)
    assert found.protocol == "full1000" and found.columns[:3] == (409, 530, 954)


def test_the_red_border_is_cut_off(root: Path) -> None:
    data = load("objectnet", root)
    pixels = data.transform(Preprocess(8, resize=8)).split("test").images
    assert pixels.unique(dim=0).shape[0] == 1
    assert pixels[0].flatten(1).unique(dim=1).flatten().tolist() == [0, 100, 200]


def test_other_lists_are_refused(root: Path) -> None:
    mappings = root / "objectnet-1.0" / "mappings"
    (mappings / "objectnet_to_imagenet_1k.json").write_text('{"Banana": "plantain"}')
    with pytest.raises(BadFile, match="mappings are not those of ObjectNet: KeyError 'plantain'"):
        load("objectnet", root)
    (mappings / "objectnet_to_imagenet_1k.json").write_text("{}")
    with pytest.raises(BadFile, match="mappings names, got none"):
        load("objectnet", root)
    (mappings / "objectnet_to_imagenet_1k.json").write_text('{"Banana": ["banana"]}')
    with pytest.raises(BadFile, match=r"1k\.json is no .* a valid string"):
        load("objectnet", root)
    (mappings / "objectnet_to_imagenet_1k.json").write_text('{"Banana": "banana"}')
    (mappings / "pytorch_to_imagenet_2012_id.json").write_text('{"-1": 45}')
    with pytest.raises(BadFile, match="ValueError 1 lines for 1,000 outputs"):
        load("objectnet", root)
    (mappings / "imagenet_to_label_2012_v2").unlink()
    with pytest.raises(BadFile, match="imagenet_to_label_2012_v2"):
        load("objectnet", root)
    with pytest.raises(BadFile, match=r"ObjectNet is not here.*has a password.*objectnet.dev"):
        load("objectnet", root / "elsewhere")
