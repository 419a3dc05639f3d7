"""Kappa against an independent implementation; who alone is right is tested with the pages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from catchup_eval.metrics import agreement


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40))
def test_kappa_equals_scikit_learns(pairs):
    a, b = np.array(pairs).T
    if len(set(a) | set(b)) == 1:
        assert agreement.cohen_kappa(a, b) == 1.0
    else:
        assert agreement.cohen_kappa(a, b) == pytest.approx(cohen_kappa_score(a, b))
