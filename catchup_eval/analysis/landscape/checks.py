"""What can be wrong with the plane of :mod:`catchup_eval.analysis.landscape`, as self-checks."""

from catchup_eval.analysis.landscape.hessian import CONVERGED, Eigenpairs
from catchup_eval.results.result import Rows

CLUSTER = 0.01  # eigenvalues that differ by less, relative to the first of them, are near-equal:

# Lanczos ends at a residual as large
SETTLED = f"the eigenvalues have converged: residuals of at most {100 * CONVERGED:g} %"
PLANE = (
    f"the plane is unique: the second and third eigenvalue differ by {100 * CLUSTER:g} % or more"
)
AXES = f"the axes are unique: the first two eigenvalues differ by {100 * CLUSTER:g} % or more"
NOTES = {  # what the figure says where the check fails
    SETTLED: "eigenvalues not converged",
    PLANE: "one of many planes",
    AXES: "axes arbitrary within the plane",
}


def check_eigenpairs(rows: Rows, pairs: Eigenpairs, *, samples: int) -> None:
    """Add a row for each; the largest eigenvalues of two or three pairs."""
    first, second, *rest = pairs.values
    rows.check(SETTLED, pairs.converged, samples)
    # In magnitude, by which the plane's two are chosen; the axes also differ by their sign.
    third = abs(rest[0]) if rest else -abs(second)
    rows.check(PLANE, _differ(abs(second), third), samples)
    rows.check(AXES, _differ(first, second), samples)


def _differ(value: float, smaller: float) -> bool:
    return abs(value - smaller) >= CLUSTER * abs(value) > 0
