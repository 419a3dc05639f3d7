"""A network with other classes than the dataset: matched by name, said beside the number."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from catchup_eval import api
from catchup_eval.analysis import clean
from catchup_eval.core.errors import UserError
from catchup_eval.datasets.arrays import from_arrays
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.jobs.networks import LazyCheckpoints, load_models
from catchup_eval.models import checkpoints
from catchup_eval.models.checkpoints import ModelCard
from catchup_eval.models.classifier import Classifier, wrap

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SOME = [7, 2, 5]  # digits, as the dataset below numbers them
WNIDS = {"n01440764": 0, "n02085620": 151, "n15075141": 999}


class Pooled(nn.Module):
    """Logits of an image, by a convolution and a mean: no linear head."""

    def __init__(self, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(3, outputs, 5, stride=4, bias=False)
        nn.init.normal_(self.conv.weight, generator=torch.Generator().manual_seed(0))

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images - images.mean((2, 3), keepdim=True)).amax((2, 3))  # type: ignore[no-any-return]


def chosen(digits: TensorDataset, names: list[str]) -> TensorDataset:
    """Test images of the digits in SOME, under other names, with boxes."""
    split = digits.split("test").subsample(60)
    rows = torch.cat([torch.nonzero(split.labels == digit).flatten() for digit in SOME])
    part = split[rows]
    labels = torch.tensor([SOME.index(int(label)) for label in part.labels])
    return replace(
        digits, name="some", parts={"test": replace(part, labels=labels)}, classes=(*names,)
    )


def by_hand(net: nn.Module, data: TensorDataset, columns: list[int]) -> float:
    split = data.split("test")
    with torch.no_grad():
        logits = net(split.images.float() / 255)[:, columns]
    return 100 * float((logits.argmax(1) == split.labels).double().mean())


@pytest.mark.usefixtures("sketches")
def test_some_of_imagenets_classes(digits: TensorDataset, tmp_path: Path) -> None:
    data, net = chosen(digits, [*WNIDS]), Pooled(1000)
    data = replace(data, notes=("passed over: 3 .gif",))
    model = wrap(net)
    found = api.evaluate(model, data, only=["clean"], device="cpu")
    expected = by_hand(net, data, [*WNIDS.values()])
    table = found["clean"].table.set_index("metric")["value"]
    assert table["accuracy"] == pytest.approx(expected)
    note = "of its 1,000 outputs, the 3 of the dataset's classes are taken (by WordNet number"
    assert found.notes[0] == "some: passed over: 3 .gif."
    assert note in found.notes[1] and not model.columns, "the caller's stays as it is"
    page = found.save(tmp_path / "report")
    for file in ("report.md", "tables/summary.csv"):
        text = (page.parent / file).read_text()
        assert note in text and "passed over: 3 .gif" in text
    identity = api.evaluate(
        model, replace(data, classes=("0", "1", "2"), notes=()), only=["clean"], device="cpu"
    )
    assert "have no names" in identity.notes[0]
    assert identity["clean"].table["value"].tolist() != found["clean"].table["value"].tolist()


def test_classes_that_no_name_tells_are_refused_and_a_file_helps(
    digits: TensorDataset, tmp_path: Path
) -> None:
    data, net = chosen(digits, ["seven", "two", "five"]), Pooled(10)
    with pytest.raises(
        UserError, match=r"pooled on some: the network has 10 outputs, .* 3 classes"
    ):
        api.evaluate(wrap(net), data, only=["clean"])
    told = replace(data, notes=("1 class folder without images: two",))
    with pytest.raises(UserError, match=r"in a \.toml\); 1 class folder without images: two"):
        api.evaluate(wrap(net), told, only=["clean"])
    found = api.evaluate(wrap(net, classes=NAMES), data, only=["clean"], device="cpu")
    accuracy = found["clean"].table.set_index("metric")["value"]["accuracy"]
    assert accuracy == pytest.approx(by_hand(net, data, SOME))
    assert "3 of the dataset's classes are taken (by the names in classes)" in found.notes[0]

    torch.save(net.state_dict(), tmp_path / "net.pth")
    code = "from tests.jobs.test_classes import Pooled\ndef build():\n    return Pooled(10)\n"
    (tmp_path / "nets.py").write_text(code)
    spec = f"n={tmp_path}/nets.py:build@{tmp_path}/net.pth?norm=half"
    prints = set()
    for text in ("\n".join(NAMES), "\n".join(NAMES[::-1])):
        (tmp_path / "order.txt").write_text(text)
        (one,) = load_models([f"{spec}&classes={tmp_path}/order.txt"], data)
        prints.add(one.info.fingerprint)
    assert len(prints) == 2, "another order is another result"
    with pytest.raises(UserError, match="n on some: the network has 10 outputs"):
        load_models([spec], data)


def test_the_head_is_that_of_the_matched_classes(
    networks: Callable[..., Classifier], digits: TensorDataset, tmp_path: Path
) -> None:
    """A checkpoint has the names; what uses the head's weights uses the same rows."""
    net, data = networks(1), chosen(digits, ["seven", "two", "five"])
    card = ModelCard(
        architecture="preactresnet10",
        options={"classes": 10, "width": 4},
        mean=(0.25,) * 3,
        std=(0.2,) * 3,
        classes=tuple(NAMES),
    )
    checkpoints.save(tmp_path / "net.safetensors", net, card)
    (one,) = load_models([str(tmp_path / "net.safetensors")], data)
    only = ["clean", "feature_drop", "localization"]
    found = api.evaluate(one.model, data, only=only, device="cpu")
    accuracy = found["clean"].table.set_index("metric")["value"]["accuracy"]
    assert accuracy == pytest.approx(by_hand(net, data, SOME))
    for name in only[1:]:
        checks = found[name].result.frame.query("unit == 'check'")
        assert len(checks) and (checks["value"] == 1).all(), name
    torch.testing.assert_close(one.model.head.weight, net.head.weight[SOME])
    earlier = LazyCheckpoints({1: tmp_path / "net.safetensors"}, one.model.columns)[1]
    images = data.split("test").batch(slice(0, 2)).images
    torch.testing.assert_close(earlier(images), net(images)[:, SOME])


