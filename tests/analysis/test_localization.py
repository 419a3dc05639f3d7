import numpy as np
import pytest
import torch
from torch import nn

from catchup_eval.analysis import localization
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.analysis.localization import cam, figures
from catchup_eval.core.errors import Missing, UnknownName, UserError
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.metrics import boxes
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.wrapping import wrap
from catchup_eval.results.result import ModelResult, join


class FirstChannel(nn.Module):
    """Its one map is the first channel, shrunk: a class activation map that a test can draw.

    Class 0 likes it bright; `other` is the weight of class 1.
    """

    def __init__(self, shrink=1, other=0.0, bias=0.0):
        super().__init__()
        self.shrink = nn.AvgPool2d(shrink)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(1, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[1.0], [other]]))
            self.head.bias.copy_(torch.tensor([bias, 0.0]))

    def forward(self, x):
        return self.head(self.pool(self.shrink(x[:, :1])).flatten(1))


def brightness(bias=0.0):
    """Class 0 likes an image bright, class 1 dark."""
    return wrap(FirstChannel(2, -1.0, bias), head="head", pool="pool")


def bright_squares(labels=(0, 0, 0, 0)):
    """16x16 images, black but for one white square each; the first is half as wide as its box."""
    truth = [(0, 0, 8, 4), (4, 4, 12, 12), (8, 8, 16, 16), (8, 0, 12, 4)]
    images = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    for image, (x0, y0, x1, y1) in zip(images, truth, strict=True):
        image[:, y0:y1, x0:x1] = 255
    images[0, :, :, 4:] = 0
    found = torch.tensor(truth, dtype=torch.float32)
    split = Split(images, torch.tensor(labels), boxes=found)
    return TensorDataset("squares", {"test": split}, ("bright", "dark"), (0.0,) * 3, (1.0,) * 3)


def test_bright_squares_are_found_where_they_are():
    result = localization.measure(EvaluationContext(brightness(), bright_squares()), threshold=0.5)
    assert result.samples["iou"][1:].tolist() == [1, 1, 1]
    assert result.samples["iou"][0] == pytest.approx(0.5, abs=0.15)
    assert result.samples["predicted"][1].tolist() == [4, 4, 12, 12]
    assert (result.checks["value"] == 1).all()


def test_a_wrong_answer_costs_top1_localization_but_not_gt_known():
    context = EvaluationContext(brightness(bias=-9.0), bright_squares())  # says always "dark"
    result = localization.measure(context, threshold=0.5)
    assert result.value("accuracy") == result.value("top1_localization") == 0
    assert result.value("gt_known") >= 75


def test_the_map_is_that_of_the_true_class():
    """The dark class's map of a bright square is highest around the square, not on it."""
    context = EvaluationContext(brightness(), bright_squares(labels=(1, 1, 1, 1)))
    predicted = localization.measure(context, threshold=0.5).samples["predicted"]
    assert predicted[1].tolist() == [0, 0, 16, 16]


@pytest.fixture(scope="module")
def digits_context(networks, few_digits):
    return EvaluationContext(networks(0), few_digits)


@pytest.fixture(scope="module")
def result(digits_context):
    return localization.measure(digits_context)


def test_the_mean_of_a_map_is_its_logit_less_the_bias(network, few_digits):
    batch = few_digits.split("test").batch(slice(0, 8))
    with torch.no_grad():
        trace = network.trace(batch.images)
        cams = cam.activation_maps(trace.maps, network.head.weight, batch.labels)
    logit = trace.logits.gather(1, batch.labels[:, None])[:, 0]
    assert torch.allclose(cams.mean((1, 2)) + network.head.bias[batch.labels], logit, atol=1e-5)


def test_the_sweep_is_the_single_threshold_at_each_threshold(digits_context, result):
    for threshold in (0.05, 0.65):
        single = localization.measure(digits_context, threshold=threshold)
        assert single.value("gt_known") == result.value("gt_known_at", threshold=threshold)
    assert result.value("gt_known") == result.value("gt_known_at", threshold=0.2)
    best = result.rows("gt_known_at")["value"].max()
    assert result.value("max_box_accuracy") == best == 100 * result.samples["max_box"].mean()


