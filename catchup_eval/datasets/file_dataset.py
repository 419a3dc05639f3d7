"""Datasets whose images are files, decoded when a preprocessing is known."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from catchup_eval.datasets import decoding
from catchup_eval.datasets.dataset import (
    Dataset,
    Progress,
    Split,
    TensorDataset,
    combine_fingerprints,
)
from catchup_eval.datasets.files import FileSplit
from catchup_eval.datasets.preprocessing import Preprocess

KEPT = ".catchup-eval"  # in the data root; may be deleted at any time
PHOTOGRAPHS = Preprocess(224, resize=256)  # where neither network nor set says another

FOR_QUESTIONS = 10_000  # training images; questions take a sample of a few hundred


@dataclass(frozen=True)
class FileDataset(Dataset[FileSplit]):
    """A data set whose images lie as files.

    Args:
        root: the data root, in which views are kept.
        preprocess: how images are shown to a network that does not say it.

    The other arguments are those of :class:`Dataset`.
    """

    root: Path = field(kw_only=True)
    preprocess: Preprocess = field(default=PHOTOGRAPHS, kw_only=True)

    def transform(
        self, preprocess: Preprocess | None = None, progress: Progress | None = None
    ) -> "DecodedDataset":
        """The images as a network is shown them; each part is decoded when it is asked for."""
        way = preprocess or self.preprocess

        def decoded(files: FileSplit) -> Split:
            return decoding.decode_split(files, way, self._cache_folder, progress)

        facts = (self.classes, self.mean, self.std, self.about, self.subset)
        return DecodedDataset(self.name, LazySplits(self.parts, decoded), *facts, source=self)

    def preprocessing_for(self, own: Preprocess | None) -> Preprocess:
        """The network's own way, or the set's."""
        return own or self.preprocess

    def transform_fingerprint(self, preprocess: Preprocess | None = None) -> str:
        """The fingerprint that the view will have, before anything is decoded."""
        way = preprocess or self.preprocess
        return combine_fingerprints(
            {name: decoding.fingerprint(part, way) for name, part in self.parts.items()}
        )

    def bytes_to_decode(self, preprocess: Preprocess | None = None) -> int:
        """Bytes that this view adds to the disk once all of its parts were asked for."""
        way = preprocess or self.preprocess
        return sum(decoding.cost(part, way, self._cache_folder) for part in self.parts.values())

    def evaluation_subset(self) -> "FileDataset":
        """The same with at most 10,000 training images, since no question looks at more."""
        train = self.parts.get("train")
        if train is None or len(train) <= FOR_QUESTIONS:
            return self
        return self.with_splits({**self.parts, "train": train.subsample(FOR_QUESTIONS)})

    @property
    def _cache_folder(self) -> Path:
        return self.root / KEPT / "views"


class LazySplits(Mapping[str, Split]):
    """Parts of a view by name, each decoded when it is asked for, once."""

    def __init__(self, parts: Mapping[str, FileSplit], decode: Callable[[FileSplit], Split]):
        self._parts, self._decode = parts, decode
        self._done: dict[str, Split] = {}

    def __getitem__(self, name: str) -> Split:
        if name not in self._done:
            self._done[name] = self._decode(self._parts[name])
        return self._done[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, name: object) -> bool:
        return name in self._parts  # without decoding


@dataclass(frozen=True)
class DecodedDataset(TensorDataset):
    """A set of files as a network is shown it, in memory maps."""

    source: FileDataset = field(kw_only=True)

    def has(self, name: str) -> bool:
        """Whether there is such a part; nothing is decoded."""
        return self.source.has(name)
