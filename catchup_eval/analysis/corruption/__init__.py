"""What is the error on images with common corruptions: of cameras, weather and files?

All test images at each type and severity: the same image has the same corruption for every model.
Columns: `corruption` (the type), `severity` (1 to 5), then `metric`, `value`, `unit` (percent), `n`
images, `low` and `high` (95 % interval) and `protocol`. Metrics:

- `mean_error`: plain mean of the error over all types and severities, in percent; bootstrap over
  images. The mixup papers print it as "mCE"; it is not ImageNet-C's, which divides by AlexNet's.
- `mean_error_15`: the same over the 15 types that their authors test on, without the four for
  validation, as AugMix and RobustBench report it; absent where one of them was not measured
- `mce_alexnet`: ImageNet-C's mCE, in percent: the mean over the 15 types of each one's error as a
  fraction of AlexNet's on the released files. Only with the constants for 224 pixels, ImageNet's
  1,000 classes and all severities
- `mean_error_imagenet_c_bar`, `mean_error_cifar_c_bar`: in place of the former, the mean over types
  of these lists (Mintun et al. 2021): ten each, which are read from `files` alone and are measured
  by themselves: `corruptions=["cifar-c-bar"]`
- `corruption_error`: mean error of one `corruption` over its severities
- `error`: of one `corruption` at one `severity`, in percent; Wilson interval
- `clean_error`: without corruption, in percent; Wilson interval

The paper's figure is over all 19 types of the released CIFAR-100-C files, which were drawn without
a seed. `protocol` names what was measured: `cifar19of19@2` is all types with the constants for 32
pixels; another choice of types is marked (`cifar2of19-3fa9@2`), as are fewer severities (`s135`).
With `files` the released images are used: `released19of19@2`, `cifar-c-bar10of10@2`;
`logits19of19@2` are logits from a file, whose maker alone knows how the images were corrupted.
Frost needs `photographs` that are not part of this package; without them it is procedural, another
corruption than the official one, and the protocol names it: `cifar19of19-proceduralfrost@2`.

Corrupted images are cached in `corrupted` in the context's data root, where there is one, for the
next model; not so many that they would take most of its free disk.

Sanity check: an image's corruption does not depend on its batch; of released files, that they show
these images.

Samples: `index` (N,), `clean` (N,) bool, `correct` (N, cells) bool and the predicted labels
`prediction` (N, cells) in the order of the `error` rows, and `error` (N,), each image's fraction of
misclassified cells. Older results lack `prediction`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from zlib import crc32

import numpy as np
import torch
from pydantic import Field

from catchup_eval.analysis.base import PerSample, Recheck, Work
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.analysis.corruption import alexnet, cache, released
from catchup_eval.analysis.corruption.cache import CorruptionVariant, corrupt_split
from catchup_eval.analysis.corruption.conventions import CONVENTIONS as CONVENTIONS
from catchup_eval.analysis.corruption.figures import plot as plot
from catchup_eval.analysis.corruption.registry import (
    BENCHMARK_19,
    BENCHMARKS,
    NAMES,
    NINETEEN,
    PRESETS,
    Benchmark,
    find_benchmark,
    preset_for,
)
from catchup_eval.analysis.corruption.transforms import frost
from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.settings import one_of, validate_settings
from catchup_eval.datasets.dataset import Split
from catchup_eval.results.headline import Condition, Headline, RowLink
from catchup_eval.results.result import Result, Rows

TITLE = "Common corruptions"
DESCRIPTION = "What is the error on noisy, blurred, snowy, pale or compressed images?"
INTERPRETATION = (
    "Each row is a type of corruption, averaged over its severities; further left is better. The "
    "heat maps have the error of the first model at each severity, with the means at the margins, "
    "and what the others improve on it in points: above zero are fewer errors."
)
REFERENCE = (
    "Hendrycks and Dietterich 2019; the plain mean as in the mixup literature (PuzzleMix's code)"
)
NEEDS = frozenset({"test"})
VERSION = 2
COST = 13
HEADLINES = (
    Headline("mean_error", "corruption error", "lower", outcomes=("error",)),
    *(
        Headline(
            *(find_benchmark([name]).metric, f"{name} error", "lower"),
            outcomes=("error",),
            optional=True,
        )
        for name in BENCHMARKS
        if name != NINETEEN
    ),
)
PER_SAMPLE: PerSample = {"test": ("clean", "correct", "prediction")}
RECHECK = Recheck()
SEVERAL_LABELS = True
ALL_SEVERITIES = (1, 2, 3, 4, 5)
RELEASED = "released"
Folder = Annotated[str, Field(min_length=1)]
Severity = Annotated[int, Field(ge=1, le=5)]
Source = CorruptionVariant | released.Released  # where corrupted images come from
Cells = Sequence[tuple[str, int]]  # type, severity


def _check(settings: Mapping[str, Any]) -> None:
    find_benchmark(settings["corruptions"])
    values = settings["severities"]
    if not values or len(set(values)) < len(values):
        raise UserError(f"expected severities, each once, got {list(values)}")


@validate_settings(_check)
def measure(
    context: EvaluationContext,
    *,
    corruptions: Sequence[Annotated[str, one_of("corruption", NAMES)]] = BENCHMARK_19,
    severities: Sequence[Severity] = ALL_SEVERITIES,
    preset: Annotated[str, one_of("preset", PRESETS)] | None = None,
    photographs: Folder | None = None,
    files: Folder | None = None,
) -> Result:
    """The rows and samples described above.

    Args:
        corruptions: of :data:`catchup_eval.analysis.corruption.registry.CORRUPTIONS`, or of one of
            its `BENCHMARKS`, whose name stands for all of its types.
        severities: of 1 to 5; the paper takes all.
        preset: whose constants; those for the images' size where not given.
        photographs: folder of the official photographs of frost; without it frost is procedural.
        files: folder of the released CIFAR-10-C, CIFAR-100-C, ImageNet-C or of a C-bar, whose
            images are then used as they are, in place of corrupting; the split's `index` must be
            their rows.
            "released": those in the data root, which commands take by themselves where they are
            there; "none": corrupt all the same.

    Raises:
        UnknownName: no such type or preset.
        UserError: no type or severity, one twice, or another severity; images cannot be cached.
        BadFile: a photograph is absent, `files` do not belong to these images, or there are none
            where they are needed.
    """
    split = context.data.split("test")
    preset = preset or preset_for(split.images.shape[-1])
    benchmark = find_benchmark(corruptions, preset)
    corruptions = context.answered("corruption", benchmark.types, severities)
    ice = frost.photographs(Path(photographs)) if photographs and "frost" in corruptions else ()
    variant = CorruptionVariant(context.seed, preset, ice)
    search = files == RELEASED and not context.origin
    folder = _released_folder(context, benchmark) if search else files
    made = context.origin or folder in (None, "none")
    if benchmark.name != NINETEEN and made and not context.origin:
        raise BadFile(
            f"the types of {benchmark.name} are read from files, which are not in the data root; "
            "give their folder as --set corruption.files=FOLDER, or see: data list imagenet-c-bar"
        )
    source: Source = variant
    if not made:
        source = released.find_released(Path(str(folder)), split, _cache_root(context))
    cells = [(name, severity) for name in corruptions for severity in severities]
    tracked = context.track(cells, len(cells))
    columns = [_outcomes(context, split, source, *cell) for cell in tracked]
    prediction, correct = (np.stack(each, axis=1) for each in zip(*columns, strict=True))
    samples = {
        "index": split.index.numpy(),
        "clean": context.clean_correct,
        "correct": correct,
        "error": 1 - correct.mean(1),
        "prediction": prediction,
    }
    protocol = _protocol(source, corruptions, severities, benchmark.name, context.origin)
    rows = _rows(cells, samples, protocol, benchmark.metric)
    if preset == "imagenet" and len(context.data.classes) == 1000:
        _add_alexnet_row(rows, cells, correct)
    if not context.origin:
        _add_check(rows, split, source, corruptions, severities[0])
    return Result(rows.frame(), samples)


def resolve(settings: Mapping[str, Any], data: str, root: Path | None) -> Mapping[str, Any]:
    """The released files are used by themselves where they lie in the data root."""
    named = settings.get("corruptions", BENCHMARK_19)
    benchmark = find_benchmark(named, data.rstrip("0123456789"))
    folder = released.FOLDERS[benchmark.name].get(data)
    if root is None or folder is None or settings.get("files"):
        return settings
    files = root / folder
    there = (files / "labels.npy").is_file() or (benchmark.name != NINETEEN and files.is_dir())
    return {**settings, "files": RELEASED} if there else settings


def _released_folder(context: EvaluationContext, benchmark: Benchmark) -> str:
    name = released.FOLDERS[benchmark.name].get(context.data.name)
    if name is None or context.data_root is None:
        raise BadFile(f"there are no released files of {context.data.name} in the data root")
    return str(context.data_root / name)


def work(settings: Mapping[str, Any], images: Mapping[str, int]) -> Work:
    """Each image as it is and in each cell; corrupted, where no files are read."""
    n, cells = images.get("test", 0), len(settings["corruptions"]) * len(settings["severities"])
    return Work((1 + cells) * n, cells * n * (settings["files"] in (None, "none")))


def row_links(result: Result) -> Iterator[RowLink]:
    """Rows beyond the headlines, and the samples that each is the mean of."""
    misclassified, cells = ~result.samples["correct"], result.rows("error")
    yield RowLink("clean_error", {}, ~result.samples["clean"])
    for headline in HEADLINES:
        if len(result.rows(headline.metric)):
            yield RowLink(headline.metric, {}, misclassified.mean(1))
    for column, (name, severity) in enumerate(zip(cells["corruption"], cells["severity"])):
        yield RowLink("error", {"corruption": name, "severity": severity}, misclassified[:, column])
    for name in dict.fromkeys(cells["corruption"]):
        chosen = (cells["corruption"] == name).to_numpy()
        yield RowLink("corruption_error", {"corruption": name}, misclassified[:, chosen].mean(1))


def conditions(result: Result) -> Iterator[Condition]:
    """All cells, and those of each type."""
    correct, prediction = result.samples["correct"], result.samples.get("prediction")
    yield Condition("all corruptions", correct.mean(1), prediction)
    types = result.rows("error")["corruption"].to_numpy()
    for name in dict.fromkeys(types):
        own = None if prediction is None else prediction[:, types == name]
        yield Condition(name.replace("_", " "), correct[:, types == name].mean(1), own)


def _add_check(
    rows: Rows, split: Split, source: Source, corruptions: Sequence[str], severity: int
) -> None:
    if isinstance(source, CorruptionVariant):
        claim, few = "an image's corruption does not depend on its batch", split[:3]
        passed = all(_is_batch_independent(few, name, source) for name in corruptions)
    else:
        claim, few = "the files show these images, in their order", split[: released.LOOKED_AT]
        cells = [source.read_cell(few, name, severity) for name in corruptions]
        passed = all(released.matches_originals(few, images) for images in cells)
    rows.check(claim, passed, len(few))


def _is_batch_independent(split: Split, name: str, variant: CorruptionVariant) -> bool:
    alone = [corrupt_split(split[i : i + 1], name, 3, variant) for i in range(len(split))]
    return torch.equal(corrupt_split(split, name, 3, variant), torch.cat(alone))


def _outcomes(
    context: EvaluationContext, split: Split, source: Source, name: str, severity: int
) -> tuple[np.ndarray, np.ndarray]:
    root = _cache_root(context)
    if isinstance(source, released.ReleasedArrays):
        corrupt = partial(source.read_cell, name=name, severity=severity)
        return context.outcomes(split, corrupt)
    if isinstance(source, released.ReleasedFolders):
        images = replace(split, images=source.read_cell(split, name, severity))
    elif root is None or not cache.fits_on_disk(root, split):
        corrupt = partial(corrupt_split, name=name, severity=severity, variant=source)
        return context.outcomes(split, corrupt, f"corruption/{name}/{severity}")
    else:
        images = cache.cached_split(root / "corrupted", split, name, severity, source)
    return context.outcomes(images, lambda batch: batch.images)


def _cache_root(context: EvaluationContext) -> Path | None:
    """The data root, where it is there and may be written to."""
    root = context.data_root
    unused = context.auditing or context.origin or root is None or not root.is_dir()
    return None if unused else root


def _rows(cells: Cells, samples: Mapping[str, np.ndarray], protocol: str, metric: str) -> Rows:
    rows = Rows(protocol)
    misclassified = ~samples["correct"]
    names = np.array([name for name, _ in cells])

    def add_mean(metric: str, columns: np.ndarray, **condition: str) -> None:
        rows.mean(metric, 100 * misclassified[:, columns].mean(1), unit="%", **condition)

    add_mean(metric, np.full(len(names), True))
    if alexnet.ERRORS.keys() <= set(names):
        add_mean("mean_error_15", np.isin(names, list(alexnet.ERRORS)))
    rows.rate("clean_error", ~samples["clean"])
    for name in dict.fromkeys(names.tolist()):
        add_mean("corruption_error", names == name, corruption=name)
    for column, (name, severity) in zip(misclassified.T, cells, strict=True):
        rows.rate("error", column, corruption=name, severity=severity)
    return rows


def _add_alexnet_row(rows: Rows, cells: Cells, correct: np.ndarray) -> None:
    """ImageNet-C's mCE, where all of its cells were measured."""
    needed = [(name, severity) for name in alexnet.ERRORS for severity in ALL_SEVERITIES]
    if set(needed) <= set(cells):
        misclassified = ~correct[:, [cells.index(cell) for cell in needed]]
        errors = alexnet.alexnet_relative_error(misclassified, [name for name, _ in needed])
        rows.mean("mce_alexnet", errors, unit="% of AlexNet")


def _protocol(
    source: Source,
    corruptions: Sequence[str],
    severities: Sequence[int],
    benchmark: str = NINETEEN,
    origin: str = "",
) -> str:
    """A name that is equal for two measurements only if they are of the same cells."""
    own = isinstance(source, CorruptionVariant) and not origin
    name = origin or (source.preset if isinstance(source, CorruptionVariant) else RELEASED)
    name = name if benchmark == NINETEEN else origin + benchmark
    name += f"{len(corruptions)}of{len(BENCHMARKS[benchmark])}"
    if set(corruptions) != set(BENCHMARKS[benchmark]):
        name += f"-{crc32(' '.join(sorted(corruptions)).encode()):08x}"[:5]
    if set(severities) != set(ALL_SEVERITIES):
        name += "s" + "".join(str(severity) for severity in sorted(severities))
    if "frost" in corruptions and own and not getattr(source, "photographs", ()):
        name += "-proceduralfrost"
    return f"{name}@{VERSION}"
