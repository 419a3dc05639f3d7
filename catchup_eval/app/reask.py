"""Ask a report's questions again: of a few images drawn at random, or whole."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from catchup_eval.analysis import ANALYSES
from catchup_eval.app import reasked
from catchup_eval.app.candidates import Candidate, Kept
from catchup_eval.app.questions import Questions, shown
from catchup_eval.datasets import AnySet
from catchup_eval.errors import CatchupError
from catchup_eval.lending import full_precision
from catchup_eval.randomness import generator
from catchup_eval.results import Result
from catchup_eval.store import Record
from catchup_eval.study import StudyInfo
from catchup_eval.subject import Subject, require
from catchup_eval.verification import outcomes, power
from catchup_eval.verification.outcomes import Compared
from catchup_eval.verification.rounding import rounded
from catchup_eval.verification.verdict import Difference, Finding, Verdict, finding, worst

FEWEST = 20  # images that a question is asked of: some fit a number on halves of them
CHUNK = 20  # images that are asked again of changed networks at a time
CLOSE = 0.02  # by what share a number of a whole question may differ

Rows = Mapping[str, np.ndarray]  # by part of the data, row numbers in order


@dataclass(frozen=True)
class Again:
    """What is there to ask again, and how.

    Args:
        candidates: the networks whose weights are the report's.
        data: the report's images.
        device, batch_size: of asking.
        seed: of what is drawn for the verification.
        records, results: of the report, by (model key, question).
    """

    candidates: Sequence[Candidate]
    data: AnySet
    device: torch.device
    batch_size: int
    seed: int
    records: Mapping[tuple[str, str], Record]
    results: Mapping[tuple[str, str], Result]

    def questions(self, model: str) -> list[str]:
        """Those that this network was asked and that can be asked again."""
        return [q for (m, q) in self.results if m == model and q in ANALYSES]

    def ask(self, candidate: Candidate, question: str, data: AnySet, **changes: Any) -> Result:
        """The same question of the same network, on these images.

        Raises:
            CatchupError: it cannot be asked of them.
        """
        key = self.records[candidate.info.key, question].key
        subject = Subject(
            candidate.model.to(self.device),
            data.view(shown(candidate, data, question)),
            device=self.device,
            batch_size=self.batch_size,
            seed=key.seed,
            checkpoints=Kept(candidate.kept),
            history=candidate.history,
        )
        require(subject, ANALYSES[question].NEEDS)
        with full_precision():
            return ANALYSES[question].measure(subject, **{**key.settings, **changes})

    def numbers(self, part: str) -> np.ndarray:
        """(N,) the stable numbers of a part's images."""
        index: torch.Tensor = getattr(self.data.part(part), "index")  # noqa: B009
        return np.asarray(index.numpy())


def chosen(data: AnySet, rows: Rows) -> AnySet:
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