@pytest.mark.parametrize("centred, side", [(None, 0.7), (0.8, 0.8)])
def test_the_baselines_by_hand(centred, side):
    data = bright_squares(labels=(0, 0, 1, 1))
    result = localization.measure(EvaluationContext(brightness(bias=9.0), data), centred=centred)
    truth = data.split("test").boxes.numpy()
    ends = 8 - 8 * side, 8 + 8 * side
    middle, whole = [ends[0], ends[0], ends[1], ends[1]], [0, 0, 16, 16]
    for metric, box in (("centred_box", middle), ("whole_image", whole)):
        hits = boxes.iou(np.array([box] * 4), truth) >= 0.5
        assert result.value(metric) == 100 * hits.mean()
    overlap = boxes.iou(np.array([middle] * 4), truth)
    assert result.value("centred_box_mean_iou") == pytest.approx(100 * overlap.mean())
    correct = np.array([True, True, False, False])  # the bias says "bright" to everything
    assert result.value("centred_box_top1") == 100 * ((overlap >= 0.5) & correct).mean()
    fractions = [(overlap >= each).mean() for each in (0.3, 0.5, 0.7)]
    assert result.value("centred_box_v2") == pytest.approx(100 * np.mean(fractions))
    assert result.value("centred_width") == result.value("centred_height") == 100 * side


def test_a_centred_box_larger_than_the_image_is_refused(digits_context):
    expected = "expected centred as a number above 0 up to 1 or none, got 70"
    with pytest.raises(UserError, match=expected):
        localization.measure(digits_context, centred=70)


def test_the_centred_box_is_as_large_as_the_training_boxes(few_digits, result):
    train = few_digits.split("train")
    width = (train.boxes[:, 2] - train.boxes[:, 0]).mean() / 32
    assert result.value("centred_width") == pytest.approx(100 * float(width))


def test_the_contact_sheet_ends_with_the_worst_of_the_images_not_drawn(few_digits, result):
    samples = result.samples
    rows, iou = samples["sheet_rows"], samples["iou"]
    assert len(set(rows)) == 12
    rest = np.setdiff1d(np.arange(len(iou)), rows)
    assert iou[rows[9:]].max() <= iou[rest].min()
    image = few_digits.split("test").images[rows[0]].permute(1, 2, 0).numpy()
    assert np.array_equal(samples["sheet_images"][0], image)


def test_both_normalizations_stand_side_by_side(digits_context, result):
    results = {"minmax": result, "max": localization.measure(digits_context, protocol="max")}
    for name, one in results.items():
        assert one.frame["protocol"].iloc[0] == f"cam-{name}@2"
        for other, theirs in results.items():
            for metric in ("gt_known", "top1_localization"):
                (row,) = one.rows(f"{metric}_{other}").itertuples()
                assert row.value == theirs.value(metric) and row.protocol == f"cam-{other}@2"
    with pytest.raises(UnknownName, match="minmax"):
        localization.measure(digits_context, protocol="minmx")


def test_version_2_takes_any_region_and_a_threshold_for_each_overlap():
    """Image 0: a large dim region and a small bright one, which is the object. Image 1: one region,
    of which its own box is 9/16."""
    images = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    images[0, :, :, :8] = 100
    images[0, :, 2:6, 10:14] = 255
    images[1, :, 4:12, 4:12] = 255
    truth = torch.tensor([[10.0, 2, 14, 6], [4, 4, 10, 10]])
    data = TensorDataset(
        "spots", {"test": Split(images, torch.zeros(2, dtype=torch.long), boxes=truth)},
        ("spot", "none"), (0.0,) * 3, (1.0,) * 3,
    )  # fmt: skip
    model = wrap(FirstChannel(), head="head", pool="pool")
    result = localization.measure(EvaluationContext(model, data), sweep=(0.1, 0.6))
    assert [result.value("gt_known_at", threshold=t) for t in (0.1, 0.6)] == [50, 100]
    at = [result.value("max_box_accuracy_v2_at", overlap=each) for each in (0.3, 0.5, 0.7)]
    assert at == [100, 100, 50]
    assert result.value("max_box_accuracy_v2") == pytest.approx(250 / 3)
    low = localization.measure(EvaluationContext(model, data), sweep=(0.1,))
    assert low.value("max_box_accuracy") == 50
    assert low.value("max_box_accuracy_v2_at", overlap=0.5) == 100


