from unittest.mock import patch

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from catchup_eval.analysis import landscape
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.analysis.landscape import figures, hessian
from catchup_eval.analysis.landscape.figures import NOTES, SETTLED
from catchup_eval.analysis.landscape.losses import (
    disjoint_batches,
    filter_normalized_direction,
    mean_over_axis,
    orient_axes,
)
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.models.wrapping import wrap
from catchup_eval.results.result import ModelResult, Rows, join

FEW = {"points": 5, "samples": 20, "probes": 3, "directions": 2, "reach": 0.1}


def smooth(seed=0):
    """A small network without kinks or batch norm."""
    with fork_global_rng(generator(seed)):
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=4),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 10),
        )
    return wrap(net)


@pytest.fixture(scope="module")
def subject(few_digits):
    return EvaluationContext(smooth(), few_digits)


@pytest.fixture(scope="module")
def result(subject):
    return landscape.measure(subject, **FEW)


def test_each_point_is_the_loss_of_the_moved_weights(subject, result):
    model, draw = smooth(), subject.generator("landscape")
    batch = subject.data.split("test").subsample(20).batch(slice(None))
    with hessian.hessian_product(model, batch.images, batch.labels) as product:
        pairs = hessian.top_eigenvectors(product, count=3, generator=draw)
    centre = parameters_to_vector(model.parameters()).detach()
    surface = np.empty((5, 5))
    for i, a in enumerate(result.samples["axis"]):
        for j, b in enumerate(result.samples["axis"]):
            moved = centre + float(a) * pairs.vectors[0] + float(b) * pairs.vectors[1]
            vector_to_parameters(moved, model.parameters())
            surface[i, j] = F.cross_entropy(model(batch.images), batch.labels).item()
    turns = [surface, surface[::-1], surface[:, ::-1], surface[::-1, ::-1]]
    assert any(np.allclose(result.samples["surface"], turned, atol=1e-5) for turned in turns)


def test_the_curvature_of_the_cuts_is_the_eigenvalues(subject):
    result = landscape.measure(subject, points=3, samples=20, probes=2, reach=0.1, tolerance=1e-6)
    for cut, metric in zip(result.samples["cuts"], ("top_eigenvalue", "second_eigenvalue")):
        start, centre, end = cut.mean(1)
        curvature = (start - 2 * centre + end) / 0.1**2
        assert curvature == pytest.approx(result.value(metric), rel=0.03)


def test_the_centre_is_the_network_itself(subject, result):
    batch = subject.data.split("test").subsample(20).batch(slice(None))
    plain = F.cross_entropy(subject.model(batch.images), batch.labels).item()
    assert result.samples["surface"][2, 2] == pytest.approx(plain, rel=1e-5)
    assert result.value("loss") == pytest.approx(plain, rel=1e-5)
    assert (result.checks["value"] == 1).all()


def test_both_directions_point_to_the_higher_loss(result):
    first, second = result.samples["cuts"].mean(2)
    assert first[-1] >= first[0] and second[-1] >= second[0]
    surface = result.samples["surface"]
    assert np.array_equal(surface[:, 2], first) and np.array_equal(surface[2], second)


def test_turning_uphill_is_turning_the_grid():
    losses = np.arange(18.0).reshape(3, 3, 2)
    for turned in (losses, losses[::-1], losses[:, ::-1], losses[::-1, ::-1]):
        assert np.array_equal(orient_axes(turned), losses)


def test_ends_that_are_equal_to_rounding_are_no_reason_to_turn():
    losses = np.full((3, 3, 1), 2.0)
    losses[0] += 1e-7
    losses[:, 0] += 1e-7
    losses[1, 1] = 1
    assert np.array_equal(orient_axes(losses), losses)


def failed_checks(values, residuals=(0.0, 0.0, 0.0)):
    rows, count = Rows("test@1"), len(values)
    pairs = hessian.Eigenpairs(
        np.array(values), torch.eye(count), np.array(residuals[:count]), "scipy"
    )
    landscape.check_eigenpairs(rows, pairs, samples=10)
    frame = rows.frame()
    return set(frame["metric"][frame["value"] == 0])


def test_a_cluster_is_reported():
    settled, plane, axes = NOTES
    assert failed_checks((3, 2, 1)) == set()
    assert failed_checks((3, 2)) == set()
    assert failed_checks((3, 2, 1.99)) == failed_checks((3, -2, 1.99)) == {plane}
    assert failed_checks((3, 2.98, 1)) == {axes}
    assert failed_checks((3, -2.98, 1)) == set()
    assert failed_checks((3, 3, 3)) == failed_checks((0, 0, 0)) == {plane, axes}
    assert failed_checks((3, 2, 1), (0.0, 0.06, 0.0)) == {settled}


