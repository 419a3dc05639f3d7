"""What is importable is what is listed."""

import subprocess
import sys
from typing import get_type_hints

import catchup_eval as ce


def test_every_listed_name_is_there() -> None:
    for name in ce.__all__:
        assert getattr(ce, name) is not None


def test_the_list_is_sorted_and_complete() -> None:
    assert ce.__all__ == sorted(ce.__all__)
    assert set(ce.__all__) == set(ce._HOMES)


def test_public_names_have_docstrings() -> None:
    for name in ce.__all__:
        assert getattr(ce, name).__doc__, name


def test_functions_are_fully_annotated() -> None:
    for name in ("compare", "data", "evaluate", "from_arrays", "load", "open", "train", "wrap"):
        assert "return" in get_type_hints(getattr(ce, name)), name


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(ce, "catchup")


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, catchup_eval; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
