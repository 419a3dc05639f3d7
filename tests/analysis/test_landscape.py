import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from catchup_eval import hessian
from catchup_eval.analysis import landscape
from catchup_eval.errors import Missing, UserError
from catchup_eval.models.classifier import wrap
from catchup_eval.randomness import generator, isolated
from catchup_eval.results import Member, join
from catchup_eval.subject import Subject

FEW = {"points": 5, "samples": 20, "probes": 3, "reach": 0.1}


def smooth(seed=0):
    """A small network without kinks or batch norm."""
    with isolated(generator(seed)):
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
    return Subject(smooth(), few_digits)


@pytest.fixture(scope="module")
def result(subject):
    return landscape.measure(subject, **FEW)


def test_each_point_is_the_loss_of_the_moved_weights(subject, result):
    model, draw = smooth(), subject.generator("landscape")
    batch = subject.data.part("test").limited(20).batch(slice(None))
    pairs = hessian.top_eigenvectors(
        model, batch.images, batch.labels, tolerance=1e-3, generator=draw
    )
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
    batch = subject.data.part("test").limited(20).batch(slice(None))
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
        assert np.array_equal(landscape._uphill(turned), losses)


@pytest.mark.parametrize("points", [3, 11, 21])
def test_the_mean_over_the_square_hardly_depends_on_the_grid(points):
    """Exactly right for a bilinear loss, and to the trapezoid rule's error for a square."""
    axis = np.linspace(-0.5, 0.5, points)
    a, b = np.meshgrid(axis, axis, indexing="ij")
    bilinear, square = 3 + a + 2 * b + 4 * a * b, a**2
    means = landscape._mean_over_square(np.stack([bilinear, square], axis=2))
    step = axis[1] - axis[0]
    assert means == pytest.approx([3, 1 / 12 + step**2 / 6])


def test_the_outcomes_of_the_headline_have_the_headline_as_their_mean(result):
    headline = landscape.HEADLINES[0]
    values = result.samples[headline.outcomes[0]]
    assert len(values) == 20
    assert headline.scale * values.mean() == pytest.approx(result.value(headline.metric))


def test_the_batch_is_balanced_and_the_same_for_every_model_and_seed(few_digits, result):
    other = landscape.measure(Subject(smooth(1), few_digits, seed=3), **FEW)
    assert np.array_equal(result.samples["index"], other.samples["index"])
    part = few_digits.part("test")
    chosen = part.labels[torch.isin(part.index, torch.from_numpy(other.samples["index"]))]
    assert chosen.bincount().tolist() == [2] * 10


def test_the_part_is_named_in_the_protocol(subject, result):
    train = landscape.measure(subject, part="train", **FEW)
    assert set(train.frame["protocol"]) == {"hessian-plane-train@1"}
    assert train.value("loss") != result.value("loss")


def test_the_density_is_measured_on_request(subject, result):
    dense = landscape.measure(subject, lanczos=6, **FEW)
    assert dense.samples["weights"].sum() == pytest.approx(1)
    assert dense.samples["nodes"].max() <= dense.value("top_eigenvalue") * 1.001
    assert "nodes" not in result.samples
    assert set(landscape.plot(dense)) == {"landscape", "surface", "density"}


def test_what_cannot_be_asked_is_refused(subject):
    for wrong in ({"points": 10}, {"points": 1}, {"samples": 1}, {"probes": 1}):
        with pytest.raises(UserError, match="an odd number of points"):
            landscape.measure(subject, **wrong)
    with pytest.raises(Missing, match="validation"):
        landscape.measure(subject, part="validation")


def test_pictures_share_levels_and_limits(network, few_digits, result):
    other = landscape.measure(Subject(network, few_digits), **FEW)
    joined = join([Member("a", 0, result), Member("a", 1, other), Member("b", 0, other)])
    pictures = landscape.plot(joined)
    titles = [axes.get_title() for axes in pictures["landscape"].axes]
    assert titles[:2] == ["a (first seed)", "b"]
    limits = {axes.get_zlim() for axes in pictures["surface"].axes}
    assert len(limits) == 1
    levels = landscape._levels({"a": [result], "b": [other]})
    for one in (result, other):
        surface = one.samples["surface"]
        assert levels[0] <= surface.min() and surface.max() <= levels[-1]


def test_levels_are_limited_to_four_decades(result):
    steep = type(result)(result.frame, {"surface": np.array([[1e-7, 300.0]])})
    levels = landscape._levels({"a": [steep]})
    assert levels[0] == pytest.approx(0.02) and levels[-1] == pytest.approx(500)
