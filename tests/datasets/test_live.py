"""Live objects give the pixels, labels and names that `from_arrays` gives of the same arrays."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils import data as td
from torchvision import models
from torchvision import transforms as v1
from torchvision.datasets import FakeData, VisionDataset
from torchvision.transforms import v2

import catchup_eval as ce
from catchup_eval.datasets.arrays import from_arrays
from catchup_eval.datasets.live import LiveDataset, from_live, reader
from catchup_eval.datasets.live.normalisation import Normalisation

N, MEAN, STD = 12, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 3, 8, 8), dtype=np.uint8)
LABELS = np.arange(N) % 4
NORM = Normalisation(MEAN, STD)


class Photos(VisionDataset):
    """As torchvision's: PIL images, a transform, names of classes, labels that are known."""

    classes = ["ant", "bee", "cat", "dog"]

    def __init__(self, transform: Any = None, target_transform: Any = None, side: int = 8):
        super().__init__("", transform=transform, target_transform=target_transform)
        self.targets, self.read, self.side = LABELS.tolist(), [], side

    def __len__(self) -> int:
        return N

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        self.read.append(row)
        image = Image.fromarray(IMAGES[row].transpose(1, 2, 0))
        label = int(LABELS[row])
        return self.transforms(image, label) if self.transforms else (image, label)


class Stream(td.IterableDataset):
    def __init__(self, data: Any):
        self.data = data

    def __iter__(self) -> Iterator[Any]:
        return (self.data[row] for row in range(N))


class Changed(td.Dataset):
    """A dataset around another, with a transform of its own."""

    def __init__(self, dataset: Any, change: Callable[[Any], Any]):
        self.dataset, self.change = dataset, change

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        image, label = self.dataset[row]
        return self.change(image), label


def photos(*steps: Any) -> Photos:
    return Photos(v1.Compose([v1.ToTensor(), *steps]))


def normalised() -> Photos:
    return photos(v1.Normalize(MEAN, STD))


def collate(samples: list[Any]) -> dict[str, torch.Tensor]:
    images, labels = zip(*samples, strict=True)
    return {"pixel_values": torch.stack(images), "labels": torch.tensor(labels)}


TENSORS = torch.from_numpy(IMAGES), torch.from_numpy(LABELS)
V2 = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
PLAIN: dict[str, Callable[[], Any]] = {
    "arrays": lambda: (IMAGES, LABELS),
    "tensors": lambda: TENSORS,
    "channels last": lambda: (IMAGES.transpose(0, 2, 3, 1), LABELS),
    "floats that require gradients": lambda: ((TENSORS[0] / 255).requires_grad_(), TENSORS[1]),
    "bfloat16": lambda: ((TENSORS[0] / 255).bfloat16(), TENSORS[1]),
    "TensorDataset": lambda: td.TensorDataset(*TENSORS),
    "PIL images": Photos,
    "ToTensor": photos,
    "a list of pairs": lambda: [photos()[row] for row in range(N)],
    "one-hot": lambda: td.TensorDataset(TENSORS[0], torch.eye(4)[TENSORS[1]]),
    "collate_fn": lambda: td.DataLoader(photos(), batch_size=5, collate_fn=collate),
    "a stream": lambda: Stream(photos()),
    "numpy, channels last": lambda: Changed(Photos(), np.asarray),
    "mappings": lambda: [{"img": image, "target": label} for image, label in Photos()],
}
NORMALISED: dict[str, Callable[[], Any]] = {
    "v1": normalised,
    "v2": lambda: Photos(v2.Compose(V2)),
    "nested": lambda: Photos(v1.Compose([v1.ToTensor(), nn.Sequential(v1.Normalize(MEAN, STD))])),
    "Subset": lambda: td.Subset(td.Subset(normalised(), range(N)), range(N)),
    "ConcatDataset": lambda: td.ConcatDataset(
        [td.Subset(normalised(), range(5)), td.Subset(normalised(), range(5, N))]
    ),
    "a dataset around another": lambda: Changed(photos(), v1.Normalize(MEAN, STD)),
    "a crop after it": lambda: Changed(normalised(), v1.CenterCrop(8)),
    "in two steps": lambda: photos(v1.Normalize((0.5,) * 3, (0.5,) * 3), SECOND),
    "a loader that shuffles": lambda: td.DataLoader(normalised(), batch_size=5, shuffle=True),
    "a stream in a loader": lambda: td.DataLoader(Stream(normalised()), batch_size=5),
    "a sampler of all": lambda: td.DataLoader(normalised(), sampler=td.SubsetRandomSampler(ALL)),
}
ALL = range(N)
# (x - 0.5) / 0.5 first, then this: in all (x - MEAN) / STD.
SECOND = v1.Normalize([(m - 0.5) / 0.5 for m in MEAN], [s / 0.5 for s in STD])


