"""Evaluate a report's models again, on a few images drawn at random or on all, and compare."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch

from catchup_eval.analysis import ANALYSES
from catchup_eval.analysis.base import declaration
from catchup_eval.analysis.from_logits import context_for
from catchup_eval.audit.findings import AuditCheck, AuditStatus, Mismatch, finding, worst_status
from catchup_eval.audit.outcomes import (
    OutcomeComparison,
    accept_rounding,
    compare,
    differences,
)
from catchup_eval.core.errors import CatchupError
from catchup_eval.core.rng import generator, torch_generator
from catchup_eval.core.words import count_noun
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.jobs.evaluate import EvaluationSettings, measure_analysis, preprocessing_for
from catchup_eval.jobs.networks import LazyCheckpoints, ModelUnderTest
from catchup_eval.metrics import power
from catchup_eval.results.result import Result
from catchup_eval.results.store import ResultRecord
from catchup_eval.results.study import StudyInfo

ROUNDING = 1e-3
DRAWS = 8  # of perturbed networks
FEWEST = 20  # images that are evaluated at least: some analyses fit a number on halves of them
CLOSE = 0.02  # by what fraction a number over all images may differ

Rows = Mapping[str, np.ndarray]  # by split of the data, row numbers in order


@contextmanager
def perturbed_weights(model: torch.nn.Module, rng: np.random.Generator) -> Iterator[None]:
    """Each weight times 1 + ROUNDING * standard normal, for a while; then the very same bits."""
    source = torch_generator(rng)
    saved = [parameter.detach().clone() for parameter in model.parameters()]
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=source).to(parameter)
            parameter.mul_(1 + ROUNDING * noise)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, before in zip(model.parameters(), saved, strict=True):
                parameter.copy_(before)


@dataclass(frozen=True)
class Remeasurement:
    """One result of a report, and what it takes to measure it again.

    Args:
        candidate: the model, with the report's weights.
        analysis: its name.
        data: the report's images.
        record, stored: of the report.
        device, batch_size: of evaluating.
        seed: of the audit's random numbers.
        data_root: where downloaded data lie.
    """

    candidate: ModelUnderTest
    analysis: str
    data: AnySet
    record: ResultRecord
    stored: Result
    device: torch.device
    batch_size: int
    seed: int
    data_root: Path | None = None

    @property
    def model(self) -> str:
        """The model's key."""
        return self.candidate.info.key

    def declared(self, name: str) -> Any:
        """What the analysis declares for audits."""
        return declaration(ANALYSES[self.analysis], name)

    def measure(self, data: AnySet, **changes: Any) -> Result:
        """The same analysis of the same model, on these images.

        Raises:
            CatchupError: they lack what it needs.
        """
        key = self.record.key
        context = context_for(
            self.candidate.model.to(self.device),
            data.transform(preprocessing_for(self.candidate, data, self.analysis)),
            device=self.device,
            batch_size=self.batch_size,
            seed=key.seed,
            checkpoints=LazyCheckpoints(
                self.candidate.epoch_checkpoints,
                self.candidate.model,
                self.candidate.info.spec,
            ),
            history=self.candidate.history,
            data_root=self.data_root,
            auditing=True,
        )
        settings = {self.analysis: {**key.settings, **changes}}
        how = EvaluationSettings((self.analysis,), settings, device=self.device)
        return measure_analysis(context, self.analysis, how)  # the one place where it measures

    def measure_rows(self, rows: Rows) -> tuple[Result, AnySet]:
        """The analysis on these images, and the first others where they are few; and all these."""
        padded = {}
        for split, numbers in rows.items():
            others = np.setdiff1d(np.arange(len(self.data.split(split))), numbers)
            more = others[: max(0, FEWEST - len(numbers))]
            padded[split] = np.sort(np.concatenate([numbers, more]))
        images = select_samples(self.data, padded)
        return self.measure(images, **self.declared("RECHECK").settings), images

    def per_sample_arrays(self) -> dict[str, list[str]]:
        """By split of the data, the names of the stored arrays that each of its images decides."""
        found = {}
        for split in self.data.parts:
            wanted = [
                pattern.format(escape(split.partition(":")[2]))
                for splits, patterns in self.declared("PER_SAMPLE").items()
                if fnmatchcase(split, splits)
                for pattern in patterns
            ]
            if wanted:
                names = self.stored.samples
                found[split] = [n for n in names if any(fnmatchcase(n, p) for p in wanted)]
        return found


