"""Commands in children of a process that has everything imported: a fork costs milliseconds.

A child has limits on its memory and time, its own working and home folder, and its own process
group, none of which outlives it. What it leaves is compared with what was there before.
"""

import codecs
import os
import pkgutil
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from stat import S_ISREG
from time import monotonic, sleep
from typing import NamedTuple, NoReturn

from catchup_eval.core.files import TEMPORARY

MEMORY = 1_500_000_000  # bytes of data that a child may have beyond what it is born with
CPU = 30  # seconds
STILL = 10.0  # seconds without work after which a child counts as hanging
POLL = 0.004


class Ended(NamedTuple):
    """How a command ended."""

    code: int  # exit code; minus the signal that ended it
    stdout: str
    stderr: str
    seconds: float  # of the processor
    memory: int  # bytes, the most it had beyond what it was born with
    limit: str = ""  # which one it met: "hangs" or "takes too long"


def preload(put: Callable[[object, str, object], None] = setattr) -> None:
    """Import all that a command may import; draw no figures, and resample little.

    Args:
        put: replaces an attribute; a test's does so for a while.
    """
    from matplotlib.figure import Figure

    import catchup_eval
    from catchup_eval.metrics import intervals
    from catchup_eval.results import hashes

    for module in pkgutil.walk_packages(catchup_eval.__path__, "catchup_eval."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    for name in ("sklearn.datasets", "scipy.stats", "timm", "torchvision.models", "pyhessian"):
        import_module(name)
    for name in ("utf-8-sig", "idna", "ascii", "cp1252"):  # nobody may not read the interpreter's
        codecs.lookup(name)
    put(Figure, "draw_without_rendering", lambda _self: None)
    put(Figure, "savefig", _blank)
    for function in (intervals.bootstrap, intervals.bootstrap_mean):
        put(function, "__kwdefaults__", {**function.__kwdefaults__, "resamples": 20})
    hashes.hash_package(), hashes.libraries()  # which are cached


def _blank(figure: object, file: object, *, format: str, **_: object) -> None:
    """A file of the right kind in place of a figure, which takes longer than all else."""
    from PIL import Image

    if format == "png":
        sides = (round(20 * side) for side in figure.get_size_inches())  # type: ignore[attr-defined]
        Image.new("RGB", tuple(sides), "white").save(file, "png", dpi=(20, 20))  # type: ignore[arg-type]
    else:
        file.write({"svg": b"<svg><path/></svg>", "pdf": b"%PDF-1.4"}[format])  # type: ignore[attr-defined]


class Child:
    """A command that runs.

    Args:
        words: of the command, after its name.
        box: a folder of its own, with `cwd`, `home` and `tmp` in it; its output is kept here.
        environment: variables beside those that every child has.
        prepare: called in the child first.
        real: the command as it is installed, in a new process.
    """

    def __init__(
        self,
        words: Sequence[str],
        box: Path,
        *,
        environment: Mapping[str, str] = {},
        prepare: Callable[[], None] | None = None,
        real: bool = False,
    ):
        self.box = box
        for name in ("cwd", "home", "tmp"):
            (box / name).mkdir(parents=True, exist_ok=True)
        (box / "born").write_text("0")
        for name in ("stdout", "stderr"):  # there even where it is killed at once
            (box / name).write_text("")
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # threads of the tests' runner, which hold no lock
            self.pid = os.fork()
        if not self.pid:
            _become(words, box, environment, prepare, real)

    def kill(self) -> None:
        """End it and all that it started."""
        for stop in (os.killpg, os.kill):
            try:
                stop(self.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue

    def wait(self, seconds: float | None = None) -> Ended | None:
        """Wait until it ends, is ended for its hanging, or the time is over, which gives None."""
        started = moved = monotonic()
        work, limit = -1, ""
        while True:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                break
            now = monotonic()
            if seconds is not None and now - started > seconds:
                return None
            if (done := _ticks(self.pid)) != work:
                work, moved = done, now
            if not limit and now - moved > STILL:
                limit = "hangs"
                self.kill()
            sleep(POLL)
        self.kill()  # what it left behind
        code = os.waitstatus_to_exitcode(status)
        limit = "takes too long" if code == -signal.SIGXCPU else limit
        out, err = (
            (self.box / name).read_text(encoding="utf-8", errors="replace")
            for name in ("stdout", "stderr")
        )
        memory = max(0, usage.ru_maxrss * 1024 - int((self.box / "born").read_text() or 0))
        return Ended(code, out, err, usage.ru_utime + usage.ru_stime, memory, limit)


def call(words: Sequence[str], box: Path, **how: object) -> Ended:
    """Run a command to its end; arguments as :class:`Child` has them."""
    ended = Child(words, box, **how).wait()  # type: ignore[arg-type]
    assert ended is not None
    return ended


def _become(
    words: Sequence[str],
    box: Path,
    environment: Mapping[str, str],
    prepare: Callable[[], None] | None,
    real: bool,
) -> NoReturn:
    import matplotlib

    code = 70
    try:
        os.setsid()
        for number, name in ((1, "stdout"), (2, "stderr")):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            os.dup2(os.open(box / name, flags, 0o666), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(box / "cwd")
        for name in [name for name in os.environ if name.startswith(("CATCHUP", "XDG", "HF_"))]:
            del os.environ[name]
        os.environ |= {
            "HOME": str(box / "home"),
            "TMPDIR": str(box / "tmp"),
            "NO_COLOR": "1",
            "COLUMNS": "100",
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "MPLCONFIGDIR": matplotlib.get_configdir(),
            "HF_HUB_OFFLINE": "1",  # and no other host than this one is reached
            "http_proxy": "http://127.0.0.1:9",
            "https_proxy": "http://127.0.0.1:9",
            "no_proxy": "127.0.0.1",
            **environment,
        }
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU + 5))
        if real:
            limit = MEMORY + 3_000_000_000  # what importing torch takes
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
            command = Path(sys.executable).with_name("catchup-eval")
            os.execv(command, [str(command), *words])
        (box / "born").write_text(str(_status("VmRSS")))
        limit = _status("VmData") + MEMORY
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        code = _call_main(words, prepare)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _call_main(words: Sequence[str], prepare: Callable[[], None] | None) -> int:
    """What the interpreter does around `main`."""
    import torch

    from catchup_eval.cli.main import main

    torch.set_num_threads(1)
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    for name, number in (("stdout", 1), ("stderr", 2)):
        setattr(sys, name, TextIOWrapper(open(number, "wb"), encoding=encoding))  # noqa: SIM115
    sys.stderr.reconfigure(line_buffering=True)  # type: ignore[attr-defined]
    sys.argv = ["catchup-eval", *words]
    warnings.resetwarnings()
    if prepare:
        prepare()
    code = 0
    try:
        main()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(ValueError, OSError):  # closed by the user's code
            stream.flush()
    return code


def _status(key: str) -> int:
    """Bytes of this process."""
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if key in line)


def _ticks(pid: int) -> int:
    """What a process has worked so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


Snapshot = Mapping[str, tuple[int, int, int]]


def snapshot(folder: Path, *without: str) -> Snapshot:
    """Mode, size and time of all below a folder, but for some folders in it."""
    found = {}
    for place, folders, files in os.walk(folder):
        if Path(place) == folder:
            folders[:] = [name for name in folders if name not in without]
            files = [name for name in files if name not in (*without, "stdout", "stderr", "born")]
        for name in [*folders, *files]:
            path = os.path.join(place, name)
            state = os.lstat(path)
            plain = S_ISREG(state.st_mode)
            size, time = (state.st_size, state.st_mtime_ns) if plain else (0, 0)
            found[os.path.relpath(path, folder)] = (state.st_mode, size, time)
    return found


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    """What was made, removed or altered."""
    return sorted(name for name in {**before, **after} if before.get(name) != after.get(name))


def leftovers(folder: Path) -> list[str]:
    """Temporary files and locks below a folder."""
    names = [name for _, _, files in os.walk(folder) for name in files]
    return sorted(name for name in names if TEMPORARY.fullmatch(name) or name.endswith(".lock"))