def same(live: LiveDataset, like: ce.TensorDataset) -> None:
    for name, part in like.parts.items():
        mine = live.split(name)
        assert torch.equal(mine.images, part.images) and mine.images.shape == part.images.shape
        assert torch.equal(mine.labels, part.labels) and torch.equal(mine.index, part.index)
    assert live.fingerprint == like.fingerprint and live.parts.keys() == like.parts.keys()


@pytest.mark.parametrize("kind", PLAIN)
def test_every_kind_gives_the_same_dataset(kind: str) -> None:
    live = from_live(PLAIN[kind]())
    same(live, from_arrays(IMAGES, LABELS))
    assert live.normalisation is None


@pytest.mark.parametrize("kind", NORMALISED)
def test_normalize_is_taken_out_and_its_pixels_are_the_same(kind: str) -> None:
    given = NORMALISED[kind]()
    live = from_live(given)
    same(live, from_arrays(IMAGES, LABELS))
    assert live.normalisation is not None
    np.testing.assert_allclose(live.normalisation, NORM, rtol=1e-6)
    assert any("Normalize" in note or "normalises 2 times" in note for note in live.notes)
    np.testing.assert_allclose([live.mean, live.std], NORM, rtol=1e-6)  # what a training takes


def test_the_object_keeps_its_transform() -> None:
    given = normalised()
    before = given[0][0].clone(), given.transform.transforms[:]
    from_live(td.DataLoader(given))
    assert torch.equal(given[0][0], before[0]) and given.transform.transforms == before[1]


def test_the_presets_of_torchvisions_weights() -> None:
    preset = models.ResNet18_Weights.IMAGENET1K_V1.transforms(crop_size=8, resize_size=8)
    live = from_live(Photos(preset))
    assert live.normalisation == Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    same(live, from_arrays(IMAGES, LABELS))
    assert preset.mean == [0.485, 0.456, 0.406]


def test_a_normalize_that_no_image_passes_is_none() -> None:
    given = photos()
    given.for_training = v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD)])
    live = from_live(given)
    assert live.normalisation is None and not live.notes


def test_hugging_face() -> None:
    hf = pytest.importorskip("datasets", reason="the extra `huggingface` is not installed")
    names = [*Photos.classes]
    rows = {"picture": [image for image, _ in Photos()], "kind": LABELS.tolist()}
    features = hf.Features({"picture": hf.Image(), "kind": hf.ClassLabel(names=names)})
    hf.disable_progress_bars()
    given = hf.Dataset.from_dict(rows, features=features)

    def transform(batch: Any) -> Any:
        pixels = [v1.functional.to_tensor(image) for image in batch["picture"]]
        return {"pixel_values": pixels, "labels": batch["kind"]}

    kinds = (given, given.with_format("torch"), given.with_transform(transform))
    for each in (*kinds, td.DataLoader(kinds[2]), given.to_iterable_dataset()):
        live = from_live(each)
        same(live, from_arrays(IMAGES, LABELS))
        assert live.classes == tuple(names)
    with pytest.raises(ce.UserError, match="got a DatasetDict of test; give one of them"):
        from_live(hf.DatasetDict(test=given))
    twice = given.add_column("other", LABELS.tolist()).cast_column("other", features["kind"])
    with pytest.raises(ce.UserError, match=r"expected one column of labels .*, got kind, other"):
        from_live(twice)


def test_names_of_classes() -> None:
    assert from_live(Photos()).classes == ("ant", "bee", "cat", "dog")
    assert from_live(td.Subset(Photos(), range(4))).classes == ("ant", "bee", "cat", "dog")
    both = td.ConcatDataset([Photos(), Photos()])
    assert from_live(both).classes == ("ant", "bee", "cat", "dog")
    both.datasets[1].classes = ["dog", "cat", "bee", "ant"]
    with pytest.raises(ce.UserError, match="expected the same classes in all of the concatenated"):
        from_live(both)
    changed = from_live(Photos(v1.ToTensor(), target_transform=lambda label: 3 - label))
    assert changed.classes == ("0", "1", "2", "3") and "target_transform" in changed.notes[0]
    assert changed.split("test").labels.tolist() == (3 - LABELS).tolist()


def test_train_and_ood() -> None:
    ood = np.zeros((2, 8, 8), np.uint8)
    live = from_live(
        normalised(), train=photos(), ood={"black": ood, "list": [(ood[0], 7)]}, name="own"
    )
    like = from_arrays(
        IMAGES, LABELS, train=(IMAGES, LABELS), out={"black": ood, "list": ood[:1]}, name="own"
    )
    same(live, like)
    assert live.name == "own" and from_live(train=Photos()).parts.keys() == {"train"}


