"""The recipe's switch `compile`: torch.compile under methods that look inside the network.

Methods and regularizers put hooks on the network. torch compiles at the first call, as a rule
without looking for hooks again: neither those that come later nor, since what was compiled is kept
by class, those on the next network of the same class. So a method is built on what :func:`compiled`
gives before any call, and its steps are made inside :func:`compiling`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from catchup_eval.errors import UserError
from catchup_eval.models.classifier import Classifier

SETTINGS = {
    "skip_nnmodule_hook_guards": False,  # look for hooks at each call
    # Graphs of one function; after them torch leaves it as it is. Its own 8 are too few where hooks
    # part a network into blocks: MobileNetV2 has 17 of one class, each seen in two batch sizes.
    "cache_size_limit": 64,
}


def compiled(model: Classifier) -> nn.Module:
    """What a method is to be built on: it shares everything with `model`, which stays as it is.

    So weights keep their names, and who asks `model` itself, such as a validation, is answered
    without the compiler.
    """
    return torch.compile(model)  # type: ignore[return-value]


@contextmanager
def compiling() -> Iterator[None]:
    """For steps of a method that was built on a compiled model.

    Raises:
        UserError: torch cannot compile; in place of its own error, which is no sentence.
    """
    from torch._dynamo import config, exc  # a second's import, only where it is needed

    with config.patch(SETTINGS):
        try:
            yield
        except exc.TorchDynamoException as error:
            reason = " ".join(str(error).split("\n\n")[0].split())
            raise UserError(
                "expected a network that torch can compile, and a C++ compiler for a CPU or triton "
                f"for a GPU, got {reason!r}; compile = false in the recipe trains without them"
            ) from error
