import numpy as np

from catchup_eval.paper.page import beta_plot


def test_densities_of_figure_8() -> None:
    """Beta(1, 1) is uniform, and Beta(2, 2) has the density 6 x (1 - x)."""
    half, flat, hill = beta_plot([0.5, 1.0, 2.0]).axes[0].get_lines()
    x, y = hill.get_data()
    np.testing.assert_allclose(y, 6 * x * (1 - x))
    np.testing.assert_allclose(flat.get_ydata(), 1)
    x, y = half.get_data()
    np.testing.assert_allclose(y, 1 / (np.pi * np.sqrt(x * (1 - x))))