def test_what_is_lacking_is_named(network, few_digits):
    split = few_digits.split("test")
    bare = Split(split.images, split.labels)
    unboxed = TensorDataset("unboxed", {"test": bare}, few_digits.classes, (0.0,), (1.0,))
    with pytest.raises(Missing, match="boxes"):
        localization.measure(EvaluationContext(network, unboxed))
    flat = wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)))
    with pytest.raises(Missing, match="a head that averages one feature map"):
        localization.measure(EvaluationContext(flat, few_digits))


def test_pictures_of_one_network_and_of_seeds(networks, few_digits, result):
    first, second = result, localization.measure(EvaluationContext(networks(1), few_digits))
    assert set(figures.plot(first)) == {"localization", "contact_sheet"}
    members = (("a", 0, first), ("a", 1, second), ("b", 0, second))
    pictures = figures.plot(join(ModelResult(*member) for member in members))
    legend = [text.get_text() for text in pictures["localization"].legends[0].get_texts()]
    mean = (first.value("gt_known") + second.value("gt_known")) / 2
    other = (first.value("gt_known_max") + second.value("gt_known_max")) / 2
    assert legend[0] == f"a: {mean:.1f} % at 0.2 (max: {other:.1f} %)"
    assert pictures["localization"].axes[0].get_title().startswith("maps scaled by min-max")
    (sheet,) = pictures["contact_sheet"].axes
    assert len(sheet.patches) == 2 * 24, "two boxes in each of 12 images, for both models"


ALBATROSS = 146  # of ImageNet's classes; CUB's first three are albatrosses


def test_on_birds_a_centred_box_does_better_than_a_published_network_s_maps(
    shared, squeezenet, photographs
):
    """30 of CUB's albatrosses, squashed to 224. SqueezeNet averages a map for each class: with the
    identity for its linear layer it is a network as the closed form wants it."""
    with np.load(shared / "cub5_s256.npz") as pack:
        rows = np.flatnonzero(pack["labels"] < 3)[::6]
        images = list(photographs(pack, rows))
        truth = [
            boxes.resize_boxes(box[None], image.size[::-1], (224, 224))
            for box, image in zip(pack["boxes_xyxy"][rows], images, strict=True)
        ]
    pixels = np.stack([np.asarray(image.resize((224, 224))) for image in images])
    split = Split(
        torch.from_numpy(pixels).permute(0, 3, 1, 2),
        torch.full((len(rows),), ALBATROSS),
        boxes=torch.from_numpy(np.concatenate(truth)).float(),
    )
    names = tuple(str(place) for place in range(1000))
    data = TensorDataset("birds", {"test": split}, names, (0.5,) * 3, (0.5,) * 3)
    result = localization.measure(EvaluationContext(averaging(squeezenet), data))
    assert (result.checks["value"] == 1).all()
    assert result.value("centred_box") > result.value("gt_known") > result.value("whole_image")
    assert result.value("gt_known") > result.value("top1_localization") > 30


def averaging(squeezenet):
    """The same network as a map of each class, its average, and an identity."""
    net = squeezenet.net
    head = nn.Linear(1000, 1000)
    nn.init.eye_(head.weight)
    nn.init.zeros_(head.bias)
    maps = nn.Sequential(net.features, net.classifier[1], nn.ReLU())
    layers = nn.Sequential(maps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    mean, std = (
        part.flatten().tolist() for part in (squeezenet.normalize.mean, squeezenet.normalize.std)
    )
    return Classifier(layers, mean=mean, std=std, head="3", pool="1").eval()
