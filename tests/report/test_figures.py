"""Saved figures: no dates, no chance; and the comparison's figures show what was decided."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from catchup_eval.core.files import slugify
from catchup_eval.plotting import figure, style
from catchup_eval.report.figures import save
from catchup_eval.report.plots import agreement_plot, difference_plot, ranking_plot, tradeoff_plot
from catchup_eval.report.sections import with_display_names
from catchup_eval.results import comparison, summary
from catchup_eval.results.agreement import Agreement


def line_figure() -> Figure:
    with style.figure_style():
        fig = figure.figure()
        axes = fig.subplots()
        axes.plot([0, 1], [0, 1])
        axes.set_xlabel("epoch")
        return fig


def test_a_saved_figure_is_the_same_each_time_and_has_no_date(tmp_path):
    for number in range(2):
        save(line_figure(), tmp_path / str(number), "line", "a line")
    for suffix in ("png", "pdf", "svg"):
        one, other = (tmp_path / str(i) / "figures" / f"line.{suffix}" for i in range(2))
        assert one.read_bytes() == other.read_bytes()
        for word in (b"CreationDate", b"dc:date", b"matplotlib version"):
            assert word not in one.read_bytes()


def test_text_stays_text_and_the_size_is_known(tmp_path):
    picture = save(line_figure(), tmp_path, "line", "a line")
    assert b">epoch</text>" in (tmp_path / "figures" / "line.svg").read_bytes()
    assert b"/FontType 3" not in (tmp_path / "figures" / "line.pdf").read_bytes()
    assert picture.width / picture.height == pytest.approx(3.25 / 2.4, rel=0.01)
    assert all((tmp_path / path).is_file() for _, path in picture.links)
    assert picture.data_uri.startswith("data:image/png;base64,iVBOR")


def test_slugs_are_safe():
    assert slugify("../A b/<c>") == "a-b-c"
    assert slugify("///") == "x"


def test_names_that_figures_cannot_show_are_changed_and_stay_apart(made):
    long = "a" * 40
    names = ("$x$", "_hidden", long + "1", long + "2")
    study = with_display_names(made(abilities=dict.fromkeys(names, (80.0, 1.0, 40.0))))
    assert len(set(study.groups)) == 4
    with style.figure_style():
        fig = figure.figure()
        axes = fig.subplots()
        for name in study.groups:
            axes.plot([0], [0], label=name)
        figure.legend_below(fig, axes)
        fig.draw_without_rendering()
    assert len(fig.legends[0].get_texts()) == 4


def texts(fig: Figure) -> list[str]:
    return [text.get_text() for text in fig.findobj(Text) if text.get_text()]


def differences(study, analyses) -> tuple[list[comparison.PairwiseComparison], Figure]:
    compared = comparison.compare_to_reference(summary.summarize(study, analyses), "baseline")
    return compared, difference_plot(compared, "baseline", style.plot_styles(study.groups))


def marks(fig: Figure, marker: str) -> list:
    return [line for axes in fig.axes for line in axes.lines if line.get_marker() == marker]


@pytest.mark.parametrize("kind", ["three", "methods"])
def test_a_filled_diamond_for_each_significant_difference(request, analyses, kind):
    compared, fig = differences(request.getfixturevalue(kind), analyses)
    assert len(marks(fig, "D")) == sum(one.significant for one in compared)
    assert len(marks(fig, "o")) == sum(not one.significant for one in compared)
    assert all(to_hex(line.get_markerfacecolor()) == "#ffffff" for line in marks(fig, "o"))


def test_right_is_better_in_every_row(methods, analyses):
    compared, fig = differences(methods, analyses)
    points, others = (
        [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() in "Do"]
        for axes in fig.axes
    )
    rates = [one for one in compared if one.line.unit == "%"]
    assert points == pytest.approx([one.gain.value for one in rates])
    sharp = [one for one in compared if one.line.unit != "%"]
    base = sharp[0].line.readings["baseline"].mean
    assert others == pytest.approx([100 * one.gain.value / base for one in sharp])


def test_differences_without_any_interval_can_be_drawn(three, analyses):
    _, fig = differences(three, {"sharp": analyses["sharp"]})
    assert len(marks(fig, "o")) == 2


def test_ranks_are_drawn_with_their_ties(three, analyses):
    lines = [line for line in summary.summarize(three, analyses) if line.primary]
    rankings = comparison.rankings(lines)
    fig = ranking_plot(rankings, style.plot_styles(three.groups))
    assert texts(fig).count("tie") == sum(len(ranking.ties) for ranking in rankings)
    first = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert first == [rank.group for rank in rankings[0].ranks]


def test_up_and_right_is_better_in_a_trade_off(methods, analyses):
    lines = summary.summarize(methods, analyses)
    axes = tradeoff_plot(lines, style.plot_styles(methods.groups)).axes[0]
    assert not axes.xaxis.get_inverted() and not axes.yaxis.get_inverted()
    assert tradeoff_plot(lines[:2], style.plot_styles(methods.groups)) is None


def test_the_lower_triangle_of_agreement_with_the_diagonal_of_seeds():
    kappa = np.array([[np.nan, 0.5, 0.25], [0.5, np.nan, 0.75], [0.25, 0.75, np.nan]])
    fig = agreement_plot(Agreement("correctness", ("a", "b", "c"), kappa))
    assert sorted(text for text in texts(fig) if text[:2] == "0.") == ["0.25", "0.50", "0.75"]
    kappa = np.array([[0.9, 0.5], [0.5, 0.8]])
    fig = agreement_plot(Agreement("correctness", ("a", "b"), kappa))
    assert {"0.90", "0.50", "0.80"} <= set(texts(fig))


def test_text_is_never_smaller_than_can_be_read(three, analyses):
    lines = summary.summarize(three, analyses)
    primary, styles = [line for line in lines if line.primary], style.plot_styles(three.groups)
    ranks = ranking_plot(comparison.rankings(primary), styles)
    for fig in (differences(three, analyses)[1], ranks, tradeoff_plot(lines, styles)):
        assert min(t.get_fontsize() for t in fig.findobj(Text) if t.get_text()) >= 6.5
        assert fig.get_size_inches()[0] in (figure.COLUMN, style.PAGE)
