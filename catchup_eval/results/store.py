"""Results on disk: finished work is skipped, interrupted work continues.

FOLDER/study.json                     models, data, what was skipped, machine, command
FOLDER/results/MODEL/ANALYSIS.csv     the frame
FOLDER/results/MODEL/ANALYSIS.npz     the samples
FOLDER/results/MODEL/ANALYSIS.json    the key and the provenance; written last, so that a
                                      result without it counts as not done
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, Field

from catchup_eval.core.environment import package_versions, utc_timestamp
from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.files import atomic_path, locked, write_text
from catchup_eval.core.readers import read_npz
from catchup_eval.results import hashes, stored
from catchup_eval.results.folder import read_stored
from catchup_eval.results.result import Result


class Key(BaseModel, frozen=True):
    """What a result depends on; two equal keys mean the same numbers.

    Older versions of the package stored the given settings alone, no `network` and no code. What
    the defaults were then is not known, so such a result can be read, plotted and verified, but is
    not the current one: it is measured again when requested.
    """

    weights: str  # fingerprint of weights and normalisation
    data: str  # fingerprint of all splits
    analysis: str
    version: int
    seed: int  # of the analysis's randomness
    settings: dict[str, Any]  # all of the analysis, those left at their defaults included
    network: str = ""  # name and options; empty where unknown
    # Hashes of the user's code that builds the network and makes the dataset; empty without any.
    network_code: str = ""
    data_code: str = ""


class Provenance(BaseModel, frozen=True):
    """How a result was measured; what may differ is not in the key."""

    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    device: str
    versions: dict[str, str]
    date: str  # ISO 8601, UTC
    threads: Annotated[int, Field(ge=0)] = (
        0  # of torch on the CPU; 0 where an older version stored the result
    )
    notes: tuple[str, ...] = ()  # what is odd about the network's outputs, a sentence each
    # Of one image; 0 where it could not be counted, or an older version stored the result.
    flops: Annotated[int, Field(ge=0)] = 0
    latency: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # seconds, in a batch of one


class Hashes(BaseModel, frozen=True):
    """What a stored result was when it was stored; `catchup-eval verify` compares."""

    frame: str  # of the CSV's bytes
    samples: str  # of the arrays
    code: str  # of the package that measured
    libraries: dict[str, str]  # what wrote tables and pictures


class ResultRecord(BaseModel, frozen=True):
    """The sidecar of a stored result."""

    key: Key
    provenance: Provenance
    hashes: Hashes | None = None  # None where an older version of the package stored it
    seal: str = ""  # a hash of all the rest

    def with_seal(self) -> "ResultRecord":
        """The same record with its seal, which what is left at its default does not change.

        So the seals of records hold that were written before a field was added.
        """
        content = self.model_dump(mode="json", exclude={"seal"}, exclude_defaults=True)
        return self.model_copy(update={"seal": hashes.hash_json(content)})


class Store:
    """The results in the folder of one report, which is created with the first."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)

    def path(self, model: str, analysis: str, suffix: str) -> Path:
        """Where this file of a result lies."""
        return self.folder / "results" / model / f"{analysis}.{suffix}"

    def put(self, model: str, result: Result, record: ResultRecord) -> None:
        """Write a result; it counts as done once all of it is on disk, of one process.

        A record without hashes is given them; one that has them, of another store, keeps them.

        Raises:
            UserError: the disk is full, or the folder cannot be written.
        """
        name = record.key.analysis
        sidecar = self.path(model, name, "json")
        if not sidecar.parent.resolve().is_relative_to(self.folder.resolve()):
            raise UserError(f"{sidecar.parent} is a link that leaves {self.folder}")
        with locked(sidecar):
            sidecar.unlink(missing_ok=True)
            with atomic_path(self.path(model, name, "csv")) as temporary:
                result.frame.to_csv(temporary, index=False)
            with atomic_path(self.path(model, name, "npz")) as temporary:
                np.savez_compressed(temporary, allow_pickle=False, **result.samples)
            if record.hashes is None:
                own = Hashes(
                    frame=hashes.hash_file(self.path(model, name, "csv")),
                    samples=hashes.hash_arrays(result.samples),
                    code=hashes.hash_package(),
                    libraries=dict(hashes.libraries()),
                )
                record = record.model_copy(update={"hashes": own})
            write_text(sidecar, record.with_seal().model_dump_json(indent=1))

    def record(self, model: str, analysis: str) -> ResultRecord | None:
        """The sidecar of a finished result; None where there is none.

        Raises:
            BadFile: there is one that cannot be read.
        """
        path = self.path(model, analysis, "json")
        if not os.path.lexists(path):
            return None
        name = self._name(path)
        content = read_stored(self.folder, name, stored.MOST_RECORD)
        try:
            return stored.parse_json(ResultRecord, content)
        except BadFile as error:
            raise BadFile(f"{name}: {error}") from error

    def has(self, model: str, key: Key) -> bool:
        """Whether this very result is done, and can be read."""
        try:
            record = self.record(model, key.analysis)
            return record is not None and record.key == key and bool(self.get(model, key.analysis))
        except BadFile:
            return False

    def get(self, model: str, analysis: str) -> Result:
        """A finished result.

        Raises:
            BadFile: its files are absent or damaged.
        """
        frame, samples = (self.path(model, analysis, suffix) for suffix in ("csv", "npz"))
        name = self._name(frame)
        try:
            rows = stored.parse_frame(read_stored(self.folder, name, stored.MOST_FRAME))
            name = self._name(samples)
            arrays = read_npz(
                samples,
                most=stored.MOST_SAMPLES,
                below=self.folder,
                unfolded=stored.UNFOLDED,
                names=stored.MOST_ARRAYS,
            )
            stored.check_samples(arrays)
        except BadFile as error:
            fault = str(error).removeprefix(f"{name}: ")
            raise BadFile(f"the stored result {name} cannot be read: {fault}") from error
        return Result(rows, arrays)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def copy(self, source: "Store", model: str, analysis: str) -> None:
        """Take over one finished result of another store."""
        record = source.record(model, analysis)
        if record is not None and source.folder != self.folder:
            self.put(model, source.get(model, analysis), record)


class MemoryStore:
    """Results that are on no disk: what :class:`Store` does, for a script or a notebook."""

    def __init__(self) -> None:
        self._results: dict[tuple[str, str], tuple[Result, ResultRecord]] = {}

    def put(self, model: str, result: Result, record: ResultRecord) -> None:
        """Take a result."""
        self._results[model, record.key.analysis] = result, record

    def record(self, model: str, analysis: str) -> ResultRecord | None:
        """Key and provenance of a result; None where there is none."""
        found = self._results.get((model, analysis))
        return found[1] if found else None

    def has(self, model: str, key: Key) -> bool:
        """Whether this very result is here."""
        record = self.record(model, key.analysis)
        return record is not None and record.key == key

    def get(self, model: str, analysis: str) -> Result:
        """A result."""
        return self._results[model, analysis][0]


def to_json_types(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them, so that a key is the same before and after storing.

    What JSON does not have, which only a default of a foreign analysis can be, becomes text.
    """
    text = json.dumps(dict(settings), sort_keys=True, default=str)
    return json.loads(text)  # type: ignore[no-any-return]


def provenance(seconds: float, device: torch.device, notes: tuple[str, ...] = ()) -> Provenance:
    """How a result that was just measured came about."""
    return Provenance(
        seconds=round(seconds, 3),
        device=str(device),
        versions=package_versions(),
        date=utc_timestamp(),
        threads=torch.get_num_threads(),
        notes=notes,
    )
