"""Bad inputs through every door: `make fuzz`, or `python -m tests.fuzz.fuzz`.

Each case must end with exit code 0, 1, 2 or 3, at most two lines on stderr, no traceback, nothing
touched outside the output folder, no temporary file left, and no number without its flag where the
truth is known to be another. `--seed S --case DOOR:NUMBER` repeats one and prints what it wrote.
"""

import argparse
import ctypes
import gc
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz import children, material
from tests.fuzz.children import Ended, changes, leftovers, snapshot
from tests.fuzz.doors import Case, doors, truth_of, truth_of_limit
from tests.fuzz.server import serve

EXAMPLE = Path(__file__).parents[1] / "example.zip"
CHUNK = 50  # values that are drawn together
CODES = (0, 1, 2, 3)
PR_SET_THP_DISABLE = 41
MOST_LINES = 2
MOST_WORDS = 4000  # characters of stderr that one case may have
TOLERANCE = 0.01  # percent


class Outcome(NamedTuple):
    """What a case did."""

    name: str  # DOOR:NUMBER
    real: bool
    about: str
    code: int
    seconds: float
    memory: int
    faults: tuple[str, ...]


@cache
def values(door: str, chunk: int, master: int) -> list[Any]:
    """The values of one chunk of a door's cases: always the same for one seed."""
    found: list[Any] = []

    @seed(zlib.crc32(f"{master} {door} {chunk}".encode()))
    @settings(
        max_examples=CHUNK,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=False,
    )
    @given(doors()[door].values | st.nothing())
    def draw(value: Any) -> None:
        found.append(value)

    draw()
    return found


def build(name: str, master: int, box: Path, m: material.Material) -> Case:
    """A case by its name; its box is new."""
    door, _, number = name.partition(":")
    chunk, place = divmod(int(number), CHUNK)
    drawn = values(door, chunk, master)
    rng = np.random.default_rng([master, zlib.crc32(door.encode()), int(number)])
    # A door with few different values has fewer in a chunk.
    return doors()[door].build(drawn[place % len(drawn)], rng, new_box(box), m)


def new_box(box: Path) -> Path:
    """An empty folder with the folders of a case in it."""
    shutil.rmtree(box, ignore_errors=True)
    for place in ("in", "out", "cwd", "home", "tmp"):
        (box / place).mkdir(parents=True)
    return box


def examine(case: Case, box: Path, *, real: bool = False) -> tuple[list[str], Ended]:
    """Run a case in its box; what is wrong about it."""
    before = snapshot(box, *case.outputs)
    environment = {"CATCHUP_EVAL_DATA": str(box / "out" / "data"), **case.environment}
    ended = children.call(case.words, box, environment=environment, prepare=case.prepare, real=real)
    return judge(case, ended, box, changes(before, snapshot(box, *case.outputs))), ended


def judge(case: Case, ended: Ended, box: Path, touched: list[str]) -> list[str]:
    """What is wrong about an ending."""
    faults = []
    if ended.limit:
        faults.append(ended.limit)
    elif ended.code not in CODES:
        faults.append(f"exit code {ended.code}")
    both = ended.stdout + ended.stderr
    if "Traceback (most recent" in both:
        faults.append(f"traceback: {last_line(ended.stderr)}")
    lines = [line for line in ended.stderr.split("\n") if line.strip()]
    if not faults and len(lines) > MOST_LINES:
        faults.append(f"{len(lines)} lines on stderr")
    if not faults and len(ended.stderr) > MOST_WORDS + 3 * len(max(case.words, key=len)):
        faults.append(f"{len(ended.stderr):,} characters on stderr")
    if ended.code == 2 and not lines and not ended.stdout:
        faults.append("exit code 2 without a word")
    if touched:
        faults.append(f"touched {', '.join(touched[:3])}")
    if case.canary and case.canary.exists():
        faults.append("ran code of the input")
    if left := [name for place in case.outputs for name in leftovers(box / place)]:
        faults.append(f"left {left[0]}")
    return [*faults, *judge_numbers(case, ended, box)]


