"""A model is specified in one line; faults of the line are reported in one sentence."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.core.http import DownloadRequest
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.models import checkpoints
from catchup_eval.models.catalogue import PublishedAccuracy
from catchup_eval.models.checkpoints import ModelCard
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.loading import load
from catchup_eval.models.sources import WeightsAccess
from catchup_eval.models.spec import check, expand, is_pretrained_request, names, parse
from catchup_eval.models.zoo import build

CARD = ModelCard(
    architecture="preactresnet10",
    options={"classes": 10, "width": 4},
    mean=(0.25,) * 3,
    std=(0.2,) * 3,
    classes=tuple("0123456789"),
    seed=3,
)


HALF = {"norm": "half"}


@pytest.mark.parametrize(
    ("text", "architecture", "weights", "options", "name"),
    [
        ("ours=resnet20@best.safetensors", "resnet20", "best.safetensors", {}, "ours"),
        ("runs/best.safetensors", "", "runs/best.safetensors", {}, "best"),
        ("a=runs/best.safetensors", "", "runs/best.safetensors", {}, "a"),
        ("torchvision:resnet50@V2", "torchvision:resnet50", "V2", {}, "resnet50"),
        ("mine=nets.py:build@x.pt?norm=half", "nets.py:build", "x.pt", HALF, "mine"),
        ("resnet20@a=b.pth?norm=half", "resnet20", "a=b.pth", HALF, "a-b"),
        ("a@b.pt?norm=half&width=8", "a", "b.pt", {**HALF, "width": "8"}, "b"),
        (
            "a=resnet20@https://me@host/x/net=1@2.th?norm=half",
            *("resnet20", "https://me@host/x/net=1@2.th", HALF, "a"),
        ),
        ("https://host/a=b.pth", "", "https://host/a=b.pth", {}, "a-b"),
        (
            "resnet20@https://host/get.th?id=3&key=a@b?norm=half",
            *("resnet20", "https://host/get.th?id=3&key=a@b", HALF, "get"),
        ),
        ("b=https://host/net.th?id=3?", "", "https://host/net.th?id=3", {}, "b"),
        ("hf:timm/resnet18.a1_in1k", "", "hf:timm/resnet18.a1_in1k", {}, "resnet18.a1_in1k"),
        ("wrn@hf:me/nets/a/b.pth?ema=true", "wrn", "hf:me/nets/a/b.pth", {"ema": "true"}, "nets"),
        ("x=catalogue:some-net?size=64", "", "catalogue:some-net", {"size": "64"}, "x"),
        ("resnet50@model_best.pth.tar", "resnet50", "model_best.pth.tar", {}, "model_best"),
    ],
)
def test_parse(
    text: str, architecture: str, weights: str, options: dict[str, str], name: str
) -> None:
    spec = parse(text)
    assert (spec.architecture, spec.weights, spec.name) == (architecture, weights, name)
    assert spec.options == options


@pytest.mark.parametrize(
    ("text", "architecture", "weights", "options", "name"),
    [
        ("epoch=12-step=50.ckpt?norm=half", "", "epoch=12-step=50.ckpt", HALF, "epoch-12-step-50"),
        (
            "resnet8@epoch=12-step=50.ckpt",
            "resnet8",
            "epoch=12-step=50.ckpt",
            {},
            "epoch-12-step-50",
        ),
        ("a=epoch=12-step=50.ckpt", "", "epoch=12-step=50.ckpt", {}, "a"),
        ("a=resnet8@run[lr0.1]/net.pth", "resnet8", "run[lr0.1]/net.pth", {}, "a"),
        ("run[lr0.1]/last", "", "run[lr0.1]/last", {}, "last"),
        (
            "torchvision:resnet18@run[lr0.1]/last",
            *("torchvision:resnet18", "run[lr0.1]/last", {}, "last"),
        ),
        ("me@home.v2?norm=half", "", "me@home.v2", HALF, "me-home.v2"),
        ("what?.pth?norm=half", "", "what?.pth", HALF, "what-"),
        ("a=~/net.pth", "", "HOME/net.pth", {}, "a"),
        ("resnet8@~/absent.pth", "resnet8", "HOME/absent.pth", {}, "absent"),
    ],
)
def test_a_path_that_exists_wins(
    text: str,
    architecture: str,
    weights: str,
    options: dict[str, str],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    files = "epoch=12-step=50.ckpt", "run[lr0.1]/net.pth", "run[lr0.1]/last", "home/net.pth"
    for file in map(Path, (*files, "me@home.v2", "what?.pth")):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    spec = parse(text)
    weights = weights.replace("HOME", str(tmp_path / "home"))
    assert (spec.architecture, spec.weights, spec.name) == (architecture, weights, name)
    assert spec.options == options
    assert expand(text) == [spec] and not is_pretrained_request(spec)
    assert [each.weights for each in expand("b=run[lr0.1]/*.pth")] == ["run[lr0.1]/net.pth"]


def test_a_function_may_bring_its_weights(tmp_path: Path) -> None:
    lines = "import torch", "def build(*, seed=None):", "    net = torch.nn.Linear(12, 2)"
    more = (
        "    if seed is not None: torch.nn.init.constant_(net.weight, seed)",
        "    net.bias = None",
    )
    layers = "    return torch.nn.Sequential(torch.nn.Flatten(), net)"
    (tmp_path / "nets.py").write_text("\n".join((*lines, *more, layers)))
    target = f"{tmp_path}/nets.py:build"
    loaded = load(f"{target}?norm=none&seed=2")
    assert loaded.model(torch.ones(1, 3, 2, 2)).tolist() == [[24.0, 24.0]]
    note = f"no file of weights is named: those that {target} gives"
    assert loaded.model.weight_notes == (note,)
    check(f"{target}?norm=none")
    with pytest.raises(UserError, match=r"gives other weights each time.*write .*@FILE"):
        load(f"{target}?norm=none")


def test_a_function_may_give_a_classifier(tmp_path: Path) -> None:
    """It keeps its normalisation, stages and names; the global generators are as they were."""
    lines = (
        "import torch",
        "import catchup_eval as ce",
        "def build():",
        "    torch.manual_seed(0)",
        "    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))",
        "    how = dict(mean=(0.5,) * 3, std=(0.25,) * 3, stages=['0'], classes=['a', 'b'])",
        "    return ce.wrap(net, **how)",
    )
    (tmp_path / "nets.py").write_text("\n".join(lines))
    target, state = f"{tmp_path}/nets.py:build", torch.get_rng_state()
    model = load(f"ours={target}").model
    assert torch.equal(state, torch.get_rng_state())
    assert model.preprocessing == "(pixels - (0.5, 0.5, 0.5)) / (0.25, 0.25, 0.25)"
    assert (model.name, len(model.stages)) == ("ours", 1)
    assert model.output_names.places == {"a": 0, "b": 1}
    assert "it sets torch's seed, so that its weights may be random" in model.weight_notes
    half = load(f"{target}?norm=half").model.preprocessing
    assert half == "(pixels - (0.5, 0.5, 0.5)) / (0.5, 0.5, 0.5)"
    weights = {name: value + 1 for name, value in model.net.state_dict().items()}
    torch.save(weights, tmp_path / "x.pt")
    other = load(f"{target}@{tmp_path}/x.pt").model
    assert other.preprocessing == model.preprocessing
    assert torch.equal(other.net[1].weight, model.net[1].weight + 1)
    with pytest.raises(UserError, match="gives a classifier, which has its own head"):
        load(f"{target}?head=1")


NETS = """
from torch import nn, full
class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", full((3,), 0.5), persistent=False)
        self.register_buffer("std", full((3,), 0.25), persistent=False)