def test_each_eigenvalue_has_its_residual_and_solver(subject, result):
    frame = result.frame
    worst = result.value("eigenvector_residual")
    ranks = ("top", "second", "third")
    residuals = [result.value(f"{rank}_residual") for rank in ranks]
    assert max(residuals) == worst <= 1.5  # Lanczos ends at 1 % by its own estimate
    sizes = [abs(result.value(f"{rank}_eigenvalue")) for rank in ranks]
    assert sizes == sorted(sizes, reverse=True)
    assert set(frame["solver"].dropna()) == {"scipy"} and frame["solver"].notna().sum() == 7
    power = landscape.measure(subject, solver="pyhessian", tolerance=1e-6, **FEW)
    assert set(power.frame["solver"].dropna()) == {"pyhessian"}
    assert power.value("top_eigenvalue") == pytest.approx(result.value("top_eigenvalue"), rel=1e-3)


def test_solvers_that_do_not_converge_fail_a_sanity_check_that_the_figure_names(subject):
    def random(product, count, tolerance, generator):
        return torch.from_numpy(generator.standard_normal((count, product.size))).float()

    with patch.dict(hessian.SOLVERS, {"scipy": random, "pyhessian": random}):
        lost = landscape.measure(subject, **FEW)
    checks = lost.checks.set_index("metric")["value"]
    assert checks[SETTLED] == 0
    assert set(lost.frame["solver"].dropna()) == {"scipy, then pyhessian"}
    legend = figures.plot(lost)["landscape"].legends[0].get_texts()[0].get_text()
    legend = " ".join(legend.split())
    assert legend.endswith("eigenvalues not converged") or "not converged;" in legend


@pytest.mark.parametrize("points", [3, 11, 21])
def test_the_mean_over_the_square_hardly_depends_on_the_grid(points):
    """Exactly right for a bilinear loss, and to the trapezoid rule's error for a square."""
    axis = np.linspace(-0.5, 0.5, points)
    a, b = np.meshgrid(axis, axis, indexing="ij")
    bilinear, square = 3 + a + 2 * b + 4 * a * b, a**2
    means = mean_over_axis(mean_over_axis(np.stack([bilinear, square], axis=2)))
    step = axis[1] - axis[0]
    assert means == pytest.approx([3, 1 / 12 + step**2 / 6])


def test_the_batch_is_balanced_and_the_same_for_every_model_and_seed(few_digits, result):
    other = landscape.measure(EvaluationContext(smooth(1), few_digits, seed=3), **FEW)
    assert np.array_equal(result.samples["index"], other.samples["index"])
    part = few_digits.split("test")
    chosen = part.labels[torch.isin(part.index, torch.from_numpy(other.samples["index"]))]
    assert chosen.bincount().tolist() == [2] * 10


def test_the_part_is_named_in_the_protocol(subject, result):
    train = landscape.measure(subject, part="train", **FEW)
    assert set(train.frame["protocol"]) == {"hessian-plane-train@3", "filter-normalised-train@2"}
    assert train.value("loss") != result.value("loss")
    assert figures.plot(train)["landscape"].get_suptitle() == "loss on training images"


def test_the_density_is_measured_on_request_and_each_figure_names_its_images(subject, result):
    dense = landscape.measure(subject, lanczos=6, **FEW)
    assert dense.samples["weights"].sum() == pytest.approx(1)
    assert dense.samples["nodes"].max() <= dense.value("top_eigenvalue") * 1.001
    assert "nodes" not in result.samples
    captions = {name: fig.get_suptitle() for name, fig in figures.plot(dense).items()}
    test = "loss on test images"
    assert captions == {"landscape": test, "surface": test, "density": test}


def test_settings_that_cannot_be_measured_are_refused(subject):
    with pytest.raises(UserError, match="an odd number of points from 3, got 10"):
        landscape.measure(subject, points=10)
    with pytest.raises(UserError, match=r"\* samples \* batches"):
        landscape.measure(subject, points=501, samples=1000)
    for name, value in {
        "points": 1,
        "samples": 1,
        "directions": 1,
        "probes": 1,
        "batches": 0,
    }.items():
        with pytest.raises(UserError, match=name):
            landscape.measure(subject, **{name: value})
    with pytest.raises(UserError, match="solver"):
        landscape.measure(subject, solver="qr")
    with pytest.raises(UnknownName, match="validation"):
        landscape.measure(subject, part="validation")


def test_each_random_line_is_the_loss_of_the_moved_weights(subject, result):
    model, draw = smooth(), subject.generator("landscape", "directions")
    batch = subject.data.split("test").subsample(20).batch(slice(None))
    centre = parameters_to_vector(model.parameters()).detach()
    assert np.allclose(result.samples["filter_axis"], [-1, -0.5, 0, 0.5, 1])
    rises = []
    for line in result.samples["filter_cuts"]:
        direction = filter_normalized_direction(subject.model, draw)
        losses = []
        for step in result.samples["filter_axis"]:
            vector_to_parameters(centre + float(step) * direction, model.parameters())
            losses.append(F.cross_entropy(model(batch.images), batch.labels).item())
        assert np.allclose(line, losses, atol=1e-5)
        rises.append(np.trapezoid(losses, result.samples["filter_axis"]) / 2 - losses[2])
    row = result.rows("filter_rise").iloc[0]
    assert row["value"] == pytest.approx(np.mean(rises), abs=1e-5)
    assert row["n"] == 2 and row["low"] < row["value"] < row["high"]
    assert row["protocol"] == "filter-normalised-test@2"


