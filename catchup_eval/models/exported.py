"""Networks that were exported: ONNX, TorchScript and torch.export files, which only answer.

They give logits. Analyses that need gradients, features or stages are skipped: ONNX has none, and
a program may hold its weights as constants and its modes as they were when it was exported.

- ONNX runs in onnxruntime (the extra `onnx`). It holds no code but that of operators that
  onnxruntime knows; weights beside it are read from its own folder alone.
- TorchScript programs can read and write files, and torch.export unpickles what a file holds:
  both need `trust_pickle`.

Each is given images of the type, and as many at once, as it was exported for.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from catchup_eval.core import readers
from catchup_eval.core.environment import install_command
from catchup_eval.core.errors import BadFile, InvalidOutput, UserError
from catchup_eval.core.files import digest
from catchup_eval.core.foreign import LONGEST
from catchup_eval.models.checkpoints import check_archive

ONNX, SCRIPT, PROGRAM = "ONNX", "TorchScript", "torch.export"
RECOGNIZED = {"an ONNX": ONNX, "a TorchScript": SCRIPT, "a program of torch.export": PROGRAM}
FOLDS = 20  # to how many times its size a program may unfold: its code is compressed, weights not
CPU = "CPUExecutionProvider"
TYPES = {"float": torch.float32, "float16": torch.float16, "double": torch.float64}  # ONNX's names


def kind_of(path: Path) -> str:
    """Which of :data:`RECOGNIZED` a file is, by its content or as it ends in `.onnx`; else empty.

    Raises:
        BadFile: it ends so and is another format.
    """
    if not path.is_file():
        return ""
    what = readers.recognize(path)
    kind = next((kind for start, kind in RECOGNIZED.items() if what.startswith(start)), "")
    if path.suffix == ".onnx" and what and kind != ONNX:
        raise BadFile(f"{path} is no ONNX file: it is {what}")
    return ONNX if path.suffix == ".onnx" else kind


class ImagesTaken(NamedTuple):
    """What a program was exported for; None where it takes any."""

    dtype: torch.dtype = torch.float32
    sides: Sequence[int | None] = (None, None, None)  # C, H, W
    least: int = 1  # images at once
    most: int | None = None


Program = Callable[[Tensor], Any]


class ExportedNetwork(nn.Module):
    """An exported file as a network: images (N, C, H, W), normalised, to what it answers.

    Args:
        path: of the file.
        kind: which it is, one of the values of :data:`RECOGNIZED`.
        output: of an ONNX file with several, the name of the logits.

    Attributes:
        notes: what was chosen, a sentence each; more may come when it is first run.

    Raises:
        BadFile: it is damaged, or names weights outside its folder.
        UserError: onnxruntime is not installed; it takes no images; it has several outputs, and
            none of them is named.
    """

    differentiable = False

    def __init__(self, path: Path, kind: str, output: str = ""):
        super().__init__()
        self.file, self.notes, self._programs = path.name, list[str](), dict[str, Program]()
        parts = [path]
        try:
            if kind == ONNX:
                parts += external_data(path)
                self._start, self._takes = _open_onnx(path, output, self.notes)
            else:
                check_archive(path, folds=FOLDS)
                self._start, self._takes = (_open_script if kind == SCRIPT else _open_program)(path)
        except UserError:
            raise
        except Exception as error:  # a damaged file can raise many types
            raise BadFile(f"{path} is no whole {kind} file: {_last_line(error)}") from error
        hashes = [digest(part, "sha256") for part in parts]
        content = hashes[0] if len(parts) == 1 else sha256("".join(hashes).encode()).hexdigest()
        # A buffer, so that the fingerprint of weights and preprocessing is of the file, too.
        buffer = torch.frombuffer(bytearray.fromhex(content), dtype=torch.uint8)
        self.register_buffer("content", buffer)
        if (count := self._takes.most) == self._takes.least:
            batches = "one image" if count == 1 else f"{count} images (the last are filled up)"
            self.notes.append(f"{self.file} takes {batches} at once")

    @property
    def dtype(self) -> torch.dtype:
        """Of the images that it takes."""
        return self._takes.dtype

    def forward(self, images: Tensor) -> Any:
        expected = tuple(self._takes.sides)
        if any(side not in (None, given) for side, given in zip(expected, images.shape[1:])):
            shape = ", ".join("any" if side is None else str(side) for side in expected)
            square = expected[1] is not None and expected[1] == expected[2]
            hint = f"; write ?size={expected[1]}" if square else ""
            hint = "; write ?channels=gray" if expected[0] == 1 else hint
            raise InvalidOutput(
                f"{self.file} takes images ({shape}), got {tuple(images.shape[1:])}{hint}"
            )
        device = str(images.device)
        if device not in self._programs:
            self._programs[device] = self._start(images.device)
        chunks = torch.split(images, self._takes.most or len(images))
        answers = [self._run(device, some) for some in chunks]
        return answers[0] if len(answers) == 1 else _join(answers)

    def _run(self, device: str, images: Tensor) -> Any:
        n, short = len(images), self._takes.least - len(images)
        if short > 0:
            images = torch.cat([images, images[-1:].expand(short, *images.shape[1:])])
        try:
            answer = self._programs[device](images.to(self._takes.dtype))
        except Exception as error:  # the program is a stranger's
            text = f"{self.file} cannot run on images {tuple(images.shape)}: {_last_line(error)}"
            raise RuntimeError(text) from error
        return answer if short <= 0 else _first(answer, n)


def _first(answer: Any, n: int) -> Any:
    """The rows of the first n images."""
    if isinstance(answer, Tensor):
        return answer[:n]
    if isinstance(answer, Mapping):
        return {name: _first(value, n) for name, value in answer.items()}
    return [_first(value, n) for value in answer]


def _join(answers: Sequence[Any]) -> Any:
    first = answers[0]
    if isinstance(first, Tensor):
        return torch.cat(list(answers))
    if isinstance(first, Mapping):
        return {name: _join([each[name] for each in answers]) for name in first}
    return [_join(parts) for parts in zip(*answers)]


def _last_line(error: Exception) -> str:
    """What TorchScript says at the end, after a traceback of its own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[-1] if lines else type(error).__name__
    return "".join(each if each.isprintable() else "?" for each in line[:LONGEST])