def build(*, norm=True):
    layers = nn.Flatten(), nn.Linear(12, 2)
    for each in layers[1].parameters():
        nn.init.ones_(each)
    return nn.Sequential(*([Norm()] if norm else []), *layers)
"""


@pytest.mark.parametrize(
    ("query", "taken", "note"),
    [
        ("", "(0, 0, 0)", "normalised inside the network, by mean/std 0.5,0.5,0.5/0.25"),
        ("?norm=none", "(0, 0, 0)", "normalised inside the network, by"),
        ("?norm=half", "(0.5, 0.5, 0.5)", "normalised twice: by ?norm and inside the network"),
    ],
)
def test_a_layer_inside_the_network_normalises(
    query: str, taken: str, note: str, tmp_path: Path
) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    model = load(f"{tmp_path}/nets.py:build{query}").model
    assert model.preprocessing.startswith(f"(pixels - {taken}) /")
    assert model.weight_notes[1].startswith(note)


@pytest.mark.parametrize(
    ("query", "taken", "note"),
    [
        ("", "(0.5, 0.5, 0.5)) / (0.25, 0.25, 0.25)", "normalised as in the file, by mean/std"),
        ("?norm=none", "(0, 0, 0)) / (1, 1, 1)", "the normalisation in the file, mean/std 0.5"),
    ],
)
def test_a_layer_in_the_file_normalises(query: str, taken: str, note: str, tmp_path: Path) -> None:
    net = build("resnet8", classes=7, mean=(0.5,) * 3, std=(0.25,) * 3).net
    norm = {"0.mean": torch.full((1, 3, 1, 1), 0.5), "0.std": torch.full((1, 3, 1, 1), 0.25)}
    inner = {f"1.{name}": value for name, value in net.state_dict().items()}
    torch.save(norm | inner, tmp_path / "a.pth")
    model = load(f"resnet8@{tmp_path}/a.pth{query}").model
    assert model.preprocessing == f"(pixels - {taken}"
    assert model.weight_notes[0].startswith(note)


@pytest.mark.parametrize("text", ["", "a=", "a@b.pt?norm"])
def test_a_request_for_nothing(text: str) -> None:
    with pytest.raises(UserError):
        parse(text)


def test_an_own_checkpoint_needs_only_its_path(tmp_path: Path, network: Classifier) -> None:
    path = tmp_path / "a.safetensors"
    checkpoints.save(path, network, CARD)
    loaded = load(str(path))
    images = torch.rand(3, 3, 32, 32)
    assert torch.equal(loaded.model(images), network(images))
    assert loaded.seed == 3 and loaded.card == CARD and not loaded.model.training


def test_a_glob_is_the_seeds_of_one_group(tmp_path: Path, network: Classifier) -> None:
    for seed in range(3):
        card = CARD.model_copy(update={"seed": seed})
        checkpoints.save(tmp_path / f"catchup-s{seed}.safetensors", network, card)
    specs = expand(f"ours={tmp_path}/catchup-s*.safetensors")
    assert [spec.name for spec in specs] == ["ours"] * 3
    assert [load(spec).seed for spec in specs] == [0, 1, 2]
    kept = tmp_path / "catchup-s0-epoch010.safetensors"
    checkpoints.save(kept, network, CARD)
    assert expand(f"ours={tmp_path}/catchup-s*.safetensors") == specs
    assert [spec.weights for spec in expand(f"{tmp_path}/*-epoch*.safetensors")] == [str(kept)]
    kept.unlink()
    with pytest.raises(BadFile, match="no file matches"):
        expand(f"{tmp_path}/x*.pth")
    with pytest.raises(UserError, match="finds 3 files"):
        load(f"{tmp_path}/*.safetensors")


def test_a_foreign_file_tells_its_classes(tmp_path: Path) -> None:
    model = build("resnet8", classes=7, mean=(0.5,) * 3, std=(0.25,) * 3)
    torch.save({"state_dict": model.net.state_dict()}, tmp_path / "net.pth")
    loaded = load(f"resnet8@{tmp_path}/net.pth?norm=0.5,0.5,0.5/0.25,0.25,0.25")
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded.model(images), model.eval()(images))
    assert loaded.model.preprocessing == "(pixels - (0.5, 0.5, 0.5)) / (0.25, 0.25, 0.25)"


def test_a_file_of_yours_builds_a_network(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "def build(*, width=2):\n"
        "    return nn.Sequential(nn.Conv2d(3, width, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),"
        " nn.Flatten(), nn.Linear(width, 4))\n"
    )
    target = f"{tmp_path}/nets.py:build"
    layers = nn.Conv2d(3, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)
    net = nn.Sequential(*layers)
    torch.save(net.state_dict(), tmp_path / "x.pt")
    loaded = load(f"mine={target}@{tmp_path}/x.pt?norm=none&width=5&stages=0,1")
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(loaded.model(images), net(images))
    assert len(loaded.model.stages) == 2
    with pytest.raises(UnknownName, match="did you mean 'width'"):
        load(f"mine={target}@{tmp_path}/x.pt?norm=none&widht=5")
    with pytest.raises(UnknownName, match="did you mean 'build'"):
        load(f"mine={target}d@{tmp_path}/x.pt?norm=none")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resnt20@x.pth?norm=half", "did you mean 'resnet20'"),
        ("resnet20@x.pth?norm=imagnet", "did you mean 'imagenet'"),
        ("resnet20@x.pth", "its normalisation is not known"),
        ("resnet20@absent.pth?norm=half", "there is no file"),
        ("resnet20?norm=half", "has no weights"),
        ("torchvision:resnet51@IMAGENET1K_V1", "did you mean 'resnet50'"),
        ("torchvision:resnet18@IMAGENET1K_V9", "did you mean 'IMAGENET1K_V1'"),
        ("absent.py:build@x.pth?norm=half", "there is no file"),
    ],
)
def test_errors_name_the_nearest(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(text)


@pytest.fixture
def resnet8_file(tmp_path: Path) -> Path:
    model = build("resnet8", classes=7, mean=(0.5,) * 3, std=(0.25,) * 3)
    torch.save({"state_dict": model.net.state_dict()}, tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_a_file_alone_tells_its_network(resnet8_file: Path) -> None:
    loaded = load(f"{resnet8_file}?norm=half")
    assert loaded.architecture == "resnet8" and loaded.options == {"classes": 7}
    (note,) = loaded.notes
    assert note.startswith("net: its names and shapes are those of resnet8; shapes do not")
    with pytest.raises(UserError, match="its normalisation is not known"):
        load(str(resnet8_file))


def test_an_address_is_downloaded_once(tmp_path: Path, resnet8_file: Path) -> None:
    requested: list[DownloadRequest] = []

    def get(wanted: DownloadRequest) -> None:
        requested.append(wanted)
        wanted.path.parent.mkdir(exist_ok=True)
        wanted.path.write_bytes(resnet8_file.read_bytes())

    access = WeightsAccess(tmp_path / "models", get=get)
    for address in ("https://a/best.pth", "https://b/best.pth", "https://a/best.pth"):
        loaded = load(f"resnet8@{address}?norm=half", access=access)
        assert loaded.model.head.out_features == 7
    assert [wanted.addresses for wanted in requested] == [
        ["https://a/best.pth"],
        ["https://b/best.pth"],
    ]
    with pytest.raises(UnknownName, match="there is no normalisation"):
        load("resnet8@https://c/best.pth?norm=haf", access=access)
    assert len(requested) == 2, "faults of a request are reported before its download"


def test_a_list_of_models(tmp_path: Path, resnet8_file: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(
        f'[models.a]\nspec = "resnet8@{resnet8_file}?classes=7"\nnorm = "0.5,0.5,0.5/1,1,1"\n'
        f'[models.b]\nspec = "{tmp_path}/*.pth"\nnorm = "half"\nema = false\n'
    )
    first, second = expand(str(path))
    assert (first.name, second.name) == ("a", "b") and names(str(path)) == ["a", "b"]
    assert first.options == {"classes": "7", "norm": "0.5,0.5,0.5/1,1,1"}
    assert second.weights == str(resnet8_file) and second.options["ema"] == "false"
    assert load(second).model.normalize.std.flatten().tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[models", "no valid TOML"),
        ("a = 1", "lists no models"),
        ("[models.a]\nnorm = 'half'", r"expected spec = .* in \[models.a\]"),
        ("[models.a]\nspec = 'b.toml'", "is a list itself"),
    ],
)
def test_a_list_that_is_none(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "models.toml").write_text(content)
    with pytest.raises(BadFile, match=words):
        expand(f"{tmp_path}/models.toml")


def test_no_list_is_there() -> None:
    with pytest.raises(BadFile, match="cannot read the list of models absent"):
        expand("absent.toml")


def test_a_hub_of_timm_names_network_and_preprocessing(tmp_path: Path, hub: Path) -> None:
    import timm

    net = timm.create_model("resnet10t", num_classes=7)
    norm = {"mean": [0.5] * 3, "std": [0.25] * 3}
    shown = {"input_size": [3, 96, 96], "crop_pct": 0.75, "interpolation": "bicubic"}
    config = {"architecture": "resnet10t", "num_classes": 7, "pretrained_cfg": norm | shown}
    folder = hub / "me" / "small"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(net.state_dict(), folder / "model.safetensors")
    loaded = load("hf:me/small")
    assert loaded.architecture == "timm:resnet10t" and loaded.model.name == "small"
    assert loaded.model.preprocess == Preprocess(96, 128, "bicubic")
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(loaded.model(images), net.eval()((images - 0.5) / 0.25))
    with pytest.raises(BadFile, match="hf:me/small has no file other"):
        load("hf:me/small/other.pth")


def test_a_hub_without_a_config_needs_the_network(hub: Path, resnet8_file: Path) -> None:
    (hub / "me" / "plain").mkdir(parents=True)
    (hub / "me" / "plain" / "net.pth").write_bytes(resnet8_file.read_bytes())
    assert load("resnet8@hf:me/plain/net.pth?norm=half").model.head.out_features == 7
    with pytest.raises(BadFile, match=r"no file model.safetensors or pytorch_model.bin"):
        load("hf:me/plain")
    with pytest.raises(UserError, match="expected hf:OWNER/NAME"):
        load("hf:me")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is served as the hub serves its repositories."""
    folder = tmp_path / "hub"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = folder / self.path.partition("?")[0].strip("/").replace("/resolve/main", "")
            content = path.read_bytes() if path.is_file() else b""
            self.send_response(200 if content else 404)
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            if not content:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        constants = "huggingface_hub.constants"
        monkeypatch.setattr(f"{constants}.ENDPOINT", address)
        monkeypatch.setattr(
            f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE",
            address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
        yield folder
        server.shutdown()


def test_how_images_are_given_is_that_of_the_weights(tmp_path: Path) -> None:
    """A file that has the name of a published one is it."""
    from torchvision.models import get_model, get_model_weights

    published = get_model_weights("regnet_y_400mf")["IMAGENET1K_V2"]
    net = get_model("regnet_y_400mf", num_classes=5)
    file = tmp_path / published.url.rsplit("/", 1)[-1]
    torch.save(net.state_dict(), file)
    loaded = load(f"torchvision:regnet_y_400mf@{file}")
    assert loaded.model.preprocess == Preprocess(224, 232)
    assert loaded.claim == PublishedAccuracy(75.804, "imagenet")
    file.rename(tmp_path / "own.pth")
    own = load(f"torchvision:regnet_y_400mf@{tmp_path}/own.pth")
    assert own.model.preprocess is None and own.claim is None
    sized = load(f"torchvision:regnet_y_400mf@{tmp_path}/own.pth?size=64&squash=true")
    assert sized.model.preprocess == Preprocess(64, squash=True)


def test_a_published_accuracy_can_be_given(resnet8_file: Path) -> None:
    loaded = load(f"resnet8@{resnet8_file}?norm=half&published=91.73")
    assert loaded.claim == PublishedAccuracy(91.73) and loaded.options == {"classes": 7}
    for odd in ("best", "nan", "-1", "101"):
        with pytest.raises(UserError, match="expected published=ACCURACY"):
            load(f"resnet8@{resnet8_file}?norm=half&published={odd}")


def test_a_pickle_is_run_where_it_is_trusted_alone(tmp_path: Path, resnet8_file: Path) -> None:
    content = torch.load(resnet8_file, weights_only=True)
    torch.save({**content, "where": Path("x")}, resnet8_file)
    with pytest.raises(BadFile, match="--trust-pickle"):
        load(f"resnet8@{resnet8_file}?norm=half")
    loaded = load(f"resnet8@{resnet8_file}?norm=half", access=WeightsAccess(trust_pickle=True))
    assert loaded.model.head.out_features == 7


@pytest.mark.parametrize(
    ("file", "network", "options"),
    [
        ("akamaster_cifar10_resnet32-d509ac18.th", "resnet32", {}),
        ("karanchahal_WRN10_1_cifar10.pth", "wrn10_1", {}),
        ("karanchahal_resnet8_cifar10.pth", "resnet8", {"shortcut": "conv", "stem": 64, "grid": 2}),
    ],
)
def test_published_files_tell_their_networks(
    shared: Path, file: str, network: str, options: dict[str, object]
) -> None:
    loaded = load(f"{shared}/checkpoints/{file}?norm=cifar10")
    assert (loaded.architecture, loaded.options) == (network, {"classes": 10, **options})
