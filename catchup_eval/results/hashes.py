"""Hashes of what a report is made of; sha256 in hexadecimal digits.

A hash that lies beside what it seals finds accidents and careless edits, not a forger who seals
anew: that takes measuring again.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = Path(__file__).parents[1]
CODE = (".py", ".toml", ".html", ".css", ".json")  # of the package: what numbers and pages hang on
LIBRARIES = ("numpy", "pandas", "matplotlib", "pillow")  # that write tables and pictures


def hash_file(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hash_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """Of arrays by name: names, types, shapes and values, whatever the order or compression."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        values = np.asarray(array)
        digest.update(json.dumps([name, values.dtype.str, list(values.shape)]).encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def hash_json(content: Any) -> str:
    """Of what JSON can hold, whatever the order of its keys or the spaces between them."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def hash_package() -> str:
    """Of the package as it is here."""
    files = sorted(path for path in PACKAGE.rglob("*") if path.suffix in CODE)
    named = {path.relative_to(PACKAGE).as_posix(): hash_file(path) for path in files}
    return hash_json(named)


@cache
def libraries() -> Mapping[str, str]:
    """The versions of the libraries that write tables and pictures."""
    return {name: version(name) for name in LIBRARIES}