def judge_numbers(case: Case, ended: Ended, box: Path) -> list[str]:
    """Whether each number is the truth, or has its flag."""
    found = material.accuracies(box / "out")
    if not found:
        return []
    if case.refused:
        return [f"accuracy {found[0]:.1f} where there is no number"]
    said = material.flags(box / "out")
    if case.flag and not re.search(case.flag, said):
        return [f"accuracy {found[0]:.1f} without a word of {case.flag!r}"]
    differs = case.truth is not None and any(abs(v - case.truth) > TOLERANCE for v in found)
    if differs and not said:
        return [f"accuracy {found[0]:.1f} without a flag where {case.truth:.1f} is true"]
    return []


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def names(count: int, only: list[str]) -> list[str]:
    """So many cases, spread over the doors by their weights."""
    chosen = {name: door for name, door in doors().items() if not only or name in only}
    whole = sum(door.weight for door in chosen.values())
    return [
        f"{name}:{number}"
        for name, door in chosen.items()
        for number in range(-(-count * door.weight // whole))
    ]


def order(listed: list[str], real: int) -> list[tuple[str, bool]]:
    """All in children, and the first of each door as the command itself, too."""
    present = dict.fromkeys(name.partition(":")[0] for name in listed)
    first = [f"{door}:{number}" for number in range(real) for door in present]
    known = {*listed}
    chosen = [name for name in first if name in known][:real]
    return [(name, True) for name in chosen] + [(name, False) for name in listed]


_here: dict[str, Any] = {}  # of a worker: what all cases share


def work(job: tuple[str, bool]) -> Outcome:
    """One case, in a worker."""
    name, real = job
    box = _here["folder"] / "cases" / f"{name.replace(':', '-')}{'-real' if real else ''}"
    try:
        case = build(name, _here["seed"], box, _here["material"])
        real = real and case.prepare is None
        faults, ended = examine(case, box, real=real)
    except Exception as error:  # of the harness: to be seen, not to end the others
        text = f"harness: {type(error).__name__}: {error}"[:300]
        return Outcome(name, real, "", 0, 0.0, 0, (text,))
    if not faults:
        shutil.rmtree(box, ignore_errors=True)
    about = (name, real, case.about)
    return Outcome(*about, ended.code, ended.seconds, ended.memory, tuple(faults))


def prepare(folder: Path, master: int) -> None:
    """Import everything, make the sound files; children and workers have them."""
    # Large pages are copied whole when a child writes a byte.
    ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
    children.preload()
    _here["folder"], _here["seed"] = folder, master
    _here["material"] = material.make(folder / "sound", EXAMPLE)
    truth_of_limit(_here["material"])  # once, before the workers begin
    truth_of(_here["material"], "grey", _here["material"].images[..., :1].repeat(3, -1))
    gc.collect()
    gc.freeze()


def outcomes(jobs: list[tuple[str, bool]], workers: int) -> Iterator[Outcome]:
    """What the cases do, as they end."""
    with ProcessPoolExecutor(workers, get_context("fork")) as pool:
        real = [job for job in jobs if job[1]]
        yield from pool.map(work, real)
        # One worker for a chunk, so that its values are drawn once.
        yield from pool.map(work, jobs[len(real) :], chunksize=CHUNK)


def print_table(found: list[Outcome]) -> None:
    """A line for each door: cases, exit codes, worst memory and time, failures."""
    by_door: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in found:
        by_door[outcome.name.partition(":")[0]].append(outcome)
    print(f"{'door':<12}{'cases':>6}{'real':>6}  {'exit codes':<34}{'most MB':>8}  by", end="")
    print(f"{'':<18}{'most s':>7}  by{'':<18}{'failed':>7}")
    for door, group in by_door.items():
        codes = Counter(outcome.code for outcome in group)
        text = " ".join(f"{code}:{count}" for code, count in sorted(codes.items()))
        inner = [outcome for outcome in group if not outcome.real] or group
        large = max(inner, key=lambda outcome: outcome.memory)
        slow = max(inner, key=lambda outcome: outcome.seconds)
        failed = sum(bool(outcome.faults) for outcome in group)
        real = sum(outcome.real for outcome in group)
        print(
            f"{door:<12}{len(group) - real:>6}{real:>6}  {text:<34}{large.memory / 1e6:>8.0f}  "
            f"{large.name:<20}{slow.seconds:>7.1f}  {slow.name:<20}{failed:>7}"
        )
        for title, worst in (("memory", large), ("time", slow)):
            print(f"{'':<12}  most {title}: {worst.about[:100]!r}")


def print_failures(found: list[Outcome], master: int, most: int) -> None:
    """Failures of one kind together, with what repeats the first."""
    kinds: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in found:
        for fault in outcome.faults:
            kind = re.sub(r"0x[0-9a-f]+|/\S+|\d+", "#", fault)[:110]
            kinds[outcome.name.partition(":")[0], kind].append(outcome)
    for (door, kind), group in sorted(kinds.items(), key=lambda item: (item[0][0], -len(item[1]))):
        first = group[0]
        print(f"{len(group):>5} x {door}: {kind}")
        for outcome in group[:most]:
            print(f"        {outcome.about[:140]!r}")
        extra = " --command" if first.real else ""
        print(f"        python -m tests.fuzz.fuzz --seed {master} --case {first.name}{extra}")


def main() -> int:
    """Parse the arguments, run, print; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--real", type=int, default=220, help="so many through the command itself")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)))
    parser.add_argument("--door", action="append", default=[], choices=[*doors()])
    parser.add_argument("--case", default="", help="repeat DOOR:NUMBER alone and show what it does")
    parser.add_argument("--command", action="store_true", help="with --case: the command itself")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="of the cases; failed ones stay there")
    parser.add_argument("--most", type=int, default=3, help="examples of each kind of failure")
    given_ = parser.parse_args()
    folder = given_.folder or Path(tempfile.mkdtemp(prefix="catchup-fuzz-"))
    folder = folder.resolve()
    shutil.rmtree(folder / "sound", ignore_errors=True)
    started = monotonic()
    with serve(folder / "www") as port:
        os.environ["FUZZ_PORT"] = str(port)
        prepare(folder, given_.seed)
        if given_.case:
            return show(given_.case, given_.seed, folder, given_.command)
        jobs = order(names(given_.cases, given_.door), given_.real)
        print(f"seed {given_.seed}, {len(jobs):,} cases, in {folder}", flush=True)
        before = snapshot(folder / "sound")
        found = []
        for outcome in outcomes(jobs, given_.workers):
            found.append(outcome)
            if len(found) % 500 == 0:
                failed = sum(bool(each.faults) for each in found)
                print(f"{len(found):>6} cases, {failed} failed, {monotonic() - started:.0f} s",
                      flush=True)  # fmt: skip
        touched = changes(before, snapshot(folder / "sound"))
    print_failures(found, given_.seed, given_.most)
    print_table(found)
    failed = sum(bool(outcome.faults) for outcome in found)
    if touched:
        print(f"sound files were touched: {', '.join(touched[:9])}")
    print(
        f"seed {given_.seed}: {len(found):,} cases, {failed} failed, {monotonic() - started:.0f} s"
    )
    return int(bool(failed or touched))


def where() -> str:
    """The commit and the machine."""
    import torch

    from catchup_eval.core.environment import machine

    words = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(words, capture_output=True, text=True, cwd=EXAMPLE.parent)
    return f"commit {commit.stdout.strip() or 'unknown'}, {machine(torch.device('cpu'))}"


def show(name: str, master: int, folder: Path, real: bool) -> int:
    """Run one case and print all that it wrote."""
    box = folder / "cases" / name.replace(":", "-")
    case = build(name, master, box, _here["material"])
    faults, ended = examine(case, box, real=real)
    print(f"case {name}: {case.about}")
    print(shlex.join(["catchup-eval", *case.words]))
    print(f"exit code {ended.code}, {ended.seconds:.1f} s, {ended.memory / 1e6:.0f} MB")
    print(f"--- stdout\n{ended.stdout[-4000:]}\n--- stderr\n{ended.stderr[-6000:]}")
    print("faults:", *faults or ["none"], sep="\n  ")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
