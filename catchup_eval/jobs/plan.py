"""A plan: what to train and to evaluate, on which data, or what to simulate; a TOML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from catchup_eval.core import toml
from catchup_eval.core.settings import (
    Count,
    EachOnce,
    PositiveFraction,
    Seed,
    Settings,
    Several,
    check,
)

DEFAULT = "digits"


class CScoreSettings(Settings):
    """How C-scores of the test images are estimated where the data has none.

    Attributes:
        networks: how many are trained; the outcomes of all are averaged.
        shares: fractions of the training images that a network is trained on, sampled anew for
            each; the networks take turns.
        recipe: see `list recipes`. A smaller fraction has as many steps, in more epochs.
    """

    networks: Annotated[int, Field(ge=1, le=10_000)] = 24
    shares: Annotated[Several[PositiveFraction], Field(min_length=1)] = (0.25, 0.5, 0.75)
    recipe: str = "tiny"

    @model_validator(mode="after")
    def _check_network_count(self) -> Self:
        if self.networks < len(self.shares):
            raise ValueError(
                f"expected at least one network for each of the {len(self.shares)} fractions, "
                f"got {self.networks}"
            )
        return self


class Plan(Settings):
    """What one run does.

    Attributes:
        name: of the report's folder.
        about: one line, for `list plans`.
        data: a dataset by name, or a `.npz` file.
        recipe: of the trainings; see `list recipes`.
        methods: to train; see `list methods`. With regularizers beside those of the recipe:
            "cutmix+cutout".
        seeds: each method is trained once with each.
        epochs: instead of the recipe's.
        models: specs of further networks that are only evaluated.
        simulations: in place of all that; see `list simulations`.
        reference: the group the others are compared with; the first where it is not given.
        only, skip: of the analyses or simulations.
        seed: of the analyses' random numbers.
        cscores: how C-scores are estimated for the analysis that needs them; without this
            table they are not, and the analysis needs data that has them.
        settings: by analysis or simulation.
        engine: what runs the tasks: its `name`, how many `workers`, and its settings.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    about: str = ""
    data: str = "digits"
    recipe: str = "digits"
    methods: Annotated[Several[str], EachOnce] = ()
    seeds: Annotated[Several[Seed], Field(min_length=1), EachOnce] = (0,)
    epochs: Count | None = None
    models: Several[str] = ()
    simulations: Several[str] = ()
    reference: str = ""
    only: Several[str] = ()
    skip: Several[str] = ()
    seed: Seed = 0
    cscores: CScoreSettings | None = None
    settings: dict[str, dict[str, Any]] = {}
    engine: dict[str, Any] = {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if Path(self.name).name != self.name:  # a plan writes below its folder alone
            raise ValueError(f"expected name as that of a folder, got {self.name!r}")
        name, workers = self.engine.get("name", ""), self.engine.get("workers", 1)
        if not isinstance(name, str) or not isinstance(workers, int):
            raise ValueError("expected engine.name as text and engine.workers as a number")
        return self


def shipped_plans() -> dict[str, Plan]:
    """The plans that come with the package, by name."""
    return {name: check(Plan, content, name) for name, content in _shipped().items()}


def _shipped() -> Mapping[str, dict[str, Any]]:
    return toml.shipped("catchup_eval.jobs", "plans")


def find(name: str) -> Plan:
    """A shipped plan by name, or the plan in a TOML file.

    Raises:
        UnknownName: neither.
        BadFile: no such file, or no valid TOML.
        UserError: a key that plans do not have, or a value of another kind.
    """
    return check(Plan, toml.find("plan", name, _shipped()), name)


def write(plan: Plan) -> str:
    """The plan as TOML, without what is left at its default."""
    content = plan.model_dump(exclude_defaults=True, mode="json")
    settings = content.pop("settings", {})
    tables = {f"settings.{name}": values for name, values in settings.items()}
    tables |= {"engine": content.pop("engine")} if plan.engine else {}
    if plan.cscores is not None:
        tables["cscores"] = content.pop("cscores")
    lines = [f"{key} = {toml.write_value(value)}" for key, value in content.items()]
    for name, values in tables.items():
        lines += [
            "",
            f"[{name}]",
            *(f"{key} = {toml.write_value(value)}" for key, value in values.items()),
        ]
    return "\n".join(lines) + "\n"


def differences(plan: Plan, other: Plan) -> list[str]:
    """What changed from `other` to `plan`, one line a key."""
    new, old = plan.model_dump(), other.model_dump()
    keys = [key for key in new if key != "engine"]  # which changes no number
    return [f"{key}: {old[key]} -> {new[key]}" for key in keys if new[key] != old[key]]


def override_plan(plan: Plan, changes: Mapping[str, Any]) -> Plan:
    """The plan with those of `changes` that are set.

    Raises:
        UserError: a value that a plan cannot have.
    """
    own = {key: value for key, value in changes.items() if value}
    return check(Plan, plan.model_dump(exclude_unset=True) | own, "the options")
