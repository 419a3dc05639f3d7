"""Scores by pytorch-ood: worked by hand on three features, and equal to its detectors on images."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.utils.data import DataLoader

from catchup_eval.analysis import ood, setting_defaults
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.analysis.ood import detectors
from catchup_eval.analysis.ood.detectors import DETECTORS, FeatureSource
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.wrapping import wrap

theirs: Any = pytest.importorskip("pytorch_ood.detector", reason="needs the extra `ood`")

Networks = Callable[..., Classifier]
SETTINGS = {"fit_images": 200, "knn_k": 5, "vim_dimensions": 8}
DEFAULTS = setting_defaults(SimpleNamespace(measure=ood.measure))  # type: ignore[arg-type]


def pixels(features: ArrayLike, labels: ArrayLike | None = None) -> Split:
    """Images of one pixel, whose three channels are the features."""
    levels = torch.from_numpy(np.round(255 * np.asarray(features)).astype(np.uint8))
    n = len(levels)
    classes = torch.full((n,), -1) if labels is None else torch.tensor(labels)
    return Split(levels[:, :, None, None], classes)


def by_hand(train: Split, out: ArrayLike, **settings: Any) -> FeatureSource:
    """Features are the pixel, the two logits its first two channels."""
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        net[2].weight.copy_(torch.eye(3)[:2])
    test = pixels([[1.0, 0.4, 0.0], [0.2, 1.0, 0.0]], [0, 1])
    parts = {"train": train, "test": test, "out": pixels(out)}
    data = TensorDataset("pixels", parts, ("a", "b"), (0.0,) * 3, (1.0,) * 3)
    context = EvaluationContext(wrap(net), data)
    return FeatureSource(context, np.full(2, True), 1000, {**DEFAULTS, **settings})


def energy(*logits: float) -> float:
    return -float(np.log(np.exp(logits).sum()))


TRAIN = pixels([[1, 0, 0], [0, 1, 0], [0, 0, 0.2]], [0, 1, 1])


def test_knn_is_the_distance_to_the_kth_neighbour_of_length_1() -> None:
    train = pixels([[1, 0, 0], [0, 0.4, 0]], [0, 1])
    out = [[0.2, 0, 0], [0, 0, 0.8], [0.6, 0.8, 0]]
    for k, expected in ((1, [0, 2**0.5, 0.4**0.5]), (2, [2**0.5, 2**0.5, 0.8**0.5])):
        fitted = DETECTORS["knn"](by_hand(train, out, knn_k=k))
        np.testing.assert_allclose(fitted.score("out"), expected, atol=1e-5)
        assert fitted.protocol == f"k{k}-penultimate-n2"


def test_vim_is_the_residual_on_the_logits_scale_and_the_energy() -> None:
    """The third axis is outside the principal plane: alpha = mean(1, 1, 0) / mean(0, 0, 0.2)."""
    out = [[0.2, 0.4, 0.6], [1, 0, 0]]
    fitted = DETECTORS["vim"](by_hand(TRAIN, out, vim_dimensions=2))
    expected = [10 * 0.6 + energy(0.2, 0.4), energy(1, 0)]
    np.testing.assert_allclose(fitted.score("out"), expected, atol=1e-5)
    assert fitted.protocol == "d2-penultimate-n3"


def test_react_clips_at_the_percentile_of_all_training_features() -> None:
    train = pixels([[0, 0.2, 0.4], [0.6, 0.8, 1]], [0, 1])
    fitted = DETECTORS["react"](by_hand(train, [[1, 0.2, 0], [0.4, 0.6, 1]], react_percentile=0.5))
    expected = [energy(0.5, 0.2), energy(0.4, 0.5)]
    np.testing.assert_allclose(fitted.score("out"), expected, atol=1e-5)
    assert fitted.protocol == "p0.5-penultimate-n2"


def test_ash_keeps_the_largest_feature_of_three() -> None:
    for variant, kept in (("ash-p", 1), ("ash-b", 1.8), ("ash-s", np.exp(1.8))):
        source = by_hand(TRAIN, [[1, 0.6, 0.2]], ash_variant=variant)
        fitted = DETECTORS["ash"](source)
        assert float(fitted.score("out")) == pytest.approx(energy(kept, 0), abs=1e-5)
        assert fitted.protocol == f"{variant[-1]}-p0.65-penultimate"


def test_mahalanobis_is_half_the_squared_distance_by_the_scatter_within_classes() -> None:
    """Six points around each of two means, 0.2 along each axis: the scatter is 0.16 everywhere."""
    steps = 0.2 * np.concatenate([np.eye(3), -np.eye(3)])
    train = pixels(np.concatenate([0.4 + steps, 0.8 + steps]), [0] * 6 + [1] * 6)
    fitted = DETECTORS["mahalanobis"](by_hand(train, [[0.4] * 3, [0, 0.4, 0.4], [1, 0.8, 0.6]]))
    expected = [0, 0.16 / 0.32, 0.08 / 0.32]
    np.testing.assert_allclose(fitted.score("out"), expected, rtol=1e-4, atol=1e-4)


def test_odin_raises_the_likeliest_logit_by_epsilon_and_lowers_the_other() -> None:
    source = by_hand(TRAIN, [[0.8, 0.2, 0.4]], odin_temperature=2.0, odin_epsilon=0.1)
    fitted = DETECTORS["odin"](source)
    likeliest = 1 / (1 + np.exp(-(0.9 - 0.1) / 2))
    assert float(fitted.score("out")) == pytest.approx(-likeliest, abs=1e-6)
    assert fitted.protocol == "T2-eps0.1"


@pytest.fixture(scope="module")
def context(few_digits: TensorDataset, networks: Networks) -> EvaluationContext:
    return EvaluationContext(networks(0), few_digits, batch_size=16)


def direct(name: str, model: Classifier, loader: DataLoader[Any]) -> Any:
    """The detector as pytorch-ood's own documentation builds it: on a network and images."""
    head = model.head

    def maps(images: Tensor) -> Tensor:
        return model.features(images)[:, :, None, None]

    def logits(features: Tensor) -> Tensor:
        return head(features.flatten(1))

    weight, bias = head.weight, head.bias
    built = {
        "odin": lambda: theirs.ODIN(model),
        "mahalanobis": lambda: theirs.Mahalanobis(model.features),
        "knn": lambda: theirs.KNN(model.features, k=5),
        "vim": lambda: theirs.ViM(model.features, d=8, w=weight, b=bias),
        "react": lambda: theirs.ReAct(maps, logits),
        "ash": lambda: theirs.ASH(maps, logits),
    }[name]()
    built.to("cpu")
    return built if name in ("odin", "ash") else built.fit(loader)


