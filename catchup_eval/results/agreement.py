"""Agreement of models: do they misclassify the same images?"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, islice, product, zip_longest
from pathlib import Path

import numpy as np

from catchup_eval.core.errors import BadFile
from catchup_eval.core.files import atomic_path
from catchup_eval.core.readers import read_npz
from catchup_eval.metrics.agreement import cohen_kappa
from catchup_eval.results.study import Study

LISTED = 12  # images in all, and numbers for each model
EXAMPLES = Path("results", "pictures.npz")
MOST = 64_000_000  # bytes of the images


@dataclass(frozen=True)
class Agreement:
    """How similar the groups' mistakes are."""

    of: str  # "correctness" or "predictions"
    groups: tuple[str, ...]
    # (G, G) Cohen's kappa, the mean over all pairs of different networks; on the diagonal the seeds
    # of one group among themselves, NaN where there is one.
    kappa: np.ndarray


def agreement(study: Study) -> Agreement | None:
    """Cohen's kappa between the networks, from the first analysis that stored their predictions.

    Correctness (the sample `correct`) says more than the predictions (`prediction`), which agree
    between two good networks just because both are correct.
    """
    for name, of in (("correct", "correctness"), ("prediction", "predictions")):
        outcomes = _predictions(study, name)
        if outcomes:
            return Agreement(of, tuple(outcomes), _kappas(list(outcomes.values())))
    return None


def uniquely_correct(study: Study) -> dict[str, np.ndarray]:
    """For each group, the numbers of the samples that it alone classifies correctly.

    All of its networks do, and no network of another group. The numbers are the sample `index`, or
    the places in the split where that is not stored. Empty where no analysis stored on which
    samples the networks are correct.
    """
    outcomes = _predictions(study, "correct")
    index = next(iter(_predictions(study, "index").values()), [None])[0]
    some = {group: np.any(hits, axis=0) for group, hits in outcomes.items()}
    own = {}
    for group, hits in outcomes.items():
        others = np.any([some[other] for other in some if other != group], axis=0)
        own[group] = np.flatnonzero(np.all(hits, axis=0) & ~others)
    return own if index is None else {group: index[places] for group, places in own.items()}


def _predictions(study: Study, name: str) -> dict[str, list[np.ndarray]]:
    """The outcomes of each group's networks, from the first analysis that stored them for all."""
    for analysis in study.available_analyses():
        outcomes: dict[str, list[np.ndarray]] = {}
        for member in study.members(analysis):
            if name in member.result.samples:
                outcomes.setdefault(member.model, []).append(member.result.samples[name])
        shapes = {array.shape for arrays in outcomes.values() for array in arrays}
        if len(outcomes) > 1 and len(shapes) == 1 and len(next(iter(shapes))) == 1:
            return outcomes
    return {}


def _kappas(outcomes: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    table = np.full((len(outcomes), len(outcomes)), np.nan)
    for i, j in np.ndindex(*table.shape):
        pairs = combinations(outcomes[i], 2) if i == j else product(outcomes[i], outcomes[j])
        kappas = [cohen_kappa(a, b) for a, b in pairs]
        if kappas:
            table[i, j] = np.mean(kappas)
    return table


def choose(found: Mapping[str, np.ndarray]) -> dict[int, str]:
    """Which model alone is correct on which sample: at most :data:`LISTED`, the models in turns.

    Example:
        >>> choose({"a": np.array([3, 5]), "b": np.array([9])})
        {3: 'a', 9: 'b', 5: 'a'}
    """
    named = [[(int(number), name) for number in numbers] for name, numbers in found.items()]
    turns = chain.from_iterable(zip_longest(*named))
    return dict(islice(filter(None, turns), LISTED))


def save_examples(study: Study, images: np.ndarray, index: np.ndarray, folder: Path) -> None:
    """Save the images that a page of this study shows; nothing where there are none.

    Args:
        images: (N, C, H, W) uint8.
        index: (N,) their sample numbers.
    """
    places = {int(number): place for place, number in enumerate(index)}
    known = [number for number in choose(uniquely_correct(study)) if number in places]
    if known:
        pixels = images[[places[number] for number in known]]
        with atomic_path(folder / EXAMPLES) as temporary:
            np.savez_compressed(temporary, images=pixels, numbers=np.array(known))


def load_examples(folder: Path) -> dict[int, np.ndarray]:
    """The images (C, H, W) by sample number; empty where none were saved.

    Raises:
        BadFile: the file is damaged.
    """
    path = folder / EXAMPLES
    if not os.path.lexists(path):
        return {}
    try:
        found = read_npz(path, most=MOST, below=folder, unfolded=MOST, names=2)
        numbers, images = found["numbers"], found["images"]
        if numbers.dtype.kind not in "iu" or numbers.ndim != 1 or not len(numbers) <= LISTED:
            raise BadFile(f"expected at most {LISTED} numbers, got {numbers.dtype} {numbers.shape}")
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise BadFile(f"expected images (N, C, H, W), got {images.dtype} {images.shape}")
        return dict(zip(numbers.tolist(), images, strict=True))
    except (BadFile, KeyError, ValueError) as error:
        raise BadFile(f"{EXAMPLES.as_posix()} cannot be read: {error}") from error
