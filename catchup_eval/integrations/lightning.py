"""A Lightning callback; works with the packages `lightning` and `pytorch_lightning`."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from torch import nn

from catchup_eval.core.errors import UserError
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.integrations.loop import headline_numbers
from catchup_eval.models.wrapping import wrap

PACKAGES = ("lightning.pytorch", "pytorch_lightning")  # the same code under two names


def evaluation_callback(
    data: AnySet,
    *,
    every: int = 1,
    only: Sequence[str] = ("clean",),
    network: Callable[[Any], nn.Module] = lambda module: module,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **settings: Any,
) -> Any:
    """A callback for `Trainer(callbacks=[...])` that runs analyses and logs their headline numbers.

    It runs after the validation of the epoch, on the first process alone, and changes nothing of
    the training. The numbers are logged as the module's own are, by names such as "clean/accuracy",
    which `ModelCheckpoint(monitor=...)` can name.

    Args:
        data: what the network is evaluated on.
        every: epochs from one evaluation to the next; the last epoch is always evaluated.
        only: names of analyses.
        network: the network of a LightningModule, from normalised images to logits; the module
            itself, whose `forward` gives them, where it is not given.
        mean, std: what images are normalised with for it; the data's own where not given.
        settings: others of :func:`~catchup_eval.integrations.headline_numbers`.

    Raises:
        UserError: neither package is installed, or `every` is below 1.
    """
    if every < 1:
        raise UserError(f"expected every as a number of epochs from 1, got {every}")
    own_mean, own_std = tuple(mean or data.mean), tuple(std or data.std)

    class EvaluationCallback(*_bases()):  # type: ignore[misc]
        """Analyses every few epochs."""

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            """Evaluate; unlike validation hooks, gradients are on here, which attacks need."""
            epoch = trainer.current_epoch + 1
            if (epoch % every and epoch != trainer.max_epochs) or not trainer.is_global_zero:
                return
            model = wrap(network(pl_module), mean=own_mean, std=own_std, name="model")
            model.to(pl_module.device)
            found = headline_numbers(model, data, only=only, **settings)
            pl_module.log_dict(found, rank_zero_only=True)

    return EvaluationCallback()


def _bases() -> tuple[type, ...]:
    """The classes of callbacks of the packages that are installed."""
    found = []
    for package in PACKAGES:
        try:
            found.append(import_module(package).Callback)
        except ImportError:
            continue
    if not found:
        raise UserError("expected Lightning to be installed: pip install lightning")
    return tuple(found)
