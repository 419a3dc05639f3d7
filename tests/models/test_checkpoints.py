"""Weights are read safely, and what does not fit is said in one sentence."""

import argparse
import errno
import json
import pickle
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies
from safetensors.torch import save_file
from torch import Tensor, nn

from catchup_eval.core import environment
from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.models.checkpoints import ModelCard, fingerprint, read, read_content, save
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.loading import load
from catchup_eval.models.matching import find_normalisation, load_state
from catchup_eval.models.zoo import build

CARD = ModelCard(
    architecture="preactresnet10",
    options={"classes": 10, "width": 4},
    mean=(0.25,) * 3,
    std=(0.2,) * 3,
    classes=tuple("0123456789"),
    method="catchup",
    settings={"alpha": 1.0},
    seed=3,
    history={"last": 97.5},
)


def test_a_checkpoint_comes_back_whole(tmp_path: Path, network: Classifier) -> None:
    save(tmp_path / "a.safetensors", network, CARD)
    weights, card = read(tmp_path / "a.safetensors")
    assert card == CARD
    state = network.net.state_dict()
    assert weights.keys() == state.keys()
    assert all(torch.equal(weights[name], state[name]) for name in state)


def test_equal_checkpoints_have_equal_bytes(tmp_path: Path, network: Classifier) -> None:
    for name in "abcdef":
        save(tmp_path / name, network, CARD)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, network: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        save(tmp_path / "a.safetensors", network, CARD)
    assert not list(tmp_path.iterdir())


def test_others_may_read_a_checkpoint(tmp_path: Path, network: Classifier) -> None:
    """As any other file: what the umask leaves, not the owner alone."""
    save(tmp_path / "a.safetensors", network, CARD)
    (tmp_path / "plain").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize(
    ("prefix", "nest"),
    [("module.", ()), ("module._orig_mod.", ("state_dict",)), ("model.net.", ("model", "net"))],
)
def test_wrappers_are_taken_off(tmp_path: Path, prefix: str, nest: tuple[str, ...]) -> None:
    net = nn.Linear(3, 2)
    content: object = OrderedDict((prefix + k, v) for k, v in net.state_dict().items())
    for key in reversed(nest):
        content = {key: content, "epoch": 3, "best": 0.5}
    torch.save(content, tmp_path / "a.pth")
    other = nn.Linear(3, 2)
    load_state(other, read(tmp_path / "a.pth")[0], "a.pth")
    assert torch.equal(other.weight, net.weight)


def test_a_prefix_in_the_middle_or_that_not_all_share_stays() -> None:
    net = nn.Sequential(OrderedDict(inner=nn.Sequential(OrderedDict(module=nn.Linear(2, 2)))))
    load_state(net, {f"module.{name}": value for name, value in net.state_dict().items()}, "x")
    weights = {"module.weight": torch.zeros(2, 3), "bias": torch.zeros(2)}
    with pytest.raises(BadFile, match=r"nearest: what is under 'module.'\); 1 missing: bias"):
        load_state(nn.Linear(3, 2), weights, "x")


def test_the_counter_of_an_averaged_model_is_no_weight() -> None:
    averaged = torch.optim.swa_utils.AveragedModel(net := nn.Linear(3, 2))
    other = nn.Linear(3, 2)
    load_state(other, averaged.state_dict(), "x")
    assert torch.equal(other.weight, net.weight)


def test_names_of_other_zoos_are_understood() -> None:
    """A shortcut is also called downsample, the head fc; only whole parts of a name count."""
    parts = OrderedDict(shortcut=nn.Linear(2, 2), linear=nn.Linear(2, 2), fcs=nn.Linear(2, 2))
    net, other = nn.Sequential(parts), nn.Sequential(parts.copy())
    state = {
        name.replace("shortcut", "downsample").replace("linear", "fc"): torch.ones_like(value)
        for name, value in net.state_dict().items()
    }
    load_state(other, state, "x")
    assert all(bool((value == 1).all()) for value in other.state_dict().values())


