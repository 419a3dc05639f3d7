"""OOD scores beyond the logits, by pytorch-ood's detectors (the extra `ood`); high means OOD.

All but ODIN go by the penultimate features, the input of the linear head, and are fitted on a
class-balanced sample of the training images alone. No setting is chosen on OOD images.

- `odin`: minus the largest softmax probability at a temperature, after a step that raises it: of
  `epsilon` in pixels of [0, 1], and so of epsilon / std after the normalisation (Liang et al. 2018)
- `mahalanobis`: half the squared distance to the nearest class mean, by the scatter within the
  classes (Lee et al. 2018), of these features alone and without its perturbation of images
- `knn`: distance to the k-th nearest training image, of features of length 1 (Sun et al. 2022)
- `vim`: energy, and the features' part outside the principal subspace, on the logits' scale (Wang
  et al. 2022)
- `react`: energy of features clipped at a percentile of the training images' (Sun et al. 2021)
- `ash`: energy of features of which each image keeps the largest few (Djurisic et al. 2023)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.core.environment import install_command
from catchup_eval.core.errors import Missing, UserError
from catchup_eval.models.modes import eval_mode

VARIANTS = ("ash-s", "ash-p", "ash-b")
Score = Callable[[str], Tensor]  # of a split: (N,)


class FittedScore(NamedTuple):
    """A score and all that it depends on, for the protocol."""

    protocol: str
    score: Score


@dataclass(frozen=True)
class FeatureSource:
    """What scores are made of.

    Args:
        context: model and data.
        columns: (K,) bool: which logits count.
        images: how many training images scores are fitted on, at most.
        settings: of the scores, by name.
    """

    context: EvaluationContext
    columns: np.ndarray
    images: int
    settings: Mapping[str, Any]

    @cached_property
    def train(self) -> tuple[Tensor, Tensor]:
        """Features (N, D) and labels (N,) of the sample.

        Raises:
            Missing: no training images, or no linear head.
        """
        context, rows = self.context, []
        sample = context.data.split("train").subsample(self.images, context.seed)
        with eval_mode(context.model), torch.no_grad():
            for batch in sample.batches(context.batch_size, context.device):
                rows.append(context.model.features(batch.images).cpu())
        return torch.cat(rows).float(), sample.labels.cpu()

    @property
    def size(self) -> str:
        """Of the sample, for protocols."""
        return f"penultimate-n{len(self.train[1])}"

    def features(self, split: str) -> Tensor:
        """(N, D)."""
        return self.context.features(split).float()

    @cached_property
    def head(self) -> tuple[Tensor, Tensor]:
        """Weight (k, D) and bias (k,) of the logits that count.

        Raises:
            Missing: there is no linear head, or the logits are not what it gives.
        """
        features, logits = self.features("test"), self.context.outputs("test").logits
        head = self.context.model.head
        weight = head.weight.detach().cpu().float()
        bias = torch.zeros(len(weight)) if head.bias is None else head.bias.detach().cpu().float()
        own = F.linear(features, weight, bias)
        if own.shape != logits.shape or not torch.allclose(
            own, logits, rtol=1e-3, atol=1e-3 * float(logits.abs().mean())
        ):
            raise Missing("a linear head that gives the logits")
        rows = torch.from_numpy(self.columns)
        return weight[rows], bias[rows]

    def logits(self, features: Tensor) -> Tensor:
        """(N, k) those that count, of features (N, D), or of (N, D, 1, 1)."""
        return F.linear(features.flatten(1), *self.head)


def _odin(source: FeatureSource) -> FittedScore:
    context = source.context
    columns = torch.from_numpy(source.columns).to(context.device)
    model, (temperature, epsilon) = context.model, _values(source, "odin", "temperature", "epsilon")
    if without := getattr(model, "without_gradients", ""):
        raise Missing(f"gradients, which {without} does not give")
    detector = library("odin").ODIN(
        lambda x: model(x)[:, columns], eps=epsilon, temperature=temperature
    )

    def score(split: str) -> Tensor:
        with eval_mode(model):
            return torch.cat([detector.predict(b.images).cpu() for b in context.batches(split)])

    return FittedScore(f"T{temperature:g}-eps{epsilon:g}", score)


def _mahalanobis(source: FeatureSource) -> FittedScore:
    features, labels = source.train
    classes, (n, dimensions) = len(source.context.data.classes), features.shape
    if len(set(labels.tolist())) < classes or n - classes < dimensions:
        raise Missing(
            f"training images of all {classes} classes, at least {dimensions} more than there are "
            f"classes (as many as features); {n} of {len(set(labels.tolist()))} classes were taken"
        )
    detector = library("mahalanobis").Mahalanobis(None).fit_features(features, labels)
    return FittedScore(source.size, lambda split: detector.predict_features(source.features(split)))


def _knn(source: FeatureSource) -> FittedScore:
    (features, labels), (k,) = source.train, _values(source, "knn", "k")
    if len(labels) < k:
        raise Missing(f"at least k = {k} training images; {len(labels)} were taken")
    detector = library("knn").KNN(None, k=k).fit_features(features, labels)
    return FittedScore(
        f"k{k}-{source.size}", lambda split: detector.predict_features(source.features(split))
    )


def _vim(source: FeatureSource) -> FittedScore:
    (features, labels), (dimensions,) = source.train, _values(source, "vim", "dimensions")
    width = features.shape[1]
    if dimensions is None:  # the paper's, which is for more than 512 features
        dimensions = 1000 if width > 1500 else 512 if width > 512 else width // 2
    if dimensions >= width:
        raise Missing(f"more than {dimensions} features; the head has {width}")
    detector = library("vim").ViM(None, dimensions, *source.head).fit_features(features, labels)
    return FittedScore(
        f"d{dimensions}-{source.size}",
        lambda split: detector.predict_features(source.features(split)),
    )


def _react(source: FeatureSource) -> FittedScore:
    (features, labels), (percentile,) = source.train, _values(source, "react", "percentile")
    detector = (
        library("react")
        .ReAct(None, source.logits, percentile=percentile)
        .fit_feature_maps(features, labels)
    )
    return FittedScore(
        f"p{percentile:g}-{source.size}",
        lambda split: detector.predict_feature_maps(source.features(split)),
    )


def _ash(source: FeatureSource) -> FittedScore:
    variant, percentile = _values(source, "ash", "variant", "percentile")
    detector = library("ash").ASH(None, source.logits, variant, percentile)
    return FittedScore(
        f"{variant[-1]}-p{percentile:g}-penultimate",
        lambda split: detector.predict_feature_maps(source.features(split)[:, :, None, None]),
    )


def _values(source: FeatureSource, score: str, *names: str) -> list[Any]:
    return [source.settings[f"{score}_{name}"] for name in names]


DETECTORS: Mapping[str, Callable[[FeatureSource], FittedScore]] = {
    "odin": _odin,
    "mahalanobis": _mahalanobis,
    "knn": _knn,
    "vim": _vim,
    "react": _react,
    "ash": _ash,
}


def library(score: str) -> Any:
    """The module of pytorch-ood's detectors.

    Raises:
        UserError: it is not installed, which this score needs.
    """
    try:
        return import_module("pytorch_ood.detector")
    except ImportError:
        raise UserError(
            f"the OOD score {score} needs pytorch-ood, which is not installed; "
            f"{install_command('ood')}"
        ) from None
