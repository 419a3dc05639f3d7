"""What a training step of each method costs more than a baseline step.

    python benchmarks/overhead.py                             # a few minutes on one CPU core
    python benchmarks/overhead.py --methods catchup cutmix --layers
    python benchmarks/overhead.py --device cuda --width 64 --rounds 50

A step is forward, loss, backward and SGD update of PreActResNet-18, interleaved with baseline
steps (catchup_eval/trainers/overhead.py). Printed: the median ratio, its quartiles, n, and the full
forward and backward passes of a step. The last line is a baseline step against its neighbours: the
noise. `--layers` adds Catch-up Mix at each layer k alone (0 is the input, 1 the stem).
"""

import argparse

import torch
from machine import batch, machine, network, parser

from catchup_eval.trainers.base import Method
from catchup_eval.trainers.mixing import build
from catchup_eval.trainers.mixing.baseline import baseline
from catchup_eval.trainers.mixing.catchup import catchup
from catchup_eval.trainers.overhead import overhead


def main() -> None:
    """Read the arguments, measure, print."""
    options = asked()
    torch.set_num_threads(options.threads)
    print(f"{machine(options)}: step time as a multiple of the baseline's, median [quartiles]")
    model = network(options)
    sides: dict[str, Method] = {name: build(name, model) for name in options.methods}
    if options.layers:
        sides |= {f"catchup, k = {k}": catchup(model, layers=k) for k in range(6)}
    sides["baseline again"] = baseline(model)
    images, labels = batch(options)
    for name, cost in overhead(model, sides, images, labels, rounds=options.rounds).items():
        low, median, high = cost.quartiles
        print(
            f"{name:18} {median:6.3f}   [{low:.3f}, {high:.3f}]   n = {options.rounds}"
            f"   forward {cost.forwards:.2f}   backward {cost.backwards:.2f}"
        )


def asked() -> argparse.Namespace:
    """The arguments, as they were given."""
    arguments = parser(__doc__, rounds=12)
    arguments.add_argument("--layers", action="store_true", help="also Catch-up Mix at each layer")
    return arguments.parse_args()


if __name__ == "__main__":
    main()