@pytest.mark.parametrize("ema", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": {"w": torch.zeros(1)}, "state_dict_ema": {"w": torch.ones(1)}},
        {"ema": {"module": {}, "w": torch.ones(1)}, "model": {"w": torch.zeros(1)}},
        {"state_dict": {"w": torch.zeros(1), "ema.w": torch.ones(1)}},
    ],
)
def test_weights_or_their_average_and_it_is_reported(
    tmp_path: Path, content: dict[str, Any], ema: bool
) -> None:
    torch.save(content, tmp_path / "a.pth")
    found = read_content(tmp_path / "a.pth", ema=ema)
    assert {name: float(value) for name, value in found.weights.items()} == {"w": float(ema)}
    assert found.note.endswith("taken: their average" if ema else "?ema=true takes the other")


def test_an_average_alone_needs_no_choice(tmp_path: Path) -> None:
    torch.save({"ema": {"ema.module.weight": torch.ones(1)}}, tmp_path / "a.pth")
    assert not read_content(tmp_path / "a.pth").note
    torch.save({"state_dict": {"weight": torch.ones(1)}}, tmp_path / "b.pth")
    with pytest.raises(BadFile, match="no average"):
        read_content(tmp_path / "b.pth", ema=True)


def test_the_best_accuracy_beside_the_weights_is_none_of_them(tmp_path: Path) -> None:
    """As in PyTorch's own example for ImageNet, where it is a tensor."""
    content = {"best_acc1": torch.tensor(76.1), "state_dict": {"w": torch.ones(2)}}
    torch.save(content, tmp_path / "a.pth")
    assert read(tmp_path / "a.pth")[0].keys() == {"w"}


def test_what_does_not_fit_is_one_readable_sentence_and_nothing_is_loaded() -> None:
    with pytest.raises(BadFile, match=r"fit Linear; its head has 100 classes, expected 10;"):
        load_state(nn.Linear(3, 10), nn.Linear(3, 100).state_dict(), "x")
    net = nn.Linear(3, 2)
    before = net.weight.clone()
    with pytest.raises(BadFile) as error:
        load_state(net, {"weight": torch.zeros(5, 3), "other": torch.zeros(1)}, "net.pth")
    for words in (
        "net.pth does not fit Linear",
        "1 missing: bias; 1 unexpected: other",
        "weight (5, 3) where (2, 3) is expected",
    ):
        assert words in str(error.value)
    with pytest.raises(BadFile):
        load_state(net, {"weight": torch.zeros(2, 3)}, "x")
    assert torch.equal(net.weight, before)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("ran"),))


def test_a_pickle_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"weight": torch.zeros(1)}, "x": Evil()}, "a.pth")
    Path("b.pth").write_bytes(pickle.dumps(Evil()))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(BadFile):
            read(name)
    assert not Path("ran").exists()


def test_a_pickle_that_is_trusted_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"weight": torch.zeros(1)}, "x": Evil()}, "a.pth")
    assert read_content("a.pth", trust_pickle=True).weights.keys() == {"weight"}
    assert Path("ran").exists()


def test_what_training_scripts_keep_is_harmless(tmp_path: Path) -> None:
    """numpy's scalars, and the arguments of the command, in the layout of Lightning."""
    content = {
        "state_dict": {"model.weight": torch.ones(1)},
        "hyper_parameters": argparse.Namespace(lr=0.1, name="x"),
        "best": np.float64(91.73),
        "epoch": np.int64(3),
        "share": np.float32(0.5),
        "done": np.bool_(True),
        "pytorch-lightning_version": "2.5.0",
    }
    torch.save(content, tmp_path / "a.ckpt")
    assert read(tmp_path / "a.ckpt")[0].keys() == {"model.weight"}


