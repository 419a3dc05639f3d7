"""Hugging Face's image classifiers: from a folder as `save_pretrained` writes it, and by type."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.models import spec as specs
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.loading import load
from catchup_eval.models.zoo import build, huggingface_models

transformers = pytest.importorskip("transformers", reason="needs the extra `huggingface`")
SMALL = {"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2}
SMALL |= {"num_attention_heads": 2, "intermediate_size": 32}
LABELS = {0: "cat", 1: "dog", 2: "bird"}
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT for three classes, with its image processor."""
    path = tmp_path_factory.mktemp("hub") / "my-vit"
    config = transformers.ViTConfig(**SMALL, id2label=LABELS)
    with fork_global_rng(generator(0)):
        transformers.ViTForImageClassification(config).save_pretrained(path)
    processor = {
        "do_resize": True,
        "size": {"height": 32, "width": 32},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.25, 0.5],
    }
    (path / "preprocessor_config.json").write_text(json.dumps(processor))
    return path


def test_a_folder_is_a_model(folder: Path) -> None:
    specs.check(str(folder))
    loaded = load(f"{folder}")
    model = loaded.model
    assert (loaded.architecture, model.name) == ("huggingface:vit", "my-vit")
    assert loaded.options.items() >= {"classes": 3, **SMALL}.items()
    assert model.output_names.places == {"cat": 0, "dog": 1, "bird": 2}
    assert model.preprocessing == (
        "squashed to 32 x 32 (bicubic); (pixels - (0.5, 0.4, 0.3)) / (0.2, 0.25, 0.5)"
    )
    theirs = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    expected = theirs(
        (IMAGES - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1))
        / torch.tensor([0.2, 0.25, 0.5]).view(3, 1, 1)
    ).logits
    torch.testing.assert_close(model(IMAGES), expected)
    assert load(f"{folder}?norm=half").model.preprocessing.endswith("/ (0.5, 0.5, 0.5)")


def test_the_hub_is_a_folder_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repository: str, file: str) -> str:
        asked.append((repository, file))
        return str(folder / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    loaded = load("hf:me/my-vit")
    here = load(str(folder))
    assert loaded.model.name == "my-vit" and loaded.options == here.options
    assert loaded.model.preprocessing == here.model.preprocessing
    assert torch.equal(loaded.model(IMAGES), here.model(IMAGES))
    assert {file for _, file in asked} == {
        *("config.json", "model.safetensors", "preprocessor_config.json")
    }


def test_its_images_are_those_of_its_processor(folder: Path) -> None:
    """Within a grey level, since torch resizes here and Pillow in a processor without tensors."""
    image = Image.effect_noise((50, 40), 60).convert("RGB")
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    theirs = processor(image, return_tensors="pt")["pixel_values"][0]
    model = load(str(folder)).model
    assert model.preprocess is not None
    ours = model.normalize(model.preprocess.pixels(image)[None].float() / 255)[0]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1.1 / 255 / 0.2)


@pytest.mark.parametrize(
    ("processor", "kind", "expected"),
    [
        ({"size": 224}, "vit", "squashed to 224 x 224 (bilinear)"),
        (
            {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}
            | {"do_center_crop": True, "resample": 3},
            "resnet",
            "shorter side 256 (bicubic), centre crop 224",
        ),
        (
            {"size": {"shortest_edge": 224}, "crop_pct": 0.875},
            "convnext",
            "shorter side 256 (bilinear), centre crop 224",
        ),
        ({"size": {"shortest_edge": 384}}, "convnextv2", "squashed to 384 x 384 (bilinear)"),
        (
            {"size": 224, "feature_extractor_type": "ConvNextFeatureExtractor", "crop_pct": 0.875},
            "resnet",
            "shorter side 256 (bilinear), centre crop 224",
        ),
        ({"size": {"height": 9, "width": 9}, "do_resize": False}, "vit", "None"),
    ],
)
def test_sizes(processor: dict[str, Any], kind: str, expected: str) -> None:
    both = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    assert str(huggingface_models.inputs(both | processor, kind, "m").preprocess) == expected


def test_scales_and_what_a_processor_does_that_is_not_known() -> None:
    both = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "do_resize": False, "size": 8}
    plain = huggingface_models.inputs(both | {"do_rescale": False}, "vit", "m")
    assert (plain.mean, plain.std) == ((0.5 / 255,) * 3, (0.25 / 255,) * 3)
    none = huggingface_models.inputs(both | {"do_normalize": False}, "vit", "m")
    assert (none.mean, none.std) == ((0.0,) * 3, (1.0,) * 3)
    for odd, words in (
        ({"do_pad": True}, "do_pad"),
        ({"size": {"height": 8, "width": 9}}, "8 x 8 pixels|8 x 9 pixels"),
        ({"size": 256, "do_center_crop": True, "crop_size": 224}, "a crop from a squashed image"),
        ({"size": {"shortest_edge": 224}}, "no crop"),
    ):
        with pytest.raises(UserError, match=rf"m: its image processor has ({words}), which is not"):
            huggingface_models.inputs(both | odd, "vit", "m")
        assert huggingface_models.inputs(both | odd, "vit", "m", ["size"]).preprocess is None
    with pytest.raises(UserError, match=r"m: its image processor has rescale_offset, .* \?norm"):
        huggingface_models.inputs(both | {"rescale_offset": True}, "vit", "m")
    for odd in ({"image_mean": 3}, {"image_std": ["a"] * 3}, {"rescale_factor": 0}):
        with pytest.raises(BadFile, match=r"m: its preprocessor_config\.json makes no sense: "):
            huggingface_models.inputs(both | odd, "vit", "m")


def test_names_that_are_numbers_or_come_twice_are_none() -> None:
    names = huggingface_models.names_of
    assert names({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}) == {}
    assert names({"id2label": {"0": "crane", "1": "crane"}}) == {} == names({})
    assert names({"id2label": {"1": "dog", "0": "cat"}}) == {"dog": 1, "cat": 0}


def test_what_a_folder_lacks(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadFile, match=r"has no file model.safetensors or pytorch_model.bin"):
        load(str(tmp_path))
    weights = load_file(folder / "model.safetensors")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="normalisation is not known; add"):
        load(str(tmp_path))
    for change, words in (
        ({"model_type": "gpt2"}, "no image classifier of Hugging Face 'gpt2'"),
        ({"architectures": ["ViTModel"]}, "expected a ViTForImageClassification, .* a ViTModel"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(UserError, match=words):
            load(f"{tmp_path}?norm=half")
    weights["extra"] = weights.pop("classifier.weight")
    weights["classifier.bias"] = torch.zeros(7)
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    words = r"does not fit ViTFor.*2 missing: classifier.(weight|bias), .*; 1 unexpected: extra"
    with pytest.raises(BadFile, match=words):
        load(f"{tmp_path}?norm=half&classes=3")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadFile, match=r"config.json cannot be read as JSON: Expecting"):
        load(f"{tmp_path}?norm=half")


def build_small(kind: str, **options: Any) -> Classifier:
    return build(f"huggingface:{kind}", classes=3, mean=(0.5,), std=(0.5,), **options)


def test_what_transformers_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName, match="of Hugging Face 'vitt'; did you mean 'vit'"):
        build_small("vitt")
    with pytest.raises(UnknownName, match="option of huggingface:vit 'image_sise'; did you mean"):
        build_small("vit", image_sise=3)
    monkeypatch.setitem(sys.modules, "transformers", None)
    message = r'huggingface:vit needs transformers; install it with pip install .*"transformers>='
    with pytest.raises(UserError, match=message):
        build_small("vit")
