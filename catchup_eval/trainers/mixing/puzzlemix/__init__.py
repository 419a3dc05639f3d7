"""PuzzleMix: salient blocks of two images, each moved to where it is seen (Kim et al. 2020)."""

from collections.abc import Sequence
from math import isfinite

from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.errors import UserError
from catchup_eval.trainers.base import Criterion, Method, StatelessMethod
from catchup_eval.trainers.mixing.baseline import baseline
from catchup_eval.trainers.mixing.puzzlemix.energy import Smoothness, puzzle_energy
from catchup_eval.trainers.mixing.puzzlemix.labels import lowest_labels
from catchup_eval.trainers.mixing.puzzlemix.transport import (
    Transport,
    transport_blocks,
    upsample_mask,
)
from catchup_eval.trainers.mixing.shared.criteria import Weights, weighted_loss
from catchup_eval.trainers.mixing.shared.pairs import Pairs, check_alpha, draw_pairs
from catchup_eval.trainers.mixing.shared.saliency import block_shares, clean_pass


def puzzle_mask(
    images: Tensor, saliency: Tensor, pairs: Pairs, blocks: int, smoothness: Smoothness
) -> Tensor:
    """(N, n, n): what each image keeps of each of its n = `blocks` squared blocks: 0, 1/2 or 1.

    Args:
        images: (N, C, H, H) in [0, 1].
        saliency: (N, H, H).
        pairs: with whom each is mixed, and the weight that the prior is about.
        blocks: on a side.
        smoothness: the energy's settings.
    """
    share = block_shares(saliency, blocks)
    energy = puzzle_energy(images, share, pairs.partner, pairs.weight, smoothness)
    return 1 - lowest_labels(energy).to(images.dtype) / 2


def puzzle_mix(
    images: Tensor, saliency: Tensor, partner: Tensor, mask: Tensor, transport: Transport | None
) -> Tensor:
    """(N, C, H, H): of each image what `mask` (N, n, n) keeps, of its `partner` (N,) the rest."""
    kept, given = images, images[partner]
    if transport is not None:
        kept = transport_blocks(images, saliency, mask, transport)
        given = transport_blocks(given, saliency[partner], 1 - mask, transport)
    weight = upsample_mask(mask, images.shape[-1])[:, None]
    return weight * kept + (1 - weight) * given


def puzzlemix(
    model: nn.Module,
    *,
    criterion: Criterion = cross_entropy,
    alpha: float = 1.0,
    blocks: Sequence[int] = (2, 4, 8, 16),
    beta: float = 1.2,
    gamma: float = 0.5,
    eta: float = 0.2,
    neigh_size: int = 4,
    transport: bool = True,
    t_size: int = 4,
    t_eps: float = 0.8,
    clean_lam: float = 0.0,
) -> Method:
    """The most salient blocks of two images, puzzled together (Kim et al. 2020).

    Costs one more forward and backward pass, of the clean batch. The label is mixed image by image,
    by the mean of its mask. Steps and constants are those of the reference code
    (snu-mllab/PuzzleMix), which this differs from in three ways. The masks come from a solver of
    our own (:mod:`~catchup_eval.trainers.mixing.puzzlemix.labels`) in place of alpha-beta swaps.
    The loss is cross-entropy, as in the reference code for ImageNet; its main code has binary
    cross-entropy on the softmax, and scales the clean cross-entropy to that by 2 / classes. There
    is no adversarial noise, which is off there by default.
    Draws, in this order: the number of blocks, the weight, the partners.

    Args:
        model: any network (N, 3, H, H) -> (N, K).
        criterion: mean loss of logits (N, K) and labels (N,); for the mixture, sample by sample
            (:func:`~catchup_eval.trainers.mixing.shared.criteria.sample_losses`).
        alpha: the prior's weight is from Beta(alpha, alpha); 1.0 is the reference's. 0 mixes
            nothing and takes no saliency. (At a weight of 1 the reference's prior would still
            allow a partner's block that is salient enough.)
        blocks: on a side; drawn uniformly. Each must divide the image's side.
        beta: of labels that differ between neighbours.
        gamma: of colours that differ at the seams, times beta; from 0 to 1.
        eta: of the prior.
        neigh_size: pixels, side of the cells that are compared at seams, no larger than a block;
            where it does not divide a block's side, the largest size that divides both. The
            reference takes 4, for ImageNet 2.
        transport: whether blocks are moved.
        t_size: pixels, side of the cells that are moved, no larger than a block; 4 in the reference
            commands for CIFAR, -1 (a whole block) for Tiny-ImageNet. Takes memory for
            N * (H / t_size)^4 numbers.
        t_eps: price of distance, in saliency.
        clean_lam: weight of the clean batch's loss, whose gradients the saliency pass yields as
            well. 0 in the reference commands for CIFAR: saliency is then taken in evaluation mode;
            1 for Tiny-ImageNet: in training mode, so running statistics move twice in a step.

    Raises:
        UserError: a setting out of its range; when called, images that are not square, or whose
            side the blocks do not divide.
    """
    check_alpha(alpha)
    for name, value in {"beta": beta, "eta": eta, "clean_lam": clean_lam}.items():
        _expect(name, value, "a number, 0 or above", isfinite(value) and value >= 0)
    _expect("gamma", gamma, "a number from 0 to 1", 0 <= gamma <= 1)
    _expect("t_eps", t_eps, "a number above 0", isfinite(t_eps) and t_eps > 0)
    _expect("neigh_size", neigh_size, "1 pixel or more", neigh_size >= 1)
    _expect("t_size", t_size, "-1, or 1 pixel or more", t_size == -1 or t_size >= 1)
    _expect("blocks", blocks, "numbers of 2 or more", len(blocks) > 0 and min(blocks) >= 2)
    if alpha == 0:
        return baseline(model, criterion=criterion)
    smoothness = Smoothness(beta, gamma, eta, neigh_size)
    moving = Transport(t_size, t_eps) if transport else None

    def loss(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        check_side(images, blocks, moving)
        count = blocks[int(generator.integers(len(blocks)))]
        pairs = draw_pairs(generator, alpha, images)
        clean = clean_pass(model, criterion, images, labels, clean_lam)
        mask = puzzle_mask(images, clean.saliency, pairs, count, smoothness)
        mixed = puzzle_mix(images, clean.saliency, pairs.partner, mask, moving)
        kept = mask.mean((1, 2))
        weights = Weights(kept, 1 - kept)
        logits = model(mixed)
        return clean.loss + weighted_loss(criterion, logits, labels, pairs.partner, weights)

    return StatelessMethod(loss)


def check_side(images: Tensor, blocks: Sequence[int], transport: Transport | None) -> None:
    """Raise `UserError` unless `images` (N, C, H, W) fall into blocks, and these into cells."""
    height, width = images.shape[2:]
    if height != width or any(width % count for count in blocks):
        counts = ", ".join(map(str, blocks))
        raise UserError(
            f"puzzlemix needs square images whose side is a multiple of blocks ({counts}), got "
            f"{height} x {width}; crop them, or choose other blocks"
        )
    sizes = [width // count for count in blocks]
    if transport and any(size % transport.cell(size) for size in sizes):
        raise UserError(
            f"expected t_size to divide blocks of {sizes} pixels, got {transport.t_size}; "
            "-1 moves whole blocks"
        )


def _expect(name: str, value: object, wanted: str, right: bool) -> None:
    if not right:
        raise UserError(f"expected {name} as {wanted}, got {value!r}")
