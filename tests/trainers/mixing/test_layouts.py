"""Features mixed in every layout, against mixtures made by hand of what the stages give."""

from importlib.util import find_spec

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torchvision.models.swin_transformer import SwinTransformer

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.models.wrapping import wrap
from catchup_eval.trainers.mixing import METHODS
from catchup_eval.trainers.mixing.alignmixup import align_mix
from catchup_eval.trainers.mixing.catchup import catchup_mask
from catchup_eval.trainers.mixing.shared.pairs import Pairs, draw_pairs
from tests import families

IMAGES = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 4, 5])
BY_LAYOUT = ("ConvNeXt, torchvision", "Swin, torchvision", "ViT, torchvision")


def rest_of(family, model):
    """The network before and behind its stage 2, and the axis of its channels."""
    net = model.net
    if "ViT" in family:

        def before(pixels):
            patches = net._process_input(model.normalize(pixels))
            tokens = torch.cat([net.class_token.expand(len(pixels), -1, -1), patches], 1)
            return net.encoder.layers[0](tokens + net.encoder.pos_embedding)

        def behind(x):
            return net.heads(net.encoder.ln(net.encoder.layers[1](x))[:, 0])

        return before, behind, 2
    if "Swin" in family:
        pool = nn.Sequential(net.norm, net.permute, net.avgpool, nn.Flatten(), net.head)
    else:
        pool = nn.Sequential(net.avgpool, net.classifier)
    return (
        lambda pixels: net.features[:2](model.normalize(pixels)),
        lambda x: pool(net.features[2:](x)),
        3 if "Swin" in family else 1,
    )


@pytest.mark.parametrize("family", BY_LAYOUT)
@torch.no_grad()
def test_catchup_and_manifold_mixup_by_hand(family):
    """The norm of each channel over all places, class token included; then whole channels."""
    model = families.network(family)
    before, behind, axis = rest_of(family, model)
    features = before(IMAGES)
    places = [each for each in range(1, features.ndim) if each != axis]
    rng = generator(5)
    rng.integers(1)
    weight, partner = draw_pairs(rng, 10.0, IMAGES)
    influence = features.norm(dim=places)
    fraction = influence / influence.sum(1, keepdim=True)
    lags = (fraction - fraction[partner]).argsort(dim=1, stable=True)
    channels, mixed = features.shape[axis], features[partner].clone()
    for image in range(6):
        for channel in lags[image, : int(weight * channels)].tolist():
            mixed.select(axis, channel)[image] = features.select(axis, channel)[image]

    def loss(values):
        own, other = (cross_entropy(behind(values), each) for each in (LABELS, LABELS[partner]))
        return weight * own + (1 - weight) * other

    found = METHODS["catchup"](model, layers=[2])(IMAGES, LABELS, generator(5))
    torch.testing.assert_close(found, loss(mixed))
    assert abs(found - loss(features)) > 1e-4
    settings = {"layers": [2], "alpha": 10.0}
    found = METHODS["manifold_mixup"](model, **settings)(IMAGES, LABELS, generator(5))
    torch.testing.assert_close(found, loss(weight * features + (1 - weight) * features[partner]))


@pytest.mark.parametrize("family", BY_LAYOUT)
@torch.no_grad()
def test_moments_are_exchanged_over_the_channels_of_each_place(family):
    model = families.network(family)
    seen = []
    handle = model.stages[0].register_forward_hook(lambda _m, _i, output: seen.append(output))
    model(IMAGES)
    method = METHODS["moex"](model, probability=1.0)
    later = model.stages[0].register_forward_hook(lambda _m, _i, output: seen.append(output))
    method(IMAGES, LABELS, generator(3))
    handle.remove(), later.remove()
    rng = generator(3)
    rng.random()
    rng.integers(1)
    partner = draw_pairs(rng, 0, IMAGES).partner
    clean, mixed, axis = seen[0], seen[-1], 1 if "ConvNeXt" in family else -1
    variance, mean = torch.var_mean(clean, axis, correction=1, keepdim=True)
    std = (variance + 1e-5).sqrt()
    torch.testing.assert_close(mixed, (clean - mean) / std * std[partner] + mean[partner])


def test_class_tokens_are_not_moved_by_alignmixup():
    """Their mean is a plain one; the patches are those of a map without class token."""
    tokens = torch.randn(4, 5, 10, 1, generator=torch.Generator().manual_seed(1))
    pairs = Pairs(0.3, torch.tensor([1, 2, 3, 0]))
    mixed = align_mix(tokens, pairs, move_partner=True, prefix=1)
    plain = 0.3 * tokens[:, :, :1] + 0.7 * tokens[pairs.partner][:, :, :1]
    torch.testing.assert_close(mixed[:, :, :1], plain)
    patches = align_mix(tokens[:, :, 1:], pairs, move_partner=True)
    assert torch.equal(mixed[:, :, 1:], patches)
    assert torch.equal(
        catchup_mask(tokens, pairs.partner, 0.5).sum(1), torch.full((4,), 2)
    )  # floor(0.5 * 5) of the channels


def test_what_nobody_declared_is_not_mixed():
    """Rows of pixels would pass for channels."""
    with torch.random.fork_rng(devices=[]):
        net = SwinTransformer([4, 4], 16, [1, 1], [1, 2], [4, 4], num_classes=10)
    method = METHODS["catchup"](wrap(net, stages=["features.0"], head="head"), layers=[1])
    message = r"layer 1: expected .*\(N, C, H, W\), got \(6, 8, 8, 16\); .*\"channels_last\""
    with pytest.raises(UserError, match=message):
        method(IMAGES, LABELS, generator(0))


def test_a_class_token_leaves_no_map_to_paste_by():
    model = families.network("ViT, timm")
    for name, title in (("snapmix", "SnapMix"), ("recursivemix", "RecursiveMix")):
        with pytest.raises(UserError, match=f"{title} needs .* reads a class token"):
            METHODS[name](model)


@pytest.fixture(scope="module")
def two_digits(digits):
    split = digits.split("train")
    split = split[torch.nonzero(split.labels < 2).flatten()[:40]]
    return split.images.float() / 255, split.labels


@pytest.mark.trained
@pytest.mark.parametrize(
    "family", ["ConvNeXt, timm", "Swin, timm", "ViT, timm", "ViT, Hugging Face"]
)
@pytest.mark.parametrize("name", ["catchup", "random_channel", "manifold_mixup", "alignmixup"])
def test_digits_are_trained_on(family, name, two_digits):
    """Twenty steps of Adam: that only two of ten classes occur brings the loss from 2.3 to 0.7."""
    if "Hugging Face" in family and find_spec("transformers") is None:
        pytest.skip("needs the extra `huggingface`")
    images, labels = two_digits
    with fork_global_rng(generator(0)):  # of the weights, and of the paths that are dropped
        _train_and_look(families.FAMILIES[family](), name, images, labels)


def _train_and_look(model, name, images, labels):
    before = [value.clone() for value in model.parameters()]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    method, rng = METHODS[name](model.train()), generator(0)
    for rows in torch.from_numpy(rng.permutation(40)).split(10) * 5:
        loss = method(images[rows], labels[rows], rng)
        assert loss.isfinite()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    method.close()
    assert all(not torch.equal(*pair) for pair in zip(before, model.parameters()))
    with torch.no_grad():
        assert cross_entropy(model.eval()(images), labels) < 1.8
