"""What a network answers comes from outside: it is brought into one form, and looked at, here."""

from collections.abc import Callable, Mapping
from math import log
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from catchup_eval.core.errors import InvalidOutput

CLOSE = 1e-3  # of the spread of the logits: more than rounding moves an answer
RELATIVE = 1e-4  # of a logit, the same in float32
TINY = 1e-30  # below which a probability counts as this
SUM = 5e-3  # within which a row sums to 1, for half precision too


def find_logits(answer: Any) -> tuple[Tensor, str]:
    """Logits (N, K) and, where they had to be looked for, where they were; empty otherwise.

    Taken are a tensor (N, K) or (N, K, 1, 1), the attribute or key `logits`, and the first such
    tensor of a tuple, list or mapping.

    Raises:
        InvalidOutput: there are none.
    """
    if isinstance(answer, Tensor) and answer.is_floating_point():
        if answer.ndim == 2:
            return answer, ""
        if answer.ndim == 4 and answer.shape[2:] == (1, 1):
            return answer.flatten(1), "answers (N, K, 1, 1), taken as (N, K)"
    inner = getattr(answer, "logits", None)
    if isinstance(inner, Tensor):
        return find_logits(inner)[0], f"answers a {type(answer).__name__}; its logits are taken"
    if isinstance(answer, Mapping) and "logits" in answer:
        return find_logits(answer["logits"])[0], "answers a mapping; its key 'logits' is taken"
    values = list(answer.values()) if isinstance(answer, Mapping) else answer
    if isinstance(values, tuple | list):
        for place, value in enumerate(values, 1):
            if isinstance(value, Tensor) and value.ndim in (2, 4) and value.is_floating_point():
                what = f"answers {len(values)} values; number {place} is taken as the logits"
                return find_logits(value)[0], what
    raise InvalidOutput(f"expected logits (N, K) from the network, got {_describe(answer)}")


def _describe(answer: Any) -> str:
    if isinstance(answer, Tensor):
        return f"a tensor {tuple(answer.shape)} of {str(answer.dtype).removeprefix('torch.')}"
    if isinstance(answer, Mapping):
        return f"a mapping with the keys {', '.join(map(str, answer)) or 'none'}"
    if isinstance(answer, tuple | list):
        return f"a {type(answer).__name__} of {', '.join(map(_describe, answer)) or 'nothing'}"
    return f"a {type(answer).__name__}"


def check_finite(logits: Tensor) -> None:
    """Raise `InvalidOutput` where an output is infinite or not a number, with the count."""
    finite = torch.isfinite(logits).all(1)
    if not finite.all():
        bad, n = int((~finite).sum()), len(finite)
        raise InvalidOutput(f"{bad:,} of {n:,} outputs of the network are not finite")


def are_probabilities(logits: Tensor) -> bool:
    """Whether all rows are distributions over the classes, after a softmax."""
    sums = logits.sum(1)
    return bool((logits >= 0).all() and ((sums - 1).abs() < SUM).all() and logits.shape[1] > 1)


def output_notes(logits: Tensor, labels: Tensor) -> list[str]:
    """What is odd about the finite outputs of a whole split, a sentence each.

    Args:
        logits: (N, K).
        labels: (N,).
    """
    notes = []
    classes, n = logits.shape[1], len(logits)
    if bool((logits.logsumexp(1).abs() < SUM).all()) and classes > 1:
        notes.append(
            "the outputs are log-probabilities: energy scores and other measures of the logits' "
            "size say nothing"
        )
    predictions = logits.argmax(1)
    if n > 1 and bool((logits == logits[:1]).all()):
        notes.append(f"the output is the same for all {n:,} images")
        return notes
    present = set(labels.tolist())
    missing = len(present - set(predictions.tolist()))
    if missing and n >= 20 * classes:
        notes.append(f"{missing} of the {len(present)} classes that occur are never predicted")
    accuracy = float((predictions == labels).double().mean())
    counts = torch.bincount(labels, minlength=classes)
    chance = float(counts.max()) / n
    if accuracy <= chance + 2 * (chance * (1 - chance) / n) ** 0.5 and len(present) > 1:
        notes.append(
            f"the accuracy, {100 * accuracy:.1f} %, is not above that of always the most frequent "
            f"class, {100 * chance:.1f} %: the classes' order or the preprocessing may be wrong"
        )
    nll, uniform = float(cross_entropy(logits.double(), labels)), log(classes)
    if nll > 1.02 * uniform:
        notes.append(
            f"the NLL, {nll:.2f} nats, is above that of equal probabilities, {uniform:.2f} nats"
        )
    return notes


def consistency_note(
    model: Callable[[Tensor], Tensor], images: Tensor, rounding: float = RELATIVE
) -> str:
    """Whether an image's output is the same twice, alone and in another batch; empty where it is.

    Args:
        images: (N, C, H, W), a few.
        rounding: by what fraction of itself a logit may differ.
    """
    together = model(images)
    limit = CLOSE * max(float(together.std()), 1e-6)

    def differs(other: Tensor) -> bool:
        return bool(((together - other).abs() > limit + rounding * together.abs()).any())

    if differs(model(images)):
        return "two passes over the same images differ: dropout or noise at test time?"
    try:
        alone = torch.cat([model(image) for image in torch.split(images, 1)])
    except (ValueError, RuntimeError) as error:
        return f"an image cannot be evaluated alone: {str(error).splitlines()[0]}"
    if differs(alone) or differs(model(images.flip(0)).flip(0)):
        return (
            "an image's output depends on the other images of its batch: batch norm without "
            "running statistics?"
        )
    return ""