class Audit:
    """A seeded random sample of a report's outcomes, asked again.

    Args:
        again: what is there.
        info: of the report; networks that are not there count as not asked.
    """

    def __init__(self, again: Again, info: StudyInfo):
        self._again = again
        self._models = [model.key for model in info.models]
        self._questions = info.analyses

    def sampled(self, samples: int) -> Iterator[Finding]:
        """A finding for each question, then what such a sample finds."""
        rows = draw(self._models, self._again.data, samples, self._again.seed)
        found = {
            (candidate.info.key, question): self._compared(candidate, question, rows)
            for candidate in self._again.candidates
            for question in self._again.questions(candidate.info.key)
            if self._askable(candidate, question)
        }
        for question in dict.fromkeys(question for _, question in found):
            yield _joined(question, [one for (_, q), one in found.items() if q == question])
        if found:
            yield self._power(rows, samples)
        left = [q for q in self._questions if q not in {question for _, question in found}]
        if left and self._again.candidates:
            about = f"{', '.join(left)}: a few images cannot answer it; --full asks all"
            yield Finding("the other questions", Verdict.UNASKED, about)

    def _askable(self, candidate: Candidate, question: str) -> bool:
        settings = self._again.records[candidate.info.key, question].key.settings
        return reasked.askable(question, settings)

    def _power(self, rows: Mapping[str, Rows], samples: int) -> Finding:
        population = len(self._models) * len(self._again.data.part("test"))
        detail = power.statement(population, min(samples, population))
        return Finding("pairs of network and image", Verdict.CONFIRMED, detail)

    def _compared(self, candidate: Candidate, question: str, rows: Mapping[str, Rows]) -> Finding:
        own = rows[candidate.info.key]
        fault = self._misfit(candidate, question)
        if fault:
            return finding(question, [f"{candidate.info.key}: {fault}"], "", Verdict.CONTRADICTED)
        try:
            return self._asked(candidate, question, own)
        except CatchupError as error:
            reason = f"{candidate.info.key}: {error}"
            return Finding(question, Verdict.UNKNOWN, reason)

    def _misfit(self, candidate: Candidate, question: str) -> str:
        """Why the stored outcomes cannot be those of these images, if so."""
        result = self._again.results[candidate.info.key, question]
        told = self._again.records[candidate.info.key, question].key.data
        own = Questions((question,)).key(candidate, self._again.data, question).data
        if told != own:
            return f"it was measured on {told}, the images here are {own}"
        for part, names in reasked.arrays(question, result, self._again.data).items():
            numbers = self._about(result, part)
            if not np.isin(numbers, self._again.numbers(part)).all():
                return "its outcomes are of other images"
            for name in names:
                if len(result.samples[name]) != len(numbers):
                    return f"{name} has {len(result.samples[name])} outcomes of {len(numbers)}"
        return ""

    def _about(self, result: Result, part: str, asked: np.ndarray | None = None) -> np.ndarray:
        """The stable numbers of the images that the outcomes of a part are about."""
        if part == "test":
            return np.asarray(result.samples["index"])
        return self._again.numbers(part) if asked is None else asked

    def _asked(self, candidate: Candidate, question: str, rows: Rows) -> Finding:
        again, model = self._again, candidate.info.key
        stored = again.results[model, question]
        found = self._ask(candidate, question, rows)
        foreign = set(found.frame["protocol"]) - set(stored.frame["protocol"])
        if foreign:
            told = f"{model}: its settings give the protocol {', '.join(sorted(foreign))}"
            return Finding(question, Verdict.CONTRADICTED, told)
        differing: list[Difference] = []
        count = 0
        for part, names in reasked.arrays(question, stored, again.data).items():
            index = again.numbers(part)[rows[part]]
            index = index[np.isin(index, self._about(stored, part))]
            asked = again.numbers(part)[self._padded(rows)[part]]
            compared = outcomes.compare(
                _taken(stored, names, self._about(stored, part), index),
                _taken(found, names, self._about(found, part, asked), index),
            )
            compared = self._settled(candidate, question, part, compared, index)
            count += sum(one.found.size for one in compared)
            for one in compared:
                differing += outcomes.differences(model, question, part, one, index)
        verdict = worst(each.verdict for each in differing)
        return Finding(question, verdict, f"{count:,} outcomes", tuple(differing))

    def _ask(self, candidate: Candidate, question: str, rows: Rows) -> Result:
        lighter = reasked.LIGHTER.get(question, {})
        images = chosen(self._again.data, self._padded(rows))
        return self._again.ask(candidate, question, images, **lighter)

    def _padded(self, rows: Rows) -> Rows:
        """The same rows and, where they are few, the first others."""
        padded = {}
        for name, numbers in rows.items():
            others = np.setdiff1d(np.arange(len(self._again.data.part(name))), numbers)
            more = others[: max(0, FEWEST - len(numbers))]
            padded[name] = np.sort(np.concatenate([numbers, more]))
        return padded

    def _settled(
        self,
        candidate: Candidate,
        question: str,
        part: str,
        compared: list[Compared],
        index: np.ndarray,
    ) -> list[Compared]:
        """Ask networks that are changed by rounding about what still differs."""
        every = np.any([one.open for one in compared], axis=0) if compared else np.empty(0)
        left = np.flatnonzero(every)
        for start in range(0, len(left), CHUNK):
            rows = left[start : start + CHUNK]
            answers = self._answers(candidate, question, part, index[rows])
            compared = [_settled(one, answers, rows) for one in compared]
            altered = np.any([one.open[rows] for one in compared], axis=0)
            if altered.mean() > 0.5:
                break  # no rounding does that; the rest stands as it is
        return compared

    def _answers(
        self, candidate: Candidate, question: str, part: str, index: np.ndarray
    ) -> Sequence[Mapping[str, np.ndarray]]:
        """What each changed network says about these images of a part."""
        data, answers = self._again.data, []
        none: Rows = {name: np.empty(0, int) for name in data.parts if name != "train"}
        rows = {**none, part: np.sort(_places(self._again.numbers(part), index))}
        asked = self._again.numbers(part)[self._padded(rows)[part]]
        stored = self._again.results[candidate.info.key, question]
        names = reasked.arrays(question, stored, data)[part]
        for number in range(outcomes.DRAWS):
            noise = generator(self._again.seed, "rounding", number)
            with rounded(candidate.model, outcomes.ROUNDING, noise):
                found = self._ask(candidate, question, rows)
            answers.append(_taken(found, names, self._about(found, part, asked), index))
        return answers


