"""The doors through which something comes in, and bad inputs for each.

A door draws values (hypothesis), and makes of a value and a generator one case: files in its box
and the words of a command. Where it is known what the number must be, the case has the truth.
"""

import io
import json
import os
import shutil
import struct
import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import md5
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.random import Generator

from tests.fuzz import damage, material
from tests.fuzz.material import Material

CLEAN = ("--only", "clean", "-q", "--out", "../out")
CHEAP = {  # seconds, not minutes
    "landscape": ("points=3", "samples=10", "probes=2", "directions=2", "tolerance=0.1"),
    "adversarial": ("pgd_steps=2", "pgd_step_size=4", "unbounded=1", "epsilons=[4]"),
    "feature_drop": ("points=3",),
    "corruption": ("severities=[3]", 'corruptions=["fog"]'),
}


@dataclass
class Case:
    """One bad input.

    Args:
        words: of the command.
        outputs: folders of the box that may change.
        truth: the accuracy in percent that any number without a flag must have.
        flag: a pattern of what must stand beside any number.
        refused: whether no number may come of it at all.
        environment: variables.
        canary: a file that appears only where code of the input is run.
        prepare: is called in the child first.
        about: what is bad about it.
    """

    words: Sequence[str]
    outputs: tuple[str, ...] = ("out",)
    truth: float | None = None
    flag: str = ""
    refused: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    canary: Path | None = None
    prepare: Callable[[], None] | None = None
    about: str = ""


Build = Callable[[Any, Generator, Path, Material], Case]


class Door(NamedTuple):
    """A door.

    Args:
        weight: in the number of cases, compared with other doors.
        values: what cases are made from.
        build: makes one.
    """

    weight: int
    values: st.SearchStrategy[Any]
    build: Build


def pick(rng: Generator, items: Sequence[Any]) -> Any:
    """One of the items."""
    return items[int(rng.integers(len(items)))]


# --- options and settings -----------------------------------------------------------------------

letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.one_of(
    st.text(letters, max_size=12),
    st.sampled_from([str(value).replace("\0", "") for value in damage.ODD]),
    st.sampled_from(["\udcff\udcfe", "*", "a*b", "[", "{}", "-1", "0", "1/0", "2/1", "ä/ö", "."]),
)
numbers = st.one_of(
    st.sampled_from([-1, 0, 1, 2, 3, 2**31, 2**63, -(2**63), 10**30, -(10**30)]),
    st.integers(-5, 5),
    st.floats(-2, 2),
    st.sampled_from([1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"), -0.0]),
)
plain = st.one_of(numbers, st.booleans(), st.text(letters, max_size=6), st.just("x" * 3000))
nested = st.one_of(
    plain,
    st.lists(plain, max_size=4),
    st.lists(st.lists(numbers, max_size=2), max_size=2),
    st.dictionaries(st.text("ab", min_size=1, max_size=2), plain, max_size=2),
)


def all_settings() -> list[tuple[str, str, Any]]:
    """Each setting of each analysis, with its default."""
    from catchup_eval.analysis import ANALYSES, setting_defaults

    return [
        (name, key, default)
        for name, each in ANALYSES.items()
        for key, default in setting_defaults(each).items()
    ]


def near(default: Any, rng: Generator) -> Any:
    """A value of the default's type, some of which fit."""
    if isinstance(default, bool):
        return not default
    if isinstance(default, (int, float)):
        return type(default)(pick(rng, [0, 1, 2, 3, -default, default / 2, -1, 1e-9, 0.5]))
    if isinstance(default, (list, tuple)):
        items = list(default) or ["x"]
        some = [pick(rng, items) for _ in range(int(rng.integers(4)))]
        return some if rng.random() < 0.5 else [near(item, rng) for item in some]
    return pick(rng, ["test", "train", "out", "", default or "x", "absent.npz", "/", "mean"])


def cheap(*analyses: str, but: str = "") -> list[str]:
    """Settings that make analyses short, but for one key."""
    found = [(name, text) for name in analyses for text in CHEAP.get(name, ())]
    return [
        word
        for name, text in found
        if f"{name}.{text.partition('=')[0]}" != but
        for word in ("--set", f"{name}.{text}")
    ]


def settings_case(value: Any, rng: Generator, box: Path, m: Material) -> Case:
    """`--set` with a value that hardly fits."""
    (name, key, default), content, words = value
    if rng.random() < 0.4:  # near what fits
        content = near(default, rng)
    typed = isinstance(content, (int, float, list, tuple, dict))
    text = damage.toml_value(content) if typed else content
    spelled = f"{name}.{key}={text}" if words is None else words
    call = ["evaluate", m.spec, "--data", str(m / "digits.npz"), "--limit", "10"]
    call += [*cheap(name, but=f"{name}.{key}"), "--set", spelled, "--only", name]
    return Case([*call, "-q", "--out", "../out"], about=spelled)


COMMANDS: Mapping[str, tuple[str, ...]] = {
    "run": ("{plan}", "--dry-run", "--seeds", "--methods", "--epochs", "*"),
    "train": ("{recipe}", "--data", "{digits}", "--dry-run", "--method", "--seeds", "--epochs",
              "--name", "--shard", "--device", "--data-root", "--config", "--architecture"),
    "recipe new": ("--from",),
    "evaluate": ("{net}", "--data", "{digits}", "--only", "clean", "*"),
    "compare": ("{net}", "--data", "{digits}", "--only", "clean", "--reference", "*"),
    "report": ("{report}", "--dry-run", "--name"),
    "claims": ("{claims}", "{report}", "--most", "--name", "--limit", "--set"),
    "conventions": ("{report}", "--quote", "--quote"),
    "verify": ("{report}", "--samples", "--seed", "--device", "--batch-size", "--weights", "--data",
               "--data-root"),
    "reproduce": ("table9", "--dry-run", "--on", "--seeds", "--epochs", "--only", "--skip"),
    "list": ("models",),
    "data list": ("digits", "--archives", "--data-root"),
    "data check": ("digits", "--archives", "--data-root"),
    "data corrupt": ("{digits}", "--limit", "--corruptions", "--seed", "--photographs"),
    "data cscores": ("{digits}", "--networks", "--recipe", "--device"),
}  # fmt: skip
COMMON = ("--device", "--batch-size", "--limit", "--only", "--skip", "--with", "--name", "--shard",
          "--engine", "--workers", "--engine-set",
          "--data-root", "--set", "--reference", "--ood")  # fmt: skip


def options_case(value: Any, rng: Generator, box: Path, m: Material) -> Case:
    """Options with odd values, or none; arguments that are absent or odd."""
    command, odd, drop, extra = value
    files = {
        "plan": m / "plan.toml",
        "recipe": m / "recipe.toml",
        "digits": m / "digits.npz",
        "net": m.spec,
        "report": small_report(m, rng, box),
        "claims": m / "claims.toml",
    }
    words, options = command.split(), []
    for word in COMMANDS[command]:
        if word == "*":
            options += COMMON
        elif word.startswith("--") and word not in ("--dry-run", "--only") and word != "--data":
            options.append(word)
        else:
            words.append(word.format(**files))
    if options:
        words += [pick(rng, options), odd]
        if rng.random() < 0.3:
            words += [pick(rng, options), extra]
    if drop:
        place = int(rng.integers(len(command.split()), len(words)))
        words[place] = odd if rng.random() < 0.7 else ""
    if command in ("data corrupt", "data cscores"):
        words += ["--out", f"../out/{'x.npz' if 'cscores' in command else 'c'}"]
        if "cscores" in command and "--networks" not in words:
            words += ["--networks", "2"]  # too few: to train takes long
    elif command not in ("list", "recipe new", "data list", "data check", "conventions", "verify",
                         "reproduce"):  # fmt: skip
        words += ["--out", "../out"]
    outputs = ("out", "in") if command in ("report", "claims") else ("out",)
    return Case(words, outputs, about=shorten(words))


def shorten(words: Sequence[str]) -> str:
    """Words without the folders of files."""
    return " ".join(Path(word).name if "/" in word else word for word in words)[:200]


# --- TOML files ---------------------------------------------------------------------------------

KINDS = {
    "plan": ("run", "{}", "--dry-run", "--out", "../out"),
    "recipe": ("train", "{}", "--data", "{digits}", "--dry-run", "--out", "../out"),
    "models": ("evaluate", "{}", "--data", "{digits}", *CLEAN),
    "claims": ("claims", "{}", "{report}", "--out", "../out", "-q"),
    "sources": ("data", "list", "--archives", "{}"),
}


def toml_case(kind: str, rng: Generator, box: Path, m: Material) -> Case:
    """A file with a change of its structure or of its text."""
    path = box / "in" / f"{kind}.toml"
    text = (
        material.SOURCES.format(port=9, path="x", size=9, md5="0" * 32)
        if kind == "sources"
        else (m / f"{kind}.toml").read_text()
    )
    if rng.random() < 0.3:
        path.write_bytes(damage.change_bytes(text.encode(), rng))
    else:
        tree = tomllib.loads(text)
        for _ in range(int(rng.choice([1, 1, 2]))):
            tree = damage.change_tree(tree, rng, [v for v in damage.ODD if v is not None])
        path.write_text(damage.toml(tree if isinstance(tree, dict) else {}))
    files = {"digits": m / "digits.npz"}
    if kind == "claims":
        files["report"] = small_report(m, rng, box)
    words = [word.replace("{}", str(path)).format(**files) for word in KINDS[kind]]
    if kind in ("plan", "recipe") and rng.random() < 0.06:
        words.remove("--dry-run")
        words += ["--epochs", "1"]
    return Case(words, ("out", "in") if kind == "claims" else ("out",), about=kind)


# --- images -------------------------------------------------------------------------------------


def image_case(kind: str, rng: Generator, box: Path, m: Material) -> Case:
    """A folder of class folders, as they are found in the wild."""
    from PIL import Image

    folder = box / "in" / "photos"
    shutil.copytree(m / "photos", folder)
    case = Case([], about=kind, truth=m.truth)
    own = rng.random() < 0.5
    files = sorted(folder.glob("*/*.png"))
    some = pick(rng, files)
    spec = f"net={m / 'net.safetensors'}" if own else m.spec
    if kind == "bytes":
        damage.change_file(some, rng)
        case.truth = None
    elif kind == "class missing":
        shutil.rmtree(folder / pick(rng, "0123456789"))
        case.truth, case.flag = None, "class|outputs"
    elif kind == "classes permuted":
        words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
        for number, name in enumerate(words):
            (folder / str(number)).rename(folder / name)
    elif kind == "sixteen bits":
        for path in files:
            grey = np.asarray(Image.open(path))[..., 0].astype(np.uint16) * 257
            Image.fromarray(grey).save(path)
        case.truth = truth_of(m, "grey", m.images[..., :1].repeat(3, -1))
    elif kind == "floats":
        for path in files:
            grey = np.asarray(Image.open(path))[..., 0].astype(np.float32) / 255
            Image.fromarray(grey).save(path.with_suffix(".tiff"))
            path.unlink()
        case.truth = truth_of(m, "grey", m.images[..., :1].repeat(3, -1))
    elif kind == "alpha":
        for path in files:
            Image.open(path).convert("RGBA").save(path)
    elif kind == "other endings":
        for path in files:
            ending = pick(rng, [".bmp", ".tif", ".PNG", ".webp"])
            Image.open(path).save(path.with_suffix(ending), lossless=True)
            path.unlink()
    elif kind == "unknown endings":
        for path in files[::2]:
            path.rename(path.with_suffix(pick(rng, [".jpe", ".avif", ".dat", ""])))
        case.truth = None
    elif kind == "junk":
        (folder / "__MACOSX" / "0").mkdir(parents=True)
        (folder / "__MACOSX" / "0" / "._0.png").write_bytes(b"x")
        (folder / "0" / "._0.png").write_bytes(b"\0\5\26\7")
        (folder / ".cache").mkdir()
        (folder / "Thumbs.db").write_bytes(b"x")
        (folder / "0" / ".DS_Store").write_bytes(b"x")
    elif kind == "empty class":
        (folder / "9a").mkdir()
    elif kind == "deeper":
        deep = folder.with_name("deep")
        deep.mkdir()
        folder.rename(deep / pick(rng, ["images", "val", "Val", "testing", "Test"]))
        folder = deep
    elif kind == "flat":
        flat = folder.with_name("flat")
        flat.mkdir()
        for path in files:
            path.rename(flat / path.name)
        folder, case.refused = flat, True
    elif kind == "link out":
        some.unlink()
        some.symlink_to(pick(rng, ["/etc/passwd", "/dev/zero", "/absent", "..", str(some)]))
        case.truth = None
    elif kind == "fifo":
        some.unlink()
        os.mkfifo(some)
        case.truth = None
    elif kind == "huge":
        head = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
        some.write_bytes(some.read_bytes().replace(some.read_bytes()[16:29], head, 1))
        case.truth = None
    elif kind == "sizes":
        Image.new("RGB", (int(rng.integers(1, 3000)), 1)).save(some)
        case.truth = None
    elif kind == "names":
        some.rename(some.with_name(pick(rng, ["a\nb.png", "é\u202e.png", "x" * 240 + ".png"])))
    elif kind == "raw name":
        os.rename(some, os.fsencode(some.parent) + b"/\xff\xfe.png")
    case.words = ["evaluate", spec, "--data", str(folder), *CLEAN]
    case.words += ["--data-root", "../out/data"]
    return case


IMAGE_KINDS = ["bytes", "class missing", "classes permuted",
    "sixteen bits", "floats", "alpha", "other endings", "unknown endings", "junk", "empty class",
    "deeper", "flat", "link out", "fifo", "huge", "sizes", "names", "raw name"]  # fmt: skip


def truth_of(m: Material, name: str, images: np.ndarray) -> float:
    """The accuracy on other pixels, measured once."""
    if name not in m.truths:
        path = m.folder.parent / f"truth-{os.getpid()}.npz"
        np.savez(path, images=images, labels=m.labels)
        m.truths[name] = material.accuracy(m, str(path))
        path.unlink()
    return m.truths[name]


def pack_case(kind: str, rng: Generator, box: Path, m: Material) -> Case:
    """An archive of arrays, or a pair of files."""
    path = box / "in" / "pack.npz"
    shutil.copy(m / "digits.npz", path)
    arrays = {"images": m.images, "labels": m.labels}
    case = Case([], about=kind, truth=m.truth, canary=box / "in" / "canary")
    if kind == "bytes":
        damage.change_file(path, rng)
    elif kind == "arrays":
        damage.change_arrays(path, rng, box / "in" / "canary")
        case.truth = None
    elif kind == "pair":
        for name in ("images", "labels"):
            shutil.copy(m / f"x{name}.npy", path.with_name(f"x{name}.npy"))
        path = path.with_name("ximages.npy")
        damage.change_file(path.with_name(pick(rng, ["ximages.npy", "xlabels.npy"])), rng)
        case.truth = None
    elif kind == "bomb":
        path = m / "bomb.npz"
        case.refused = True
    else:
        change: Mapping[str, Callable[[], dict[str, Any]]] = {
            "from one": lambda: {**arrays, "labels": m.labels + 1},
            "column": lambda: {**arrays, "labels": m.labels[:, None]},
            "one-hot": lambda: {**arrays, "labels": np.eye(10)[m.labels]},
            "floats": lambda: {**arrays, "images": m.images / 255},
            "floats to 255": lambda: {**arrays, "images": m.images.astype(np.float32)},
            "sixteen bits": lambda: {**arrays, "images": m.images.astype(np.uint16) * 257},
            "signed": lambda: {**arrays, "images": m.images.astype(np.float32) / 127.5 - 1},
            "channels first": lambda: {**arrays, "images": m.images.transpose(0, 3, 1, 2)},
            "keras": lambda: {"x_test": m.images, "y_test": m.labels[:, None]},
            "medmnist": lambda: {"test_images": m.images, "test_labels": m.labels[:, None]},
            "not finite": lambda: {**arrays, "images": np.where(m.images > 9, np.nan, 0.5)},
            "no last class": lambda: {
                "images": m.images[m.labels < 9], "labels": m.labels[m.labels < 9]
            },
        }  # fmt: skip
        np.savez(path, **change[kind]())
        if kind == "no last class":
            case.truth, case.flag = None, "class|outputs"
        if kind == "not finite":
            case.truth, case.refused = None, True
    case.words = ["evaluate", m.spec, "--data", str(path), *CLEAN, "--data-root", "../out/data"]
    return case


PACK_KINDS = ["bytes"] * 6 + ["arrays"] * 6 + ["pair"] * 3 + ["bomb", "from one", "column",
    "one-hot", "floats", "floats to 255", "sixteen bits", "signed", "channels first", "keras",
    "medmnist", "not finite", "no last class"]  # fmt: skip


def score_case(kind: str, rng: Generator, box: Path, m: Material) -> Case:
    """A file of C-scores beside the images."""
    for source, name in (("digits.npz", "mine.npz"), ("scores.npz", "mine-cscores.npz")):
        shutil.copy(m / source, box / "in" / name)
    path, canary = box / "in" / "mine-cscores.npz", box / "in" / "canary"
    damage.change_file(path, rng) if kind == "bytes" else damage.change_arrays(path, rng, canary)
    words = ["evaluate", m.spec, "--data", str(box / "in" / "mine.npz"), "--only", "cscore"]
    return Case([*words, "-q", "--out", "../out"], about=kind, canary=canary)


def ood_case(kind: str, rng: Generator, box: Path, m: Material) -> Case:
    """OOD images of an archive, or of OpenOOD's lists; they change no accuracy."""
    from PIL import Image

    inside, canary = box / "in", box / "in" / "canary"
    data, source = m / "digits.npz", inside / "mine.npz"
    if kind == "list":
        data = inside / "cifar10.npz"
        shutil.copy(m / "digits.npz", data)
        lists, images = inside / "benchmark_imglist" / "cifar10", inside / "images_classic"
        lists.mkdir(parents=True)
        images.mkdir()
        Image.fromarray(m.images[0]).save(images / "0.png")
        damaged = damage.change_bytes(b"0.png -1\n" * 3, rng)
        text = pick(rng, [damaged, damaged, b"../canary -1\n", b"/etc/passwd -1\n", b"0.png\n"])
        (lists / "test_tin.txt").write_bytes(text)
    else:
        np.savez(inside / "mine.npz", images=m.images, labels=m.labels)
        damage.change_file(source, rng) if kind == "bytes" else damage.change_arrays(
            source, rng, canary
        )
    words = ["evaluate", m.spec, "--data", str(data), "--data-root", "../out/data", "-q"]
    given = f"near-far={inside}" if kind == "list" else str(source)
    words += ["--only", "clean", "ood", "--out", "../out", "--ood", given]
    return Case(words, about=kind, truth=m.truth, canary=canary)


# --- checkpoints and specs ----------------------------------------------------------------------


def checkpoint_case(kind: str, rng: Generator, box: Path, m: Material) -> Case:
    """A file of weights."""
    import torch
    from safetensors.torch import save_file

    own = box / "in" / "own.safetensors"
    foreign = box / "in" / "net.pth"
    canary = box / "in" / "canary"
    case = Case([], about=kind, truth=m.truth, canary=canary)
    spec = f"net=preactresnet10@{foreign}?width=4&final_norm=true&norm=half"
    content = torch.load(m / "net.pth", weights_only=True)
    weights = content["state_dict"]
    if kind.startswith("own"):
        spec = f"net={own}"
        data = bytearray((m / "net.safetensors").read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")
        if kind == "own flipped weight":
            data[int(rng.integers(start, len(data)))] ^= 1 << int(rng.integers(8))
            case.refused = True
        elif kind == "own header":
            head = bytearray(damage.change_bytes(bytes(data[8:start]), rng))
            length = start - 8 if rng.random() < 0.5 else len(head)
            data = bytearray(struct.pack("<Q", length) + head + data[start:])
        elif kind == "own card":
            head = json.loads(data[8:start])
            card = damage.change_tree(json.loads(head["__metadata__"]["card"]), rng)
            head["__metadata__"]["card"] = json.dumps(card)
            text = json.dumps(head).encode()
            data = bytearray(struct.pack("<Q", len(text)) + text + data[start:])
        elif kind == "own table":
            head = damage.change_tree(json.loads(data[8:start]), rng)
            text = json.dumps(head).encode()
            data = bytearray(struct.pack("<Q", len(text)) + text + data[start:])
        else:
            data = bytearray(damage.change_bytes(bytes(data), rng))
        own.write_bytes(data)
    elif kind == "code":
        foreign.write_bytes(
            damage.code_in_pickle(canary, weights)
            if rng.random() < 0.5
            else damage.plain_pickle(canary)
        )
        case.refused = True
    elif kind == "bytes":
        shutil.copy(m / "net.pth", foreign)
        damage.change_file(foreign, rng)
    elif kind == "bomb":
        foreign.write_bytes((m / "bomb.zip").read_bytes())
        case.refused = True
    elif kind == "script":
        module = torch.nn.Linear(2, 2)
        torch.jit.save(torch.jit.script(module), foreign)
        case.refused = True
    elif kind == "tar":
        with tarfile.open(foreign, "w:gz") as archive:
            archive.add(m / "net.pth", "net.pth")
        case.refused = True
    elif kind == "nest":
        for name in (pick(rng, ["model", "net", "params", "weights", "module", "x.y"]),):
            content = {name: weights, "optimizer": {"state": {}}, "epoch": 3}
        torch.save(content, foreign)
    elif kind == "prefix":
        prefix = pick(rng, ["module.", "model.", "net.", "_orig_mod.", "a.b.", "backbone."])
        renamed = {prefix + name: value for name, value in weights.items()}
        if rng.random() < 0.4:
            renamed |= {"criterion.weight": torch.ones(10), "metric.total": torch.ones(())}
        torch.save({"state_dict": renamed}, foreign)
    elif kind == "names":
        tree = dict(weights)
        name = pick(rng, [*tree])
        value = tree.pop(name)
        tree[pick(rng, ["x", name + "x", "", name.upper()])] = value
        torch.save(tree, foreign)
        case.refused = True
    elif kind in ("dtype", "shape", "values"):
        tree = {name: value.clone() for name, value in weights.items()}
        name = pick(rng, [key for key, value in tree.items() if value.ndim])
        value = tree[name]
        if kind == "dtype":
            kinds = [torch.int64, torch.bool, torch.complex64, torch.uint8]
            tree[name] = value.to(pick(rng, kinds)) if value.is_floating_point() else value.half()
        elif kind == "shape":
            tree[name] = pick(rng, [value[:-1], value.repeat(2, *[1] * (value.ndim - 1)),
                                    value[None], value.new_zeros(0), value.flatten()])  # fmt: skip
        else:
            fills = [float("nan"), float("inf"), 1e38]
            tree[name] = (
                torch.full_like(value, pick(rng, fills)) if value.is_floating_point() else value
            )
        if kind != "values" and rng.random() < 0.5 and all(v.numel() for v in tree.values()):
            foreign = foreign.with_suffix(".safetensors")
            save_file({key: v.contiguous() for key, v in tree.items()}, foreign)
            spec = spec.replace("net.pth", "net.safetensors")
        else:
            torch.save(tree, foreign)
    elif kind == "what":
        things: list[Any] = [None, 3, [], [1, 2], {}, {"state_dict": {}}, torch.ones(3), "text",
            {"state_dict": {"a": 1}}, {1: torch.ones(2)}, {"model": {"model": {}}}]  # fmt: skip
        torch.save(pick(rng, things), foreign)
        case.refused = True
    if rng.random() < 0.2:  # found by names and shapes
        spec = spec.replace("preactresnet10@", "").replace("width=4&final_norm=true&", "")
    case.words = ["evaluate", spec, "--data", str(m / "digits.npz"), *CLEAN]
    return case


CHECKPOINT_KINDS = ["own flipped weight", "own header", "own card", "own card", "own table",
    "own bytes", "bytes", "bytes", "code", "bomb", "script", "tar", "nest", "prefix", "names",
    "dtype", "shape", "values", "what"]  # fmt: skip


def exported_case(kind: str, rng: Generator, box: Path, m: Material) -> Case:
    """An ONNX file: a linear network of the pixels, which is exact on some of the images."""
    from onnx import TensorProto, helper

    pixels = m.images.transpose(0, 3, 1, 2).reshape(len(m.images), -1) / 255
    targets = np.eye(10)[m.labels] - 0.1
    weights = np.linalg.lstsq(pixels, targets, rcond=1e-2)[0].astype(np.float32)
    (box / "in" / "weights").write_bytes(weights.tobytes())
    (box / "secret").write_bytes(weights.tobytes())
    shape = {"rank": ["n", 3072], "batch": [7, 3, 32, 32], "size": ["n", 3, 8, 8]}
    taken = TensorProto.UINT8 if kind == "uint8" else TensorProto.FLOAT
    images = helper.make_tensor_value_info("x", taken, shape.get(kind, ["n", 3, 32, 32]))
    names = ["y", "z"] if kind == "outputs" else ["y"]
    gives = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 10]) for name in names]
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    nodes += [helper.make_node("Neg", ["y"], ["z"])] * (kind == "outputs")
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [3072, 10], weights.tobytes(), raw=True)
    if kind in ("beside", "outside"):
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        places = [
            "../secret",
            str(box / "secret"),
            "a/../../secret",
            "/dev/zero",
            ".",
            "",
            "absent",
        ]
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", pick(rng, places) if kind == "outside" else "weights"
    graph = helper.make_graph(nodes, "graph", [images], gives, [tensor])
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    path = box / "in" / "net.onnx"
    content = model.SerializeToString()
    path.write_bytes(damage.change_bytes(content, rng) if kind == "bytes" else content)
    case = Case(["evaluate", f"net={path}?norm=none", "--data", str(m / "digits.npz"), *CLEAN])
    case.about, case.refused = kind, kind not in ("bytes", "beside", "batch", "sound")
    if kind in ("beside", "batch", "sound"):
        case.truth = 100 * float(((pixels @ weights).argmax(1) == m.labels).mean())
    return case


