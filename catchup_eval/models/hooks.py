"""Capture and change the output of one layer, without touching the network's code."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from catchup_eval.core.errors import UserError

Change = Callable[[Tensor], Tensor]
Changes = dict[Hashable, list[Change | None]]  # by place, for each time that it was called


class ForwardPasses:
    """What hooks changed in each forward pass, so that a recomputation changes the same.

    Activation checkpointing (`torch.utils.checkpoint`) runs parts of the forward pass again, in the
    midst of the backward pass. By then the step has switched its hooks off, and they would leave
    the recomputed features alone: the gradients of another function, without an error where
    `use_reentrant=True`.

    A forward pass is one call of `model`, compiled or not; its backward pass begins at the tensor
    that it gave.
    """

    def __init__(self, model: nn.Module):
        inner = getattr(model, "_orig_mod", model)  # what torch.compile wraps
        self._present: Changes | None = None  # of the current forward pass
        self._recomputed: Changes | None = None
        # At import, as a decorator, this would take two seconds for the compiler.
        begin, end = map(torch.compiler.disable, (self._begin, self._end))
        self._handles = [inner.register_forward_pre_hook(begin), inner.register_forward_hook(end)]

    def _begin(self, _model: nn.Module, _inputs: tuple[Tensor, ...]) -> None:
        if not _in_backward_pass():
            self._present = {}

    def _end(self, _model: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if _in_backward_pass():
            return
        changes, self._present = self._present, None

        def recall(_gradient: Tensor) -> None:
            self._recomputed = changes

        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(recall)  # type: ignore[no-untyped-call]

    def change(
        self, place: Hashable, output: Tensor, decide: Callable[[], Change | None]
    ) -> Tensor | None:
        """What the hook at `place`, any name, is to give for `output`; None leaves it.

        Args:
            decide: the change, which may be made again and must then be the same; None: none. Not
                called in a recomputation.

        Raises:
            UserError: a recomputation of a module that ran more than once in its forward pass.
        """
        if _in_backward_pass() and self._recomputed is not None:
            change = _only(self._recomputed.get(place, [None]))
        else:
            change = decide()
            if self._present is not None:
                self._present.setdefault(place, []).append(change)
        return None if change is None else change(output)

    def close(self) -> None:
        """Take the hooks off."""
        _remove(self._handles)


def _remove(handles: list[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()
    handles.clear()


def _in_backward_pass() -> bool:
    """Whether autograd is calling; torch's own checkpointing tests the same."""
    return torch._C._current_graph_task_id() != -1


def _only(changes: list[Change | None]) -> Change | None:
    if any(change is not changes[0] for change in changes):
        raise UserError(
            "expected a module whose features are changed to run once in a forward pass under "
            f"activation checkpointing, it ran {len(changes)} times, and the backward pass cannot "
            "tell which of them is recomputed; leave it out of the checkpointed part"
        )
    return changes[0]


class StageHooks:
    """Hooks on the stages of a network that do nothing until :meth:`replace_output` names one.

    They exist from the start because `torch.compile` silently ignores a hook that is registered
    after the first compiled call; only their state changes. The compiler leaves them alone: it
    would write other code for each stage that is named, in the midst of a training.

    Args:
        stages: in forward order; each must give one tensor.
        model: whose forward passes are recomputed as they were, for gradients under activation
            checkpointing. None: recomputations are left alone.
    """

    def __init__(self, stages: Sequence[nn.Module], model: nn.Module | None = None):
        self._at: int | None = None
        self._change: Change | None = None
        self._passes = None if model is None else ForwardPasses(model)
        self._handles = [
            stage.register_forward_hook(self._hook(number)) for number, stage in enumerate(stages)
        ]

    def _hook(self, number: int) -> Callable[..., Tensor | None]:
        def decide() -> Change | None:
            return self._change if self._at == number else None

        @torch.compiler.disable  # type: ignore[untyped-decorator]
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if self._passes is not None:
                return self._passes.change(number, output, decide)
            change = decide()
            return None if change is None else change(output)

        return hook  # type: ignore[no-any-return]

    @contextmanager
    def replace_output(self, number: int, change: Change) -> Iterator[None]:
        """While this is open, `change` is applied to what stage `number` (0 = first) gives.

        Where activations are recomputed, it is applied once more, in the backward pass.
        """
        self._at, self._change = number, change
        try:
            yield
        finally:
            self._at = self._change = None

    def close(self) -> None:
        """Take the hooks off."""
        if self._passes is not None:
            self._passes.close()
        _remove(self._handles)


@contextmanager
def capture_inputs(**modules: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The inputs of the named modules in the forward passes within the block."""
    seen: dict[str, Tensor] = {}
    handles = [
        module.register_forward_pre_hook(
            lambda _, inputs, name=name: seen.update({name: inputs[0]})
        )
        for name, module in modules.items()
    ]
    try:
        yield seen
    finally:
        _remove(handles)