@pytest.mark.parametrize("name", DETECTORS)
def test_scores_and_rows_are_those_of_pytorch_ood_and_scikit_learn(
    name: str, context: EvaluationContext
) -> None:
    model, data = context.model.eval(), context.data
    train = data.split("train")
    loader = DataLoader([*zip(train.images.float() / 255, train.labels)], 50)  # type: ignore[arg-type]
    detector = direct(name, model, loader)

    def scores(split: str) -> np.ndarray:
        images = data.split(split).images.float() / 255
        if name == "odin":
            return np.asarray(detector.predict(images))
        with torch.no_grad():
            return np.asarray(detector.predict(images))

    source = FeatureSource(context, np.full(10, True), 200, {**DEFAULTS, **SETTINGS})
    ours = DETECTORS[name](source)
    result = ood.measure(context, scores=[name], **SETTINGS)
    for out in ("out", "out:letters"):
        sides = scores("test"), scores(out)
        np.testing.assert_allclose(ours.score(out).numpy(), sides[1], rtol=2e-3, atol=1e-5)
        row = result.row("auroc", out=out.removeprefix("out:"), score=name)
        assert row is not None
        expected = roc_auc_score(np.repeat([0, 1], [len(s) for s in sides]), np.append(*sides))
        assert row["value"] == pytest.approx(100 * expected, abs=0.2)
        assert row["protocol"] == f"full+{name}-{ours.protocol}@3"
    assert not result.notes


