"""Live objects as datasets: those of torch and of Hugging Face, data loaders, pairs of arrays.

Each is read once, image by image, in order, into the pixels that all analyses start from.

- **Normalisation** belongs inside the model. torchvision's `Normalize` (also that of the presets of
  its weights) is taken out of the transform, and :class:`LiveDataset` has its mean and std. It is
  checked on a few images that what is left, once normalised, is what the dataset gives. Any other
  that leaves pixels outside [0, 1] is refused.
- **Random transforms** are refused: a few images are read several times, and must be the same.
- **Order**: a loader's dataset is read in its own order, as far as its sampler selects it. A
  sampler that selects other images each time is refused.
- **Floats** are rounded to the nearest of 256 levels, as :mod:`catchup_eval.datasets.arrays` does.

More than 2 GiB of pixels lie in a temporary file, which ends with the process. A dataset without a
length is read to its end, up to this limit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils import data as torch_data

from catchup_eval.core.errors import UserError
from catchup_eval.datasets import arrays
from catchup_eval.datasets.dataset import AnySet, Dataset, Split, TensorDataset
from catchup_eval.datasets.live import samples
from catchup_eval.datasets.live.normalisation import Normalisation as Normalisation
from catchup_eval.datasets.live.reader import Part, Reader


@runtime_checkable
class SizedSamples(Protocol):
    """Samples by number, as a Hugging Face `Dataset` or a list has them."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


LiveData = (
    torch_data.Dataset[Any]
    | torch_data.DataLoader[Any]
    | SizedSamples
    | tuple[ArrayLike | Tensor, ArrayLike | Tensor]
)


@dataclass(frozen=True)
class LiveDataset(TensorDataset):
    """A live object's pixels.

    Args:
        normalisation: what the object gave its images with; None where nothing was found.
        channels: of its images as it gave them, 1 or 3.
        batch_size: that of its loader; None without one.
    """

    normalisation: Normalisation | None = field(default=None, kw_only=True)
    channels: int = field(default=3, kw_only=True)
    batch_size: int | None = field(default=None, kw_only=True)


def from_live(
    test: LiveData | AnySet | None = None,
    *,
    train: LiveData | AnySet | None = None,
    ood: Mapping[str, Any] | None = None,
    name: str = "",
    limit: int | None = None,
) -> LiveDataset:
    """The dataset of live objects.

    Args:
        test: what is evaluated. A sample is (image, label) or a mapping with such keys.
        train: what is learned from, and what analyses of training images take.
        ood: OOD images by name; labels are not looked at.
        name: for tables; that of the object's class where it is not given.
        limit: what `subsample` takes; of datasets that know their labels, no more is read.

    Raises:
        UserError: what cannot be read, or not without a guess; one sentence that says what to do.
    """
    notes: dict[str, None] = {}
    given = {"test": test, "train": train}
    read = {
        key: _read(value, key, notes, limit if key == "test" else None)
        for key, value in given.items()
        if value is not None
    }
    if not read:
        samples.check_kind(test)  # raises
    first = next(iter(read.values()))
    plain = arrays.assemble(
        name or first.name,
        {key: _labelled(key, part, notes) for key, part in read.items()},
        _class_names(read),
        notes,
        **_training_values(first.normalisation),
        about=f"{first.name}, a live object in Python",
    )
    live = LiveDataset(
        **vars(plain),
        normalisation=first.normalisation,
        channels=first.channels,
        batch_size=first.batch_size,
    )
    live = add_ood(_told(live, read), ood or {}, limit)
    return live if limit is None else live.subsample(limit)


OneSet = TypeVar("OneSet", bound=TensorDataset)


def add_ood(data: OneSet, ood: Mapping[str, Any], limit: int | None = None) -> OneSet:
    """A dataset in memory with live OOD images beside it, by name."""
    notes = dict.fromkeys(data.notes)
    read = {f"out:{key}": _read(ood[key], f"ood {key}", notes, limit, alike=True) for key in ood}
    parts = dict(data.parts)
    for key, part in zip(ood, read.values(), strict=True):
        parts |= arrays.out_split(key, part.images, part.rows)
    return _told(replace(data, parts=parts, notes=tuple(notes)), read)


def _told(data: OneSet, read: Mapping[str, Part]) -> OneSet:
    """The dataset, which says what of these splits was left out, or normalised otherwise."""
    norm = data.normalisation if isinstance(data, LiveDataset) else None
    notes = [
        f"{key} was normalised by {part.normalisation}, unlike {data.name}"
        for key, part in read.items()
        if part.normalisation not in (None, norm)
    ]
    cut = [
        f"{key} n={len(part.images)} of {part.whole}"
        for key, part in read.items()
        if len(part.images) < part.whole
    ]
    data = replace(data, notes=(*data.notes, *notes))
    if not cut:
        return data
    before = f"{data.subset}, " if data.subset else "subset: "
    return replace(data, subset=before + ", ".join(cut))


def _class_names(read: Mapping[str, Part]) -> Sequence[str] | None:
    named = [part.classes for part in read.values() if part.classes is not None]
    if any(list(names) != list(named[0]) for names in named):
        raise UserError("expected the same classes in test and train, got different names")
    if named:
        return named[0]
    known = max(part.classes_known for part in read.values())
    if not known:
        return None  # all images were read, so that their labels tell
    known = max(known, *(1 + int(np.max(samples.as_array(part.labels))) for part in read.values()))
    return [str(label) for label in range(known)]


def _training_values(norm: Normalisation | None) -> dict[str, Sequence[float]]:
    """The mean and std that a training is to take, where they are of pixels in [0, 1]."""
    if norm is None or not all(0 <= value <= 1 for row in norm for value in row):
        return {}
    times = 3 if len(norm.mean) == 1 else 1
    return {"mean": norm.mean * times, "std": norm.std * times}


def _labelled(key: str, part: Part, notes: dict[str, None]) -> Split:
    if part.labels is None:
        raise UserError(f"expected (image, label) from {part.name}, got images without labels")
    prefix = "" if key == "test" else f"{key}_"
    return arrays.make_split(prefix, part.images, part.labels, None, part.rows, notes=notes)


def _read(
    given: Any, what: str, notes: dict[str, None], limit: int | None, *, alike: bool = False
) -> Part:
    """One live object, read.

    Args:
        what: it is for: "test", "train", "ood NAME".
        alike: its labels do not count.
    """
    prefix = "" if what == "test" else f"{what}: "
    if isinstance(given, Dataset):
        split = given.transform().split("train" if what == "train" else "test")
        return Part(given.name, split.images, split.labels, split.index, given.classes)
    if samples.is_array(given) or samples.is_pair(given):
        images, labels = (given, None) if samples.is_array(given) else given
        values = samples.as_array(images)
        grey = values.ndim == 3 or 1 in (values.shape[1:2] + values.shape[3:])
        pixels = arrays.pixels(f"{prefix}images", values)
        own = None if labels is None else samples.as_array(labels)
        return Part("arrays", pixels, own, channels=1 if grey else 3)

    def say(note: str) -> None:
        notes[prefix + note] = None

    return Reader(given, say, limit, alike).read()