def test_a_scalar_of_an_older_numpy(tmp_path: Path) -> None:
    """Before numpy 2 it named its own module otherwise."""
    path = tmp_path / "a.pth"
    torch.save(
        {"w": torch.ones(1), "best": np.float64(1.0)}, path, _use_new_zipfile_serialization=False
    )
    old = path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != path.read_bytes()
    path.write_bytes(old)
    assert read(path)[0].keys() == {"w"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"w": torch.ones(1), "losses": np.ones(3)}, r"_reconstruct.*--trust-pickle"),
        (nn.Linear(2, 2), r"save its state_dict\(\) alone"),
        ({"epoch": 3}, "holds no weights"),
    ],
)
def test_what_is_refused_with_the_way_out(tmp_path: Path, content: object, words: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(BadFile, match=words):
        read(tmp_path / "a.pth")


def test_a_whole_model_can_be_trusted(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    torch.save({"net": net, "acc": 91.0}, tmp_path / "a.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.equal(
            read_content(tmp_path / "a.pth", trust_pickle=True).weights["bias"], net.bias
        )


def test_safetensors_need_no_suffix(tmp_path: Path, network: Classifier) -> None:
    save(tmp_path / "a.safetensors", network, CARD)
    (tmp_path / "a.safetensors").rename(tmp_path / "uc")
    assert read(tmp_path / "uc")[1] == CARD


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_an_html_page_is_recognised(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<!DOCTYPE html><html>404</html>")
    with pytest.raises(BadFile, match="HTML"):
        read(tmp_path / name)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_truncated_file_is_one_sentence(tmp_path: Path, network: Classifier, suffix: str) -> None:
    path = tmp_path / f"whole.{suffix}"
    if suffix == "pth":
        torch.save(network.net.state_dict(), path)
    else:
        save(path, network, CARD)
    whole = path.read_bytes()
    for size in (0, 1, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(BadFile):
            read(path)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="there is no file"):
        read(tmp_path / "a.pth")


def test_a_damaged_card_is_named(tmp_path: Path, network: Classifier) -> None:
    state = {name: value.contiguous() for name, value in network.net.state_dict().items()}
    save_file(state, tmp_path / "a.safetensors", metadata={"card": "{}"})
    with pytest.raises(BadFile, match=r"the card of .*architecture"):
        read(tmp_path / "a.safetensors")


def test_the_fingerprint_depends_on_every_weight_and_on_the_normalisation(
    network: Classifier,
) -> None:
    before = fingerprint(network)
    assert fingerprint(network) == before
    with torch.no_grad():
        network.head.bias[0] += 1e-6
    changed = fingerprint(network)
    network.normalize.mean[0, 0, 0, 0] += 0.01
    other = fingerprint(network)
    network.preprocess = Preprocess(32)
    shown = fingerprint(network)
    network.preprocess = Preprocess(32, interpolation="bicubic")
    assert len({before, changed, other, shown, fingerprint(network)}) == 5


def test_versions_name_what_numbers_depend_on() -> None:
    printed = environment.package_versions()
    pixels = {"torchvision", "numpy", "scipy", "pillow", "libjpeg"}
    assert set(printed) == {"catchup-eval", "python", "torch", "instruction set"} | pixels
    assert all(printed.values()) and printed["numpy"] == np.__version__


PARTS = OrderedDict(conv=nn.Conv2d(3, 2, 1), head=nn.Linear(2, 4))
NORM = {"new_mean": torch.full((3, 1, 1), 0.5), "new_std": torch.full((3, 1, 1), 0.25)}


def under(prefix: str, state: dict[str, Any] | None = None) -> dict[str, Any]:
    state = nn.Sequential(PARTS).state_dict() if state is None else state
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ({"weights": under(""), "optim": {"state": {0: {"m": torch.ones(2)}}}}, ""),
        ({"a": {"b": {"params": under("encoder.")}}}, ""),
        ((under(""), {"lr": 0.1}), ""),
        ({"state_dict": under("conv.module.", PARTS["conv"].state_dict()) | under("")}, None),
        ({"model": under("m.model.") | under("m.attacker.model.") | under("m.norm.", NORM)}, ""),
        (
            {"state_dict": under("net.") | {"loss.w": torch.ones(9), "acc.tp": torch.tensor(1)}},
            "taken: what is under 'net.'; left aside: loss.w, acc.tp",
        ),
    ],
)
def test_weights_are_found_in_a_larger_file(content: Any, note: str | None, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    found = read_content(tmp_path / "a.pth")
    net = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 2, 1), head=nn.Linear(2, 4)))
    if note is None:  # two convolutions: nothing consistent
        with pytest.raises(BadFile, match=r"2 unexpected: conv\.module.weight"):
            load_state(net, found.weights, "a.pth", found.keys)
        return
    assert load_state(net, found.weights, "a.pth", found.keys) == note
    state = nn.Sequential(PARTS).state_dict()
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_different_weights_that_fit_are_not_chosen_from() -> None:
    teacher = {name: value + 1 for name, value in under("teacher.").items()}
    with pytest.raises(BadFile, match=r"different weights .* 'student.' and under 'teacher.'"):
        load_state(nn.Sequential(PARTS), under("student.") | teacher, "x")


