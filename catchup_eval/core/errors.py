"""The errors of the toolkit, as a tree.

    CatchupError
    +-- UserError          a mistake that the user can mend: one sentence, exit code 2
    |   +-- UnknownName    a method, model, dataset, analysis or setting that does not exist
    |   +-- BadFile        a file that is absent, cut short, foreign or not what was promised
    +-- InvalidOutput      what a network answers and nothing can be computed from
    +-- Missing            what a model or a dataset lacks; the analysis is skipped
    +-- Interrupted        stopped by a signal; what was done is saved

Every message names what was expected, what came, and what there is.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class CatchupError(Exception):
    """The root of all errors that the toolkit raises on purpose."""


class UserError(CatchupError, ValueError):
    """A mistake that the user can mend."""


class UnknownName(UserError):
    """A name that is not in a list; the message names the nearest known one and the list.

    Example:
        >>> str(UnknownName("method", "cutmx", ["baseline", "cutmix"]))
        "there is no method 'cutmx'; did you mean 'cutmix'? There are: baseline, cutmix"
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        known = sorted(known)
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        listing = ", ".join(known) or "none"
        super().__init__(f"there is no {kind} {name!r}; {hint}There are: {listing}")


class BadFile(UserError):
    """A file that is absent, cut short, foreign or not what was promised."""


class InvalidOutput(CatchupError):
    """What a network answers and nothing can be computed from, in one sentence.

    The analysis fails and the run goes on; the sentence stands where the number would.
    """


class Missing(CatchupError):
    """What a model or a dataset lacks for one analysis, as a noun phrase: "boxes".

    The analysis is skipped and the run goes on; the page says "skipped: needs boxes".
    """


class Interrupted(CatchupError):
    """Stopped by a signal, with everything saved.

    Args:
        message: what was saved and how to go on.
        signal_number: the signal; the command exits with 128 plus this number.
    """

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.signal_number = signal_number


DONE, IN_PART = 0, 3  # exit codes
