import numpy as np
import pytest
import torch
from torch import Tensor, nn

from catchup_eval.analysis import feature_drop
from catchup_eval.analysis.context import EvaluationContext, ModelOutputs
from catchup_eval.core.errors import UnknownName
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.models.wrapping import wrap
from catchup_eval.results.result import Result, Rows

DROPPED = np.arange(4)


def head(weights: list[list[float]], bias: list[float]) -> nn.Linear:
    layer = nn.Linear(len(weights[0]), len(weights))
    layer.weight.data, layer.bias.data = torch.tensor(weights).float(), torch.tensor(bias).float()
    return layer


def context_of(layer: nn.Linear, features: Tensor, labels: Tensor) -> EvaluationContext:
    """A subject whose network has already answered."""
    outputs = ModelOutputs(layer(features).detach(), features, labels, torch.arange(len(labels)))
    part = Split(torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8), labels)
    data = TensorDataset("latent", {"test": part}, ("a", "b"), (0.0,), (1.0,))
    return EvaluationContext(wrap(nn.Sequential(layer)), data, _outputs={"test": outputs})


THREE = head([[1, 1, 0], [0, 0, 1]], [0, 0.5])  # class 0 looks at two features, class 1 at one


def test_a_head_of_three_features_by_hand() -> None:
    """Features 5, 2, 3. Dropped from the top: 7:3.5, 2:3.5 (wrong), 2:.5, 0:.5 (wrong);
    from the bottom: 7:3.5, 5:3.5, 5:.5, 0:.5 (wrong)."""
    features = torch.tensor([[5.0, 2.0, 3.0]])
    right = feature_drop.outcomes(THREE, features, torch.tensor([0]), features, DROPPED)
    assert right["top"][:, 0].tolist() == [True, False, True, False]
    assert right["bottom"][:, 0].tolist() == [True, True, True, False]


def test_the_area_by_hand() -> None:
    subject = context_of(THREE, torch.tensor([[5.0, 2.0, 3.0]] * 2), torch.tensor([0, 1]))
    result = feature_drop.measure(subject)
    np.testing.assert_allclose(result.samples["area_top"], [0.5, 0.5])
    np.testing.assert_allclose(result.samples["area_bottom"], [5 / 6, 1 / 6])
    assert result.value("area", drop_from="bottom") == pytest.approx(50)
    assert result.rows("accuracy", drop_from="top")["fraction"].tolist() == [0, 1 / 3, 2 / 3, 1]


def test_ranking_for_each_image_or_for_the_data_set() -> None:
    """Two images that lean on different features: on the whole, the first feature is the top."""
    features = torch.tensor([[4.0, 1.0], [2.0, 3.0]])
    layer, labels = head([[1, 0], [0, 1]], [0, 0]), torch.tensor([0, 1])
    each = feature_drop.measure(context_of(layer, features, labels))
    once = feature_drop.measure(context_of(layer, features, labels), ranking="dataset")
    where = {"drop_from": "top", "fraction": 0.5}
    assert each.value("accuracy", **where) == 0
    assert once.value("accuracy", **where) == 50
    assert once.frame["protocol"].unique().tolist() == ["drop-dataset-value@1"]


def test_ranking_by_value_or_by_magnitude() -> None:
    """-9 is the lowest value and the largest magnitude."""
    features = torch.tensor([[-9.0, 1.0], [-9.0, 1.0]])
    layer, labels = head([[-1, 0], [0, 1]], [0, 0]), torch.tensor([0, 0])
    where = {"drop_from": "top", "fraction": 0.5}
    value = feature_drop.measure(context_of(layer, features, labels))
    magnitude = feature_drop.measure(context_of(layer, features, labels), by="magnitude")
    assert value.value("accuracy", **where) == 100
    assert magnitude.value("accuracy", **where) == 0


def test_of_equal_features_the_first_is_the_top() -> None:
    features = torch.tensor([[1.0, 1.0, 1.0]])
    layer = head([[1, 0, 0], [0, 1, 1]], [1.5, 0])
    right = feature_drop.outcomes(layer, features, torch.tensor([1]), features, DROPPED)
    assert right["top"][:, 0].tolist() == [False, True, False, False]


