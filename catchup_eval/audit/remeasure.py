"""Ask a report's questions again, of a few images drawn at random or whole, and compare outcomes.

Stored outcomes stand beside those asked again: the same, near, or altered. Rounding is another on
other hardware, in another batch and with other threads. What it can change is told apart from what
was altered in three steps:

1. An outcome is the same where it is equal; a number, where it differs by less than :data:`SAME`
   of its spread over the images, which float32 keeps to.
2. It is near where the margin, stored and found, is below :data:`NEAR` of the margins' spread;
   a number, where it differs by less than that of its own.
3. What is left is asked again of the network with each weight changed by a share of
   :data:`ROUNDING`, several times: it is near where these answers reach the stored one. A
   network that searches (an attack) or cuts (a box) can carry rounding far, and has no one margin.

TF32, in which GPUs convolve float32, rounds to 11 bits: by up to 2^-11 = 0.0005. The third step is
needed: without it, an honest report of two digits networks that convolve in such bits has 65 of 720
numbers under attack contradicted (60 pairs), and corruptions, deformations and boxes store no
margin that could decide.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from glob import escape
from typing import Any, NamedTuple

import numpy as np
import torch

from catchup_eval.analysis import ANALYSES
from catchup_eval.analysis.base import declaration
from catchup_eval.analysis.context import EvaluationContext, require
from catchup_eval.audit.findings import AuditCheck, AuditStatus, Mismatch, finding, worst_status
from catchup_eval.audit.rounding import rounded
from catchup_eval.core.errors import CatchupError
from catchup_eval.core.rng import generator
from catchup_eval.core.words import count_noun
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.jobs.evaluate import EvaluationSettings, preprocessing_for
from catchup_eval.jobs.networks import LazyCheckpoints, ModelUnderTest
from catchup_eval.metrics import power
from catchup_eval.models.modes import full_precision
from catchup_eval.results.result import Result
from catchup_eval.results.store import ResultRecord
from catchup_eval.results.study import StudyInfo

SAME = 1e-3
NEAR = 1e-2
ROUNDING = 1e-3
DRAWS = 8
REACH = 4  # how many standard deviations of a number's answers are within reach
MARGIN = "margin"

Arrays = Mapping[str, np.ndarray]


class OutcomeComparison(NamedTuple):
    """One array of one question: what was stored and what came, for the same n images.

    Args:
        name: of the array.
        stored, found: (n,) or (n, ...).
        same: (n,) bool.
        near: (n,) bool: not the same, but within rounding's reach.
    """

    name: str
    stored: np.ndarray
    found: np.ndarray
    same: np.ndarray
    near: np.ndarray

    @property
    def unexplained(self) -> np.ndarray:
        """(n,) bool: neither."""
        return np.asarray(~(self.same | self.near))


def compare(stored: Arrays, found: Arrays) -> list[OutcomeComparison]:
    """Steps 1 and 2, for all arrays that were stored."""
    both = [name for name in stored if name in found]
    return [_compare_array(name, stored, found) for name in both]


def _compare_array(name: str, stored: Arrays, found: Arrays) -> OutcomeComparison:
    told, own = np.asarray(stored[name]), np.asarray(found[name])
    if told.shape != own.shape or told.dtype.kind != own.dtype.kind:
        nothing = np.zeros(len(own), bool)
        return OutcomeComparison(name, told, own, nothing, nothing)
    if own.dtype.kind == "f":
        gap, spread = _rows(np.abs(told.astype(float) - own)), _spread(own)
        same = gap <= SAME * spread + 1e-6
        return OutcomeComparison(name, told, own, same, ~same & (gap <= NEAR * spread))
    same = _rows(told != own) == 0
    return OutcomeComparison(
        name, told, own, same, ~same & _near_decision_boundary(name, stored, found)
    )


def _rows(gaps: np.ndarray) -> np.ndarray:
    """(n,) the largest of each image; what is not a number differs from all."""
    largest = np.asarray(gaps, float).max(axis=tuple(range(1, gaps.ndim)), initial=0)
    return np.asarray(np.nan_to_num(largest, nan=np.inf))


def _spread(values: np.ndarray) -> float:
    return float(np.asarray(values, float).std()) if values.size else 0.0


def _near_decision_boundary(name: str, stored: Arrays, found: Arrays) -> np.ndarray:
    """(n,) bool: whether both margins of this outcome, or of the only one, are small."""
    own = next((m for m in (f"{MARGIN}-{name}", MARGIN) if m in stored and m in found), None)
    if own is None or ("@" in name and own == MARGIN):
        return np.zeros(len(found[name]), bool)
    limit = NEAR * _spread(found[own])
    return np.asarray((found[own] <= limit) & (stored[own] <= limit))


def settled(
    compared: OutcomeComparison, answers: Sequence[np.ndarray], rows: np.ndarray
) -> OutcomeComparison:
    """Step 3: the same comparison, with what the changed networks' answers reach as near.

    Args:
        answers: of each changed network, (m, ...) for the images `rows`.
        rows: (m,) numbers of the images among the n.
    """
    near = compared.near.copy()
    reached = _reached(compared.stored[rows], compared.found[rows], np.stack(answers))
    near[rows] |= reached & ~compared.same[rows]
    return compared._replace(near=near)


def _reached(stored: np.ndarray, found: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """(m,) bool: whether the stored values (m, ...) are among the answers (draws, m, ...)."""
    if stored.dtype.kind not in "fi":
        inside = (answers == stored).any(0) | (found == stored)
    else:
        every = np.concatenate([answers, found[None]]).astype(float)
        reach = REACH * np.sqrt(((answers - found.astype(float)) ** 2).mean(0))
        inside = (stored >= every.min(0)) & (stored <= every.max(0))
        if stored.dtype.kind == "f":
            inside |= np.abs(stored - found) <= reach
    return np.asarray(inside.reshape(len(stored), -1).all(1))


def differences(
    model: str, question: str, part: str, compared: OutcomeComparison, index: np.ndarray
) -> list[Mismatch]:
    """All images (n,) of which an array is not the same."""
    return [
        Mismatch(
            model,
            question,
            compared.name,
            part,
            int(index[row]),
            _to_scalar(compared.stored, row),
            _to_scalar(compared.found, row),
            AuditStatus.NEAR if compared.near[row] else AuditStatus.CONTRADICTED,
        )
        for row in np.flatnonzero(~compared.same).tolist()
    ]


def _to_scalar(values: np.ndarray, row: int) -> object:
    return values[row].tolist() if row < len(values) else None


FEWEST = 20  # images that a question is asked of: some fit a number on halves of them
CHUNK = 20  # images that are asked again of changed networks at a time
CLOSE = 0.02  # by what share a number of a whole question may differ

Rows = Mapping[str, np.ndarray]  # by part of the data, row numbers in order


@dataclass(frozen=True)
class Remeasurement:
    """What is there to ask again, and how.

    Args:
        candidates: the networks whose weights are the report's.
        data: the report's images.
        device, batch_size: of asking.
        seed: of what is drawn for the verification.
        records, results: of the report, by (model key, question).
    """

    candidates: Sequence[ModelUnderTest]
    data: AnySet
    device: torch.device
    batch_size: int
    seed: int
    records: Mapping[tuple[str, str], ResultRecord]
    results: Mapping[tuple[str, str], Result]

    def analyses(self, model: str) -> list[str]:
        """Those that this network was asked and that can be asked again."""
        return [q for (m, q) in self.results if m == model and q in ANALYSES]

    def measure(
        self, candidate: ModelUnderTest, question: str, data: AnySet, **changes: Any
    ) -> Result:
        """The same question of the same network, on these images.

        Raises:
            CatchupError: it cannot be asked of them.
        """
        key = self.records[candidate.info.key, question].key
        subject = EvaluationContext(
            candidate.model.to(self.device),
            data.transform(preprocessing_for(candidate, data, question)),
            device=self.device,
            batch_size=self.batch_size,
            seed=key.seed,
            checkpoints=LazyCheckpoints(candidate.epoch_checkpoints),
            history=candidate.history,
        )
        require(subject, ANALYSES[question].NEEDS)
        with full_precision():
            return ANALYSES[question].measure(subject, **{**key.settings, **changes})

    def numbers(self, part: str) -> np.ndarray:
        """(N,) the stable numbers of a part's images."""
        index: torch.Tensor = getattr(self.data.split(part), "index")  # noqa: B009
        return np.asarray(index.numpy())


