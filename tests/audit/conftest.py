from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def few_resamples() -> Iterator[None]:
    """Bootstraps of 20 resamples, where intervals are no matter."""
    from catchup_eval.metrics import intervals

    with pytest.MonkeyPatch.context() as patch:
        for function in (intervals.bootstrap, intervals.bootstrap_mean):
            patch.setitem(function.__kwdefaults__, "resamples", 20)
        yield
