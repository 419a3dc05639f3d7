"""Damage to files: bytes, cuts, foreign contents, and changes that keep a file's structure."""

import json
import pickle
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

FOREIGN = {
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:"
    + b"0" * 64
    + b"\nsize 9\n",
    "page": b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>",
    "gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\3" + bytes(40),
    "zip": b"PK\5\6" + bytes(18),
    "pickle": b"\x80\4\x95",
    "text": b"Not Found\n",
    "bom": b"\xef\xbb\xbf[a]\nb = 1\n",
    "nothing": b"",
    "zeros": bytes(4096),
    "header": struct.pack("<Q", 1 << 62) + b"{",
}

# What a value of a table can be changed to.
ODD: list[Any] = [
    None, True, False, -1, 0, 1, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.0, 1e308, float("nan"),
    float("inf"), float("-inf"), "", " ", "nan", "1", "x" * 3000, "../../../evil", "/etc/passwd",
    "a\0b", "a\nb", "\x1b[31m", "<script>alert(1)</script>", "é", "\u202e", "%s{0}$(id)", [], {},
    [[]], [None], [1, "a", None], {"": {}}, {"a": {"b": {"c": []}}}, "CON", "-rf", "~root",
]  # fmt: skip


def change_bytes(content: bytes, rng: Generator) -> bytes:
    """Flip, cut, repeat, drop or overwrite some bytes."""
    data = bytearray(content)
    kind = rng.integers(7)
    if not data or kind == 0:
        return FOREIGN[str(rng.choice([*FOREIGN]))]
    if kind == 1:
        return bytes(data[: rng.integers(len(data))])
    if kind == 2:
        return bytes(data) + rng.bytes(int(rng.integers(1, 2000)))
    start = int(rng.integers(len(data)))
    end = start + int(rng.integers(1, 200))
    if kind == 3:
        del data[start:end]
    elif kind == 4:
        data[start:end] = bytes(len(data[start:end]))
    else:  # a few bits, of the first bytes or of any
        among = min(len(data), 200) if rng.random() < 0.3 else len(data)
        for place in rng.integers(among, size=int(rng.choice([1, 1, 3, 20]))):
            data[place] ^= 1 << int(rng.integers(8))
    return bytes(data)


def change_file(path: Path, rng: Generator) -> None:
    """Damage the bytes of a file."""
    path.write_bytes(change_bytes(path.read_bytes(), rng))


def change_tree(tree: Any, rng: Generator, odd: list[Any] | None = None) -> Any:
    """One change somewhere in nested tables and lists; the tree itself is altered."""
    holders = list(_holders(tree))
    if not holders:
        return _pick(odd or ODD, rng)
    holder, key = holders[int(rng.integers(len(holders)))]
    kind = rng.integers(7)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    elif kind == 2:
        holder[key] = [holder[key]]
    elif kind == 3 and isinstance(holder[key], list) and holder[key]:
        holder[key] *= 2
    elif kind == 4 and isinstance(holder[key], (int, float)):
        holder[key] = type(holder[key])(-holder[key])
    else:
        holder[key] = _pick(odd or ODD, rng)
    return tree


def _holders(tree: Any) -> list[tuple[Any, Any]]:
    if not isinstance(tree, (dict, list)):
        return []
    items: list[tuple[Any, Any]] = []
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        items += [(tree, key), *_holders(value)]
    return items


def _pick(values: list[Any], rng: Generator) -> Any:
    return values[int(rng.integers(len(values)))]


def change_json(path: Path, rng: Generator) -> None:
    """Damage the structure of a JSON file."""
    tree = change_tree(json.loads(path.read_text()), rng)
    text = json.dumps(tree)
    if rng.random() < 0.03:
        text = "[" * 100_000
    path.write_text(text)