def test_many_rows_are_the_same_as_one_by_one() -> None:
    draw = torch.Generator().manual_seed(0)
    features = torch.rand(feature_drop.ROWS + 5, 3, generator=draw)
    labels = torch.randint(2, (len(features),), generator=draw)
    whole = feature_drop.outcomes(THREE, features, labels, features, DROPPED)
    last = slice(feature_drop.ROWS - 3, None)
    part = feature_drop.outcomes(THREE, features[last], labels[last], features[last], DROPPED)
    np.testing.assert_array_equal(whole["top"][:, last], part["top"])


def test_influence_is_counted_in_each_image() -> None:
    """Shares .9, .1, 0 and .5, .5, 0: one and two dimensions carry 90 %."""
    features = torch.tensor([[9.0, -1.0, 0.0], [2.0, 2.0, 0.0]])
    result = feature_drop.measure(context_of(THREE, features, torch.tensor([0, 0])))
    assert result.samples["filters_for_90"].tolist() == [1, 2]
    assert result.value("filters_for_90") == 1.5
    assert result.value("share_for_90") == 50
    np.testing.assert_allclose(result.samples["lorenz"], [0, 0, 0.3, 1])


def test_the_ends_of_the_curve_are_checked() -> None:
    features = torch.rand(20, 3, generator=torch.Generator().manual_seed(0))
    subject = context_of(THREE, features, torch.arange(20) % 2)
    result = feature_drop.measure(subject)
    assert (result.checks["value"] == 1).all() and len(result.checks) == 2
    assert result.value("accuracy", drop_from="top", fraction=1) == 50  # bias .5: always class 1
    subject.outputs("test").logits.neg_()  # another network's logits
    assert feature_drop.measure(subject).checks["value"].tolist() == [0, 1]


def test_unknown_rankings_are_named() -> None:
    subject = context_of(THREE, torch.rand(2, 3), torch.tensor([0, 1]))
    with pytest.raises(UnknownName, match="did you mean 'sample'"):
        feature_drop.measure(subject, ranking="samples")  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="There are: magnitude, value"):
        feature_drop.measure(subject, by="norm")  # type: ignore[arg-type]


def sharp(drop_at: float) -> Result:
    """The result of a network whose accuracy stays high until this share is dropped."""
    fractions = np.linspace(0, 1, 33)
    ends = {"top": drop_at, "bottom": 0.95}
    right = {end: np.tile(fractions[:, None] < at, 40) for end, at in ends.items()}
    samples = {
        "area_top": np.full(40, drop_at), "area_bottom": np.full(40, 0.9),
        "filters_for_90": np.full(40, 10), "gini": np.full(40, 0.5), "lorenz": fractions**3,
        "lost_at_80": np.zeros(40, int),
    }  # fmt: skip
    rows = Rows("drop-sample-value@1")
    feature_drop._add_rows(rows, right, fractions, samples, "", "made@1")
    feature_drop._add_influence(rows, samples)
    return Result(rows.frame(), samples)


@pytest.mark.parametrize("drop_at", [0.1, 0.5, 0.9])
def test_the_inset_hides_no_curve(drop_at: float) -> None:
    figure = feature_drop.plot(sharp(drop_at))["curve"]
    figure.draw_without_rendering()
    axes = figure.axes[0]
    (inset,) = axes.child_axes
    frame = inset.get_window_extent()
    points = np.concatenate([line.get_xydata() for line in axes.lines])
    assert not any(frame.contains(*point) for point in axes.transData.transform(points))


def test_signed_features_are_dropped_by_both_rankings() -> None:
    """Features -5, 2, 3 of class 1. By value from the top every step is right; by magnitude
    -5 is dropped first: 2:3.5, then 3: 2:.5 (wrong), then all: 0:.5."""
    subject = context_of(THREE, torch.tensor([[-5.0, 2.0, 3.0]] * 2), torch.tensor([1, 1]))
    result = feature_drop.measure(subject)
    np.testing.assert_allclose(result.samples["area_top"], [1, 1])
    np.testing.assert_allclose(result.samples["area_top_by_magnitude"], [2 / 3, 2 / 3])
    other = result.rows("accuracy_by_magnitude", drop_from="top")
    assert other["value"].tolist() == [100, 100, 0, 100]
    assert set(other["protocol"]) == {"drop-sample-magnitude@1"}
    (axes,) = feature_drop.plot(result)["curve"].axes[:1]
    assert "by magnitude" in " ".join(text.get_text() for text in axes.figure.legends[0].texts)
    unsigned = feature_drop.measure(context_of(THREE, torch.rand(2, 3), torch.tensor([0, 1])))
    assert unsigned.rows("accuracy_by_magnitude").empty, "after a ReLU the rankings are one"
