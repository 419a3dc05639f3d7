"""Passes of networks whose weights lie channels last, as `evaluate` has them, and as built.

    python benchmarks/memory_format.py                               # a few networks
    python benchmarks/memory_format.py --networks timm:resnet18      # others

A forward pass, as most analyses need, and one there and back to the pixels, as attacks do.
Both sides in one run, in turn; the ratio of processor times is printed as the median [quartiles].
"""

import copy

import numpy as np
import torch
from machine import machine, parser, seconds_of

from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.models.memory_format import reorder
from catchup_eval.models.zoo import build

NETWORKS = {  # side and images of a batch
    "resnet20": (32, 100),
    "wrn10_1": (32, 100),
    "resnet18": (32, 20),
    "torchvision:resnet18": (224, 4),
    "torchvision:squeezenet1_1": (224, 4),
    "torchvision:mobilenet_v2": (224, 4),
    "timm:convnext_atto": (224, 4),
    "torchvision:vit_b_16": (224, 1),
}


def main() -> None:
    """Read the arguments, measure, print."""
    arguments = parser(__doc__, rounds=7)
    arguments.add_argument("--networks", nargs="*", default=list(NETWORKS), help="which")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    print(machine(options).splitlines()[0])
    for name in options.networks:
        side, count = NETWORKS.get(name, (224, 4))
        ratios = pass_ratios(name, torch.rand(count, 3, side, side), options.rounds, options.device)
        texts = ["{1:.2f} [{0:.2f}, {2:.2f}]".format(*row) for row in ratios]
        print(f"{name:26} {side} px: forward {texts[0]}, and backward {texts[1]}", flush=True)


def pass_ratios(name: str, images: torch.Tensor, rounds: int, device: str) -> np.ndarray:
    """(2, 3) quartiles of the ratios: of a forward pass, and of one there and back."""
    with fork_global_rng(generator(0, "weights")):
        built = build(name, classes=10, mean=(0.5,) * 3, std=(0.25,) * 3).eval().to(device)
    reordered = copy.deepcopy(built)
    reorder(reordered.net)
    images = images.to(device)

    def forward(model: torch.nn.Module) -> None:
        with torch.inference_mode():
            model(images)

    def there_and_back(model: torch.nn.Module) -> None:
        pixels = images.clone().requires_grad_()
        torch.autograd.grad(model(pixels).sum(), pixels)

    works, where = (forward, there_and_back), torch.device(device)
    seconds = np.array(
        [
            [[seconds_of(lambda: work(m), where) for m in (built, reordered)] for work in works]  # noqa: B023
            for _ in range(rounds + 1)
        ]
    )
    ratios = (seconds[1:, :, 1] / seconds[1:, :, 0]).T  # the first warms up
    return np.percentile(ratios, [25, 50, 75], axis=1).T


if __name__ == "__main__":
    main()