def select_samples(data: AnySet, rows: Rows) -> AnySet:
    """The dataset with these rows of these splits alone."""
    selected: dict[str, Any] = dict(data.parts)
    for split, numbers in rows.items():
        selected[split] = selected[split][torch.from_numpy(numbers)]
    return replace(data, parts=selected)


def draw(models: Sequence[str], data: AnySet, samples: int, seed: int) -> Mapping[str, Rows]:
    """By model, the rows of each evaluated split: `samples` pairs of model and image."""
    drawn: dict[str, dict[str, np.ndarray]] = {model: {} for model in models}
    for name, split in data.parts.items():
        if name == "train":
            continue
        pairs = len(models) * len(split)
        some = generator(seed, "verify", name).permutation(pairs)[:samples]
        for number, model in enumerate(models):
            drawn[model][name] = np.sort(some[some // len(split) == number] % len(split))
    return drawn


def check_sample(
    results: Sequence[Remeasurement], info: StudyInfo, data: AnySet, samples: int, seed: int
) -> Iterator[AuditCheck]:
    """Evaluate a seeded random sample again: a check for each analysis, then what it would find.

    Args:
        info: of the report; pairs of models that are not there count as not evaluated.
        samples: how many pairs of model and image, of each split.
    """
    models = [model.key for model in info.models]
    rows = draw(models, data, samples, seed)
    found: dict[str, list[AuditCheck]] = {}
    for one in results:
        recheck = one.declared("RECHECK")
        if recheck is not None and recheck.applies(one.record.key.settings):
            found.setdefault(one.analysis, []).append(_check_rows(one, rows[one.model]))
    for analysis, checks in found.items():
        yield _combine_checks(analysis, checks)
    if found:
        split = next(name for name in data.parts if name != "train")
        population = len(models) * len(data.split(split))
        detail = power.statement(population, min(samples, population))
        yield AuditCheck("sampled pairs of model and image", AuditStatus.CONFIRMED, detail)
    left = [name for name in info.analyses if name not in found]
    if left and results:
        detail = f"{', '.join(left)}: a few images do not decide them; --full evaluates all"
        yield AuditCheck("other analyses", AuditStatus.SKIPPED, detail)


def _check_rows(one: Remeasurement, rows: Rows) -> AuditCheck:
    fault = _index_mismatch(one)
    if fault:
        return AuditCheck(one.analysis, AuditStatus.CONTRADICTED, f"{one.model}: {fault}")
    try:
        found, images = one.measure_rows(rows)
        foreign = set(found.frame["protocol"]) - set(one.stored.frame["protocol"])
        if foreign:
            detail = f"{one.model}: its settings give the protocol {', '.join(sorted(foreign))}"
            return AuditCheck(one.analysis, AuditStatus.CONTRADICTED, detail)
        differing: list[Mismatch] = []
        count = 0
        for split, names in one.per_sample_arrays().items():
            index = _numbers(one.data, split)[rows[split]]
            index = index[np.isin(index, _sample_numbers(one.stored, one.data, split))]
            stored = _select_arrays(one.stored, one.data, split, names, index)
            again = _select_arrays(found, images, split, names, index)
            compared = _check_rounding(one, split, names, compare(stored, again), index)
            count += sum(each.found.size for each in compared)
            for each in compared:
                differing += differences(one.model, one.analysis, split, each, index)
    except CatchupError as error:
        return AuditCheck(one.analysis, AuditStatus.UNKNOWN, f"{one.model}: {error}")
    verdict = worst_status((each.verdict for each in differing), AuditStatus.CONFIRMED)
    return AuditCheck(one.analysis, verdict, f"{count:,} outcomes", tuple(differing))


def _index_mismatch(one: Remeasurement) -> str:
    """Why the stored outcomes cannot be those of these images, if so."""
    key = EvaluationSettings((one.analysis,)).key(one.candidate, one.data, one.analysis)
    if one.record.key.data != key.data:
        return f"it was measured on {one.record.key.data}, the images here are {key.data}"
    for split, names in one.per_sample_arrays().items():
        numbers = _sample_numbers(one.stored, one.data, split)
        if not np.isin(numbers, _numbers(one.data, split)).all():
            return "its outcomes are of other images"
        for name in names:
            if len(one.stored.samples[name]) != len(numbers):
                return f"{name} has {len(one.stored.samples[name])} outcomes of {len(numbers)}"
    return ""


def _check_rounding(
    one: Remeasurement,
    split: str,
    names: Sequence[str],
    compared: list[OutcomeComparison],
    index: np.ndarray,
) -> list[OutcomeComparison]:
    """Evaluate perturbed networks on the images (n,) of which an outcome is unexplained."""
    rows = np.flatnonzero(np.any([each.unexplained for each in compared], axis=0))
    if not compared or not rows.size:
        return compared
    none = {name: np.empty(0, int) for name in one.data.parts if name != "train"}
    positions = np.sort(_positions(_numbers(one.data, split), index[rows]))
    perturbed = []
    for number in range(DRAWS):
        with perturbed_weights(one.candidate.model, generator(one.seed, "rounding", number)):
            found, images = one.measure_rows({**none, split: positions})
        perturbed.append(_select_arrays(found, images, split, names, index[rows]))
    return [
        accept_rounding(each, [arrays[each.name] for arrays in perturbed], rows)
        if each.stored.shape == each.found.shape
        else each
        for each in compared
    ]


def _combine_checks(analysis: str, checks: Sequence[AuditCheck]) -> AuditCheck:
    """One check about all models."""
    differing = tuple(each for one in checks for each in one.differences)
    compared = [one for one in checks if one.detail.endswith("outcomes")]
    total = sum(int(one.detail.split()[0].replace(",", "")) for one in compared)
    near = sum(each.verdict == AuditStatus.NEAR for each in differing)
    altered = len(differing) - near
    details = [f"{total:,} outcomes of {count_noun(len(compared), 'model')}"] if compared else []
    details += [f"{near} near"] if near else []
    details += [f"{altered} altered"] if altered else []
    details += [one.detail for one in checks if one not in compared]
    verdict = worst_status(one.verdict for one in checks)
    return AuditCheck(f"evaluated again: {analysis}", verdict, "; ".join(details), differing)


def _numbers(data: AnySet, split: str) -> np.ndarray:
    """(N,) the stable numbers of a split's images."""
    index: torch.Tensor = getattr(data.split(split), "index")  # noqa: B009
    return np.asarray(index.numpy())


def _sample_numbers(result: Result, data: AnySet, split: str) -> np.ndarray:
    """The stable numbers of the images that the outcomes of a split are about."""
    return np.asarray(result.samples["index"]) if split == "test" else _numbers(data, split)


def _positions(numbers: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    order = np.argsort(numbers, kind="stable")
    return np.asarray(order[np.searchsorted(numbers, wanted, sorter=order)])


def _select_arrays(
    result: Result, data: AnySet, split: str, names: Sequence[str], index: np.ndarray
) -> dict[str, np.ndarray]:
    """The arrays of a result on `data`, for the images `index` of a split."""
    places = _positions(_sample_numbers(result, data, split), index)
    return {name: result.samples[name][places] for name in names if name in result.samples}


def remeasure_all(one: Remeasurement) -> AuditCheck:
    """Measure a result again on all images; the value of each row is compared.

    Residuals of eigenvalues are not: how small a solver leaves them hangs on rounding.
    """
    check = f"evaluated again on all images: {one.model}: {one.analysis}"
    try:
        found = one.measure(one.data).frame
    except CatchupError as error:
        return AuditCheck(check, AuditStatus.UNKNOWN, str(error))
    stored = one.stored.frame
    keys = [name for name in found.columns if name not in ("value", "low", "high")]
    if len(stored) != len(found) or not stored[keys].astype(str).equals(found[keys].astype(str)):
        detail = "it has other rows than evaluating again gives"
        return AuditCheck(check, AuditStatus.CONTRADICTED, detail)
    compared = ~found["metric"].str.endswith("_residual")
    before, now = stored["value"][compared], found["value"][compared]
    scale = now.groupby(found["metric"]).transform(lambda values: values.abs().max())
    gap = (before - now).abs() > CLOSE * scale
    faults = [
        f"{metric} is {old:.6g}, evaluating again gives {new:.6g}"
        for metric, old, new in zip(
            found["metric"][compared][gap], before[gap], now[gap], strict=True
        )
    ]
    exact = np.allclose(before, now, rtol=1e-4, atol=1e-6)
    status = AuditStatus.CONFIRMED if exact else AuditStatus.NEAR
    fine = AuditCheck(check, status, f"{len(found)} rows")
    return finding(check, faults, "", AuditStatus.CONTRADICTED) if faults else fine