def normed(scale=1.0):
    """The same function for every scale of its convolution, thanks to batch norm."""
    with fork_global_rng(generator(0)):
        norm = nn.BatchNorm2d(4, eps=1e-12)
        net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4, bias=False), norm, nn.Tanh())
        net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)])
    with torch.no_grad():
        net[0].weight.mul_(scale)
        norm.running_mean.fill_(0.1 * scale)
        norm.running_var.fill_(0.3 * scale**2)
    return wrap(net)


def test_the_filter_normalised_rise_does_not_depend_on_the_scale_of_the_weights(few_digits):
    settings = FEW | {"reach": 0.5}
    one, ten = (
        landscape.measure(EvaluationContext(normed(scale), few_digits), **settings)
        for scale in (1, 10)
    )
    assert ten.value("loss") == pytest.approx(one.value("loss"), rel=1e-5)
    assert ten.value("filter_rise") == pytest.approx(one.value("filter_rise"), rel=1e-4)
    assert np.allclose(ten.samples["filter_cuts"], one.samples["filter_cuts"], rtol=1e-4)
    assert abs(ten.value("trace") / one.value("trace") - 1) > 1e-3
    assert abs(ten.value("loss_rise") / one.value("loss_rise") - 1) > 1e-3


def test_several_batches_share_the_directions_and_none_of_the_images(subject, result):
    several = landscape.measure(subject, batches=2, **FEW)
    index, batch = several.samples["index"], several.samples["batch"]
    assert len(set(index)) == 40 and batch.tolist() == [0] * 20 + [1] * 20
    assert np.array_equal(index[batch == 0], result.samples["index"])
    assert several.value("top_eigenvalue") == result.value("top_eigenvalue")
    rise = several.samples["rise"]
    means = [rise[:20].mean(), rise[20:].mean()]
    row = several.rows("batch_rise").iloc[0]
    assert row["n"] == 2 and row["value"] == pytest.approx(np.mean(means))
    low, high = stats.t.interval(0.95, 1, np.mean(means), stats.sem(means))
    assert (row["low"], row["high"]) == pytest.approx((low, high))
    assert len(result.rows("batch_rise")) == 0
    assert (several.checks["value"] == 1).all()


def test_each_batch_is_balanced(few_digits):
    parts = disjoint_batches(few_digits.split("test"), 10, 4)
    assert [part.labels.bincount().tolist() for part in parts] == [[1] * 10] * 4


def test_more_batches_than_images_are_refused(subject):
    with pytest.raises(
        UserError, match="expected 60 images for 3 batches of 20, got a split of 40"
    ):
        landscape.measure(subject, batches=3, **FEW)


def test_the_band_over_batches_stays_above_zero():
    cut = np.array([[1.0, 1, 3, 3], [0.001, 0.001, 1, 1]])
    mean, low, high = figures._over_batches(cut, np.array([0, 0, 1, 1]))
    reach = stats.t.ppf(0.975, 1) * stats.sem([1, 3]) / 2  # relative to the mean of 2
    assert mean == pytest.approx([2, 0.5005])
    assert (low[0], high[0]) == pytest.approx((2 * np.exp(-reach), 2 * np.exp(reach)))
    assert (low > 0).all()


def test_pictures_share_levels_and_limits(few_digits, result):
    other = landscape.measure(EvaluationContext(smooth(1), few_digits), **FEW)
    joined = join(
        [ModelResult("a", 0, result), ModelResult("a", 1, other), ModelResult("b", 0, other)]
    )
    pictures = figures.plot(joined)
    titles = [axes.get_title() for axes in pictures["landscape"].axes]
    assert titles[:2] == ["a (first seed)", "b"]
    limits = {axes.get_zlim() for axes in pictures["surface"].axes}
    assert len(limits) == 1
    cuts = pictures["landscape"].axes[-3:]
    assert len({axes.get_ylim() for axes in cuts}) == 1
    levels = figures._levels({"a": [result], "b": [other]})
    for one in (result, other):
        surface = one.samples["surface"]
        assert levels[0] <= surface.min() and surface.max() <= levels[-1]


def test_levels_are_limited_to_four_decades(result):
    steep = type(result)(result.frame, {"surface": np.array([[1e-7, 300.0]])})
    levels = figures._levels({"a": [steep]})
    assert levels[0] == pytest.approx(0.02) and levels[-1] == pytest.approx(500)