def toml(table: dict[str, Any], prefix: str = "") -> str:
    """A table as TOML spells it."""
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    lines = [f"{_key(key)} = {toml_value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += [f"[{prefix}{_key(key)}]", toml(value, f"{prefix}{_key(key)}.")]
    return "\n".join(lines) + "\n"


def _key(key: Any) -> str:
    return json.dumps(str(key))


def toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return '""'
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {toml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(str(value)).replace("\\u0000", "\\u0001")


def change_csv(path: Path, rng: Generator) -> None:
    """Damage the cells, the columns or the rows of a table."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    kind, row = rng.integers(7), int(rng.integers(len(rows)))
    place = int(rng.integers(len(rows[0])))
    if kind == 0:
        for each in rows:
            del each[place : place + 1]
    elif kind == 1:
        rows = rows[:1]
    elif kind == 2:
        rows += rows[1:]
    elif kind == 3:
        rows[0] = rows[0][::-1]
    elif kind == 4:
        rows[row] = rows[row] * 3
    else:
        text = str(_pick([*ODD, "1e999", "0x1", "=1+1", '"', "9" * 400], rng))
        rows[row][min(place, len(rows[row]) - 1)] = text
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")


class Runs:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def change_arrays(path: Path, rng: Generator, canary: Path) -> None:
    """Damage the arrays of an archive: names, types, shapes, values, or lies about them."""
    with np.load(path, allow_pickle=False) as pack:
        arrays: dict[str, Any] = dict(pack)
    if not arrays:
        arrays = {"x": np.zeros(3)}
    key = str(rng.choice([*arrays]))
    value = arrays[key]
    changed: list[Callable[[], Any]] = [
        lambda: value[:-1] if value.ndim and len(value) else value[None],
        lambda: value[None],
        lambda: value.astype(str),
        lambda: value.astype(np.float16) if value.dtype.kind in "fiu" else value[:0],
        lambda: value.astype(np.complex64) if value.dtype.kind in "fiu" else value,
        lambda: value.astype(np.float64) * np.nan if value.dtype.kind in "fiu" else value,
        lambda: value.astype(np.float64) * -1e300 if value.dtype.kind in "fiu" else value,
        lambda: value.reshape(-1),
        lambda: value[:0] if value.ndim else value,
        lambda: value.astype("M8[s]") if value.dtype.kind in "iu" else value,
        lambda: np.zeros(len(np.atleast_1d(value)), [("a", "u1"), ("b", "f4")]),
        lambda: value.astype(value.dtype.newbyteorder()),
        lambda: value[::-1],
        lambda: np.concatenate([value, value]) if value.ndim else value,
        lambda: np.array(3),
    ]
    kind = rng.integers(len(changed) + 6)
    if kind < len(changed):
        arrays[key] = changed[kind]()
    elif kind == len(changed):
        del arrays[key]
    elif kind == len(changed) + 1:
        arrays[f"../{key}"] = arrays.pop(key)
    elif kind == len(changed) + 2:
        arrays[key] = np.array([Runs(canary)], dtype=object)
    elif kind == len(changed) + 3:
        arrays[f"{key}x"] = arrays.pop(key)
    np.savez(path, allow_pickle=True, **arrays)
    if kind == len(changed) + 4:  # a header that lies
        content = path.read_bytes()
        old = repr(value.shape).encode()
        new = repr((10**12, *value.shape[1:])).encode()[: len(old)].ljust(len(old))
        path.write_bytes(content.replace(old, new, 1))
    elif kind == len(changed) + 5:
        content = path.read_bytes()
        path.write_bytes(content.replace(b"'fortran_order': False", b"'fortran_order': None "))


def code_in_pickle(canary: Path, weights: Any) -> bytes:
    """A pickle that makes a file when it is read, as `torch.save` would write it."""
    import torch

    buffer = BytesIO()
    torch.save({"state_dict": weights, "extra": Runs(canary)}, buffer)
    return buffer.getvalue()


def plain_pickle(canary: Path) -> bytes:
    """The same, without an archive around it."""
    return pickle.dumps({"state_dict": Runs(canary)})