# --- TorchScript and torch.export ---------------------------------------------------------------

Opened = tuple[Callable[[torch.device], Program], ImagesTaken]


def _open_script(path: Path) -> Opened:
    def start(device: torch.device) -> Program:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # torch deprecates the format; files of it remain
            program = torch.jit.load(file, map_location=device)  # type: ignore[no-untyped-call]
        program.eval()
        return program  # type: ignore[no-any-return]

    tensors = start(torch.device("cpu")).state_dict().values()  # type: ignore[attr-defined]
    floating = (each.dtype for each in tensors if each.is_floating_point())
    return start, ImagesTaken(next(floating, torch.float32))


def _open_program(path: Path) -> Opened:
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")  # torch 2.9 warns of its own reader
        program = torch.export.load(file)
    names = program.graph_signature.user_inputs
    if len(names) != 1:
        raise UserError(f"expected one input in {path}, images (N, C, H, W), got {len(names)}")
    (node,) = (node for node in program.graph.nodes if node.name == names[0])
    value = node.meta["val"]
    if not (isinstance(value, Tensor) and value.ndim == 4):
        got = f"{value.ndim} axes" if isinstance(value, Tensor) else type(value).__name__
        raise UserError(f"expected images (N, C, H, W) as the input of {path}, got {got}")
    batch: Any = value.shape[0]
    least, most = batch, batch
    if not isinstance(batch, int):
        bounds: Any = program.range_constraints.get(batch.node.expr)
        least = max(1, int(bounds.lower)) if bounds else 1
        most = int(bounds.upper) if bounds and bounds.upper.is_Integer else None
    sides = [side if isinstance(side, int) else None for side in value.shape[1:]]

    def start(device: torch.device) -> Program:
        from torch.export.passes import move_to_device_pass

        return move_to_device_pass(program, device).module()

    return start, ImagesTaken(value.dtype, sides, least, most)


# --- ONNX ---------------------------------------------------------------------------------------