def test_other_normalisation_of_another_split_is_noted() -> None:
    live = from_live(normalised(), train=photos(v1.Normalize((0.1,) * 3, STD)))
    assert "train was normalised by 0.1,0.1,0.1/0.2,0.25,0.3, unlike Photos" in live.notes


def test_rounding_is_told() -> None:
    """Interpolated pixels lie between the levels; those of ToTensor on them."""
    live = from_live(photos(v1.Resize(4)))
    assert "floats between the 256 levels" in live.notes[0]
    expected = torch.stack([photos(v1.Resize(4))[row][0] for row in range(N)])
    assert (live.split("test").images / 255 - expected).abs().max() <= 0.5 / 255 + 1e-6


def test_grey_images() -> None:
    grey = [(Image.fromarray(image[0]), int(label)) for image, label in zip(IMAGES, LABELS)]
    live = from_live(grey)
    same(live, from_arrays(IMAGES[:, 0], LABELS))
    assert live.channels == 1
    for place in (0, 5):  # 0, unlike 5, is among those that are looked at first
        mixed = list(grey)
        mixed[place] = Photos()[place]
        live = from_live(mixed)
        assert live.channels == 3 and "grey images get three equal channels" in live.notes[0]
        assert torch.equal(live.split("test").images[place], TENSORS[0][place])


SELECTED = list(range(0, N, 2))


@pytest.mark.parametrize(
    ("loader", "rows", "size", "note"),
    [
        ({"batch_size": 5, "drop_last": True}, ALL, 5, "the last 2 are evaluated, too"),
        ({"sampler": SELECTED[::-1]}, SELECTED, 1, "sampler (list) selects 6 of 12 images"),
        ({"batch_sampler": [[0, 2], [4, 6, 8, 10]]}, SELECTED, None, "selects 6 of 12"),
        (
            {"batch_sampler": td.BatchSampler(td.SubsetRandomSampler(SELECTED), 4, True)},
            SELECTED,
            4,
            "the loader shuffles (SubsetRandomSampler); its dataset is read in its own order",
        ),
        ({"batch_size": None}, ALL, None, ""),
    ],
)
def test_a_loaders_selection(
    loader: dict[str, Any], rows: Any, size: int | None, note: str
) -> None:
    live = from_live(td.DataLoader(photos(), **loader))
    kept = list(rows)
    same(live, from_arrays(IMAGES[kept], LABELS[kept], index=kept))
    assert live.batch_size == size and any(note in each for each in live.notes) == bool(note)


def test_a_loaders_generator_is_left_where_it_was() -> None:
    own, state = torch.Generator().manual_seed(1), torch.get_rng_state()
    loader = td.DataLoader(photos(), shuffle=True, generator=own)
    expected = [label.item() for _, label in loader]
    own.manual_seed(1)
    same(from_live(loader), from_arrays(IMAGES, LABELS))
    assert [label.item() for _, label in loader] == expected != LABELS.tolist()
    assert torch.equal(state, torch.get_rng_state())


def test_random_transforms_are_refused_and_the_generators_restored() -> None:
    states = torch.get_rng_state(), random.getstate()
    with pytest.raises(ce.UserError, match=r"random \(RandomHorizontalFlip\); leave that out"):
        from_live(Photos(v1.Compose([v1.RandomHorizontalFlip(), v1.ToTensor()])))
    with pytest.raises(ce.UserError, match="other images each time"):
        from_live(Changed(photos(), lambda image: image * random.random()))
    assert torch.equal(states[0], torch.get_rng_state()) and states[1] == random.getstate()
    live = from_live(Photos(v1.Compose([v1.RandomCrop(8), v1.ToTensor()])))
    assert "may be random (RandomCrop), but 8 images read 4 times were the same" in live.notes[0]


def test_much_lies_in_a_temporary_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MOST_BYTES", 1000)
    live = from_live(normalised())
    same(live, from_arrays(IMAGES, LABELS))
    assert any("pixels lie in a temporary file" in note for note in live.notes)
    with pytest.raises(ce.UserError, match=r"expected at most .* \(5 images\) from Stream"):
        from_live(Stream(photos()))
    monkeypatch.setattr(
        reader.shutil, "disk_usage", lambda _: reader.shutil._ntuple_diskusage(1, 1, 9)
    )
    with pytest.raises(ce.UserError, match=r"the pixels of Photos need .* are free; make room"):
        from_live(photos())


@pytest.mark.parametrize("limit", [3, 6, 100])
def test_a_limit_reads_no_more_than_it_selects(limit: int) -> None:
    whole = from_live(photos(), ood={"own": Photos()}).subsample(limit)
    given, ood = photos(), Photos()
    live = from_live(td.Subset(given, ALL), ood={"own": ood}, limit=limit)
    same(live, whole)
    assert (live.classes, live.subset) == (whole.classes, whole.subset)
    assert len(set(given.read)) == len(set(ood.read)) == min(limit, N)
    unnamed = from_live(FakeData(20, (3, 8, 8), 4, v1.ToTensor()), limit=limit)
    assert unnamed.subset == ("" if limit > 20 else f"subset: test n={limit} of 20")