def test_the_nearest_fit_and_what_there_is_are_named(tmp_path: Path) -> None:
    weights = under("net.")
    del weights["net.head.bias"]
    torch.save({"epoch": 3, "state_dict": weights, "opt": {}}, tmp_path / "a.pth")
    found = read_content(tmp_path / "a.pth")
    with pytest.raises(BadFile) as error:
        load_state(nn.Sequential(PARTS), found.weights, "a.pth", found.keys)
    assert str(error.value) == (
        "a.pth does not fit Sequential (nearest: what is under 'net.'); 1 missing: head.bias; "
        "the file holds epoch, state_dict, opt"
    )


@pytest.mark.parametrize(
    "change", [torch.Tensor.int, torch.Tensor.to_sparse, lambda value: value.to("meta")]
)
def test_weights_of_another_type_are_refused(change: Callable[[Tensor], Tensor]) -> None:
    weights = under("")
    weights["conv.weight"] = change(weights["conv.weight"])
    with pytest.raises(BadFile, match=r"1 of another type: conv\.weight"):
        load_state(nn.Sequential(PARTS), weights, "x")


def test_a_normalisation_layer_is_found() -> None:
    pixels = {"0.mean": torch.full((1, 3, 1, 1), 127.5), "0.std": torch.full((1, 3, 1, 1), 51.0)}
    found = find_normalisation(under("1.") | pixels, {})
    assert found is not None and (found.mean, found.std) == ((0.5,) * 3, (0.2,) * 3)
    assert find_normalisation(under("1.") | pixels, {"mean": torch.zeros(3)}) is None
    assert find_normalisation(pixels | under("x", NORM), {}) is None
    assert find_normalisation(nn.BatchNorm2d(3).state_dict(), {}) is None


def script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)


def archive(path: Path) -> None:
    with tarfile.open(path, "w:gz") as file:
        file.add(__file__)


def numpy_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.ones(2))


