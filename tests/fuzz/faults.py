"""Kills, full disks, read-only folders and doubled runs: `make faults`.

A scenario is one or several commands that fill a folder. Whatever disturbs them, the same commands
called again must end well and leave the very files of an undisturbed run, times apart, and nothing
else. Kills come at instants drawn evenly over the undisturbed run, or at the n-th renaming of a
file. What ends by itself ends with exit code 0 or 2, at most two lines and no traceback.
"""

import argparse
import gc
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tests.fuzz import children, material
from tests.fuzz.children import Child, Ended, leftovers
from tests.fuzz.fuzz import EXAMPLE, last_line, new_box, where
from tests.fuzz.material import Material
from tests.fuzz.server import serve

TIMES = (
    "seconds",
    "latency",
    "date",
    "seal",
)  # what two runs may differ in; the seal is a hash over them
# Files that have them: they must be there.
PAGES = (
    *(".html", ".md", ".png", ".pdf", ".svg", ".tex", "/cost.csv", "/provenance.csv"),
    *("/models.csv", "figures/decision.csv", "results.csv", "results.json"),
)
NOBODY = 65534
Prepare = Callable[[], None]


class Scenario(NamedTuple):
    """Commands, one after the other, and what must be there before."""

    commands: Sequence[Sequence[str]]
    setup: Callable[[Path], None] = lambda box: None
    trains: bool = False


def scenarios(m: Material, port: int) -> dict[str, Scenario]:
    """All by name."""
    digits, recipe, plan = (str(m / name) for name in ("digits.npz", "recipe.toml", "plan.toml"))
    run = ("run", plan, "--limit", "20", "--out", "../out", "-q")
    models = (f"a={m / 'net.safetensors'}", f"b={m.spec.removeprefix('net=')}")
    analyses = ("clean", "deformation", "ood")
    shards = [(*run, "--name", "part", "--shard", f"{number}/2") for number in (1, 2)]
    parts = [f"../out/part-shard{number}of2" for number in (1, 2)]

    def archive(box: Path) -> None:
        import zipfile

        www = m.folder.parent / "www"
        with zipfile.ZipFile(www / "small.zip", "w") as opened:
            opened.writestr("set/words.txt", "a b c")
            opened.writestr("set/image.bin", bytes(range(256)) * 2000)
        body = (www / "small.zip").read_bytes()
        text = material.SOURCES.format(
            port=port, path="slow/small.zip", size=len(body), md5=hashlib.md5(body).hexdigest()
        )
        (box / "in" / "list.toml").write_text(text)

    def stored(box: Path) -> None:
        names = ("catchup-s0", "baseline-s0")
        for model in names:
            target = box / "out" / "report" / "results" / model
            target.mkdir(parents=True)
            for path in (m / "report" / "results" / model).glob("[cdo]*"):
                if path.stem in analyses:
                    shutil.copy(path, target)
        info = json.loads((m / "report" / "study.json").read_text())
        info["models"] = [one for one in info["models"] if one["key"] in names]
        info |= {"analyses": analyses, "planned": names, "skipped": []}
        (box / "out" / "report" / "study.json").write_text(json.dumps(info))

    return {
        "train": Scenario(
            [("train", recipe, "--data", "digits", "--method", "baseline", "cutmix",
              "--out", "../out", "-q")], trains=True,
        ),
        "run": Scenario([run], trains=True),
        "compare": Scenario(
            [("compare", *models, "--data", digits, "--only", *analyses, "--out", "../out", "-q")]
        ),
        "fetch": Scenario(
            [("data", "fetch", "small", "--data-root", "../out", "--archives", "../in/list.toml")],
            archive,
        ),
        "corrupt": Scenario([("data", "corrupt", digits, "--out", "../out/c")]),
        "report": Scenario(
            [("report", "../out/report", "-q"),
             ("report", "../out/report", "--name", "copy", "--out", "../out", "-q")], stored,
        ),
        "shards": Scenario(
            [*shards, ("report", *parts, "--name", "all", "--out", "../out", "-q")], trains=True
        ),
        "cscores": Scenario(
            [("data", "cscores", "digits", "--networks", "3", "--recipe", recipe,
              "--out", "../out/x.npz")], trains=True,
        ),
    }  # fmt: skip