def _settled(
    one: Compared, answers: Sequence[Mapping[str, np.ndarray]], rows: np.ndarray
) -> Compared:
    if not one.open[rows].any() or one.stored.shape != one.found.shape:
        return one
    return outcomes.settled(one, [each[one.name] for each in answers], rows)


def _joined(question: str, findings: Sequence[Finding]) -> Finding:
    """One finding about all networks."""
    verdict = worst(one.verdict for one in findings)
    differing = tuple(each for one in findings for each in one.differences)
    plain = [one for one in findings if one.detail.endswith("outcomes")]
    total = sum(int(one.detail.split()[0].replace(",", "")) for one in plain)
    said = [f"{total:,} outcomes of {len(plain)} networks"] if plain else []
    near = sum(each.verdict == Verdict.NEAR for each in differing)
    said += [f"{near} near"] if near else []
    said += [f"{len(differing) - near} altered"] if len(differing) > near else []
    said += [one.detail for one in findings if one not in plain]
    return Finding(f"asked again: {question}", verdict, "; ".join(said), differing)


def _places(numbers: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    order = np.argsort(numbers, kind="stable")
    return np.asarray(order[np.searchsorted(numbers, wanted, sorter=order)])


def _taken(
    result: Result, names: Sequence[str], numbers: np.ndarray, index: np.ndarray
) -> dict[str, np.ndarray]:
    """The arrays, which are about the images `numbers`, for the images `index`."""
    places = _places(numbers, index)
    return {name: result.samples[name][places] for name in names if name in result.samples}


def whole(again: Again) -> Iterator[Finding]:
    """Everything asked again with all images; each row's value is compared."""
    for candidate in again.candidates:
        for question in again.questions(candidate.info.key):
            yield _whole(again, candidate, question)


def _whole(again: Again, candidate: Candidate, question: str) -> Finding:
    check = f"asked whole: {candidate.info.key}: {question}"
    try:
        found = again.ask(candidate, question, again.data)
    except CatchupError as error:
        return Finding(check, Verdict.UNKNOWN, str(error))
    told, own = again.results[candidate.info.key, question].frame, found.frame
    keys = [name for name in own.columns if name not in ("value", "low", "high")]
    if len(told) != len(own) or not told[keys].astype(str).equals(own[keys].astype(str)):
        return Finding(check, Verdict.CONTRADICTED, "it has other rows than asking again gives")
    scale = own.groupby("metric")["value"].transform(lambda values: values.abs().max())
    gap = (told["value"] - own["value"]).abs() > CLOSE * scale
    exact = np.allclose(told["value"], own["value"], rtol=1e-4, atol=1e-6)
    faults = [
        f"{row.metric} is {row.value:.6g}, asking again gives {value:.6g}"
        for row, value in zip(told[gap].itertuples(), own["value"][gap], strict=True)
    ]
    verdict = Verdict.CONTRADICTED if faults else Verdict.CONFIRMED if exact else Verdict.NEAR
    return Finding(check, verdict, "; ".join(faults) or f"{len(own)} rows")
