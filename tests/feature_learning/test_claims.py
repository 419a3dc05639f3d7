import pytest

from catchup_eval.feature_learning.features import claims
from catchup_eval.results.result import ModelResult, Result, Rows, join

KINDS = ("common", "rare", "extremely rare")
PAPER = {  # learned, evenness, fall, accuracy
    "erm": ((100, 0, 0), 0, 0, 90),
    "cutout": ((100, 100, 0), 1, 0, 93),
    "cutmix": ((100, 100, 100), 98, 15, 95),
}


def seed(number: int, **changes: tuple) -> list[ModelResult]:
    """Results of one seed as the paper has them, but for what is changed."""
    results = []
    for method, (learned, evenness, fall, accuracy) in {**PAPER, **changes}.items():
        rows = Rows("feature-noise@1")
        for kind, percent in zip(KINDS, learned, strict=True):
            rows.add("learned", percent, unit="%", n=2, feature=kind)
        rows.add("evenness", evenness, unit="%", n=6)
        rows.add("fall", fall, unit="%", n=6, feature="common")
        rows.add("whole_accuracy", accuracy, unit="%", n=6)
        results.append(ModelResult(method, number, Result(rows.frame())))
    return results


def count(members: list[ModelResult]) -> list[int]:
    """In how many seeds each claim holds."""
    tested = claims(join(members))
    return [sum(seed[claim] for seed in tested) for claim in tested[0]]


def test_all_claims_hold_where_all_is_as_in_the_paper() -> None:
    assert count(seed(0) + seed(1)) == [2] * 7


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"erm": ((100, 50, 0), 0, 0, 90)}, 0),  # one of two rare features
        ({"cutout": ((100, 100, 100), 1, 0, 93)}, 1),
        ({"cutmix": ((100, 100, 50), 98, 15, 95)}, 2),
        ({"cutmix": ((100, 100, 100), 60, 15, 95)}, 3),
        ({"cutmix": ((100, 100, 100), 98, 0, 95)}, 4),
        ({"cutout": ((100, 100, 0), 1, 0, 89)}, 5),
        ({"cutout": ((100, 100, 0), 1, 0, 96)}, 6),
    ],
)
def test_a_seed_that_differs_is_not_counted(changes: dict, missing: int) -> None:
    expected = [2 if number == missing else 3 for number in range(7)]
    assert count(seed(0) + seed(1, **changes) + seed(2)) == expected


def test_a_result_without_a_method_claims_nothing() -> None:
    assert claims(join(seed(0)[:2])) == []
