"""The top two Hessian eigenvectors: Lanczos and pyhessian's power iteration, ours and its own.

    python benchmarks/hessian.py --width 8 --batch 50 --side 16     # some minutes on one CPU core
    python benchmarks/hessian.py --device cuda --width 64 --rounds 20

The network is PreActResNet-18 after a few SGD steps on the batch. Each side starts from random
vectors of its own; "as released" is pyhessian with its own constructor. All are timed in turn,
interleaved in one run, and divided by the released pyhessian at tolerance 1e-4 of the same round.
Printed: the median ratio and its quartiles, the Hessian-vector products, and the relative error of
the worse of the two eigenvalues, against Lanczos to 1e-10: compare sides of like error.
"""

import argparse
import copy
import warnings
from collections.abc import Callable
from functools import partial
from time import perf_counter
from unittest.mock import patch

import numpy as np
import pyhessian
import torch
from machine import batch, machine, network, parser
from torch import Tensor, nn
from torch.nn import functional as F

from catchup_eval.analysis.landscape import hessian
from catchup_eval.core.rng import fork_global_rng, generator

Values = Callable[[int], np.ndarray]  # the eigenvalues, from the number of the round
REFERENCE = "pyhessian 1e-4, as released"


def main() -> None:
    """Read the arguments, measure, print."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    print(f"{machine(options)}: time as a multiple of '{REFERENCE}', median [quartiles]")
    images, labels = batch(options)
    model = trained(network(options), images, labels, options.steps)
    exact = ours(model, images, labels, "scipy", 1e-10, 0)
    print(f"eigenvalues {exact[0]:.5g} and {exact[1]:.5g}")
    compared = sides(model, images, labels)
    seconds = timed(compared, options.rounds, options.device)
    for name, side in compared.items():
        counts, errors = zip(*(checked(side, k, exact) for k in range(2)), strict=True)
        ratios = np.divide(seconds[name], seconds[REFERENCE])
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        print(
            f"{name:28} {middle:6.3f}   [{low:.3f}, {high:.3f}]   n = {options.rounds}"
            f"   products {np.mean(counts):4.0f}   error {max(errors):.1e}"
        )


def sides(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Values]:
    """What is compared, by name."""
    case = (model, images, labels)
    own = {
        f"{solver} {tolerance:.0e}".replace("e-0", "e-"): partial(ours, *case, solver, tolerance)
        for solver in ("scipy", "pyhessian")
        for tolerance in (1e-3, 1e-4)
    }
    return own | {
        REFERENCE: partial(released, *case, 1e-4),
        "pyhessian 1e-6, as released": partial(released, *case, 1e-6),
    }


def ours(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    solver: hessian.Solver,
    tolerance: float,
    number: int,
) -> np.ndarray:
    """By the toolkit, with its Rayleigh-Ritz step."""
    draw = generator(number, "benchmark")
    with hessian.hessian_product(model, images, labels) as product:
        return hessian.top_eigenvectors(
            product, solver=solver, tolerance=tolerance, generator=draw
        ).values


def released(
    model: nn.Module, images: Tensor, labels: Tensor, tolerance: float, number: int
) -> np.ndarray:
    """By pyhessian alone, on a copy; its warning is about the graph that the last line frees."""
    twin = copy.deepcopy(model)
    with fork_global_rng(generator(number, "benchmark")), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*create_graph=True")
        found = pyhessian.hessian(twin, F.cross_entropy, data=(images, labels), cuda=False)
        found.device = images.device
        values, _ = found.eigenvalues(tol=tolerance, top_n=2)
    twin.zero_grad(set_to_none=True)
    return np.array(values)


def timed(compared: dict[str, Values], rounds: int, device: str) -> dict[str, list[float]]:
    """The seconds of each side in each round, one side after the other."""
    seconds: dict[str, list[float]] = {name: [] for name in compared}
    for number in range(rounds):
        for name, side in compared.items():
            start = perf_counter()
            side(number)
            if device != "cpu":
                torch.cuda.synchronize()
            seconds[name].append(perf_counter() - start)
    return seconds


def checked(side: Values, number: int, exact: np.ndarray) -> tuple[int, float]:
    """The products with the Hessian and the largest relative error."""
    with patch("torch.autograd.grad", wraps=torch.autograd.grad) as spy:
        values = side(number)
    products = sum("grad_outputs" in call.kwargs for call in spy.call_args_list)
    return products, float(np.abs(values / exact - 1).max())


def trained(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> nn.Module:
    """The model after some steps of SGD on the one batch, in evaluation mode."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = F.cross_entropy(model.train()(images), labels)
        torch.autograd.backward(loss)
        optimiser.step()
    return model.eval()


def parse_options() -> argparse.Namespace:
    """The arguments, as they were given."""
    arguments = parser(__doc__, rounds=5)
    arguments.add_argument("--steps", type=int, default=30, help="of SGD before (default 30)")
    return arguments.parse_args()


if __name__ == "__main__":
    main()