def test_labels_without_names_are_outputs() -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    data, net = from_arrays(images, np.arange(40) % 7), Pooled(1000)
    found = api.evaluate(wrap(net), data, only=["clean"], device="cpu")
    accuracy = found["clean"].table.set_index("metric")["value"]["accuracy"]
    assert accuracy == by_hand(net, data, [*range(1000)])
    assert "taken as the numbers of its 1,000 outputs" in found.notes[0]


def test_masked_and_not_by_name(digits: TensorDataset, tmp_path: Path) -> None:
    """Of 1,000 outputs, all others compete where it is asked for; the protocol says which."""
    data, net = chosen(digits, [*WNIDS]), Pooled(1000)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    code = "from tests.jobs.test_classes import Pooled\ndef build():\n    return Pooled(1000)\n"
    (tmp_path / "nets.py").write_text(code)
    spec = f"{tmp_path}/nets.py:build@{tmp_path}/net.pth?norm=none"
    specs = [f"masked={spec}", f"full={spec}&mask=false"]
    models = {one.info.group: one.model for one in load_models(specs, data)}
    found = {
        name: api.evaluate(model, data, only=["clean"], device="cpu")
        for name, model in models.items()
    }
    masked, full = (found[name]["clean"].result for name in ("masked", "full"))
    split = data.split("test")
    with torch.no_grad():
        logits = net(split.images.float() / 255)
    places = torch.tensor([*WNIDS.values()])
    expected = 100 * float((logits.argmax(1) == places[split.labels]).double().mean())
    assert full.value("accuracy") == pytest.approx(expected)
    assert masked.value("accuracy") == pytest.approx(by_hand(net, data, [*WNIDS.values()]))
    assert full.value("chance") == 0.1 and masked.value("chance") == pytest.approx(100 / 3)
    assert set(masked.frame["protocol"]) == {f"clean@{clean.VERSION}+masked3of1000"}
    assert set(full.frame["protocol"]) == {f"clean@{clean.VERSION}+full1000"}
    assert any("of its 1,000 outputs, 3 are" in note for note in found["full"].notes)
    other = replace(data, classes=("n01440764", "n02085620", "n01443537"))
    with pytest.raises(UserError, match="which output is which class is not known for n01443537"):
        api.evaluate(models["full"], other, only=["clean"], device="cpu")
    live = api.evaluate(wrap(net, mask=False), data, only=["clean"], device="cpu")
    assert live["clean"].result.value("accuracy") == full.value("accuracy")
    with pytest.raises(UserError, match="expected mask=true or mask=false, got mask=maybe"):
        load_models([f"{spec}&mask=maybe"], data)


def test_any_of_several_correct_classes(digits: TensorDataset) -> None:
    """An image of a digit may also be called the next one; what needs one label is skipped."""
    split = digits.split("test").subsample(60)
    accepted = torch.stack([split.labels, (split.labels + 1) % 10], 1)
    accepted[::2, 1] = -1
    data = replace(digits, parts={"test": replace(split, accepted=accepted)})
    net = Pooled(10)
    only = ["clean", "deformation", "feature_drop"]
    found = api.evaluate(wrap(net), data, only=only, device="cpu")
    with torch.no_grad():
        logits = net(split.images.float() / 255)
    correct = (logits.argmax(1)[:, None] == accepted).any(1)
    assert correct.sum() > (logits.argmax(1) == split.labels).sum()
    result = found["clean"].result
    assert result.value("accuracy") == pytest.approx(100 * float(correct.double().mean()))
    assert result.value("chance") == pytest.approx(15.0)
    top = logits.topk(5).indices
    by_top5 = (top[:, :, None] == accepted[:, None]).flatten(1).any(1)
    assert result.value("top5") == pytest.approx(100 * float(by_top5.double().mean()))
    for link in clean.row_links(result):
        value = link.scale * float(np.mean(link.outcomes))
        assert value == pytest.approx(result.value(link.metric, **link.where))
    unchanged = found["deformation"].result.value("accuracy", deformation="none")
    assert unchanged == result.value("accuracy")
    (skipped,) = found.study.info.skipped
    assert skipped.reason == "needs one correct class for each image"
