from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from catchup_eval.datasets.dataset import AnySet
from catchup_eval.jobs import engine
from catchup_eval.jobs.data import DataSource
from catchup_eval.jobs.engine import SILENT, Display, InlineEngine
from catchup_eval.jobs.evaluate import EvaluationSettings, describe_study, plan_evaluate
from catchup_eval.jobs.networks import ModelSource, ModelUnderTest
from catchup_eval.results.store import MemoryStore, Store
from catchup_eval.results.study import Study, data_info


@pytest.fixture(scope="session")
def evaluate() -> Callable[..., Study]:
    """`evaluate(models, data, settings, store)`: plan and run, on the CPU."""

    def run(
        models: Sequence[ModelUnderTest],
        data: AnySet,
        settings: EvaluationSettings,
        store: Store | None = None,
        display: Display = SILENT,
    ) -> Study:
        source = DataSource("", Path(), live=data)
        groups = [model.info.group for model in models]
        info = describe_study("x", "x", groups, data_info(source.evaluation), settings)
        tasks = plan_evaluate([*map(ModelSource.of, models)], source, settings)
        target = MemoryStore() if store is None else store
        return engine.run(tasks, target, info, engine=InlineEngine("cpu"), display=display)

    return run