def test_all_at_once_change_no_other_row_and_nothing_of_the_network(
    context: EvaluationContext,
) -> None:
    before = {name: value.clone() for name, value in context.model.state_dict().items()}
    plain = ood.measure(context)
    result = ood.measure(context, scores=[*DETECTORS], **SETTINGS)
    kept = result.frame[result.frame["score"].isin([*ood.SCORES]) | result.frame["score"].isna()]
    assert kept.reset_index(drop=True).equals(plain.frame)
    assert result.samples.keys() == plain.samples.keys(), "files stay small"
    assert set(result.frame["score"].dropna()) == {*ood.SCORES, *DETECTORS}
    assert all(p.grad is None for p in context.model.parameters())
    assert all(torch.equal(before[n], v) for n, v in context.model.state_dict().items())


def test_scores_of_ood_images_depend_on_training_images_alone(context: EvaluationContext) -> None:
    parts = dict(context.data.parts)
    other = {**parts, "test": parts["test"][:7], "out:letters": parts["out:letters"][:3]}
    few = EvaluationContext(context.model, replace(context.data, parts=other))
    every = np.full(10, True)
    for name, build in DETECTORS.items():
        settings = {**DEFAULTS, **SETTINGS}
        one, two = (
            build(FeatureSource(each, every, 200, settings)).score("out") for each in (context, few)
        )
        torch.testing.assert_close(one, two, rtol=2e-3, atol=1e-5, msg=name)


def test_the_sample_is_balanced_and_only_as_large_as_asked(context: EvaluationContext) -> None:
    source = FeatureSource(context, np.full(10, True), 30, DEFAULTS)
    assert source.train[1].bincount().tolist() == [3] * 10
    assert source.size == "penultimate-n30"


@pytest.mark.parametrize(
    ("settings", "left_out"),
    [
        ({"fit_images": 30}, {"knn": "at least k = 50 training images; 30 were taken"}),
        ({"fit_images": 5, "knn_k": 5}, {"mahalanobis": "training images of all 10 classes, at"}),
        ({"vim_dimensions": 4096}, {"vim": "more than 4096 features; the head has"}),
    ],
)
def test_a_score_that_cannot_be_is_left_out_alone(
    settings: dict[str, Any], left_out: Mapping[str, str], context: EvaluationContext
) -> None:
    result = ood.measure(context, scores=[*DETECTORS], **settings)
    there = set(result.frame["score"].dropna())
    for name, reason in left_out.items():
        assert name not in there
        assert any(
            note.startswith(f"the OOD score {name} is left out: it needs {reason}")
            for note in result.notes
        )
    assert {"msp", "odin", "ash"} <= there


def test_without_training_images_or_a_linear_head_the_rest_is_measured(
    context: EvaluationContext,
) -> None:
    parts = {name: part for name, part in context.data.parts.items() if name != "train"}
    alone = EvaluationContext(context.model, replace(context.data, parts=parts))
    result = ood.measure(alone, scores=["knn", "ash"])
    assert result.notes == ("the OOD score knn is left out: it needs train",)
    assert "ash" in set(result.frame["score"])
    net = nn.Sequential(nn.Conv2d(3, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    headless = ood.measure(
        EvaluationContext(wrap(net), context.data), scores=["odin", "react", "knn"]
    )
    assert set(headless.frame["score"].dropna()) == {*ood.SCORES, "odin"}
    assert len(headless.notes) == 2 and all("a linear head" in note for note in headless.notes)


def test_a_head_whose_outputs_are_not_the_logits_is_noticed(context: EvaluationContext) -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(3, 10)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = 2 * self.head(self.pool(images).flatten(1))
            return logits

    doubled = EvaluationContext(wrap(Doubled()), context.data)
    result = ood.measure(doubled, scores=["knn", "ash"], knn_k=5)
    assert result.notes == (
        "the OOD score ash is left out: it needs a linear head that gives the logits",
    )


def test_what_is_not_installed_or_no_score_is_a_sentence(
    context: EvaluationContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownName, match="there is no OOD score 'knnn'; did you mean 'knn'"):
        ood.measure(context, scores=["knnn"])
    with pytest.raises(UserError, match="expected scores"):
        ood.measure(context, scores=["knn", "knn"])

    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(detectors, "import_module", absent)
    sentence = r'the OOD score knn needs pytorch-ood, .* pip install "pytorch-ood>='
    with pytest.raises(UserError, match=sentence):
        ood.measure(context, scores=["knn"])