EXPORTED_KINDS = ["bytes"] * 6 + ["outside"] * 2 + ["beside", "batch", "sound", "rank", "size",
    "uint8", "outputs"]  # fmt: skip


def logits_case(kind: str, rng: Generator, box: Path, m: Material) -> Case:
    """A file of logits in place of a network."""
    path, canary = box / "in" / "logits.npz", box / "in" / "canary"
    clean = rng.normal(size=(len(m.labels), 10)).astype(np.float32)
    names = ["clean", "corruption/fog/3", "out", "deformation/zoom/60"]
    np.savez(path, labels=m.labels, **dict.fromkeys(names, clean))
    case = Case([], about=kind, canary=canary)
    if kind == "arrays":
        damage.change_arrays(path, rng, canary)
    elif kind == "bytes":
        damage.change_file(path, rng)
    else:
        case.truth = 100 * float((clean.argmax(1) == m.labels).mean())
    case.words = ["evaluate", f"net={path}", "--data", str(m / "digits.npz"), *CLEAN]
    return case


SPEC_WORDS = ["dtype=float16", "dtype=x", "output=y", ".onnx", ".npz", ".pt2",
    "=", "@", "?", "&", "*", "**", "/", ":", ".", ",", "~", "%", "net=", "{pth}", "{own}",
    "{nets}:net", "{nets}:absent", "preactresnet10", "resnet20", "resnet18", "torchvision:resnet18",
    "timm:resnet18", "torchvision:", "timm:x", "hf:", "hf:a/b", "catalogue:", "catalogue:x",
    "width=4", "width=-1", "width=1e9", "final_norm=true", "norm=half", "norm=", "norm=a/b",
    "norm=0.5,0.5,0.5/0,0,0", "norm=125,125,125/60,60,60", "norm=nan,0,0/1,1,1", "norm=.5/.2",
    "size=0", "size=32", "size=1e9", "resize=-1", "channels=gray", "channels=bgr", "channels=x",
    "scale=255", "scale=0", "scale=nan", "classes=10", "classes=0", "classes=-1", "classes=1e9",
    "classes=x", "published=nan", "published=x", "published=101", "ema=true", "ema=maybe",
    "stages=", "stages=stem", "head=absent", "pool=x", "interpolation=x", "squash=x", "x=1", "é",
    "models.toml", "nothing.pth", "/", "/dev/zero", "/etc/passwd", "a" * 300, "\udcff"]  # fmt: skip
