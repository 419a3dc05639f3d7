"""Each family through each analysis, as docs/families.md says, and numbers worked out by hand."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torchvision.models.swin_transformer import SwinTransformer

from catchup_eval.analysis import filters, localization
from catchup_eval.analysis.context import CLASS_TOKEN, EvaluationContext
from catchup_eval.analysis.filters import filter_norms
from catchup_eval.core.errors import Missing
from catchup_eval.datasets.dataset import Batch, TensorDataset
from catchup_eval.models.wrapping import wrap
from tests import families

PAGE = Path(__file__).parents[2] / "docs" / "families.md"


@pytest.fixture(scope="module")
def few() -> TensorDataset:
    return families.few_images()


@pytest.fixture(scope="module")
def batch(few: TensorDataset) -> Batch:
    return few.split("test").batch(slice(None))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_the_page_says_what_each_family_does(family: str, few: TensorDataset) -> None:
    if "Hugging Face" in family and find_spec("transformers") is None:
        pytest.skip("needs the extra `huggingface`")
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    measured = [
        families.line(table(family, few)) for table in (families.analyses, families.methods)
    ]
    assert [each for each in lines if each.startswith(f"| {family} |")] == measured


def test_the_page_has_the_families_that_there_are() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for columns in (families.MEASURED, families.WITHIN):
        start = lines.index(families.line(["Family", *columns])) + 2
        rows = [each.split(" |")[0].strip("| ") for each in lines[start:]]
        assert rows[: len(families.FAMILIES)] == [*families.FAMILIES]


@torch.no_grad()
def test_behind_a_layer_norm_the_map_explains_the_logit_place_by_place(batch: Batch) -> None:
    """Each place's share of each logit in double precision, from the network's own layers."""
    model = families.network("ConvNeXt, torchvision").double()
    images = batch.images.double()
    last = model.net.features(model.normalize(images))
    norm, weight = model.net.classifier[0], model.head.weight
    pooled = last.mean((2, 3))
    centred, deviation = pooled - pooled.mean(1, keepdim=True), pooled.var(1, correction=0)
    for image, place in ((0, (0, 0)), (3, (2, 1))):
        own = last[image, :, *place]
        scale = (deviation[image] + norm.eps).sqrt()
        share = weight @ (norm.weight * (own - own.mean()) / scale + norm.bias)
        found = weight @ model.feature_map(images)[image, :, *place]
        torch.testing.assert_close(found, share)
    whole = torch.einsum("kd,ndhw->nkhw", weight, model.feature_map(images)).mean((2, 3))
    torch.testing.assert_close(whole + model.head.bias, model.net(model.normalize(images)))
    torch.testing.assert_close(
        norm.weight * centred / (deviation + norm.eps).sqrt()[:, None] + norm.bias,
        model.features(images),
    )


@torch.no_grad()
def test_swin_has_the_map_that_its_head_averages(batch: Batch) -> None:
    model = families.network("Swin, torchvision")
    last = model.net.norm(model.net.features(model.normalize(batch.images)))  # (N, h, w, D)
    torch.testing.assert_close(model.feature_map(batch.images), last.permute(0, 3, 1, 2))
    model = families.network("Swin, timm")
    last = model.net.forward_features(model.normalize(batch.images))
    torch.testing.assert_close(model.feature_map(batch.images), last.permute(0, 3, 1, 2))


@torch.no_grad()
def test_a_class_token_has_the_patches_beside_it_row_by_row(
    few: TensorDataset, batch: Batch
) -> None:
    model = families.network("ViT, timm")
    tokens = model.net.forward_features(model.normalize(batch.images))
    maps = model.feature_map(batch.images)
    assert maps.shape == (10, 16, 4, 4)
    assert torch.equal(maps[3, :, 1, 2], tokens[3, 1 + 4 * 1 + 2])
    torch.testing.assert_close(model.head(tokens[:, 0]), model(batch.images))
    context = EvaluationContext(model, few)
    result = localization.measure(context)
    assert set(result.frame["protocol"]) == {"cam-minmax-patches@2", "cam-max-patches@2"}
    assert CLASS_TOKEN in context.notes and not len(result.checks)
    weights = model.head.weight[batch.labels[0]]
    drawn = list(result.samples["sheet_rows"]).index(0)
    shown = localization.cam.upsample((weights[:, None, None] * maps[0]).sum(0)[None], (32, 32))
    low, high = shown.min(), shown.max()
    sheet = torch.from_numpy(result.samples["sheet_maps"][drawn]).float()
    torch.testing.assert_close(
        sheet, torch.from_numpy((shown[0] - low) / (high - low)), rtol=0, atol=2e-3
    )


def test_filters_of_channels_last_and_of_tokens(batch: Batch) -> None:
    """Norms over all places, of autograd on the network's own layers."""
    swin, vit = families.network("Swin, torchvision"), families.network("ViT, torchvision")
    last = swin.net.features[0](swin.normalize(batch.images)).detach().requires_grad_()
    head = nn.Sequential(swin.net.norm, swin.net.permute, swin.net.avgpool, nn.Flatten())
    logits = swin.net.head(head(swin.net.features[1:](last)))
    (slope,) = torch.autograd.grad(cross_entropy(logits, batch.labels, reduction="sum"), last)
    norms = filter_norms(swin, batch, 1, 5)
    torch.testing.assert_close(norms.activation, last.detach().norm(dim=(1, 2)))
    torch.testing.assert_close(norms.gradient, slope.norm(dim=(1, 2)))

    net, patches = vit.net, vit.net._process_input(vit.normalize(batch.images))
    tokens = torch.cat([net.class_token.expand(10, -1, -1), patches], 1)
    tokens = (tokens + net.encoder.pos_embedding).detach().requires_grad_()
    logits = net.heads(net.encoder.ln(net.encoder.layers(tokens))[:, 0])
    (slope,) = torch.autograd.grad(cross_entropy(logits, batch.labels, reduction="sum"), tokens)
    norms = filter_norms(vit, batch, 1, 5)
    torch.testing.assert_close(norms.activation, tokens.detach().norm(dim=1))
    torch.testing.assert_close(norms.gradient, slope.norm(dim=1))


def test_what_nobody_declared_and_looks_otherwise_is_no_number(few: TensorDataset) -> None:
    with torch.random.fork_rng(devices=[]):
        net = SwinTransformer([4, 4], 16, [1, 1], [1, 2], [4, 4], num_classes=10).eval()
    undeclared = wrap(net, stages=["features.0", "features.1"], head="head")
    message = r"\(N, C, H, W\), got \(10, 8, 8, 16\); if its layout is another, declare it: catchup"
    with pytest.raises(Missing, match=message):
        filters.measure(EvaluationContext(undeclared, few), stage=1, samples=10)
    declared = wrap(net, stages=["features.0", "features.1"], head="head", layout="channels_last")
    result = filters.measure(EvaluationContext(declared, few), stage=1, samples=10)
    assert result.samples["strongest"].shape == (2, 3, 8, 8)
    assert len(result.samples["norms"][0]) == 10 * 16