def per_sample_arrays(question: str, result: Result, data: AnySet) -> dict[str, list[str]]:
    """By split of the data, the names of the stored arrays that each of its images decides."""
    found = {}
    for split in data.parts:
        wanted = [
            pattern.format(escape(split.partition(":")[2]))
            for splits, patterns in declaration(ANALYSES[question], "PER_SAMPLE").items()
            if fnmatchcase(split, splits)
            for pattern in patterns
        ]
        if wanted:
            found[split] = [n for n in result.samples if any(fnmatchcase(n, p) for p in wanted)]
    return found


def select_samples(data: AnySet, rows: Rows) -> AnySet:
    """The image set with these rows of these parts alone."""
    cut: dict[str, Any] = dict(data.parts)
    for name, numbers in rows.items():
        cut[name] = cut[name][torch.from_numpy(numbers)]
    return replace(data, parts=cut)


def draw(models: Sequence[str], data: AnySet, samples: int, seed: int) -> Mapping[str, Rows]:
    """By network, the rows of each evaluated part: `samples` pairs of network and image."""
    drawn: dict[str, dict[str, np.ndarray]] = {model: {} for model in models}
    for name, part in data.parts.items():
        if name == "train":
            continue
        pairs = len(models) * len(part)
        some = generator(seed, "verify", name).permutation(pairs)[:samples]
        for number, model in enumerate(models):
            drawn[model][name] = np.sort(some[some // len(part) == number] % len(part))
    return drawn


class SampleAudit:
    """A seeded random sample of a report's outcomes, asked again.

    Args:
        again: what is there.
        info: of the report; networks that are not there count as not asked.
    """

    def __init__(self, again: Remeasurement, info: StudyInfo):
        self._again = again
        self._models = [model.key for model in info.models]
        self._questions = info.analyses

    def check_sample(self, samples: int) -> Iterator[AuditCheck]:
        """A finding for each question, then what such a sample finds."""
        rows = draw(self._models, self._again.data, samples, self._again.seed)
        found = {
            (candidate.info.key, question): self._check_analysis(candidate, question, rows)
            for candidate in self._again.candidates
            for question in self._again.analyses(candidate.info.key)
            if self._can_recheck(candidate, question)
        }
        for question in dict.fromkeys(question for _, question in found):
            yield _combine_checks(question, [one for (_, q), one in found.items() if q == question])
        if found:
            yield self._power(rows, samples)
        left = [q for q in self._questions if q not in {question for _, question in found}]
        if left and self._again.candidates:
            about = f"{', '.join(left)}: a few images cannot answer it; --full asks all"
            yield AuditCheck("the other questions", AuditStatus.UNASKED, about)

    def _can_recheck(self, candidate: ModelUnderTest, question: str) -> bool:
        settings = self._again.records[candidate.info.key, question].key.settings
        recheck = declaration(ANALYSES[question], "RECHECK")
        return recheck is not None and recheck.applies(settings)

    def _power(self, rows: Mapping[str, Rows], samples: int) -> AuditCheck:
        population = len(self._models) * len(self._again.data.split("test"))
        detail = power.statement(population, min(samples, population))
        return AuditCheck("pairs of network and image", AuditStatus.CONFIRMED, detail)

    def _check_analysis(
        self, candidate: ModelUnderTest, question: str, rows: Mapping[str, Rows]
    ) -> AuditCheck:
        own = rows[candidate.info.key]
        fault = self._index_mismatch(candidate, question)
        if fault:
            return finding(
                question, [f"{candidate.info.key}: {fault}"], "", AuditStatus.CONTRADICTED
            )
        try:
            return self._remeasure_and_compare(candidate, question, own)
        except CatchupError as error:
            reason = f"{candidate.info.key}: {error}"
            return AuditCheck(question, AuditStatus.UNKNOWN, reason)

    def _index_mismatch(self, candidate: ModelUnderTest, question: str) -> str:
        """Why the stored outcomes cannot be those of these images, if so."""
        result = self._again.results[candidate.info.key, question]
        told = self._again.records[candidate.info.key, question].key.data
        own = EvaluationSettings((question,)).key(candidate, self._again.data, question).data
        if told != own:
            return f"it was measured on {told}, the images here are {own}"
        for part, names in per_sample_arrays(question, result, self._again.data).items():
            numbers = self._sample_indices(result, part)
            if not np.isin(numbers, self._again.numbers(part)).all():
                return "its outcomes are of other images"
            for name in names:
                if len(result.samples[name]) != len(numbers):
                    return f"{name} has {len(result.samples[name])} outcomes of {len(numbers)}"
        return ""

    def _sample_indices(
        self, result: Result, part: str, asked: np.ndarray | None = None
    ) -> np.ndarray:
        """The stable numbers of the images that the outcomes of a part are about."""
        if part == "test":
            return np.asarray(result.samples["index"])
        return self._again.numbers(part) if asked is None else asked

    def _remeasure_and_compare(
        self, candidate: ModelUnderTest, question: str, rows: Rows
    ) -> AuditCheck:
        again, model = self._again, candidate.info.key
        stored = again.results[model, question]
        found = self._remeasure(candidate, question, rows)
        foreign = set(found.frame["protocol"]) - set(stored.frame["protocol"])
        if foreign:
            told = f"{model}: its settings give the protocol {', '.join(sorted(foreign))}"
            return AuditCheck(question, AuditStatus.CONTRADICTED, told)
        differing: list[Mismatch] = []
        count = 0
        for part, names in per_sample_arrays(question, stored, again.data).items():
            index = again.numbers(part)[rows[part]]
            index = index[np.isin(index, self._sample_indices(stored, part))]
            asked = again.numbers(part)[self._pad_samples(rows)[part]]
            compared = compare(
                _select_arrays(stored, names, self._sample_indices(stored, part), index),
                _select_arrays(found, names, self._sample_indices(found, part, asked), index),
            )
            compared = self._settled(candidate, question, part, compared, index)
            count += sum(one.found.size for one in compared)
            for one in compared:
                differing += differences(model, question, part, one, index)
        verdict = worst_status(each.verdict for each in differing)
        return AuditCheck(question, verdict, f"{count:,} outcomes", tuple(differing))

    def _remeasure(self, candidate: ModelUnderTest, question: str, rows: Rows) -> Result:
        lighter = declaration(ANALYSES[question], "RECHECK").settings
        images = select_samples(self._again.data, self._pad_samples(rows))
        return self._again.measure(candidate, question, images, **lighter)

    def _pad_samples(self, rows: Rows) -> Rows:
        """The same rows and, where they are few, the first others."""
        padded = {}
        for name, numbers in rows.items():
            others = np.setdiff1d(np.arange(len(self._again.data.split(name))), numbers)
            more = others[: max(0, FEWEST - len(numbers))]
            padded[name] = np.sort(np.concatenate([numbers, more]))
        return padded

    def _settled(
        self,
        candidate: ModelUnderTest,
        question: str,
        part: str,
        compared: list[OutcomeComparison],
        index: np.ndarray,
    ) -> list[OutcomeComparison]:
        """Ask networks that are changed by rounding about what still differs."""
        every = np.any([one.unexplained for one in compared], axis=0) if compared else np.empty(0)
        left = np.flatnonzero(every)
        for start in range(0, len(left), CHUNK):
            rows = left[start : start + CHUNK]
            answers = self._answers(candidate, question, part, index[rows])
            compared = [_settled(one, answers, rows) for one in compared]
            altered = np.any([one.unexplained[rows] for one in compared], axis=0)
            if altered.mean() > 0.5:
                break  # no rounding does that; the rest stands as it is
        return compared

    def _answers(
        self, candidate: ModelUnderTest, question: str, part: str, index: np.ndarray
    ) -> Sequence[Mapping[str, np.ndarray]]:
        """What each changed network says about these images of a part."""
        data, answers = self._again.data, []
        none: Rows = {name: np.empty(0, int) for name in data.parts if name != "train"}
        rows = {**none, part: np.sort(_positions(self._again.numbers(part), index))}
        asked = self._again.numbers(part)[self._pad_samples(rows)[part]]
        stored = self._again.results[candidate.info.key, question]
        names = per_sample_arrays(question, stored, data)[part]
        for number in range(DRAWS):
            noise = generator(self._again.seed, "rounding", number)
            with rounded(candidate.model, ROUNDING, noise):
                found = self._remeasure(candidate, question, rows)
            answers.append(
                _select_arrays(found, names, self._sample_indices(found, part, asked), index)
            )
        return answers


def _settled(
    one: OutcomeComparison, answers: Sequence[Mapping[str, np.ndarray]], rows: np.ndarray
) -> OutcomeComparison:
    if not one.unexplained[rows].any() or one.stored.shape != one.found.shape:
        return one
    return settled(one, [each[one.name] for each in answers], rows)


def _combine_checks(question: str, findings: Sequence[AuditCheck]) -> AuditCheck:
    """One finding about all networks."""
    verdict = worst_status(one.verdict for one in findings)
    differing = tuple(each for one in findings for each in one.differences)
    plain = [one for one in findings if one.detail.endswith("outcomes")]
    total = sum(int(one.detail.split()[0].replace(",", "")) for one in plain)
    said = [f"{total:,} outcomes of {count_noun(len(plain), 'model')}"] if plain else []
    near = sum(each.verdict == AuditStatus.NEAR for each in differing)
    said += [f"{near} near"] if near else []
    said += [f"{len(differing) - near} altered"] if len(differing) > near else []
    said += [one.detail for one in findings if one not in plain]
    return AuditCheck(f"asked again: {question}", verdict, "; ".join(said), differing)


def _positions(numbers: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    order = np.argsort(numbers, kind="stable")
    return np.asarray(order[np.searchsorted(numbers, wanted, sorter=order)])


def _select_arrays(
    result: Result, names: Sequence[str], numbers: np.ndarray, index: np.ndarray
) -> dict[str, np.ndarray]:
    """The arrays, which are about the images `numbers`, for the images `index`."""
    places = _positions(numbers, index)
    return {name: result.samples[name][places] for name in names if name in result.samples}


def remeasure_all(again: Remeasurement) -> Iterator[AuditCheck]:
    """Everything asked again with all images; each row's value is compared."""
    for candidate in again.candidates:
        for question in again.analyses(candidate.info.key):
            yield _remeasure_analysis(again, candidate, question)


def _remeasure_analysis(
    again: Remeasurement, candidate: ModelUnderTest, question: str
) -> AuditCheck:
    check = f"asked whole: {candidate.info.key}: {question}"
    try:
        found = again.measure(candidate, question, again.data)
    except CatchupError as error:
        return AuditCheck(check, AuditStatus.UNKNOWN, str(error))
    told, own = again.results[candidate.info.key, question].frame, found.frame
    keys = [name for name in own.columns if name not in ("value", "low", "high")]
    if len(told) != len(own) or not told[keys].astype(str).equals(own[keys].astype(str)):
        return AuditCheck(
            check, AuditStatus.CONTRADICTED, "it has other rows than asking again gives"
        )
    scale = own.groupby("metric")["value"].transform(lambda values: values.abs().max())
    gap = (told["value"] - own["value"]).abs() > CLOSE * scale
    exact = np.allclose(told["value"], own["value"], rtol=1e-4, atol=1e-6)
    faults = [
        f"{row.metric} is {row.value:.6g}, asking again gives {value:.6g}"
        for row, value in zip(told[gap].itertuples(), own["value"][gap], strict=True)
    ]
    verdict = (
        AuditStatus.CONTRADICTED if faults else AuditStatus.CONFIRMED if exact else AuditStatus.NEAR
    )
    return AuditCheck(check, verdict, "; ".join(faults) or f"{len(own)} rows")
