"""Accuracy or error under FGSM and PGD: at which radius, and which of the two."""

from collections.abc import Mapping
from typing import Any

from catchup_eval.analysis import conventions

# By radius in 1/255: who prints the accuracy, and who the error.
USED_BY: Mapping[str, Mapping[int, tuple[str, str]]] = {
    "fgsm": {
        4: ("PuzzleMix's main.py", "Catch-up Mix, Tables 1 and 2"),
        8: ("PuzzleMix's test_robust.py, OpenMixup", "the mixup papers that follow PuzzleMix"),
    },
    "pgd": {
        4: ("PuzzleMix's test_robust.py", "tables of errors"),
        8: ("RobustBench's radius for CIFAR", "tables of errors"),
    },
}


def _family(attack: str) -> conventions.ConventionFamily:
    setting, name = "epsilons" if attack == "fgsm" else f"{attack}_epsilons", attack.upper()
    found: list[conventions.Convention] = []
    for epsilon, used_by in USED_BY[attack].items():
        needs = conventions.rerun_hint(f"adversarial.{setting}={epsilon}")
        where: dict[str, Any] = {"attack": attack, "epsilon": float(epsilon)}
        of = conventions.row("accuracy", needs, sample=f"{attack}@{epsilon}", **where)
        how = f"all test images, l_inf ball of {epsilon}/255"
        pair = conventions.accuracy_and_error(f"{epsilon}/255", used_by, how, "adversarial", of)
        found += reversed(pair)  # an error comes first, since the papers print it
    also = (f"{name} error", f"{name} accuracy")
    return conventions.ConventionFamily(name, tuple(found), also)


CONVENTIONS: conventions.Conventions = (_family("fgsm"), _family("pgd"))