GOOD = "net=preactresnet10@{pth}?width=4&final_norm=true&norm=half"


def spec_case(value: Any, rng: Generator, box: Path, m: Material) -> Case:
    """A model's spec."""
    parts, whole = value
    text = "".join(parts)
    if whole:
        text = GOOD + "&" + "&".join(part for part in parts if "=" in part)
    names = {"pth": m / "net.pth", "own": m / "net.safetensors", "nets": m / "nets.py"}
    for key, path in names.items():
        text = text.replace("{" + key + "}", str(path))
    if text.startswith("-"):
        text = "x" + text
    case = Case(["evaluate", text, "--data", str(m / "digits.npz"), *CLEAN], about=text)
    if whole and "norm=125,125,125/60,60,60" in text:
        case.truth = m.truth
    return case


# --- reports ------------------------------------------------------------------------------------

CHEAP_RESULTS = ("clean", "ood", "deformation", "training", "cscore", "corruption")


def small_report(m: Material, rng: Generator, box: Path) -> Path:
    """A copy of the report with the results of two models by two analyses."""
    folder = box / "in" / "report"
    kept = {"clean", pick(rng, CHEAP_RESULTS)}
    models = sorted(path.name for path in (m / "report" / "results").iterdir())[:2]
    for model in models:
        (folder / "results" / model).mkdir(parents=True)
        for path in (m / "report" / "results" / model).iterdir():
            if path.stem in kept:
                shutil.copy(path, folder / "results" / model / path.name)
    info = json.loads((m / "report" / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps(info))
    shutil.copy(m / "report" / "plan.toml", folder / "plan.toml")
    return folder


def report_case(value: Any, rng: Generator, box: Path, m: Material) -> Case:
    """A stranger's stored report."""
    kind, command = value
    folder = small_report(m, rng, box)
    canary = box / "in" / "canary"
    results = sorted((folder / "results").glob("*/*"))
    some = pick(rng, results)
    by = {ending: pick(rng, [p for p in results if p.suffix == ending]) for ending in
          (".json", ".csv", ".npz")}  # fmt: skip
    target = pick(rng, [folder / "study.json", by[".json"]])
    if kind == "json":
        damage.change_json(target, rng)
    elif kind == "csv":
        damage.change_csv(by[".csv"], rng)
    elif kind == "npz":
        damage.change_arrays(by[".npz"], rng, canary)
    elif kind == "bytes":
        damage.change_file(pick(rng, [some, target]), rng)
    elif kind == "absent":
        pick(rng, [some, target]).unlink()
    elif kind == "bomb":
        by[".npz"].write_bytes((m / "bomb.npz").read_bytes())
    elif kind == "kind":
        place = pick(rng, [some, target])
        place.unlink()
        how = int(rng.integers(5))
        if how == 0:
            os.mkfifo(place)
        elif how == 1:
            place.symlink_to("/dev/zero")
        elif how == 2:
            place.mkdir()
        elif how == 3:
            outside = box / "in" / "outside"
            outside.write_text("secret\n" * 9)
            place.symlink_to(outside)
        else:
            place.symlink_to(place.name)
    elif kind == "path":
        text = (folder / "study.json").read_text()
        names = ["../../../evil", "/tmp/evil", "a/../../b", "x\\0y", ".", "", "con", "-x"]
        (folder / "study.json").write_text(text.replace("catchup-s0", pick(rng, names)))
    out = str(box / "out")
    words = {
        "report": ["report", str(folder), "-q"],
        "merge": [
            "report",
            str(folder),
            str(m / "report"),
            "--name",
            "x",
            "--out",
            out,
            "--dry-run",
        ],
        "copy": ["report", str(folder), "--name", "x", "--out", out, "-q"],
        "verify": ["verify", str(folder), "--samples", "2"],
        "claims": ["claims", str(m / "claims.toml"), str(folder), "--out", out, "-q"],
        "conventions": ["conventions", str(folder), "--out", out, "-q"],
    }[command]
    outputs = ("out", "in") if command == "report" else ("out",)
    return Case(words, outputs, about=f"{kind}, {command}", canary=canary)


# --- downloads ----------------------------------------------------------------------------------


def archive_case(kind: str, rng: Generator, box: Path, m: Material) -> Case:
    """What a server sends in place of an archive."""
    www = m.folder.parent / "www"
    body = io.BytesIO()
    ending = pick(rng, ["zip", "tar", "tgz"])
    evil = {
        "slip": ["../evil.txt", "set/../../evil.txt", "set/../../../in/evil", "..\\evil.txt"],
        "absolute": [str(box / "evil"), "/tmp/evil-of-fuzz", "C:\\evil", "//evil/x"],
        "name": ["set/a\0b", "set/" + "x" * 300, "set/é\n", "set/con", "set", "", "."],
    }.get(kind, [])
    members = {"set/words.txt": b"a b c", "set/image.bin": rng.bytes(3000)}
    members |= {pick(rng, evil): b"evil"} if evil else {}
    if kind == "twice":
        members = {"set/words.txt": b"a", "set/./words.txt": b"b", "set/words.txt/x": b"c"}
    if kind == "other":
        members = {"other/words.txt": b"a b c"}
    if ending == "zip":
        with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as opened:
            for name, content in members.items():
                opened.writestr(name or "x", content)
            if kind == "link":
                link = zipfile.ZipInfo("set/link")
                link.external_attr = 0o120777 << 16
                opened.writestr(link, "/etc")
    else:
        with tarfile.open(fileobj=body, mode="w:gz" if ending == "tgz" else "w") as opened:
            for name, content in members.items():
                info = tarfile.TarInfo(name.replace("\0", "0") or "x")
                info.size = len(content)
                opened.addfile(info, io.BytesIO(content))
            if kind in ("link", "device"):
                for name, form in (("set/link", pick(rng, [tarfile.SYMTYPE, tarfile.LNKTYPE])),
                                   ("set/device", tarfile.CHRTYPE)):  # fmt: skip
                    info = tarfile.TarInfo(name)
                    info.type, info.linkname = form, pick(rng, ["/etc/passwd", "..", "set"])
                    if kind == "link" or form == tarfile.CHRTYPE:
                        opened.addfile(info)
    data = body.getvalue()
    if kind == "bytes":
        data = damage.change_bytes(data, rng)
    elif kind == "bomb":
        data, ending = (m / "bomb.zip").read_bytes(), "zip"
    name = f"{md5(str(box).encode()).hexdigest()}.{ending}"
    www.mkdir(exist_ok=True)
    (www / name).write_bytes(data)
    faults = ["", "cut", "404", "500", "page", "long", "loop", "empty", "lies"]
    fault = pick(rng, faults) if kind == "server" else ""
    text = material.SOURCES.format(
        port=os.environ.get("FUZZ_PORT", "9"), path=f"{fault or 'plain'}/{name}", size=len(data),
        md5=md5(data).hexdigest(),
    ).replace("small.zip", f"small.{ending}")  # fmt: skip
    if kind == "unchecked" or rng.random() < 0.3:
        text = "\n".join(line for line in text.splitlines() if line[:4] not in ("size", "md5 "))
    (box / "in" / "list.toml").write_text(text)
    words = ["data", "fetch", "small", "--data-root", "../out", "--archives"]
    return Case([*words, str(box / "in" / "list.toml")], about=f"{kind} {fault}", prepare=hasty)


def hasty() -> None:
    """No pauses between tries."""
    from catchup_eval.cli import datasets
    from catchup_eval.core.http import RetryPolicy

    datasets.fetch_sets.__kwdefaults__["retry"] = RetryPolicy(2, 2.0, lambda _seconds: None)


ARCHIVE_KINDS = ["bytes", "bytes", "slip", "absolute", "name", "twice", "other", "link", "device",
    "bomb", "server", "server", "unchecked"]  # fmt: skip

# --- users' code --------------------------------------------------------------------------------

BODIES = {
    "raises": "raise ValueError('no\\nluck')",
    "raises long": "raise RuntimeError('x' * 100000)",
    "own error": "class Odd(BaseException): pass\n    raise Odd",
    "exits": "import sys; sys.exit(0)",
    "exits in words": "import sys; sys.exit('bye')",
    "stops": "raise StopIteration",
    "none": "return None",
    "text": "return 'model'",
    "number": "return 3",
    "class": "return dict",
    "list": "return [1, 2, 3]",
    "tensor": "import torch; return torch.ones(3)",
    "array": "import numpy; return numpy.zeros((3, 3))",
    "pair": "import numpy; return numpy.zeros((3, 8, 8, 3)), numpy.zeros(3)",
    "pair of texts": "return 'a', 'b'",
    "ragged": "return [[1], [2, 3]], [0, 1]",
    "empty": "import torch; return torch.nn.Sequential()",
    "linear": "import torch; return torch.nn.Linear(3, 10)",
    "recursion": "return FUNCTION(*args, **kw)",
    "memory": "return bytearray(1 << 40)",
    "generator": "yield 1",
    "import": "import absent_module",
    "lazy": "return lambda x: x",
    "closes": "import sys; sys.stdout.close(); return None",
    "changes": "import os; os.chdir('/'); raise OSError(28, 'full')",
}
HEADS = {
    "plain": "",
    "syntax": "def broken(:\n",
    "raises": "1 / 0\n",
    "exits": "import sys\nsys.exit(3)\n",
    "bytes": "\xff\0",
    "import": "import absent_module\n",
    "all": "__all__ = ['nothing']\n",
}


def code_case(value: Any, rng: Generator, box: Path, m: Material) -> Case:
    """A function of a user's file."""
    body, head, use, name = value
    path = box / "in" / f"{pick(rng, ['mine', 'my-code', 'torch', 'json', 'été'])}.py"
    lines = [HEADS[head], "def FUNCTION(*args, **kw):", f"    {BODIES[body]}", "", "VALUE = 3"]
    path.write_bytes("\n".join(lines).encode("latin-1"))
    target = f"{path}:{name}"
    if use == "model":
        words = ["evaluate", f"net={target}@{m / 'net.pth'}?norm=half"]
        words += ["--data", str(m / "digits.npz"), *CLEAN]
    elif use == "data":
        words = ["evaluate", m.spec, "--data", target, *CLEAN]
    else:
        words = ["train", str(m / "recipe.toml"), "--data", target, "--epochs", "1"]
        words += ["--out", "../out"]
    return Case(words, about=f"{head} file, {body}, as {use}")


# --- what networks answer -----------------------------------------------------------------------

ANSWERS: Mapping[str, tuple[str, str]] = {  # by kind: what is answered, what must be said
    "not a number": ("y * float('nan')", "refused"),
    "infinite": ("y + float('inf')", "refused"),
    "some not finite": ("torch.where(y[:, :1] > y[:, :1].median(), float('nan'), y)", "refused"),
    "probabilities": ("y.softmax(1)", "probabilit"),
    "log-probabilities": ("y.log_softmax(1)", "log-probabilit"),
    "sigmoid": ("y.sigmoid()", ""),
    "constant": ("y * 0 + torch.arange(10.0)", "same for all|frequent"),
    "near constant": ("y * 1e-9 + torch.arange(10.0)", "frequent|never|same"),
    "noise": ("y + 9 * torch.randn_like(y)", "two passes"),
    "dropout": ("torch.nn.functional.dropout(y, 0.5, True)", "two passes"),
    "batch": ("(y - y.mean(0)) / (y.std(0, correction=0) + 1e-6)", "batch"),
    "order": ("y + torch.arange(len(y))[:, None] * torch.arange(10.0)", "batch|two passes"),
    "permuted": ("y.roll(1, 1)", "order|classes|frequent"),
    "minus": ("-y", "order|classes|frequent"),
    "more classes": ("torch.cat([y, y[:, :1]], 1)", "11 (classes|outputs)"),
    "fewer classes": ("y[:, :5]", "refused"),
    "one class": ("y[:, :1]", "refused"),
    "no class": ("y[:, :0]", "refused"),
    "flat": ("y.flatten()", "refused"),
    "other batch": ("y[:1]", "refused"),
    "map": ("y[..., None, None]", r"\(N, K, 1, 1\)"),
    "large map": ("y[..., None, None].expand(-1, -1, 2, 2)", "refused"),
    "pair": ("(y, y.sum())", "taken"),
    "mapping": ("{'logits': y, 'aux': 3}", "taken"),
    "object": ("type('Out', (), {'logits': y})()", "taken"),
    "none": ("None", "refused"),
    "number": ("3.0", "refused"),
    "array": ("y.detach().numpy()", "refused"),
    "nested": ("{'a': [{'b': y}]}", ""),
    "whole": ("y.argmax(1)", "refused"),
    "integers": ("(100 * y).long()", "refused"),
    "complex": ("y + 0j", "refused"),
    "double": ("y.double()", "truth"),
    "half": ("y.half()", ""),
    "bfloat16": ("y.bfloat16()", ""),
    "detached": ("y.detach()", "truth"),
    "inference": ("later(lambda: super(type(self), self).forward(x))", "truth"),
    "huge": ("y * 1e30", ""),
    "tiny": ("y * 1e-30", ""),
    "sparse": ("y.to_sparse()", "refused"),
    "raises": ("later(lambda: 1 / 0)", "refused"),
    "raises oddly": ("throw(RuntimeError('a\\nb\\n' * 99))", "refused"),
    "exits": ("later(lambda: sys.exit(0))", "refused"),
    "alone": ("y if len(x) > 1 else 1 / 0", "alone"),
    "in place": ("y.mul_(1) if x.mul_(0.5) is None else y", ""),
    "trains": ("later(lambda: (self.train(), y)[1])", ""),
    "prints": ("(print('x' * 100000), y)[1]", "truth"),
    "grows": ("later(lambda: bytearray(1 << 40))", "refused"),
    "size": ("y if x.shape[-1] == 32 else 1 / 0", "truth"),
    "drifts": ("y + drift(self)", "two passes"),
}  # fmt: skip
WRAPPER = """
import sys
import torch
from catchup_eval.models.zoo import build

def later(function):
    with torch.inference_mode():
        return function()

def throw(error):
    raise error

def drift(net):
    net.calls = getattr(net, "calls", 0) + 1
    return net.calls * torch.arange(10.0)

def net(classes=10):
    plain = dict(mean=(0.5,) * 3, std=(0.5,) * 3)
    made = build("preactresnet10", classes=classes, width=4, final_norm=True, **plain).net

    class Odd(type(made)):
        def forward(self, x):
            y = super().forward(x)
            return {answer}

    made.__class__ = Odd
    return made
"""


def answer_case(value: Any, rng: Generator, box: Path, m: Material) -> Case:
    """A network whose answers are not what they should be."""
    kind, analysis = value
    answer, told = ANSWERS[kind]
    path = box / "in" / "nets.py"
    path.write_text(WRAPPER.replace("{answer}", answer))
    names = list(dict.fromkeys(["clean", analysis]))
    words = ["evaluate", f"net={path}:net@{m / 'net.pth'}?norm=half"]
    words += ["--data", str(m / "digits.npz"), "--limit", "20", "-q", "--out", "../out"]
    words += ["--only", *names, *cheap(*names)]
    case = Case(words, about=f"{kind}, {analysis}")
    if told == "refused":
        case.refused = True
    elif told == "truth":
        case.truth = truth_of_limit(m)
    else:
        case.flag = told
    return case


def truth_of_limit(m: Material) -> float:
    """The accuracy on the twenty images that `--limit 20` takes."""
    if "limit" not in m.truths:
        import torch

        from catchup_eval.datasets.dataset import balanced_indices

        rows = balanced_indices(torch.from_numpy(m.labels), 20, 0).numpy()
        path = m.folder.parent / f"truth-{os.getpid()}.npz"
        np.savez(path, images=m.images[rows], labels=m.labels[rows])
        m.truths["limit"] = material.accuracy(m, str(path))
        path.unlink()
    return m.truths["limit"]


# --- consoles and environments ------------------------------------------------------------------

ENVIRONMENTS: list[dict[str, str]] = [
    {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp1252"}, {"PYTHONIOENCODING": "utf-16"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LANG": "xx_YY.nothing"}, {"MPLBACKEND": "module://absent"}, {"MPLBACKEND": "qtagg"},
    {"COLUMNS": "0"}, {"COLUMNS": "x"}, {"COLUMNS": "1"}, {"TERM": ""}, {"HOME": ""},
    {"HOME": "/nonexistent"}, {"TMPDIR": "/nonexistent"}, {"CATCHUP_EVAL_DATA": "/proc"},
    {"CATCHUP_EVAL_DATA": ""}, {"OMP_NUM_THREADS": "x"}, {"MPLCONFIGDIR": "/proc"},
    {"FORCE_COLOR": "1"}, {"TZ": "Nowhere"}, {"PYTHONWARNINGS": "error"},
    {"XDG_CACHE_HOME": "/proc"}, {"CUDA_VISIBLE_DEVICES": "x"}]  # fmt: skip
CALLS = [
    ("list", "methods"),
    ("list", "models"),
    ("list", "catalogue"),
    ("data", "list"),
    ("--version",),
    ("doctor",),
    ("evaluate", "{net}", "--data", "{digits}", "--only", "clean", "--out", "../out"),
    ("compare", "{net}", "--data", "{digits}", "--only", "clean", "--out", "../out"),
    ("conventions", "{report}"),
    ("evaluate", "{net}", "--data", "été\u2191.npz"),
    ("evaluate", "{net}", "--data", "\udcff.npz"),
]


def console_case(value: Any, rng: Generator, box: Path, m: Material) -> Case:
    """An environment or a console unlike ours."""
    environment, call = value
    files: dict[str, Any] = {"net": m.spec, "digits": m / "digits.npz"}
    if "{report}" in call:
        files["report"] = small_report(m, rng, box)
    words = [word.format(**files) for word in call]
    outputs = ("out", "home") if call[0] == "doctor" else ("out",)
    return Case(words, outputs, environment=environment, about=f"{environment} {call[0]}")


def kinds(names: Sequence[str]) -> st.SearchStrategy[str]:
    """One of these kinds."""
    return st.sampled_from(names)


@cache
def doors() -> Mapping[str, Door]:
    """All doors by name."""
    settings = st.tuples(
        st.sampled_from(all_settings()),
        nested,
        st.one_of(st.none(), st.none(), st.none(), texts),
    )
    options = st.tuples(
        kinds([*COMMANDS]), texts | numbers.map(str), st.booleans(), texts | numbers.map(str)
    )
    specs = st.tuples(
        st.lists(
            st.sampled_from(SPEC_WORDS) | st.text(letters, max_size=3), min_size=1, max_size=6
        ),
        st.booleans(),
    )
    commands = ["report", "copy", "merge", "verify", "claims", "conventions"]
    reports = st.tuples(
        kinds(
            ["json"] * 4 + ["csv", "csv", "npz", "npz", "bytes", "absent", "bomb", "kind", "path"]
        ),
        kinds(commands),
    )
    code = st.tuples(
        kinds([*BODIES]),
        kinds(["plain"] * 6 + [*HEADS]),
        kinds(["model", "data", "train"]),
        kinds(["FUNCTION"] * 5 + ["VALUE", "absent", ""]),
    )
    analyses = ["clean"] * 6 + ["adversarial", "corruption", "deformation", "ood", "feature_drop",
        "filters", "localization", "landscape", "cscore"]  # fmt: skip
    answers = st.tuples(kinds([*ANSWERS]), kinds(analyses))
    return {
        "settings": Door(18, settings, settings_case),
        "options": Door(14, options, options_case),
        "toml": Door(12, kinds([*KINDS]), toml_case),
        "images": Door(6, kinds(IMAGE_KINDS), image_case),
        "packs": Door(7, kinds(PACK_KINDS), pack_case),
        "scores": Door(3, kinds(["bytes", "arrays"]), score_case),
        "ood": Door(4, kinds(["bytes", "arrays", "list", "list"]), ood_case),
        "checkpoints": Door(9, kinds(CHECKPOINT_KINDS), checkpoint_case),
        "exported": Door(4, kinds(EXPORTED_KINDS), exported_case),
        "logits": Door(3, kinds(["arrays", "arrays", "bytes", "sound"]), logits_case),
        "specs": Door(10, specs, spec_case),
        "reports": Door(7, reports, report_case),
        "archives": Door(5, kinds(ARCHIVE_KINDS), archive_case),
        "code": Door(5, code, code_case),
        "answers": Door(4, answers, answer_case),
        "console": Door(
            2, st.tuples(st.sampled_from(ENVIRONMENTS), st.sampled_from(CALLS)), console_case
        ),
    }
