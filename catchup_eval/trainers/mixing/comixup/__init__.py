"""Co-Mixup: each cell of many images shown where it is salient (Kim et al. 2021)."""

from math import isfinite

from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.errors import UserError
from catchup_eval.trainers.base import Criterion, Method, StatelessMethod
from catchup_eval.trainers.mixing.baseline import baseline
from catchup_eval.trainers.mixing.comixup.labels import Balance
from catchup_eval.trainers.mixing.comixup.mosaics import (
    WINDOW,
    MosaicBatch,
    MosaicSettings,
    draw_groups,
    mosaics,
)
from catchup_eval.trainers.mixing.comixup.potts import WIDEST
from catchup_eval.trainers.mixing.shared.criteria import sample_losses
from catchup_eval.trainers.mixing.shared.pairs import check_alpha, check_fraction
from catchup_eval.trainers.mixing.shared.saliency import clean_pass


def comixup(
    model: nn.Module,
    *,
    criterion: Criterion = cross_entropy,
    alpha: float = 2.0,
    part: int = 20,
    blocks: int = 4,
    beta: float = 0.32,
    gamma: float = 1.0,
    eta: float = 0.05,
    tau: float = 0.83,
    omega: float = 0.001,
    turns: int = 4,
    clean_lam: float = 1.0,
) -> Method:
    """The salient cells of many images in one, for a group jointly (Kim et al. 2021).

    Costs one more forward and backward pass, of the clean batch. A label weighs what its share of
    the cells is. Steps and constants are those of the reference code (snu-mllab/Co-Mixup), which
    this differs from in three ways. The cells are chosen by a solver of our own
    (:mod:`~catchup_eval.trainers.mixing.comixup.potts`) in place of alpha-beta swaps. A batch of
    any size will do; there all must be full. The loss is cross-entropy; there it is binary
    cross-entropy on the softmax, and the clean cross-entropy is scaled to that by 2 / classes.
    Draws, for the full groups, then for the images that are left: the prior, the first cells.

    Args:
        model: any network (N, 3, H, H) -> (N, K).
        criterion: mean loss of logits (N, K) and labels (N,); for the mixture, sample by sample
            (:func:`~catchup_eval.trainers.mixing.shared.criteria.sample_losses`).
        alpha: a group's prior is from Dirichlet(alpha, ..., alpha); 2.0 is the reference's. 0 mixes
            nothing and takes no saliency.
        part: images in a group, which follow each other in the batch; the last may have fewer.
        blocks: cells on a side, 1 to 4; they must divide the image's side.
        beta: of neighbours from different images.
        gamma: of cells of an image that other mixtures of the group show as well.
        eta: of the prior.
        tau: share of a mixture up to which it costs nothing that others show an image; 0.83 is the
            reference command's, 0.81 to 0.84 its advice.
        omega: from 0 to 1, how much an image counts as others that are salient elsewhere.
        turns: visits to each mixture at most; the reference names 3 to save time.
        clean_lam: weight of the clean batch's loss, whose gradients the saliency pass yields as
            well. 1 in the reference commands: saliency is then taken in training mode, so running
            statistics move twice in a step; 0: in evaluation mode.

    Raises:
        UserError: a setting out of its range; when called, images that are not square, whose side
            the blocks do not divide, or smaller than 8 pixels.
    """
    check_alpha(alpha)
    weights = {"beta": beta, "gamma": gamma, "eta": eta, "tau": tau, "clean_lam": clean_lam}
    for name, value in weights.items():
        _expect(name, value, "a number, 0 or above", isfinite(value) and value >= 0)
    check_fraction("omega", omega)
    _expect("part", part, "1 image or more", part >= 1)
    _expect("blocks", blocks, f"a number from 1 to {WIDEST}", 1 <= blocks <= WIDEST)
    _expect("turns", turns, "1 or more", turns >= 1)
    if alpha == 0:
        return baseline(model, criterion=criterion)
    settings = MosaicSettings(blocks, eta, omega, Balance(beta, gamma, tau, turns))

    def loss(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        check_side(images, blocks)
        draws = draw_groups(generator, alpha, len(images), part, blocks)
        clean = clean_pass(model, criterion, images, labels, clean_lam)
        mixed = mosaics(images, clean.saliency, draws, settings)
        return clean.loss + shared_loss(criterion, model(mixed.images), labels, mixed)

    return StatelessMethod(loss)


def shared_loss(criterion: Criterion, logits: Tensor, labels: Tensor, mixed: MosaicBatch) -> Tensor:
    """Mean over the batch of each mixture's loss for the labels (N,) of its sources, weighted."""

    losses = sample_losses(criterion, logits, labels, mixed.sources.T)
    return (losses * mixed.weights.T).sum(0).mean()


def check_side(images: Tensor, blocks: int) -> None:
    """Raise `UserError` unless `images` (N, C, H, W) are square and fall into blocks."""
    height, width = images.shape[2:]
    if height != width or width % blocks or width < WINDOW:
        raise UserError(
            f"comixup needs square images of {WINDOW} pixels or more, whose side is a multiple of "
            f"blocks ({blocks}), got {height} x {width}; crop them, or choose other blocks"
        )


def _expect(name: str, value: object, wanted: str, right: bool) -> None:
    if not right:
        raise UserError(f"expected {name} as {wanted}, got {value!r}")
