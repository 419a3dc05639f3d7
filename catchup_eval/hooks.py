"""See and change what one layer gives, without touching the network's code."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Change = Callable[[Tensor], Tensor]


class StageHooks:
    """Hooks on the stages of a network that do nothing until :meth:`changing` names one.

    They stand from the start because `torch.compile` silently ignores a hook that is registered
    after the first compiled call; only their state changes. The compiler leaves them alone: it
    would write other code for each stage that is named, in the midst of a training.

    Args:
        stages: the modules, in forward order; each must give one tensor.
    """

    def __init__(self, stages: Sequence[nn.Module]):
        self._at: int | None = None
        self._change: Change | None = None
        self._handles = [
            stage.register_forward_hook(self._hook(number)) for number, stage in enumerate(stages)
        ]

    def _hook(self, number: int) -> Callable[..., Tensor | None]:
        @torch.compiler.disable  # type: ignore[untyped-decorator]
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if self._at != number or self._change is None:
                return None
            return self._change(output)

        return hook  # type: ignore[no-any-return]

    @contextmanager
    def changing(self, number: int, change: Change) -> Iterator[None]:
        """While this is open, `change` is applied to what stage `number` (0 = first) gives."""
        self._at, self._change = number, change
        try:
            yield
        finally:
            self._at = self._change = None

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


@contextmanager
def capturing(**modules: nn.Module) -> Iterator[dict[str, Tensor]]:
    """What goes *into* each of the named modules during the forward passes inside the block.

    Example:
        >>> head = nn.Linear(2, 1)
        >>> with capturing(features=head) as seen:
        ...     _ = head(__import__("torch").ones(3, 2))
        >>> seen["features"].shape
        torch.Size([3, 2])
    """
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[name] = inputs[0]

        return hook

    handles = [module.register_forward_pre_hook(keep(name)) for name, module in modules.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
