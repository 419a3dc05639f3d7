"""Code of users and of other packages: what it raises is reported in one sentence, with its line.

The signals of this process pass, and so do the toolkit's own errors.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from catchup_eval.core.errors import CatchupError, UserError

LONGEST = 300  # characters of a message of theirs


@contextmanager
def foreign_code(what: str, root: Path, *, surely: bool = True) -> Iterator[None]:
    """Report whatever the code within raises, exits included, as `UserError`.

    Args:
        what: is run, as a noun phrase.
        root: its file, or the folder of its package; the line is the innermost one there.
        surely: whether nothing else is run; if not, an error without a line in `root` passes.
    """
    try:
        yield
    except (CatchupError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        place = _place(error, root)
        if not (place or surely):
            raise
        raise UserError(f"{what} in {place or root} raised {describe_error(error)}") from error


def describe_error(error: BaseException) -> str:
    """Its type and the first line of its message."""
    try:
        text = str(error).strip().partition("\n")[0]
    except Exception:  # of a type of their own
        text = ""
    text = "".join(each if each.isprintable() else "?" for each in text[:LONGEST])
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _place(error: BaseException, root: Path) -> str:
    """FILE:LINE of the innermost frame within `root`; of a syntax error, where it is."""
    lines = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        lines.append((error.filename, error.lineno))
    here = root.resolve()
    inside = [line for line in lines if here in (own := Path(line[0]).resolve(), *own.parents)]
    if not inside:
        return ""
    file, number = inside[-1]
    own = Path(file).resolve()
    shown = root if root.is_file() else own.relative_to(here.parent)
    return f"{shown}:{number}"


def place_of(function: Any, file: Path) -> str:
    """FILE:LINE of a function's definition; the file alone where that is not known."""
    code = getattr(function, "__code__", None)
    return f"{file}:{code.co_firstlineno}" if code else str(file)