def test_a_limit_trusts_no_labels() -> None:
    given = photos()
    given.targets = [0] * N  # not what it gives
    same(from_live(given, limit=4), from_live(photos(), limit=4))


def bad(*steps: Any) -> Callable[[], Any]:
    return lambda: photos(*steps)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: 3, "expected a torch Dataset or DataLoader, .* got int"),
        (lambda: None, "got NoneType"),
        (lambda: {"x": IMAGES}, "got a dict of x; give one of them"),
        (lambda: iter([]), "which can be read only once"),
        (list, "expected images in list, got an empty dataset"),
        (lambda: Stream(photos()).data.transform, "got Compose"),
        (
            bad(lambda x: (x - 0.5) / 0.25),
            r"pixels of Photos in \[0, 1\], got -2 to 1.91; if they are normalised.*"
            r"write ce.wrap\(net, mean=..., std=...\)",
        ),
        (bad(v1.Normalize(MEAN, STD), torch.relu), "but not as its last step"),
        (bad(lambda x: x * 255), r"divide them by 255, as v2.ToDtype\(torch.float32, scale=True\)"),
        (bad(lambda x: x * float("nan")), "got nan to nan"),
        (bad(lambda x: x.int()), "as uint8 or as floats in .*, got int32"),
        (
            bad(lambda x: x[:2]),
            r"expected an image of Photos as \(3, H, W\), .* got shape \(2, 8, 8",
        ),
        (bad(lambda x: 1 // 0), "sample 0 of Photos cannot be read: ZeroDivisionError"),
        (lambda: (TENSORS[0] / 255 - 1, LABELS), "give the pixels, and mean and std with the net"),
        (lambda: [(np.zeros((3, 3, 3), np.uint8), 0)], "channels first or last"),
        (lambda: [(np.zeros((8, 8 + row), np.uint8), 0) for row in (0, 1)], "8 x 8 and 8 x 9 pix"),
        (lambda: [(0, IMAGES[0])], "the image as a PIL image, a tensor or an array, got int"),
        (lambda: td.TensorDataset(TENSORS[0]), "got images without labels"),
        (lambda: [(IMAGES[0], None), (IMAGES[0], 1)], "sample 0 of list has no label"),
        (lambda: [(IMAGES[0], "cat")], "a whole number or a one-hot row, got str for sample 0"),
        (lambda: [(IMAGES[0], 0), (IMAGES[0], [0, 1])], "the labels of list differ in shape"),
        (lambda: td.TensorDataset(TENSORS[0], torch.eye(4)[LABELS] * 0.9), "as .* whole numbers"),
        (lambda: td.TensorDataset(TENSORS[0], TENSORS[1] - 1), "labels from 0 to .*, got -1 to 2"),
        (lambda: [{"a": IMAGES[0]}], "expected one column of images in list, got a"),
        (
            lambda: td.DataLoader(Photos(), sampler=td.WeightedRandomSampler([1.0] * N, N)),
            r"draws its images at random \(WeightedRandomSampler\)",
        ),
        (
            lambda: td.DataLoader(Photos(), sampler=td.RandomSampler(Photos(), num_samples=N // 2)),
            "draws its images at random",
        ),
    ],
)
def test_what_cannot_be_read_is_one_sentence(given: Callable[[], Any], message: str) -> None:
    with pytest.raises(ce.UserError, match=message) as error:
        from_live(given())
    assert "\n" not in str(error.value)


def test_a_length_that_is_not_there() -> None:
    class Short(Photos):
        def __len__(self) -> int:
            return N + 5

    with pytest.raises(ce.UserError, match=r"sample 1[0-9] of Short cannot be read: IndexError"):
        from_live(Short())


def test_a_users_function_may_give_a_live_object(tmp_path: Path) -> None:
    lines = (
        "import torch",
        "from torch.utils.data import TensorDataset",
        "def test():",
        "    return TensorDataset(torch.zeros(4, 3, 8, 8), torch.arange(4))",
        "def words():",
        "    return 'no dataset'",
    )
    (tmp_path / "data.py").write_text("\n".join(lines))
    data = ce.data(f"{tmp_path}/data.py:test")
    assert (data.name, len(data.split("test")), data.classes) == ("test", 4, tuple("0123"))
    assert data.code
    with pytest.raises(ce.UserError, match=r"expected a torch Dataset or .* got str"):
        ce.data(f"{tmp_path}/data.py:words")
