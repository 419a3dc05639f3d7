"""How often is the network wrong when images are corrupted as cameras, weather and files do it?

All test images at each type and severity: the same image has the same corruption for every model.
Columns: `corruption` (the type), `severity` (1 to 5), then `metric`, `value`, `unit` (percent), `n`
images, `low` and `high` (95 % interval) and `protocol`. Metrics:

- `mean_error`: plain mean of the error over all types and severities, in percent; bootstrap over
  images. The mixup papers print it as "mCE"; it is not ImageNet-C's, which divides by AlexNet's.
- `mean_error_15`: the same over the 15 types that their authors test on, without the four for
  validation, as AugMix and RobustBench report it; absent where one of them was not asked
- `mce_alexnet`: ImageNet-C's mCE, in percent: the mean over the 15 types of each one's error as a
  share of AlexNet's on the released files. Only with the constants for 224 pixels, ImageNet's 1,000
  classes and all severities
- `corruption_error`: mean error of one `corruption` over its severities
- `error`: of one `corruption` at one `severity`, in percent; Wilson interval
- `clean_error`: without corruption, in percent; Wilson interval

The paper's figure is over all 19 types of the released CIFAR-100-C files, which were drawn without
a seed. `protocol` says what was asked here: `cifar19of19@2` is all types with the constants for 32
pixels; a choice of one's own is marked (`cifar2of19-3fa9@2`), as are fewer severities (`s135`).
With `files` the released images are shown: `released19of19@2`.
Frost needs `photographs` that are not part of this package; without them it is procedural, another
corruption than the official one, and the protocol says so: `cifar19of19-proceduralfrost@2`.

The images are kept in `corrupted` in the subject's data root, where there is one, so that the
second model does not wait for them; not so many that they would take most of its free disk.

Self-check: an image's corruption does not depend on its batch; of released files, that they show
these images.

Samples: `index` (N,), `clean` (N,) bool, `correct` (N, cells) bool in the order of the `error`
rows, and `error` (N,), each image's share of wrong cells.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from catchup_eval.analysis.base import PerSample, Recheck
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.analysis.corruption import alexnet
from catchup_eval.analysis.corruption.cache import (
    CorruptionVariant,
    cached_split,
    corrupt_split,
    fits_on_disk,
)
from catchup_eval.analysis.corruption.conventions import CONVENTIONS as CONVENTIONS
from catchup_eval.analysis.corruption.figures import plot as plot
from catchup_eval.analysis.corruption.registry import BENCHMARK_19, CORRUPTIONS, PRESETS, preset_for
from catchup_eval.analysis.corruption.released import (
    LOOKED_AT,
    Released,
    find_released,
    matches_originals,
)
from catchup_eval.analysis.corruption.transforms import frost
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.settings import one_of, validate_settings
from catchup_eval.datasets.dataset import Split
from catchup_eval.results.headline import Headline, RowLink
from catchup_eval.results.result import Result, Rows

TITLE = "Common corruptions"
DESCRIPTION = "How often is it wrong when images are noisy, blurred, snowy, pale or compressed?"
INTERPRETATION = (
    "Each row is a type of corruption, averaged over its severities; further left is better. The "
    "heat map has the error in percent at each severity and, at its margins, the means."
)
REFERENCE = (
    "Hendrycks and Dietterich 2019; the plain mean as in the mixup literature (PuzzleMix's code)"
)
NEEDS = frozenset({"test"})
VERSION = 2
COST = 13
HEADLINES = (Headline("mean_error", "corruption error", "lower", outcomes=("error",)),)
PER_SAMPLE: PerSample = {"test": ("clean", "correct")}
RECHECK = Recheck()
Source = CorruptionVariant | Released  # where corrupted images come from
ALL_SEVERITIES = (1, 2, 3, 4, 5)


def _check(settings: Mapping[str, Any]) -> None:
    corruptions, severities = settings["corruptions"], settings["severities"]
    for name in corruptions:
        if name not in CORRUPTIONS:
            raise UnknownName("corruption", name, CORRUPTIONS)
    for what, chosen in (("corruptions", corruptions), ("severities", severities)):
        if not chosen or len(set(chosen)) < len(chosen):
            raise UserError(f"expected {what}, each once, got {list(chosen)}")
    if not set(severities) <= set(ALL_SEVERITIES):
        raise UserError(f"expected severities from 1 to 5, got {list(severities)}")


@validate_settings(_check)
def measure(
    subject: EvaluationContext,
    *,
    corruptions: Sequence[str] = BENCHMARK_19,
    severities: Sequence[int] = ALL_SEVERITIES,
    preset: Annotated[str, one_of("preset", PRESETS)] | None = None,
    photographs: str | None = None,
    files: str | None = None,
) -> Result:
    """The rows and samples described above.

    Args:
        corruptions: of :data:`catchup_eval.analysis.corruption.registry.CORRUPTIONS`.
        severities: of 1 to 5; the paper takes all.
        preset: whose constants; those for the images' size where not given.
        photographs: folder of the official photographs of frost; without it frost is procedural.
        files: folder of the released CIFAR-10-C, CIFAR-100-C or ImageNet-C, whose images are then
            shown as they are, in place of corrupting; the part's `index` must be their rows.

    Raises:
        UnknownName: no such type or preset.
        UserError: nothing to do, something twice, or another severity; images cannot be kept.
        BadFile: a photograph is absent, or `files` do not belong to these images.
    """
    part = subject.data.split("test")
    preset = preset or preset_for(part.images.shape[-1])
    ice = frost.photographs(Path(photographs)) if photographs and "frost" in corruptions else ()
    variant = CorruptionVariant(subject.seed, preset, ice)
    source = None if files is None else find_released(Path(files), part)
    cells = [(name, severity) for name in corruptions for severity in severities]
    answer = partial(_correct, subject, part, source or variant)
    columns = [answer(*cell) for cell in subject.track(cells, len(cells))]
    correct = np.stack(columns, axis=1)
    samples = {
        "index": part.index.numpy(),
        "clean": subject.clean_correct,
        "correct": correct,
        "error": 1 - correct.mean(1),
    }
    rows = _rows(cells, samples, _protocol(source or variant, corruptions, severities))
    if preset == "imagenet" and len(subject.data.classes) == 1000:
        _add_alexnets(rows, cells, correct)
    _add_check(rows, part, source or variant, corruptions, severities[0])
    return Result(rows.frame(), samples)


def row_links(result: Result) -> Iterator[RowLink]:
    """Rows beyond the headlines, and the samples that each is the mean of."""
    wrong, cells = ~result.samples["correct"], result.rows("error")
    yield RowLink("clean_error", {}, ~result.samples["clean"])
    yield RowLink("mean_error", {}, wrong.mean(1))
    for column, (name, severity) in enumerate(
        cells[["corruption", "severity"]].itertuples(index=False)
    ):
        yield RowLink("error", {"corruption": name, "severity": severity}, wrong[:, column])
    for name in dict.fromkeys(cells["corruption"]):
        chosen = (cells["corruption"] == name).to_numpy()
        yield RowLink("corruption_error", {"corruption": name}, wrong[:, chosen].mean(1))


def _add_check(
    rows: Rows, part: Split, source: Source, corruptions: Sequence[str], severity: int
) -> None:
    if isinstance(source, Released):
        some = part[:LOOKED_AT]
        same = [
            matches_originals(some, source.read_cell(some, name, severity)) for name in corruptions
        ]
        rows.check("the files show these images, in their order", all(same), len(some))
        return
    same = [
        _is_noise_independent(part[:3], partial(corrupt_split, variant=source), name)
        for name in corruptions
    ]
    claim = "an image's corruption does not depend on its batch"
    rows.check(claim, all(same), len(part[:3]))


def _correct(
    subject: EvaluationContext, part: Split, source: Source, name: str, severity: int
) -> np.ndarray:
    if isinstance(source, Released):
        return subject.correct(part, partial(source.read_cell, name=name, severity=severity))
    root = subject.data_root
    if root is None or not root.is_dir() or not fits_on_disk(root, part):
        return subject.correct(
            part, partial(corrupt_split, name=name, severity=severity, variant=source)
        )
    images = cached_split(root / "corrupted", part, name, severity, source)
    return subject.correct(images, lambda some: some.images)


def _is_noise_independent(part: Split, change: Callable[..., Tensor], name: str) -> bool:
    alone = [change(part[i : i + 1], name, 3) for i in range(len(part))]
    return torch.equal(change(part, name, 3), torch.cat(alone))


def _rows(
    cells: Sequence[tuple[str, int]], samples: Mapping[str, np.ndarray], protocol: str
) -> Rows:
    rows = Rows(protocol)
    wrong = ~samples["correct"]
    names = np.array([name for name, _ in cells])
    mean = partial(_add_mean, rows, wrong)
    mean("mean_error", np.full(len(names), True))
    if alexnet.ERRORS.keys() <= set(names):
        mean("mean_error_15", np.isin(names, list(alexnet.ERRORS)))
    rows.rate("clean_error", ~samples["clean"])
    for name in dict.fromkeys(names.tolist()):
        mean("corruption_error", names == name, corruption=name)
    for column, (name, severity) in zip(wrong.T, cells, strict=True):
        rows.rate("error", column, corruption=name, severity=severity)
    return rows


def _add_mean(
    rows: Rows, wrong: np.ndarray, metric: str, columns: np.ndarray, **condition: str
) -> None:
    """The mean of these columns of wrong (N, cells), with its bootstrap over images."""
    errors = 100 * wrong[:, columns].mean(1)
    rows.mean(metric, errors, unit="%", **condition)


def _add_alexnets(rows: Rows, cells: Sequence[tuple[str, int]], correct: np.ndarray) -> None:
    """ImageNet-C's mCE, where all of its cells were asked."""
    asked = {cell: column for column, cell in enumerate(cells)}
    needed = [(name, severity) for name in alexnet.ERRORS for severity in ALL_SEVERITIES]
    if not set(needed) <= set(asked):
        return
    wrong = ~correct[:, [asked[cell] for cell in needed]]
    shares = alexnet.alexnet_relative_error(wrong, [name for name, _ in needed])
    rows.mean("mce_alexnet", shares, unit="% of AlexNet")


def _protocol(source: Source, corruptions: Sequence[str], severities: Sequence[int]) -> str:
    """A name that two measurements share only where they asked for the same cells."""
    kind = "released" if isinstance(source, Released) else source.preset
    name = f"{kind}{len(corruptions)}of{len(BENCHMARK_19)}"
    if set(corruptions) != set(BENCHMARK_19):
        name += f"-{crc32(' '.join(sorted(corruptions)).encode()):08x}"[:5]
    if set(severities) != set(ALL_SEVERITIES):
        name += "s" + "".join(str(severity) for severity in sorted(severities))
    if "frost" in corruptions and isinstance(source, CorruptionVariant) and not source.photographs:
        name += "-proceduralfrost"
    return f"{name}@{VERSION}"
