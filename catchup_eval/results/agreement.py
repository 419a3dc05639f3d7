"""Are two networks wrong on the same images?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, islice, zip_longest
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from catchup_eval.core.errors import BadFile
from catchup_eval.core.files import atomic_path
from catchup_eval.metrics.agreement import cohen_kappa
from catchup_eval.results.study import Study


@dataclass(frozen=True)
class Agreement:
    """How alike the groups' mistakes are.

    Args:
        of: "correctness" or "predictions".
        groups: in order.
        kappa: (G, G) Cohen's kappa, the mean over all pairs of different networks; on the
            diagonal the seeds of one group among themselves, NaN where there is one.
    """

    of: str
    groups: tuple[str, ...]
    kappa: np.ndarray


def agreement(study: Study) -> Agreement | None:
    """Cohen's kappa between the networks, from the first question that stored what they answered.

    On which images two networks are right (the sample `correct`) says more than what they answer
    (`prediction`): two good networks give the same answers by being right alone.
    """
    for name, of in (("correct", "correctness"), ("prediction", "predictions")):
        answers = _predictions(study, name)
        if answers:
            return Agreement(of, tuple(answers), _kappas(list(answers.values())))
    return None


def uniquely_correct(study: Study) -> dict[str, np.ndarray]:
    """For each group, the numbers of the samples that it alone gets right.

    Right by all of its networks, and by no network of another group. The numbers are the sample
    `index`, or the places in the part where that is not stored. Empty where no question stored on
    which samples the networks are right.
    """
    answers = _predictions(study, "correct")
    index = next(iter(_predictions(study, "index").values()), [None])[0]
    every = {group: np.all(hits, axis=0) for group, hits in answers.items()}
    some = {group: np.any(hits, axis=0) for group, hits in answers.items()}
    own = {
        group: np.flatnonzero(every[group] & ~np.any([some[o] for o in some if o != group], axis=0))
        for group in answers
    }
    return own if index is None else {group: index[places] for group, places in own.items()}


def _predictions(study: Study, name: str) -> dict[str, list[np.ndarray]]:
    """What each group's networks answered, from the first question that stored it for all."""
    for analysis in study.available_analyses():
        answers: dict[str, list[np.ndarray]] = {}
        for member in study.members(analysis):
            if name in member.result.samples:
                answers.setdefault(member.model, []).append(member.result.samples[name])
        shapes = {array.shape for arrays in answers.values() for array in arrays}
        if len(answers) > 1 and len(shapes) == 1 and len(next(iter(shapes))) == 1:
            return answers
    return {}


def _kappas(answers: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    table = np.full((len(answers), len(answers)), np.nan)
    for i, j in np.ndindex(*table.shape):
        pairs = (
            [(a, b) for a in answers[i] for b in answers[j]]
            if i != j
            else list(combinations(answers[i], 2))
        )
        if pairs:
            table[i, j] = np.mean([cohen_kappa(a, b) for a, b in pairs])
    return table


SHOWN = 12  # images in all, and numbers for each model


def choose(found: Mapping[str, np.ndarray]) -> dict[int, str]:
    """Which model is right on which sample: at most :data:`SHOWN`, the models taking turns.

    Args:
        found: for each model, the numbers of the samples that it alone gets right.

    Example:
        >>> choose({"a": np.array([3, 5]), "b": np.array([9])})
        {3: 'a', 9: 'b', 5: 'a'}
    """
    named = [[(int(number), name) for number in numbers] for name, numbers in found.items()]
    turns = chain.from_iterable(zip_longest(*named))
    return dict(islice(filter(None, turns), SHOWN))


def save_examples(study: Study, images: np.ndarray, index: np.ndarray, folder: Path) -> None:
    """Keep the images that a page of this study shows; nothing where there are none.

    Args:
        images: (N, C, H, W) uint8.
        index: (N,) their sample numbers.
    """
    numbers = list(choose(uniquely_correct(study)))
    places = {int(number): place for place, number in enumerate(index)}
    known = [number for number in numbers if number in places]
    if known:
        pixels = images[[places[number] for number in known]]
        with atomic_path(_path(folder)) as temporary:
            np.savez_compressed(temporary, images=pixels, numbers=np.array(known))


def load_examples(folder: Path) -> dict[int, np.ndarray]:
    """The images (C, H, W) by sample number; empty where none were kept.

    Raises:
        BadFile: the file is damaged.
    """
    path = _path(folder)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            pairs = zip(found["numbers"], found["images"], strict=True)
            return {int(number): image for number, image in pairs}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise BadFile(f"{path} cannot be read: {error}") from error


def _path(folder: Path) -> Path:
    return folder / "results" / "pictures.npz"
