"""The reference and photographs of frost for all tests of corruptions."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import numpy as np
import pytest

from catchup_eval.analysis.corruption.transforms import frost


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """reference.py: the corruptions one image at a time, without the package."""
    spec = spec_from_file_location("reference", Path(__file__).with_name("reference.py"))
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def ice() -> list[np.ndarray]:
    """Five photographs of nothing, (H, W, 3) uint8."""
    draw = np.random.default_rng(5)
    sizes = ((400, 300), (330, 410), (300, 300), (310, 290), (500, 280))
    return [draw.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


@pytest.fixture(scope="session")
def official_ice(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> frost.Photographs:
    """The official photographs, where the real data lie beside the project."""
    folder = tmp_path_factory.mktemp("frost")
    with ZipFile(shared / "frost.zip") as pack:
        pack.extractall(folder)
    return frost.photographs(folder)
