"""One training on several processes, as torchrun starts them: one device each, one batch together.

Each process computes the loss of its part of every batch. One all-reduce of a single flat tensor
adds up gradients, loss, running statistics of batch norms, and the note that a signal has come. All
processes have the same generator and draw alike; so their weights stay the same, and the state of
the first one is the state of all.

Images are mixed with partners of the same part. Else the gradient is that of one process, for
methods whose loss is a mean over images that depend on the batch through their partners alone;
:func:`describe_differences` says what else differs.
"""

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any, Self, TypeVar

import torch
from numpy.random import Generator
from torch import Tensor, distributed, nn
from torch._C._distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from catchup_eval.core.environment import resolve_device
from catchup_eval.core.errors import Interrupted, UserError
from catchup_eval.models.classifier import Classifier

MEETING = timedelta(minutes=5)  # until all processes must have found each other
WAITING = timedelta(hours=2)  # of one process for another, such as while images are decoded
PROCESSES = "processes"  # in a card's recipe, where several trained it
SEED = 2**31  # single draws of numbers up to this or more are seeds

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of a training.

    Args:
        rank: which one this is.
        size: how many they are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes the files."""
        return self.rank == 0

    def parts(self, images: int) -> list[slice]:
        """The rows of each process's part of a batch; no two parts differ by more than one."""
        bounds = [images * rank // self.size for rank in range(self.size + 1)]
        return [slice(*ends) for ends in pairwise(bounds)]

    def ask_first(self, answer: Callable[[], T]) -> T:
        """What the first process answers, which the others wait for: plain values."""
        if self.size == 1:
            return answer()
        box = [answer() if self.first else None]
        with _reaching_others():
            distributed.broadcast_object_list(box)
        return box[0]  # type: ignore[return-value]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each by its sum over all processes, in one all-reduce."""
        rows = [each.detach().reshape(-1) for each in tensors]
        flat = torch.cat([row.to(torch.promote_types(row.dtype, torch.float32)) for row in rows])
        with _reaching_others():
            distributed.all_reduce(flat)
        for each, piece in zip(tensors, torch.split(flat, [each.numel() for each in tensors])):
            each.detach().copy_(piece.view(each.shape))


@contextmanager
def _reaching_others() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise Interrupted(
            f"another process of this training has ended or cannot be reached ({reason})",
            signal.SIGTERM,
        ) from error


def current_processes() -> Processes:
    """Those of torch's process group, where there is one; else this process alone."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return Processes()
    return Processes(distributed.get_rank(), distributed.get_world_size())


@contextmanager
def join_processes(device: str) -> Iterator[tuple[Processes, torch.device]]:
    """Meet the other processes that torchrun has started, if it has; leave them at the end.

    Args:
        device: as `--device` has it: "auto" and "cuda" give each process a GPU of its own.

    Yields:
        the processes and this one's device.

    Raises:
        UserError: an environment that torchrun did not make, more processes than GPUs, or a single
            GPU for all of them.
        Interrupted: the others do not come.
    """
    if os.environ.get("WORLD_SIZE") in (None, "", "1"):
        yield Processes(), resolve_device(device)
        return
    own = _own_device(device)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    with _reaching_others():
        store, rank, size = next(rendezvous("env://", timeout=MEETING))
        # After a restart the store may still have the addresses of processes that are no more.
        store = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
        backend = "cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo"
        distributed.init_process_group(
            backend, store=store, rank=rank, world_size=size, timeout=WAITING
        )
    yield Processes(rank, size), own
    distributed.destroy_process_group()  # not after an error, for it may wait for the others


def _own_device(name: str) -> torch.device:
    """This process's device."""
    lacking = [key for key in ("RANK", "MASTER_ADDR", "MASTER_PORT") if key not in os.environ]
    if not os.environ["WORLD_SIZE"].isdecimal():
        raise UserError(f"expected WORLD_SIZE as a number, got {os.environ['WORLD_SIZE']!r}")
    if lacking:
        raise UserError(
            f"WORLD_SIZE asks for {os.environ['WORLD_SIZE']} processes, expected {lacking[0]} "
            "beside it, as torchrun sets it; start the command with torchrun, or unset WORLD_SIZE"
        )
    kind = name.partition(":")[0]
    if kind not in ("auto", "cuda") or not torch.cuda.is_available():
        return resolve_device(name)
    here, count = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if ":" in name:
        raise UserError(
            f"expected --device auto, cuda or cpu for {here} processes, each of which takes a GPU "
            f"of its own, got {name}; CUDA_VISIBLE_DEVICES chooses among GPUs"
        )
    if here > count:
        raise UserError(
            f"expected a GPU for each of {here} processes, there {'is' if count == 1 else 'are'} "
            f"{count}; lower --nproc-per-node, or take --device cpu"
        )
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


class PartGenerator(Generator):
    """What a process draws for its part of a batch, from a generator that all have alike.

    Arrays whose first axis is as long as the part are drawn for the whole batch, of which the part
    is taken. Permutations of so many are drawn for each part. Seeds, of which noise for single
    images comes, are another for each process. All else is the same for all, and after the same
    calls all generators are in the same state.

    Args:
        source: whose state it shares.
        parts: of the batch.
        rank: which of them this one is.
    """

    def __init__(self, source: Generator, parts: Sequence[slice], rank: int):
        super().__init__(source.bit_generator)
        self._parts, self._rank = parts, rank
        self._sizes = [part.stop - part.start for part in parts]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = Generator(deepcopy(self.bit_generator, memo))
        return type(self)(copied, self._parts, self._rank)

    def permutation(self, x: Any, axis: int = 0) -> Any:
        """As numpy's."""
        if not isinstance(x, int) or x != self._sizes[self._rank]:
            return super().permutation(x, axis)
        return [super(PartGenerator, self).permutation(size) for size in self._sizes][self._rank]

    def _draw(self, name: str, place: int, *arguments: Any, **keywords: Any) -> Any:
        """A draw of numpy's whose argument number `place` is the size."""
        draw = getattr(super(), name)
        values = list(arguments)
        size = values[place] if len(values) > place else keywords.get("size")
        if size is None:
            drawn = draw(*arguments, **keywords)
            seeds = name == "integers" and len(values) == 1 and not keywords and values[0] >= SEED
            return (drawn + self._rank) % values[0] if seeds else drawn
        shape = (size,) if isinstance(size, int) else tuple(size)
        if shape[:1] != (self._sizes[self._rank],):
            return draw(*arguments, **keywords)
        shape = (self._parts[-1].stop, *shape[1:])
        if len(values) > place:
            values[place] = shape
        else:
            keywords["size"] = shape
        return draw(*values, **keywords)[self._parts[self._rank]]


def _drawing(name: str, place: int) -> Callable[..., Any]:
    def draw(self: PartGenerator, *arguments: Any, **keywords: Any) -> Any:
        return self._draw(name, place, *arguments, **keywords)

    return draw


for _name, _place in {
    "random": 0,
    "standard_normal": 0,
    "choice": 1,
    "dirichlet": 1,
    "beta": 2,
    "integers": 2,
    "normal": 2,
    "uniform": 2,
}.items():
    setattr(PartGenerator, _name, _drawing(_name, _place))


def running_statistics(model: nn.Module) -> list[Tensor]:
    """Means and variances that batch norms keep."""
    norms = [each for each in model.modules() if isinstance(each, nn.modules.batchnorm._NormBase)]
    kept = [value for norm in norms for value in (norm.running_mean, norm.running_var)]
    return [value for value in kept if value is not None]


def synchronise_norms(model: Classifier, device: torch.device, processes: Processes) -> None:
    """Let several processes take the statistics of batch norms from the whole batch.

    Raises:
        UserError: on a CPU, which torch's SyncBatchNorm refuses.
    """
    if processes.size == 1:
        return
    if device.type == "cpu":
        raise UserError(
            "expected GPUs for sync_norm = true with several processes, since torch's "
            "SyncBatchNorm refuses CPUs; got cpu"
        )
    model.net = nn.SyncBatchNorm.convert_sync_batchnorm(model.net)  # type: ignore[no-untyped-call]


def expect_no_memory(method: object, model: nn.Module) -> None:
    """Raise `UserError` for a method that keeps more than parameters and the network."""
    if not isinstance(method, nn.Module):
        return
    known = [*method.parameters(), *model.state_dict(keep_vars=True).values()]
    kept = {id(value) for value in method.state_dict(keep_vars=True).values()}
    if kept - {id(value) for value in known}:
        raise UserError(
            "expected one process for a method that remembers earlier steps, such as recursivemix: "
            "each of several would remember its own part of the batch, of which a resume file has "
            "only the first process's"
        )


# Beside the partners, in one sentence each; what is not named here draws and computes for each
# part as for a batch.
EXACT = (
    "baseline",
    "input_mixup",
    "cutmix",
    "manifold_mixup",
    "catchup",
    "moex",
    "snapmix",
    "puzzlemix",
)
DIFFERENCES = {
    "random_channel": "the channels of each part are drawn by themselves",
    "alignmixup": "its transport plans stop when those of the part, not of the batch, have "
    "converged",
    "saliencymix": "each part has its own box, where the partner of its first image is most "
    "salient",
    "comixup": "groups are made of the images of one part",
}
UNKNOWN = "its loss is computed for each part by itself"


def describe_differences(method: str, recipe: Mapping[str, Any]) -> list[str]:
    """In which ways the weights differ from those of one process, in sentences; empty for one.

    Args:
        method, recipe: as of a checkpoint's card.
    """
    size = recipe.get(PROCESSES, 1)
    if size == 1:
        return []
    parts = f"trained by {size} processes, each with a part of every batch"
    ways = [f"{parts}: images are mixed with partners of the same part"]
    if not recipe.get("sync_norm"):
        ways.append(
            "batch norms, if any, normalise each part by itself (sync_norm = true: the whole batch)"
        )
    if method not in EXACT:
        ways.append(f"{method}: {DIFFERENCES.get(method, UNKNOWN)}")
    return ways
