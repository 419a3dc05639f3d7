"""Results on disk: what is done is skipped, what was stopped goes on.

FOLDER/study.json                     models, data, what was skipped, machine, command
FOLDER/results/MODEL/ANALYSIS.csv     the frame
FOLDER/results/MODEL/ANALYSIS.npz     the samples
FOLDER/results/MODEL/ANALYSIS.json    the key and the provenance; written last, so that a
                                      result without it counts as not done
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from catchup_eval.errors import BadFile
from catchup_eval.files import locked, replacing, write_text
from catchup_eval.results import Result
from catchup_eval.verification import hashes


class Key(BaseModel):
    """What a result depends on; two equal keys mean the same numbers."""

    model_config = ConfigDict(frozen=True)

    weights: str  # fingerprint of weights and normalisation
    data: str  # fingerprint of all parts
    analysis: str
    version: int
    seed: int  # of what the analysis draws
    settings: dict[str, Any]


class Provenance(BaseModel):
    """How a result came about."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    device: str
    versions: dict[str, str]
    date: str  # ISO 8601, UTC


class Hashes(BaseModel):
    """What a stored result was when it was stored; `catchup-eval verify` compares."""

    model_config = ConfigDict(frozen=True)

    frame: str  # of the CSV's bytes
    samples: str  # of the arrays
    code: str  # of the package that measured
    libraries: dict[str, str]  # what wrote tables and pictures


class Record(BaseModel):
    """The sidecar of a stored result.

    Attributes:
        hashes: None where an older version of the package stored it.
        seal: a hash of all the rest.
    """

    model_config = ConfigDict(frozen=True)

    key: Key
    provenance: Provenance
    hashes: Hashes | None = None
    seal: str = ""

    def sealed(self) -> "Record":
        """The same record with its seal."""
        content = self.model_dump(mode="json", exclude={"seal"})
        return self.model_copy(update={"seal": hashes.of_json(content)})


class Store:
    """The results inside one folder.

    Args:
        folder: of one report; made when the first result is put.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)

    def path(self, model: str, analysis: str, suffix: str) -> Path:
        """Where this file of a result lies."""
        return self.folder / "results" / model / f"{analysis}.{suffix}"

    def put(self, model: str, result: Result, record: Record) -> None:
        """Write a result; it counts as done once all of it is on disk, of one process.

        A record without hashes is given them; one that has them, of another store, keeps them.

        Raises:
            UserError: the disk is full, or the folder cannot be written.
        """
        name = record.key.analysis
        sidecar = self.path(model, name, "json")
        with locked(sidecar):
            sidecar.unlink(missing_ok=True)
            with replacing(self.path(model, name, "csv")) as temporary:
                result.frame.to_csv(temporary, index=False)
            with replacing(self.path(model, name, "npz")) as temporary:
                np.savez_compressed(temporary, allow_pickle=False, **result.samples)
            if record.hashes is None:
                record = record.model_copy(update={"hashes": self._hashes(model, name, result)})
            write_text(sidecar, record.sealed().model_dump_json(indent=1))

    def _hashes(self, model: str, name: str, result: Result) -> Hashes:
        return Hashes(
            frame=hashes.of_file(self.path(model, name, "csv")),
            samples=hashes.of_arrays(result.samples),
            code=hashes.of_code(),
            libraries=dict(hashes.libraries()),
        )

    def record(self, model: str, analysis: str) -> Record | None:
        """The sidecar of a finished result; None where there is none that can be read."""
        try:
            return Record.model_validate_json(self.path(model, analysis, "json").read_text())
        except (FileNotFoundError, ValidationError):
            return None

    def has(self, model: str, key: Key) -> bool:
        """Whether this very result is done."""
        record = self.record(model, key.analysis)
        return record is not None and record.key == key

    def get(self, model: str, analysis: str) -> Result:
        """A finished result.

        Raises:
            BadFile: its files are absent or damaged.
        """
        frame, samples = (self.path(model, analysis, suffix) for suffix in ("csv", "npz"))
        try:
            with samples.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return Result(read_frame(frame), dict(arrays))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise BadFile(f"the stored result {frame} cannot be read: {error}") from error

    def copy(self, source: "Store", model: str, analysis: str) -> None:
        """Take over one finished result of another store."""
        record = source.record(model, analysis)
        if record is not None and source.folder != self.folder:
            self.put(model, source.get(model, analysis), record)


def read_frame(path: Path) -> pd.DataFrame:
    """A frame as :meth:`Store.put` wrote it."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them, so that a key is the same before and after storing."""
    return json.loads(json.dumps(dict(settings), sort_keys=True))  # type: ignore[no-any-return]
