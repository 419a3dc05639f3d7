"""RecursiveMix: the last mixture, made small, pasted into the next image (Yang et al. 2022)."""

from typing import NamedTuple

import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import cross_entropy

from catchup_eval.core.errors import UserError
from catchup_eval.core.settings import Fraction, NonNegative, validate_settings
from catchup_eval.models.classifier import Classifier
from catchup_eval.trainers.base import Criterion, Traits, unwrap_compiled
from catchup_eval.trainers.mixing.shared.boxes import Box, draw_box
from catchup_eval.trainers.mixing.shared.criteria import mixed_labels_loss
from catchup_eval.trainers.mixing.shared.features import expect_no_class_token

NO_BOX = Box(0, 0, 0, 0)


class Memory(NamedTuple):
    """What the last step of an epoch leaves to the next; constants, on the step's device."""

    images: Tensor  # (M, C, H, W), as they were mixed
    labels: Tensor  # (M, K), as they were mixed: each row sums to 1
    logits: Tensor  # (M, K)

    def recall(self, count: int, device: torch.device) -> "Memory":
        """The first `count` rows; where there are fewer, from the first again."""
        rows = torch.arange(count, device=device) % len(self.images)
        return Memory(*(value.to(device, non_blocking=True)[rows] for value in self))


def paste_whole(images: Tensor, others: Tensor, box: Box) -> Tensor:
    """A copy of `images` (N, C, H, W) with each one of `others`, made as small as the box, in it.

    Made small by nearest neighbours, as in the reference code. A box without area pastes nothing.
    """
    mixed = images.clone()
    if box.area:
        mixed[box.window] = F.interpolate(others, size=box.size, mode="nearest")
    return mixed


def box_features(maps: Tensor, box: Box, height: int, width: int) -> Tensor:
    """(N, D): the mean of `maps` (N, D, h, w) over where the box of a height x width image lies.

    RoIAlign with one bin, half a pixel aligned (He et al. 2017), in single precision or better.
    """
    from torchvision.ops import roi_align

    precise = maps.to(torch.promote_types(maps.dtype, torch.float32))
    down, across = maps.shape[2] / height, maps.shape[3] / width
    edges = (box.left * across, box.top * down, box.right * across, box.bottom * down)
    rows = torch.tensor([(number, *edges) for number in range(len(maps))], dtype=precise.dtype)
    boxes = rows.to(maps.device, non_blocking=True)
    return roi_align(precise, boxes, output_size=1, aligned=True).flatten(1)  # type: ignore[no-any-return]


@validate_settings()
def recursivemix(
    model: nn.Module,
    *,
    criterion: Criterion = cross_entropy,
    alpha: Fraction = 0.5,
    omega: NonNegative = 0.1,
    share_head: bool = False,
) -> "RecursiveMix":
    """The last step's mixture, made small, pasted into the image (Yang et al. 2022).

    Its labels are pasted likewise, by area, so that they are mixtures of ever more labels. A
    second head gets the box alone and learns the network's output on the last mixture.
    The method is an `nn.Module`: in a loop of your own, train its parameters too, move it where the
    model is, and call `start_epoch()`. Draws, in this order: the box's area, its row, its column;
    nothing at the first step of an epoch.

    Args:
        model: a :class:`~catchup_eval.models.classifier.Classifier` that names what its head pools.
        criterion: mean loss of logits (N, K) and labels; these are probabilities here, (N, K), as
            torch's `cross_entropy` takes them. Its class weights are normalised as
            :func:`~catchup_eval.trainers.mixing.shared.criteria.mixed_labels_loss` says; it cannot
            leave classes out (`ignore_index`).
        alpha: the box has a fraction of the image's area from U(0, alpha), before it is clipped;
            0.5 is the paper's. 0 mixes nothing.
        omega: the weight of the second head's loss, times the area's fraction; 0.1 in the paper for
            CIFAR, 0.5 for ImageNet.
        share_head: look at the box with the network's own head instead of a second one.

    Raises:
        UserError: a network that does not name what its head pools.
    """
    return RecursiveMix(model, criterion, alpha, omega, share_head)


