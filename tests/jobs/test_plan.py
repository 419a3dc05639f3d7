from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchup_eval.core import toml
from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.core.settings import check
from catchup_eval.jobs import plan as plans
from catchup_eval.jobs.plan import CScoreSettings, Plan

words = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=12)


def test_the_shipped_plans_are_valid_and_say_what_they_are() -> None:
    assert {"digits", "feature-learning"} <= set(plans.shipped_plans())
    for name, plan in plans.shipped_plans().items():
        assert plan.name == name and plan.about


def test_a_table_of_estimated_scores_comes_back_too() -> None:
    for cscores in (
        CScoreSettings(),
        CScoreSettings(networks=5, shares=(0.5, 1.0), recipe="mine.toml"),
    ):
        plan = Plan(name="a", cscores=cscores, settings={"landscape": {"points": 5}})
        assert check(Plan, toml.parse(plans.write(plan), "x"), "x") == plan


names = words.filter(lambda text: text and Path(text).name == text)


@given(
    names,
    st.lists(words, max_size=3, unique=True),
    st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
)
def test_a_plan_comes_back_from_toml(name: str, methods: list[str], seeds: list[int]) -> None:
    settings = {"landscape": {"points": 5, "reach": 0.5, "on": True, "list": [1, 2]}}
    plan = Plan(name=name, methods=tuple(methods), seeds=tuple(seeds), settings=settings)
    assert check(Plan, toml.parse(plans.write(plan), "x"), "x") == plan


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "a"\nmethds = []', "did you mean 'methods'"),
        ('name = "a"\nseeds = ["x"]', "seeds"),
        ('name = "a"\n[cscores]\nnetwork = 3', "did you mean 'networks'"),
        ('name = "a"\n[cscores]\nnetworks = 2', "each of the 3 fractions, got 2"),
        ('name = "../a"', "expected name as that of a folder, got '../a'"),
        ('name = "a"\nseeds = [1, 1]', "expected seeds as a list of different values"),
        ('name = "a"\nepochs = "3"', r"expected epochs as a whole number .* got '3'"),
        ("name = ", "no valid TOML"),
    ],
)
def test_a_wrong_plan_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        plans.find(str(path))


def test_names_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'digits'"):
        plans.find("digit")
    with pytest.raises(BadFile, match=r"cannot read the plan .*toolkit are: digits"):
        plans.find(str(tmp_path / "absent.toml"))


def test_differences_name_the_keys() -> None:
    old, new = Plan(name="a", seeds=(0,)), Plan(name="a", seeds=(0, 1))
    assert plans.differences(new, old) == ["seeds: (0,) -> (0, 1)"]
    assert plans.differences(new, new) == []
