"""Reading what users name: what a file's bytes are, its arrays, a function in `FILE.py:NAME`."""

import ast
import hashlib
import importlib.util
import math
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from html import unescape
from pathlib import Path
from types import ModuleType
from typing import IO, Any, BinaryIO

import numpy as np

from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.core.files import format_bytes, open_regular
from catchup_eval.core.foreign import foreign_code, place_of

HEAD = 1024  # bytes that are enough to recognise a file by
PAGE = re.compile(
    rb"(?i)(<\?xml[^>]*>|<!--.*?-->|\s)*<(!doctype\s+html|html|head|body|script)\b", re.S
)
TITLE = re.compile(rb"(?is)<title[^>]*>(.*?)</title")
TITLE_WITHIN = 65536
BLOCK = 1 << 20  # bytes of an array that are read at once
FOLDINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others know no limit
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

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


# What files begin with that are often taken for another format.
MAGIC = {
    b"version https://git-lfs": "a Git LFS pointer, not the file; get that with `git lfs pull`",
    b"\x1f\x8b": "compressed by gzip; unpack it first",
    b"BZh": "compressed by bzip2; unpack it first",
    b"\xfd7zXZ\x00": "compressed by xz; unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"MATLAB": "a MATLAB file",
    b"GGUF": "a GGUF file",
    b"\x00\x05\x16\x07": "what macOS keeps beside a file, not the file",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"GIF8": "an image",
    b"%PDF": "a PDF",
}
TORCH_PICKLE = b"l\xfc\x9cF\xf9 j\xa8P\x19"  # the number that torch.save began with until 1.5


def recognize(path: Path) -> str:
    """What a file is by its first bytes, where users take it for another format; else empty.

    Safetensors, pickles and archives of torch's own are not named, nor what is not known.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if is_safetensors(head):  # whose length, the first bytes, may be those of any format
        return ""
    if not head:
        return "empty"
    if is_page(head):
        return "an HTML page"
    if head.startswith(b"PK"):
        return _recognize_zip(path)
    if head.startswith(b"\x80") and TORCH_PICKLE not in head[:32]:
        return "a pickle that torch.save did not write"
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model"
    if head[:1] == b"\x08" and head[2:3] == b"\x12":
        return "a TensorFlow model" if head[1:2] == b"\x01" else "an ONNX model"
    if not any(head):
        return "filled with zeros"
    known = next((name for magic, name in MAGIC.items() if head.startswith(magic)), "")
    if known or not _is_text(head):
        return known
    line = next(iter(head.decode("utf-8", "replace").split("\n")))
    return f"a text that begins {line[:60]!r}"


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins so is one of safetensors: a length below 4 GB, then JSON."""
    return head[4:9] == b"\0\0\0\0{"


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\n\r\f" for byte in head) and b"\x7f" not in head


def _recognize_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # a damaged file can raise many types
        return ""
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        return "a TorchScript archive, a program; name it without a network, or save a state_dict()"
    if any(name.endswith(("/archive_format", "exported_program.json")) for name in names):
        return "a program of torch.export; name it without a network, or save a state_dict()"
    if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        return ""
    if names and all(name.endswith(".npy") for name in names):
        return "an .npz archive of NumPy arrays"
    return f"a zip archive of other files ({', '.join(names[:3])}), {len(names)} in all"


def names_code(target: str) -> bool:
    """Whether this names a function of a file, `FILE.py:NAME`."""
    return ".py:" in target