class RecursiveMix(nn.Module):
    """As :func:`recursivemix` builds it; remembers the last mixture until the next epoch.

    Its state dict holds the second head and the memory, so that a training that goes on is the very
    one that was stopped. The network is no part of it.
    """

    traits = Traits(stateful=True, probabilities=True)

    def __init__(
        self, model: nn.Module, criterion: Criterion, alpha: float, omega: float, share_head: bool
    ):
        super().__init__()
        classifier = unwrap_compiled(model)
        if not (isinstance(classifier, Classifier) and classifier.names_map):
            raise UserError(
                "RecursiveMix needs what the network's head pools: give it catchup_eval.wrap(net, "
                "stages=[...]), and pool=NAME where no pooling module is found; got a "
                f"{type(classifier).__name__}"
            )
        expect_no_class_token(classifier, "RecursiveMix")
        self._network = (model, classifier.head)  # a tuple, so that no submodules come of it
        self._criterion, self._alpha, self._omega = criterion, alpha, omega
        self.second_head = None if share_head else _new_linear_like(classifier.head)
        self._memory: Memory | None = None
        # Of the current forward pass. The hook exists from the start, because `torch.compile`
        # ignores one that comes later.
        self._maps: list[Tensor] | None = None
        self._store = torch.compiler.disable(_store_map)  # type: ignore[no-untyped-call]
        self._last_map = classifier.last_map
        self._handle = classifier.hook_map(self._hook)

    def _hook(self, maps: Tensor) -> None:
        if self._maps is not None:
            self._store(self._maps, maps)

    def forward(self, images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        """As :meth:`~catchup_eval.trainers.base.Method.__call__`."""
        box = NO_BOX
        if self._memory is not None:
            box = draw_box(generator, images, 1 - generator.uniform(0, self._alpha))
        last = (
            self._memory.recall(len(images), images.device) if self._memory and box.area else None
        )
        mixed = paste_whole(images, last.images, box) if last else images.clone()
        logits, maps = self._forward_with_map(mixed)
        targets = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
        area = box.area / images[0, 0].numel()
        if last:
            targets = (1 - area) * targets + area * last.labels
        loss = mixed_labels_loss(self._criterion, logits, targets, labels)
        if last:
            head = self._network[1] if self.second_head is None else self.second_head
            again = head(box_features(maps, box, *images.shape[2:]))
            consistency = cross_entropy(again, last.logits.softmax(1))
            loss = loss + self._omega * area * consistency
        self._memory = Memory(mixed.detach(), targets, logits.detach())
        return loss

    def _forward_with_map(self, mixed: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, K) in single precision or better, and the map (N, D, h, w) that is pooled."""
        model, head = self._network
        maps: list[Tensor] = []
        self._maps = maps
        try:
            logits = model(mixed)
        finally:
            self._maps = None
        maps = [self._last_map(each) if each.ndim > 2 else each for each in maps]
        _expect_one_map(maps, head.in_features)
        # Else the second head's loss would teach the network nothing, without an error.
        if logits.requires_grad and not maps[0].requires_grad:
            raise UserError(
                "expected a pooled map that gradients reach, got one from a part of the network "
                "that is checkpointed with use_reentrant=True; take use_reentrant=False, or leave "
                "the pooling out of that part"
            )
        return logits.to(torch.promote_types(logits.dtype, torch.float32)), maps[0]

    def start_epoch(self) -> None:
        """Forget the last mixture, as the reference code does."""
        self._memory = None

    def close(self) -> None:
        """As :meth:`~catchup_eval.trainers.base.Method.close`."""
        if self._handle is not None:
            self._handle.remove()

    def get_extra_state(self) -> dict[str, Tensor]:
        """The memory, by name; empty where there is none."""
        return self._memory._asdict() if self._memory else {}

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """Remember what :meth:`get_extra_state` gave."""
        self._memory = Memory(**state) if state else None


def _store_map(stored: list[Tensor], maps: Tensor) -> None:
    stored.append(maps)


def _new_linear_like(head: nn.Linear) -> nn.Linear:
    """A fresh linear layer of the same shape, where the other is; global generators stay."""
    with torch.random.fork_rng(devices=[]):
        fresh = nn.Linear(head.in_features, head.out_features)
    weight = head.weight
    same = (weight.device, weight.dtype) == (fresh.weight.device, fresh.weight.dtype)
    return fresh if same else fresh.to(weight.device, weight.dtype)


def _expect_one_map(maps: list[Tensor], channels: int) -> None:
    shapes = [tuple(each.shape) for each in maps]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] != channels:
        raise UserError(
            f"expected the head to pool one map (N, {channels}, h, w) in a forward pass, got "
            f"{shapes or 'none'}; a method that was closed has none, nor one whose model was "
            "compiled and called before the method was built"
        )