def bytes_of(content: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (bytes_of(b"version https://git-lfs.github.com/spec/v1\noid"), "Git LFS pointer"),
        (bytes_of(b"\n<!doctype html><title>x"), "an HTML page"),
        (bytes_of(b'{"error": "no such file"}'), "a text that begins '{\"error"),
        (bytes_of(b""), "it is empty"),
        (bytes_of(b"\x89HDF\r\n\x1a\n\0\0"), "an HDF5 file"),
        (bytes_of(pickle.dumps([1])), "a pickle that torch.save did not write"),
        (script, r"a TorchScript archive.*state_dict\(\)"),
        (archive, "compressed by gzip; unpack it"),
        (numpy_archive, "NumPy arrays"),
    ],
)
@pytest.mark.parametrize("name", ["a.pth.tar", "a.safetensors"])
def test_what_is_no_checkpoint_is_named(
    write: Callable[[Path], Any], words: str, name: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(BadFile, match=words) as error:
        read(tmp_path / name)
    assert "--trust-pickle" not in str(error.value)


def test_the_length_of_a_header_is_no_other_format(tmp_path: Path) -> None:
    """safetensors begin with it: 128 is the first byte of a pickle, 0x4b50 is "PK"."""
    for length in (0x80, 0x4B50, 0x8B18):
        text = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
        header = text.encode().ljust(length)
        (tmp_path / "a").write_bytes(length.to_bytes(8, "little") + header + bytes(4))
        assert read(tmp_path / "a")[0].keys() == {"w"}


def test_the_format_does_not_depend_on_the_ending(tmp_path: Path) -> None:
    for name, write in (("a.pth", save_file), ("a.safetensors", torch.save), ("last", torch.save)):
        write({"w": torch.ones(2)}, tmp_path / name)
        assert read(tmp_path / name)[0].keys() == {"w"}


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.with_name("flipped").write_bytes(content)


SMALL = build("resnet8", classes=2, mean=(0.5,) * 3, std=(0.25,) * 3)


@given(place=strategies.floats(0, 1, exclude_max=True), header=strategies.booleans())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_is_noticed_anywhere(place: float, header: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    if not path.exists():
        save(path, SMALL, CARD)
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    used = len(content[8:start].rstrip()) + 8  # blanks fill the header up
    bit = int(8 * (place * used if header else start + place * (len(content) - start)))
    flip(path, bit)
    try:
        found = read_content(tmp_path / "flipped")
    except BadFile:
        return
    assert found.note, "the name of the hash was hit, and its lack is told"


@given(place=strategies.floats(0, 1, exclude_max=True))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_of_an_archive_changes_no_weight(place: float, tmp_path: Path) -> None:
    path, weights = tmp_path / "a.pt", {"w": torch.linspace(0, 1, 300)}
    if not path.exists():
        torch.save(weights, path)
    flip(path, int(8 * place * path.stat().st_size))
    with suppress(BadFile):
        assert torch.equal(read(tmp_path / "flipped")[0]["w"], weights["w"])


def test_a_checkpoint_without_its_hash_is_told(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", SMALL, CARD)
    assert not read_content(tmp_path / "a.safetensors").note
    weights, card = read(tmp_path / "a.safetensors")
    assert card is not None
    save_file(weights, tmp_path / "old.safetensors", {"card": card.model_dump_json()})
    assert "no hash of its weights" in read_content(tmp_path / "old.safetensors").note


def test_an_archive_that_unfolds_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1 << 16)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as plain:
        entries = {entry.filename: plain.read(entry) for entry in plain.infolist()}
    with zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as folded:
        for name, content in entries.items():
            folded.writestr(name, content)
    with pytest.raises(BadFile, match=r"would unfold to 26\d.\d kB from \d"):
        read(tmp_path / "b.pt")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": {"classes": 2, "stem": 4096, "shortcut": "conv"}}, "does not fit"),
        ({"options": {"classes": 2, "stem": 10**9}}, "expected stem as a whole number"),
        ({"options": {"classes": "two"}}, "a.safetensors: resnet8: expected classes as a whole"),
        ({"architecture": "resnet9"}, "there is no architecture 'resnet9'"),
        ({"std": [0.1, 0.1, None]}, r"std\.2"),
        ({"mean": []}, "mean: Tuple should have at least 1"),
        ({"channels": "cmyk"}, "channels"),
        ({"preprocess": {"size": 10**8}}, "at most 8192 pixels"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_card_that_lies_is_one_sentence(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """Nothing is allocated for a network that the weights are not of."""
    card = {"architecture": "resnet8", "options": {"classes": 2}, "classes": ["a", "b"]}
    text = json.dumps({**card, "mean": [0.5] * 3, "std": [0.25] * 3, **change})
    save_file(SMALL.net.state_dict(), tmp_path / "a.safetensors", {"card": text})
    with pytest.raises(UserError, match=words):
        load(str(tmp_path / "a.safetensors"))
