"""Reading what users name: what a file's bytes are, its arrays, a function in `FILE.py:NAME`."""

import ast
import hashlib
import importlib.util
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from html import unescape
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.core.foreign import foreign_code, place_of

HEAD = 1024  # bytes that are enough to recognise a file by
PAGE = re.compile(
    rb"(?i)(<\?xml[^>]*>|<!--.*?-->|\s)*<(!doctype\s+html|html|head|body|script)\b", re.S
)
TITLE = re.compile(rb"(?is)<title[^>]*>(.*?)</title")
TITLE_WITHIN = 65536

# What files of a format begin with, by the end of their name; a .tar may begin with anything.
BEGINNINGS = {
    ".gz": b"\x1f\x8b",
    ".tgz": b"\x1f\x8b",
    ".zip": b"PK",
    ".npz": b"PK",
    ".npy": b"\x93NUMPY",
    ".png": b"\x89PNG",
    ".jpg": b"\xff\xd8\xff",
    ".mat": b"MATLAB",
}


def is_page(head: bytes) -> bool:
    """Whether a file that begins so is a web page.

    Example:
        >>> is_page(b"\\n<!DOCTYPE html><html>"), is_page(b"\\x1f\\x8b\\x08")
        (True, False)
    """
    return PAGE.match(head.removeprefix(b"\xef\xbb\xbf")) is not None


def format_mismatch(name: str, start: bytes) -> str:
    """Why a file of this name cannot begin so; empty where it can.

    Args:
        name: its end, such as ".npy", is the expected format.
        start: its first bytes; a page's title is found if it is among them.

    Example:
        >>> format_mismatch("x.npy", b"<html><title>Sign in &amp; accept</title>")
        "it is a web page: title 'Sign in & accept'"
    """
    if is_page(start[:HEAD]):
        found = TITLE.search(start)
        title = " ".join(unescape(found[1].decode("utf-8", "replace")).split()) if found else ""
        return f"it is a web page: title {title[:80]!r}" if found else "it is a web page"
    suffix = Path(name).suffix
    fits = start.startswith(BEGINNINGS.get(suffix, b""))
    return "" if fits else f"it does not begin as a {suffix} file does"


def names_code(target: str) -> bool:
    """Whether this names a function of a file, `FILE.py:NAME`."""
    return ".py:" in target


def load_user_function(target: str, expected: str, *kinds: type) -> Callable[..., Any]:
    """The function that `FILE.py:NAME` names; the file is run, with its folder importable.

    What the file or a call of the function raises, exits included, is reported in one sentence with
    the line, and so is an answer of another type.

    Args:
        expected: what the function must give, as a noun phrase.
        kinds: types that this may have.

    Raises:
        BadFile: there is no such file.
        UnknownName: there is no such function in it.
        UserError: the file cannot be run, or what has this name cannot be called.
    """
    path, _, name = target.rpartition(":")
    file = Path(path)
    if not file.is_file():
        raise BadFile(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise BadFile(f"expected a Python file FILE.py, got {path}")
    module = importlib.util.module_from_spec(spec)
    with foreign_code("your code", file), _importable(module, file):
        spec.loader.exec_module(module)
    if not hasattr(module, name):
        public = [each for each in vars(module) if each[0] != "_"]
        raise UnknownName(f"function of {path}", name, public)
    function = getattr(module, name)
    if not callable(function):
        raise UserError(f"expected a function {name} in {path}, got {type(function).__name__}")

    @wraps(function, updated=())
    def call(*args: Any, **options: Any) -> Any:
        with foreign_code(f"your function {name}", file), _importable(module, file):
            made = function(*args, **options)
        if not isinstance(made, kinds):
            raise UserError(
                f"expected {expected} from your function {name} in {place_of(function, file)}, "
                f"got {type(made).__name__}"
            )
        return made

    return call


@contextmanager
def _importable(module: ModuleType, file: Path) -> Iterator[None]:
    """A file's own module, and those of its folder, can be imported; installed ones come first.

    None stays: another folder may have modules of the same names.
    """
    folder, before = file.parent.resolve(), {*sys.modules}
    added = str(folder) not in sys.path
    if added:
        sys.path.append(str(folder))
    sys.modules.setdefault(file.stem, module)  # where dataclasses look for it
    try:
        yield
    finally:
        if added and str(folder) in sys.path:
            sys.path.remove(str(folder))
        for name in {*sys.modules} - before:
            path = Path(getattr(sys.modules[name], "__file__", None) or "/").resolve()
            if path.is_relative_to(folder) and "site-packages" not in path.parts:
                del sys.modules[name]


def hash_user_code(target: str) -> str:
    """A hash of the code behind `FILE.py:NAME`, 16 hexadecimal digits; the code is not run.

    It is of the bytes of the file and of the modules of its folder that it imports, directly or by
    one another, wherever the folder lies. Modules imported by a computed name and other files that
    the code reads are not seen.

    Raises:
        BadFile: there is no such file.
    """
    first = Path(target.rpartition(":")[0])
    if not first.is_file():
        raise BadFile(f"there is no file {first}")
    digest, found, left = hashlib.sha256(), {first}, [first]
    while left:
        new = set(_imported_files(left.pop(), first.parent)) - found
        found |= new
        left += new
    for path in sorted(found):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(first.parent).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def _imported_files(path: Path, folder: Path) -> Iterator[Path]:
    """The modules inside a folder that a file's import lines name."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # running it reports the error
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _module_files(folder, alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = len(path.parents) < node.level
            base = path.parents[node.level - 1] if node.level and not above else folder
            if base.is_relative_to(folder) and not above:
                for alias in node.names:
                    yield from _module_files(base, f"{node.module or ''}.{alias.name}".strip("."))


def _module_files(base: Path, module: str) -> Iterator[Path]:
    """The files of `a`, `a.b` and `a.b.c` of the module `a.b.c`, as far as they exist."""
    for part in module.split("."):
        base = base / part
        yield from filter(Path.is_file, (base.with_name(f"{part}.py"), base / "__init__.py"))


def read_npy(path: Path) -> np.ndarray:
    """The array in a `.npy` file; nothing in it is unpickled.

    Raises:
        BadFile: no such file, or one that is cut short, foreign, or holds Python objects.
    """
    with _reading(path, "an .npy array") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a `.npz` file, by name; nothing in it is unpickled.

    Raises:
        BadFile: no such file, or one that is cut short, foreign, or holds Python objects.
    """
    with (
        _reading(path, "an .npz archive of arrays") as file,
        np.load(file, allow_pickle=False) as archive,
    ):
        arrays = {key: archive[key] for key in archive.files}
    foreign = sorted(key for key, array in arrays.items() if not isinstance(array, np.ndarray))
    if foreign:
        raise BadFile(f"expected arrays only in {path}; no arrays are: {', '.join(foreign)}")
    return arrays


@contextmanager
def _reading(path: Path, expected: str) -> Iterator[BinaryIO]:
    if not path.is_file():
        raise BadFile(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            yield file
    except Exception as error:  # a damaged file can raise many types
        fault = _read_error(path, error)
        raise BadFile(f"expected {expected} in {path}: {fault}") from error


def _read_error(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if zipfile.is_zipfile(path):
        return str(error).split("\n")[0] or type(error).__name__
    with path.open("rb") as file:
        page = is_page(file.read(HEAD))
    return "it is a web page" if page else "it is cut short or something else"
