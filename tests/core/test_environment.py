"""What installs an extra."""

import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from catchup_eval.core import environment

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
EXTRAS = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_the_command_names_the_packages_of_the_extra(extra: str) -> None:
    command, _, words = environment.install_command(extra).partition(" install ")
    assert command == "pip"
    found = {Requirement(word.strip('"')) for word in words.split(" ")}
    assert found == {Requirement(text) for text in EXTRAS[extra]}


def test_without_metadata_it_is_that_of_a_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_name: str) -> list[str]:
        raise PackageNotFoundError

    monkeypatch.setattr(environment, "requires", absent)
    assert environment.install_command("ood") == 'pip install ".[ood]"'
