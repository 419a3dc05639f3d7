"""Accuracy or error under FGSM and PGD: at which radius, and which of the two."""

from collections.abc import Iterator
from typing import Any

from catchup_eval.analysis.conventions import (
    Convention,
    ConventionFamily,
    Conventions,
    accuracy_and_error,
    rerun_hint,
    row,
)


def _attack_conventions(attack: str, who: dict[int, tuple[str, str]]) -> Iterator[Convention]:
    for epsilon, used_by in who.items():
        setting = "epsilons" if attack == "fgsm" else f"{attack}_epsilons"
        needs = rerun_hint(f"adversarial.{setting}={epsilon}")
        where: dict[str, Any] = {"attack": attack, "epsilon": float(epsilon)}
        of = row("accuracy", needs, sample=f"{attack}@{epsilon}", **where)
        how = f"all test images, l_inf ball of {epsilon}/255"
        # an error comes first, since the papers print it
        yield from reversed(accuracy_and_error(f"{epsilon}/255", used_by, how, "adversarial", of))


FGSM = {
    4: ("PuzzleMix's main.py", "Catch-up Mix, Tables 1 and 2"),
    8: ("PuzzleMix's test_robust.py, OpenMixup", "the mixup papers that follow PuzzleMix"),
}
PGD = {
    4: ("PuzzleMix's test_robust.py", "tables of errors"),
    8: ("RobustBench's radius for CIFAR", "tables of errors"),
}

CONVENTIONS: Conventions = (
    ConventionFamily(
        "FGSM", tuple(_attack_conventions("fgsm", FGSM)), also=("FGSM error", "FGSM accuracy")
    ),
    ConventionFamily(
        "PGD", tuple(_attack_conventions("pgd", PGD)), also=("PGD error", "PGD accuracy")
    ),
)
