"""How strongly an alpha mixes: densities of Beta(alpha, alpha), the paper's Figure 8."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import beta

from catchup_eval.report import figures

SHARES = np.linspace(0.005, 0.995, 199)  # open ends: below alpha 1 the density has no bound there


def beta_plot(alphas: Sequence[float]) -> Figure:
    """The density of the mixing weight for each alpha: the larger, the nearer to one half."""
    with figures.style():
        fig = figures.figure(figures.COLUMN, 2.4)
        axes = fig.subplots()
        names = [rf"$\alpha$ = {alpha:g}" for alpha in alphas]
        for alpha, (name, look) in zip(alphas, figures.looks(names).items(), strict=True):
            density = beta.pdf(SHARES, alpha, alpha)
            axes.plot(SHARES, density, color=look.color, linestyle=look.dash, label=name)
        axes.set(xlabel=r"mixing weight $\lambda$", ylabel="density", xlim=(0, 1), ylim=(0, None))
        figures.legend_below(fig, axes, columns=3)
        return fig
