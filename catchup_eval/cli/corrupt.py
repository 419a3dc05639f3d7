"""Write the corrupted images of a set to disk, in the layout that other tools read."""

from collections.abc import Sequence
from pathlib import Path

from catchup_eval import datasets
from catchup_eval.analysis.corruption.cache import CorruptionVariant, export
from catchup_eval.analysis.corruption.registry import BENCHMARK_19, CORRUPTIONS, preset_for
from catchup_eval.analysis.corruption.transforms import frost
from catchup_eval.cli.console import Console
from catchup_eval.core.errors import DONE, UnknownName


def write_corrupted(
    name: str,
    out: Path,
    *,
    corruptions: Sequence[str],
    seed: int,
    limit: int | None,
    photographs: Path | None,
    data_root: Path,
) -> int:
    """`NAME.npy` for each type and `labels.npy`, as CIFAR-10-C has them; gives the exit code.

    Args:
        name: a dataset.
        out: the folder.
        corruptions: types; all 19 where none is given.
        seed: of what is random about them.
        limit: so many class-balanced images of the test part.
        photographs: folder of the official ones of frost; without them, frost is procedural.
        data_root: where downloaded data lie.

    Raises:
        UnknownName: no such set or type.
        BadFile: a photograph is absent.
        UserError: the folder cannot be written, or the disk is full.
    """
    console = Console()
    chosen = list(corruptions) or list(BENCHMARK_19)
    for each in chosen:
        if each not in CORRUPTIONS:
            raise UnknownName("corruption", each, CORRUPTIONS)
    data = datasets.load(name, data_root)
    part = (data if limit is None else data.subsample(limit)).transform().split("test")
    ice = frost.photographs(photographs) if photographs and "frost" in chosen else ()
    preset = preset_for(part.images.shape[-1])
    for each in chosen:
        export(out, part, [each], CorruptionVariant(seed, preset, ice))
        console.info(f"{out / each}.npy")
    if "frost" in chosen and not ice:
        console.info("frost is procedural, not the official one: --photographs is not given")
    console.result(f"{len(chosen)} types of {len(part)} images, constants {preset}, in {out}")
    return DONE