def _open_onnx(path: Path, output: str, notes: list[str]) -> Opened:
    runtime = _onnxruntime()
    session = _session(path, [CPU])
    inputs, outputs = session.get_inputs(), [each.name for each in session.get_outputs()]
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        got = "; ".join(f"{each.name} {tuple(each.shape)}" for each in inputs)
        raise UserError(f"expected one input in {path}, images (N, C, H, W), got {got or 'none'}")
    (given,) = inputs
    if (output or outputs[0]) not in outputs or (len(outputs) > 1 and not output):
        there = ", ".join(outputs)
        raise UserError(
            f"expected one output in {path}, logits (N, K), or its name as ?output=NAME, "
            f"got {output or len(outputs)}; there are: {there}"
        )
    kind = given.type.removeprefix("tensor(").removesuffix(")")
    if kind not in TYPES:
        raise UserError(f"expected {path} to take images of {', '.join(TYPES)}, got {kind}")
    batch, *sides = (side if isinstance(side, int) and side > 0 else None for side in given.shape)

    def start(device: torch.device) -> Program:
        used = session
        if device.type == "cuda":
            if "CUDAExecutionProvider" in runtime.get_available_providers():
                options = {"device_id": str(device.index or 0), "use_tf32": "0"}
                used = _session(path, [("CUDAExecutionProvider", options), CPU])
            else:
                notes.append(f"{path.name} ran on the CPU: this onnxruntime has no CUDA")
        names = [output or outputs[0]]

        def run(images: Tensor) -> Tensor:
            (answer,) = used.run(names, {given.name: images.detach().cpu().contiguous().numpy()})
            return torch.from_numpy(answer).to(images.device)

        return run

    return start, ImagesTaken(TYPES[kind], sides, batch or 1, batch)


def _onnxruntime() -> Any:
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        raise UserError(f"ONNX files need onnxruntime: {install_command('onnx')}") from error


def _session(path: Path, providers: Sequence[Any]) -> Any:
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what matters is raised
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return runtime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # of its own types
        raise BadFile(f"onnxruntime cannot open {path}: {_last_line(error)}") from error


# Of the messages of onnx.proto, the fields that lead to tensors whose data are elsewhere.
FIELDS: Mapping[str, Mapping[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": dict.fromkeys((5, 10), "TensorProto")
    | dict.fromkeys((6, 11), "GraphProto")
    | dict.fromkeys((22, 23), "SparseTensorProto"),
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {13: "StringStringEntryProto"},
    "StringStringEntryProto": {},
}


def external_data(path: Path) -> list[Path]:
    """The files of weights that an ONNX file names, sorted; all of them lie in its folder.

    Raises:
        BadFile: it is damaged, or one is absent or outside the folder, also by a link.
    """
    places = set()
    try:
        with path.open("rb") as file:
            left = [("ModelProto", memoryview(file.read()))]
        while left:
            kind, content = left.pop()
            if kind == "StringStringEntryProto":
                entry = {number: bytes(value) for number, value in _fields(content)}
                if entry.get(1) == b"location":
                    places.add(entry.get(2, b"").decode())
                continue
            nested = FIELDS[kind]
            left += [(nested[n], value) for n, value in _fields(content) if n in nested]
    except (IndexError, ValueError) as error:
        size = f"it has {path.stat().st_size:,} bytes and may be cut short"
        raise BadFile(f"{path} is no whole ONNX file: {size}") from error
    return [_beside(path, place) for place in sorted(places)]


def _beside(path: Path, place: str) -> Path:
    pure, file = PurePosixPath(place), path.parent / place
    inside = not pure.is_absolute() and ".." not in pure.parts and "\0" not in place
    if not (inside and file.resolve().is_relative_to(path.parent.resolve())):
        raise BadFile(
            f"{path} names weights outside its folder, {place!r}; they are read from there alone"
        )
    if not file.is_file():
        raise BadFile(f"{path} names weights in {place!r}, which is not beside it")
    return file


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of a protobuf message's fields that have a length.

    Raises:
        IndexError, ValueError: it is cut short, or no such message.
    """
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            value |= (byte & 127) << shift
            place, shift = place + 1, shift + 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("a number of more than ten bytes")

    while place < len(message):
        key = varint()
        if key & 7 == 2:
            size = varint()
            if size > len(message) - place:
                raise ValueError("a field beyond its message")
            yield key >> 3, message[place : place + size]
            place += size
        elif key & 7 == 0:
            varint()
        elif key & 7 in (1, 5):
            place += 8 if key & 7 == 1 else 4
        else:
            raise ValueError("a field of an unknown kind")