# --- what a run leaves --------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, str]:
    """A hash of each file below a folder, without what is a time."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            found[name] = hashlib.sha256(_lasting(path)).hexdigest()
    return found


def _lasting(path: Path) -> bytes:
    if str(path).endswith(PAGES):
        return b""
    if path.name.endswith(".history.csv"):
        return pd.read_csv(path).drop(columns="seconds").to_csv().encode()
    if path.suffix == ".json":
        return json.dumps(_timeless(json.loads(path.read_text())), sort_keys=True).encode()
    if path.suffix == ".npz":
        with np.load(path) as pack:
            return b"".join(key.encode() + pack[key].tobytes() for key in sorted(pack.files))
    return path.read_bytes()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMES}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def differences(came: dict[str, str], expected: dict[str, str]) -> list[str]:
    """Files that are absent, differ, or should not be there."""
    return sorted(k for k in {**came, **expected} if came.get(k) != expected.get(k))


# --- running ------------------------------------------------------------------------------------


def eager() -> None:
    """A training saves its state after each step, not after five seconds."""
    from catchup_eval.trainers import state

    state.SECONDS = 0
    state.COST_FACTOR = 0


def kill_at(count: int) -> None:
    """Die at the `count`-th renaming of a file: half of them before it, half after."""
    rename, left = os.replace, [count]

    def replace(*args: Any, **kw: Any) -> None:
        left[0] -= 1
        if left[0] == 0 and count % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(*args, **kw)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace


def start(scenario: Scenario, box: Path) -> Path:
    """Folders of a scenario before its first command."""
    for place in new_box(box).iterdir():
        place.chmod(0o777)
    scenario.setup(box)
    return box


def perform(
    scenario: Scenario, box: Path, prepare: Prepare | None = None, seconds: float | None = None
) -> list[Ended] | None:
    """Run the commands until one ends with another code than 0; None: killed after `seconds`."""
    ended = []
    end = None if seconds is None else monotonic() + seconds
    for words in scenario.commands:
        child = Child(words, box, prepare=prepare)
        done = child.wait(None if end is None else max(0.0, end - monotonic()))
        if done is None:
            child.kill()
            child.wait()
            return None
        ended.append(done)
        if done.code:
            break
    return ended


def complain(ended: Sequence[Ended], codes: Sequence[int]) -> list[str]:
    """What is wrong about how commands ended."""
    faults = []
    for one in ended:
        lines = [line for line in one.stderr.splitlines() if line.strip()]
        if one.limit or one.code not in codes:
            faults.append(f"{one.limit or f'exit code {one.code}'}: {last_line(one.stderr)}")
        elif "Traceback" in one.stderr or len(lines) > 2:
            faults.append(f"{len(lines)} lines on stderr: {last_line(one.stderr)}")
    return faults


def finish(scenario: Scenario, box: Path, expected: dict[str, str]) -> list[str]:
    """Call the same commands again; what is wrong then."""
    again = perform(scenario, box)
    assert again is not None
    if faults := complain(again, [0]):
        return [f"resumed: {fault}" for fault in faults]
    left = leftovers(box)
    differ = differences(contents(box / "out"), expected)
    faults = [f"left {left[0]}"] if left else []
    return faults + ([f"differs: {', '.join(differ[:4])}"] if differ else [])


# --- faults -------------------------------------------------------------------------------------


class Whole(NamedTuple):
    """An undisturbed run."""

    seconds: float
    contents: dict[str, str]
    size: int  # bytes
    renames: int


class Outcome(NamedTuple):
    """What came of one disturbance."""

    name: str  # SCENARIO:FAULT:NUMBER
    kills: int
    about: str
    faults: tuple[str, ...]


def undisturbed(scenario: Scenario, box: Path) -> Whole:
    """The measure of all others."""
    start(scenario, box)
    log = box / "in" / "renames"
    started = monotonic()
    ended = perform(scenario, box, partial(_count_renames, log))
    seconds = monotonic() - started
    assert ended is not None
    assert not complain(ended, [0]), ended
    size = sum(path.stat().st_size for path in (box / "out").rglob("*") if path.is_file())
    count = len(log.read_bytes()) if log.exists() else 0
    return Whole(seconds, contents(box / "out"), size, count)


def _count_renames(log: Path) -> None:
    rename = os.replace

    def replace(*args: Any, **kw: Any) -> None:
        with log.open("ab") as file:
            file.write(b"x")
        rename(*args, **kw)

    os.replace = replace


def kill(scenario: Scenario, whole: Whole, box: Path, rng: np.random.Generator) -> Outcome:
    """Kill at one to three instants, then resume."""
    prepare = eager if scenario.trains and rng.random() < 0.5 else None
    instants = []
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        instant = float(rng.uniform(0, whole.seconds))
        if perform(scenario, box, prepare, instant) is None:
            instants.append(round(instant, 3))
    faults = finish(scenario, box, whole.contents)
    return Outcome("", len(instants), f"after {instants} s of {whole.seconds:.1f}", tuple(faults))


def rename(scenario: Scenario, whole: Whole, box: Path, rng: np.random.Generator) -> Outcome:
    """Kill at the renaming of a file, then resume."""
    if not whole.renames:
        return Outcome("", 0, "renames nothing", ())
    count = int(rng.integers(1, max(2, whole.renames // len(scenario.commands))))
    both = partial(_both, eager if scenario.trains and rng.random() < 0.5 else None, count)
    ended = perform(scenario, box, both)
    killed = bool(ended and ended[-1].code == -signal.SIGKILL)
    faults = finish(scenario, box, whole.contents)
    return Outcome("", int(killed), f"at renaming {count} of {whole.renames}", tuple(faults))


def _both(first: Prepare | None, count: int) -> None:
    if first:
        first()
    kill_at(count)


def full(scenario: Scenario, whole: Whole, box: Path, rng: np.random.Generator) -> Outcome:
    """A disk that is full before the end, then one that is not."""
    there = sum(path.stat().st_blocks * 512 for path in (box / "out").rglob("*"))
    size = there + int(rng.uniform(0, max(1, whole.size - there)))
    if os.geteuid() == 0:
        with mounted(box / "out", size):
            scenario.setup(box)
            ended = perform(scenario, box) or []
            faults = complain(ended, [0, 2])
            shutil.copytree(box / "out", box / "kept", symlinks=True)
        shutil.rmtree(box / "out")
        (box / "kept").rename(box / "out")
    else:
        ended = perform(scenario, box, partial(_limit_files, max(1, size // 20))) or []
        faults = complain(ended, [0, 2])
    left = leftovers(box / "out") if ended and ended[-1].code == 2 else []
    faults += [f"left {left[0]}"] if left else []
    faults += finish(scenario, box, whole.contents)
    return Outcome("", 0, f"{size:,} of {whole.size:,} bytes", tuple(faults))


@contextmanager
def mounted(folder: Path, size: int) -> Any:
    """A small disk in place of a folder."""
    size = max(64, size // 1024)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}k,mode=777", "tmpfs", str(folder)], check=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _limit_files(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def read_only(scenario: Scenario, whole: Whole, box: Path, rng: np.random.Generator) -> Outcome:
    """A folder that may not be written, empty or half full; then one that may."""
    if rng.random() < 0.5:
        perform(scenario, box, None, float(rng.uniform(0, whole.seconds)))
    folders = [box / "out", *(path for path in (box / "out").rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    before = contents(box / "out")
    ended = perform(scenario, box, _become_nobody) or []
    faults = complain(ended, [0, 2] if before else [2])
    if contents(box / "out") != before:
        faults.append("wrote into a read-only folder")
    for folder in folders:
        folder.chmod(0o777)
    faults += finish(scenario, box, whole.contents)
    return Outcome("", 0, f"{len(before)} files before", tuple(faults))


def _become_nobody() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def two(scenario: Scenario, whole: Whole, box: Path, rng: np.random.Generator) -> Outcome:
    """Two at once in one folder: both end well, or one is refused."""
    offset = float(rng.uniform(0, whole.seconds / 2))
    other = box / "other"
    for name in ("cwd", "home", "tmp"):
        (other / name).mkdir(parents=True)
    for name in ("in", "out"):
        (other / name).symlink_to(box / name)
    pid = os.fork()
    if not pid:
        code = 70
        with suppress(BaseException):
            from time import sleep

            sleep(offset)
            ended = perform(scenario, other) or []
            faults = complain(ended, [0, 2])
            (box / "said").write_text("\n".join(faults))
            code = ended[-1].code
        os._exit(code)
    ended = perform(scenario, box) or []
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    faults = complain(ended, [0, 2]) + (box / "said").read_text().splitlines()
    if 0 not in (code, ended[-1].code):
        faults.append("neither did it")
    shutil.rmtree(other)
    faults += finish(scenario, box, whole.contents)
    codes = f"codes {ended[-1].code} and {code}"
    return Outcome("", 0, f"the second after {offset:.2f} s, {codes}", tuple(faults))


FAULTS = {"kill": kill, "rename": rename, "full": full, "read-only": read_only, "two": two}
SHARES = {"kill": 0.55, "rename": 0.45, "full": 0.15, "read-only": 0.06, "two": 0.1}  # of kills

_here: dict[str, Any] = {}


def work(name: str) -> Outcome:
    """One disturbance, in a worker."""
    scenario_name, fault, number = name.split(":")
    scenario = _here["scenarios"][scenario_name]
    rng = np.random.default_rng([_here["seed"], zlib.crc32(name.encode()), int(number)])
    box = start(scenario, _here["folder"] / "boxes" / name.replace(":", "-"))
    try:
        outcome = FAULTS[fault](scenario, _here["wholes"][scenario_name], box, rng)
    except Exception as error:  # of the harness: to be seen, not to end the others
        outcome = Outcome("", 0, "", (f"harness: {type(error).__name__}: {error}"[:300],))
    if not outcome.faults:
        shutil.rmtree(box)
    return outcome._replace(name=name)


def prepare(folder: Path, seed: int, port: int, chosen: Sequence[str]) -> None:
    """Import everything, make the sound files, run each scenario undisturbed."""
    from catchup_eval import datasets

    children.preload()
    folder.chmod(0o755)
    m = material.make(folder / "sound", EXAMPLE)
    datasets.load("digits")
    gc.collect()
    gc.freeze()
    _here.update(folder=folder, seed=seed, wholes={})
    _here["scenarios"] = {k: v for k, v in scenarios(m, port).items() if not chosen or k in chosen}
    for name, scenario in _here["scenarios"].items():
        first, second = (undisturbed(scenario, folder / "boxes" / f"{name}-{i}") for i in (1, 2))
        different = differences(first.contents, second.contents)
        assert not different, f"{name}: two undisturbed runs differ in {different[:5]}"
        _here["wholes"][name] = second
        print(
            f"{name}: {second.seconds:.1f} s, {len(second.contents)} files, "
            f"{second.size:,} bytes, {second.renames} renamed",
            flush=True,
        )


def jobs(kills: int, chosen: Sequence[str]) -> list[str]:
    """Names of all disturbances, the scenarios in turn."""
    return [
        f"{name}:{fault}:{number}"
        for fault, share in SHARES.items()
        if not chosen or fault in chosen
        for number in range(-(-int(kills * share) // len(_here["scenarios"])) or 1)
        for name in _here["scenarios"]
    ]


def main() -> int:
    """Parse the arguments, run, print; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=320)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)))
    parser.add_argument("--scenario", action="append", default=[])
    parser.add_argument("--fault", action="append", default=[], choices=[*FAULTS])
    parser.add_argument("--case", default="", help="repeat SCENARIO:FAULT:NUMBER alone")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="of the cases; failed ones stay there")
    given = parser.parse_args()
    folder = (given.folder or Path(tempfile.mkdtemp(prefix="catchup-faults-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "sound", ignore_errors=True)
    started = monotonic()
    print(f"seed {given.seed}, in {folder}", flush=True)
    found = []
    with serve(folder / "www") as port:
        only = [given.case.partition(":")[0]] if given.case else given.scenario
        prepare(folder, given.seed, port, only)
        listed = [given.case] if given.case else jobs(given.kills, given.fault)
        with ProcessPoolExecutor(given.workers, get_context("fork")) as pool:
            for outcome in pool.map(work, listed):
                found.append(outcome)
                for fault in outcome.faults:
                    print(f"{outcome.name} ({outcome.about}): {fault}", flush=True)
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in found:
        name, fault, _ = outcome.name.split(":")
        groups[name, fault].append(outcome)
    print(f"{'scenario':<10}{'fault':<11}{'cases':>6}{'kills':>6}{'failed':>8}")
    for (name, fault), group in sorted(groups.items()):
        failed = sum(bool(outcome.faults) for outcome in group)
        kills = sum(outcome.kills for outcome in group)
        print(f"{name:<10}{fault:<11}{len(group):>6}{kills:>6}{failed:>8}")
    failed = sum(bool(outcome.faults) for outcome in found)
    print(
        f"{len(found)} cases with {sum(o.kills for o in found)} kills, {failed} failed, "
        f"{monotonic() - started:.0f} s, seed {given.seed}; {where()}"
    )
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