def code_label(target: str) -> str:
    """`FILE.py:NAME` without the folders, which differ from machine to machine."""
    path, mark, name = target.rpartition(":")
    return f"{Path(path).name}{mark}{name}"


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

    None stays: another folder may have modules of the same names. No bytecode is written beside
    them: a user's folder is not ours.
    """
    folder, before, writes = file.parent.resolve(), {*sys.modules}, sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    added = str(folder) not in sys.path
    if added:
        sys.path.append(str(folder))
    sys.modules.setdefault(file.stem, module)  # where dataclasses look for it
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes
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


def read_npy(path: Path, *, most: int | None = None, below: Path | None = None) -> np.ndarray:
    """The array in a `.npy` file; nothing in it is unpickled, and no more than is there allocated.

    Args:
        most, below: as of :func:`~catchup_eval.core.files.open_regular`.

    Raises:
        BadFile: no such file, or one that is cut short, foreign, or holds Python objects.
    """
    with _reading(path, "an .npy array", most, below) as file:
        return _read_array(file, os.fstat(file.fileno()).st_size)


def read_npz(
    path: Path,
    *,
    most: int | None = None,
    below: Path | None = None,
    unfolded: int | None = None,
    names: int | None = None,
) -> dict[str, np.ndarray]:
    """All arrays of a `.npz` file, by name; nothing in it is unpickled.

    Args:
        most, below: as of :func:`~catchup_eval.core.files.open_regular`.
        unfolded: bytes of all arrays; where it is None, as many as this machine's memory has.
        names: how many arrays it may hold.

    Raises:
        BadFile: no such file, or one that is cut short, foreign, or holds anything but arrays, the
            same name twice, or more than it may; it is refused before anything is allocated.
    """
    with (
        _reading(path, "an .npz archive of arrays", most, below) as file,
        zipfile.ZipFile(file) as archive,
    ):
        entries = archive.infolist()
        _check_entries(entries, _memory() if unfolded is None else unfolded, names)
        arrays = {}
        for entry in entries:
            with archive.open(entry) as content:
                arrays[entry.filename.removesuffix(".npy")] = _read_array(content, entry.file_size)
        return arrays


def _check_entries(entries: list[zipfile.ZipInfo], unfolded: int, most: int | None) -> None:
    if most is not None and len(entries) > most:
        raise BadFile(f"it holds {len(entries):,} arrays, more than {most:,}")
    names = [entry.filename for entry in entries]
    foreign = sorted(name for name in names if not name.endswith(".npy"))
    if foreign:
        raise BadFile(f"no arrays are: {', '.join(foreign[:5])}")
    if len(set(names)) < len(names):
        raise BadFile("two of its arrays have one name")
    if any(entry.compress_type not in FOLDINGS for entry in entries):
        raise BadFile("it is compressed otherwise than numpy compresses")
    size = sum(entry.file_size for entry in entries)
    if size > unfolded:
        raise BadFile(f"it unfolds to {format_bytes(size)}, more than {format_bytes(unfolded)}")


def _read_array(file: IO[bytes], size: int) -> np.ndarray:
    """An array whose header promises no more than the `size` bytes of its file hold."""
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise BadFile(f"version {version} of the format is unknown")
    shape, fortran, dtype = HEADERS[version](file)
    if dtype.hasobject:
        raise BadFile("Object arrays cannot be loaded, since nothing is unpickled")
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * max(dtype.itemsize, 1) > size - file.tell():
        raise BadFile(f"its header promises {dtype} {shape}, more than is there")
    array = np.empty(count, dtype)
    content = array.view(np.uint8).data if array.nbytes else memoryview(b"")
    for start in range(0, len(content), BLOCK):
        block = file.read(min(BLOCK, len(content) - start))
        content[start : start + len(block)] = block
        if len(block) < min(BLOCK, len(content) - start):
            raise BadFile("it is cut short")
    if dtype.kind == "b" and count and array.view(np.uint8).max() > 1:
        raise BadFile("it holds truth values other than 0 and 1")
    return array.reshape(shape, order="F" if fortran else "C")


def _memory() -> int:
    """Bytes of this machine's memory."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 1 << 40


@contextmanager
def _reading(path: Path, expected: str, most: int | None, below: Path | None) -> Iterator[BinaryIO]:
    if not path.exists():
        raise BadFile(f"there is no file {path}")
    try:
        with open_regular(path, most=most, below=below) as file:
            yield file
    except Exception as error:  # a damaged file can raise many types
        fault = str(error) if isinstance(error, BadFile) else _read_error(path, error)
        raise BadFile(f"expected {expected} in {path}: {fault}") from error


def _read_error(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if zipfile.is_zipfile(path):
        return str(error).split("\n")[0] or type(error).__name__
    with path.open("rb") as file:
        page = is_page(file.read(HEAD))
    return "it is a web page" if page else "it is cut short or something else"
