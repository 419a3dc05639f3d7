"""Exported files answer as the module that they were exported from; faults have one sentence."""

import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from catchup_eval.analysis import ANALYSES, corruption, deformation, ood
from catchup_eval.analysis.context import EvaluationContext, require
from catchup_eval.core.errors import BadFile, InvalidOutput, Missing, UnknownName, UserError
from catchup_eval.models import checkpoints, exported
from catchup_eval.models.loading import load
from catchup_eval.models.sources import WeightsAccess

TRUSTED = WeightsAccess(trust_pickle=True)
NORM = "?norm=0.25,0.25,0.25/0.2,0.2,0.2"  # of the fixture `networks`
FIXED = 3  # images that the files "fixed" take at once


@pytest.fixture(scope="module")
def net(networks: Callable[..., Any]) -> nn.Module:
    return networks(0).net.requires_grad_(False)


@pytest.fixture(scope="module")
def files(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network in each format."""
    folder = tmp_path_factory.mktemp("exported")
    images, half = torch.rand(FIXED, 3, 32, 32), torch.rand(FIXED, 3, 32, 32).half()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates its own formats
        torch.jit.trace(net, images).save(folder / "net.pt")
        torch.jit.trace(deepcopy(net).half(), half).save(folder / "half.torchscript")
        dynamic = torch.export.export(net, (images,), dynamic_shapes=({0: torch.export.Dim("n")},))
        torch.export.save(dynamic, folder / "net.pt2")
        torch.export.save(torch.export.export(net, (images,)), folder / "fixed.pt2")
    return folder


@pytest.fixture(scope="module")
def onnx_files(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as ONNX: as it is, and of fixed batches with weights in a file of their own."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"needs {name} (extra `onnx`)")
    folder = tmp_path_factory.mktemp("onnx")
    images = torch.rand(FIXED, 3, 32, 32)
    dynamic = {"dynamic_shapes": ({0: torch.export.Dim("n")},), "external_data": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, options in {"net": dynamic, "fixed": {"external_data": True}}.items():
            torch.onnx.export(
                net, (images,), folder / f"{name}.onnx", dynamo=True, verbose=False, **options
            )
    return folder


def check_answers(path: Path, net: nn.Module, tolerance: float = 1e-4) -> Any:
    """The model of the file, which answers as the module, whatever the number of images."""
    loaded = load(f"{path}{NORM}", access=TRUSTED)
    images = torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = net((images - 0.25) / 0.2)
    for n in (1, 3, 7):
        answer = loaded.model(images[:n])
        assert answer.dtype == torch.float32
        torch.testing.assert_close(answer, expected[:n], rtol=0, atol=tolerance)
    return loaded


@pytest.mark.parametrize(
    "name, kind",
    [("net.pt", "TorchScript"), ("net.pt2", "torch.export"), ("fixed.pt2", "torch.export")],
)
def test_programs_answer_as_the_module(files: Path, net: nn.Module, name: str, kind: str) -> None:
    loaded = check_answers(files / name, net)
    assert loaded.architecture == kind
    fixed = [f"{name} takes {FIXED} images (the last are filled up) at once"]
    assert loaded.model.weight_notes == (fixed if name.startswith("fixed") else [])


def test_half_precision_is_named(files: Path, net: nn.Module) -> None:
    loaded = check_answers(files / "half.torchscript", net, tolerance=2e-3)
    assert loaded.model.precision == "computes in float16"


@pytest.mark.parametrize("name", ["net.onnx", "fixed.onnx"])
def test_onnx_answers_as_the_module(onnx_files: Path, net: nn.Module, name: str) -> None:
    assert check_answers(onnx_files / name, net).architecture == "ONNX"


def test_it_gives_the_networks_rows(onnx_files: Path, few_digits: Any, networks: Any) -> None:
    context = EvaluationContext(load(f"{onnx_files / 'net.onnx'}{NORM}").model, few_digits)
    known = EvaluationContext(networks(0), few_digits)
    for analysis, settings in ((corruption, {"severities": (3,)}), (deformation, {}), (ood, {})):
        frame, expected = (analysis.measure(each, **settings).frame for each in (context, known))
        pd.testing.assert_frame_equal(frame, expected, rtol=1e-4)
    for name in ("adversarial", "filters", "landscape"):
        with pytest.raises(Missing, match=r"^gradients, which net\.onnx does not give$"):
            require(context, ANALYSES[name].NEEDS)
    with pytest.raises(Missing, match="linear head"):
        context.features("test")


def test_results_are_of_the_files_bytes(onnx_files: Path, tmp_path: Path) -> None:
    def fingerprint(name: str) -> str:
        return checkpoints.fingerprint(load(f"{tmp_path / name}{NORM}").model)

    content = (onnx_files / "fixed.onnx").read_bytes()
    weights = (onnx_files / "fixed.onnx.data").read_bytes()
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "fixed.onnx.data").write_bytes(weights)
    before = fingerprint("a.onnx")
    assert fingerprint("b.onnx") == before
    (tmp_path / "fixed.onnx.data").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert fingerprint("b.onnx") != before


@pytest.mark.parametrize("name", ["net.pt", "net.pt2"])
def test_programs_need_trust(files: Path, name: str) -> None:
    with pytest.raises(BadFile, match=r"program, which can do .* add --trust-pickle$"):
        load(f"{files / name}{NORM}")


def test_the_keys_of_preprocessing(files: Path) -> None:
    with pytest.raises(UserError, match="its normalisation is not known"):
        load(str(files / "net.pt"), access=TRUSTED)
    for key in ("width=4", "dtype=float16", "output=logits"):
        with pytest.raises(UnknownName, match=r"there is no key of net\.pt"):
            load(f"{files / 'net.pt'}{NORM}&{key}", access=TRUSTED)


def test_images_of_another_size(files: Path) -> None:
    model = load(f"{files / 'net.pt2'}{NORM}", access=TRUSTED).model
    with pytest.raises(InvalidOutput, match=r"takes images \(3, 32, 32\), got \(3, 8, 8\); .*=32"):
        model(torch.rand(2, 3, 8, 8))


def test_what_a_program_raises(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)))
        net.save(tmp_path / "net.pt")
    model = load(f"{tmp_path / 'net.pt'}?norm=none", access=TRUSTED).model
    with pytest.raises(
        RuntimeError, match=r"^net\.pt cannot run on images \(1, 3, 4, 4\): .*shape"
    ):
        model(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize("name", ["net.pt", "net.pt2", "half.torchscript"])
def test_a_program_that_is_cut_short(files: Path, tmp_path: Path, name: str) -> None:
    content = (files / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadFile, match="may be cut short"):
        load(f"{path}{NORM}", access=TRUSTED)


def test_a_damaged_program(files: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    with ZipFile(files / "net.pt2") as old, ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"{}" if name.endswith("model.json") else old.read(name))
    with pytest.raises(BadFile, match=r"is no whole torch\.export file"):
        load(f"{path}{NORM}", access=TRUSTED)


def test_a_state_dict_is_read_as_before(net: nn.Module, tmp_path: Path) -> None:
    torch.save(net.state_dict(), tmp_path / "net.pt")
    model = load(f"preactresnet10@{tmp_path / 'net.pt'}{NORM}&width=4").model
    assert model.without_gradients == "" and model.head.out_features == 10


def make_onnx(path: Path, nodes: Any, inputs: Any, outputs: Any, weights: Any = ()) -> Any:
    """Write nodes (operator, inputs, outputs[, domain]) and tensors (name, type, shape)."""
    onnx = pytest.importorskip("onnx", reason="needs onnx (extra `onnx`)")
    pytest.importorskip("onnxruntime", reason="needs onnxruntime (extra `onnx`)")
    make = onnx.helper
    graph = make.make_graph(
        [make.make_node(op, i, o, domain=(*d, "")[0]) for op, i, o, *d in nodes],
        "graph",
        *(
            [make.make_tensor_value_info(*each) for each in tensors]
            for tensors in (inputs, outputs)
        ),
        [make.make_tensor(name, 1, shape, [0.5] * int(np.prod(shape))) for name, shape in weights],
    )
    opset = [make.make_opsetid("", 18), make.make_opsetid("other", 1)]
    model = make.make_model(graph, opset_imports=opset, ir_version=9)
    path.write_bytes(model.SerializeToString())
    return model


IMAGES, LOGITS = [("x", 1, ["n", 3, 4, 4])], [("y", 1, ["n", 48])]
FLATTEN = ("Flatten", ["x"], ["y"])


@pytest.mark.parametrize(
    "nodes, inputs, outputs, sentence",
    [
        (
            [FLATTEN, ("Flatten", ["x"], ["z"])],
            *(IMAGES, [*LOGITS, ("z", 1, ["n", 48])]),
            r"expected one output in .*, or its name as \?output=NAME, got 2; there are: y, z",
        ),
        ([FLATTEN], [("x", 1, ["n", 48])], LOGITS, r"images \(N, C, H, W\), got x \('n', 48\)"),
        (
            [("Add", ["x", "w"], ["y"])],
            *([*IMAGES, ("w", 1, ["n", 3, 4, 4])], [("y", 1, ["n", 3, 4, 4])]),
            "expected one input",
        ),
        (
            [FLATTEN],
            [("x", 2, ["n", 3, 4, 4])],
            [("y", 2, ["n", 48])],
            "float16, double, got uint8",
        ),
        ([("Odd", ["x"], ["y"], "other")], IMAGES, LOGITS, "other:Odd.* is not a registered"),
    ],
)
def test_onnx_files_that_are_refused(
    tmp_path: Path, nodes: Any, inputs: Any, outputs: Any, sentence: str
) -> None:
    make_onnx(tmp_path / "net.onnx", nodes, inputs, outputs)
    with pytest.raises(UserError, match=sentence):
        load(f"{tmp_path / 'net.onnx'}?norm=none")


def test_one_of_several_outputs(tmp_path: Path) -> None:
    outputs = [*LOGITS, ("z", 1, ["n", 48])]
    make_onnx(tmp_path / "net.onnx", [FLATTEN, ("Neg", ["y"], ["z"])], IMAGES, outputs)
    images = torch.rand(2, 3, 4, 4)
    found = load(f"{tmp_path / 'net.onnx'}?norm=none&output=z").model(images)
    assert torch.equal(found, -images.flatten(1))
    with pytest.raises(UserError, match=r"got q; there are: y, z"):
        load(f"{tmp_path / 'net.onnx'}?norm=none&output=q")


def test_an_onnx_file_cut_anywhere(onnx_files: Path, tmp_path: Path) -> None:
    content, path = (onnx_files / "net.onnx").read_bytes(), tmp_path / "net.onnx"
    for size in (1, 30, 1000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(BadFile, match=r"net\.onnx"):
            load(f"{path}{NORM}")
    path.write_bytes(b"")
    with pytest.raises(BadFile, match="is no ONNX file: it is empty"):
        load(f"{path}{NORM}")


@pytest.mark.parametrize("place", ["../secret", "{folder}/secret", "link", "sub/../../secret"])
def test_weights_outside_the_folder_are_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(4 * 48 * 48))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    nodes = [("Flatten", ["x"], ["f"]), ("MatMul", ["f", "w"], ["y"])]
    model = make_onnx(folder / "net.onnx", nodes, IMAGES, LOGITS, [("w", (48, 48))])
    weights = model.graph.initializer[0]
    weights.ClearField("float_data")
    weights.data_location = 1  # EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", place.format(folder=tmp_path)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BadFile, match="names weights outside its folder"):
        exported.external_data(folder / "net.onnx")
    entry.value = "absent"
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BadFile, match="'absent', which is not beside it"):
        load(f"{folder / 'net.onnx'}?norm=none")


def test_all_places_of_tensors_are_looked_at() -> None:
    """The fields of onnx.proto that lead to names of files are those of the package `onnx`."""
    onnx = pytest.importorskip("onnx", reason="needs onnx (extra `onnx`)")
    own = {name: getattr(onnx, name).DESCRIPTOR for name in exported.FIELDS}
    for name, fields in exported.FIELDS.items():
        led = {
            field.number: field.message_type.name
            for field in own[name].fields
            if field.message_type and field.message_type.name in own
        }
        entries = "StringStringEntryProto"  # beside external_data, they name no files
        led = {n: kind for n, kind in led.items() if kind != entries or name == "TensorProto"}
        led.pop(16, None)  # metadata_props of a tensor
        assert fields == led, name


def test_without_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    (tmp_path / "net.onnx").write_bytes(b"\x08\x09\x3a\x00")
    with pytest.raises(UserError, match=r'pip install "onnxruntime>='):
        load(f"{tmp_path / 'net.onnx'}?norm=none")
