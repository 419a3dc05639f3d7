"""Saved figures: no dates, no chance; and the comparison's figures show what was decided."""

from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from catchup_eval.core.errors import UserError
from catchup_eval.core.files import slugify
from catchup_eval.plotting import figure, style
from catchup_eval.plotting.curves import Curve, draw
from catchup_eval.report.figures import save
from catchup_eval.report.plots import (
    Cost,
    agreement_plot,
    decision_plot,
    rank_plot,
    summary_plot,
    values_plot,
)
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
        with style.figure_style(style.Style(formats=("png", "svg", "pdf"))):
            save(line_figure(), tmp_path / str(number), "line", "a line")
    for suffix in ("png", "pdf", "svg", "csv"):
        one, other = (tmp_path / str(i) / "figures" / f"line.{suffix}" for i in range(2))
        assert one.read_bytes() == other.read_bytes()
        for word in (b"CreationDate", b"dc:date", b"matplotlib version"):
            assert word not in one.read_bytes()
    assert b"/FontType 3" not in (tmp_path / "0" / "figures" / "line.pdf").read_bytes()


def test_text_stays_text_and_the_size_is_known(tmp_path):
    with style.figure_style():
        picture = save(line_figure(), tmp_path, "line", "a line")
    assert b">epoch</text>" in (tmp_path / "figures" / "line.svg").read_bytes()
    assert not (tmp_path / "figures" / "line.pdf").exists(), "only on request"
    assert picture.width / picture.height == pytest.approx(3.25 / 2.4, rel=0.01)
    assert all((tmp_path / path).is_file() for _, path in picture.links)
    assert picture.data_uri.startswith("data:image/png;base64,iVBOR")


def test_its_data_lie_beside_a_figure(tmp_path):
    """A line with its interval, steps, a map; names, not numbers of lines."""
    with style.figure_style():
        fig = figure.figure()
        lines, steps, cells = fig.subplots(1, 3)
        x = np.array([0.0, 1.0])
        look = style.plot_styles(["ours"])["ours"]
        draw(lines, Curve(x, x + 2, x + 1, x + 3), look)
        lines.set(title="a", xlabel="epoch")
        steps.stairs([5, 6], [0, 1, 2], label="test")
        figure.cells[cells] = figure.table_cells(np.array([[7.0, np.nan]]), ["p", "q"])
        save(fig, tmp_path, "all", "all")
    rows = (tmp_path / "figures" / "all.csv").read_text().splitlines()
    assert rows == [
        "panel,x_label,y_label,series,x,x_end,y,low,high,value",
        "1: a,epoch,,ours,0,,2,1,3,",
        "1: a,epoch,,ours,1,,3,2,4,",
        "2,,,test,0,1,5,,,",
        "2,,,test,1,2,6,,,",
        "3,,,,p,,0,,,7",
        "3,,,,q,,0,,,",
    ]


def test_slugs_are_safe():
    assert slugify("../A b/<c>") == "a-b-c"
    assert slugify("///") == "x"


def test_names_that_figures_cannot_show_are_changed_and_stay_apart():
    long = "a" * 40
    names = style.figure_names(["$x$", "_hidden", long + "1", long + "2"])
    assert list(names.values())[:2] == ["$x$", " _hidden"] and len(set(names.values())) == 4
    with style.figure_style():
        fig = figure.figure()
        axes = fig.subplots()
        for name in names.values():
            axes.plot([0], [0], label=name)
        figure.legend_below(fig, axes)
        fig.draw_without_rendering()
    assert len(fig.legends[0].get_texts()) == 4


def test_a_name_is_drawn_as_it_is_and_no_formula(tmp_path):
    with style.figure_style():
        fig = line_figure()
        fig.axes[0].set_title("$x_1$ & co")
        save(fig, tmp_path, "dollar", "a name")
    assert b">$x_1$ &amp; co</text>" in (tmp_path / "figures" / "dollar.svg").read_bytes()


def test_letters_that_no_font_has_are_written_as_their_codes(monkeypatch):
    monkeypatch.setattr(style, "_letters", lambda _families: frozenset(map(ord, "模")))
    assert style.unwritable("模型 a") == "型"
    assert style.figure_name("模型 a") == r"模\u578b a"


def test_letters_are_taken_from_the_next_font_that_has_them():
    found = style.fonts()
    assert found[-1] in style.FONTS and "DejaVu Sans" in found
    assert style.fonts("No Such Font") == found
    assert style.fonts("DejaVu Serif")[0] == "DejaVu Serif"


def texts(fig: Figure) -> list[str]:
    return [text.get_text() for text in fig.findobj(Text) if text.get_text()]


def compared_with(study, analyses) -> list[comparison.PairwiseComparison]:
    every = comparison.compare_to_reference(summary.summarize(study, analyses), "baseline")
    return [one for one in every if one.line.primary]


def drawn(study, analyses) -> tuple[list[comparison.PairwiseComparison], Figure]:
    compared = compared_with(study, analyses)
    with style.figure_style():
        looks = style.group_styles(study.groups)
        return compared, summary_plot(compared, "baseline", looks, style.PAGE)


def marks(fig: Figure) -> list:
    return [line for axes in fig.axes for line in axes.lines if line in figure.owners]


@pytest.mark.parametrize("kind", ["three", "methods"])
def test_a_mark_is_filled_where_the_difference_is_significant(request, analyses, kind):
    compared, fig = drawn(request.getfixturevalue(kind), analyses)
    filled = [to_hex(mark.get_markerfacecolor()) != "#ffffff" for mark in marks(fig)]
    assert filled == [one.significant for one in compared]


def test_right_is_better_in_each_row_and_in_the_unit_of_the_number(methods, analyses):
    compared, fig = drawn(methods, analyses)
    shown = [float(mark.get_xdata()[0]) for mark in marks(fig)]
    assert shown == pytest.approx([one.gain.value for one in compared])
    rates, other = fig.axes
    assert "points" in rates.get_xlabel() and other.get_xlabel() == "curvature"


def test_differences_without_any_interval_can_be_drawn(three, analyses):
    compared, fig = drawn(three, {"sharp": analyses["sharp"]})
    assert len(marks(fig)) == len(compared) == 2


def test_one_model_is_drawn_with_chance(made, analyses):
    lines = summary.summarize(made(abilities={"only": (80.0, 1.0, 40.0)}), analyses)
    with style.figure_style():
        axes = values_plot(lines, "only", style.PAGE).axes[0]
    ticks = [line for line in axes.lines if line.get_color() == style.GREY]
    assert [line.get_xdata()[0] for line in ticks] == [10.0, 50.0]


def test_mean_ranks_are_drawn_from_best_to_worst(three, analyses):
    ranking = comparison.overall_ranking(summary.summarize(three, analyses), three.groups)
    with style.figure_style():
        fig = rank_plot(ranking, style.group_styles(three.groups))
    first = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert first == [rank.group for rank in ranking.ranks]
    shown = [float(mark.get_xdata()[0]) for mark in marks(fig)]
    assert shown == [rank.mean for rank in ranking.ranks]


def test_up_and_right_is_better_in_a_trade_off(methods, analyses):
    lines = summary.summarize(methods, analyses)
    cost = Cost("parameters", {"baseline": 1.0, "cutmix": 2.0, "catchup": 3.0})
    with style.figure_style():
        fig = decision_plot(lines, [cost], style.group_styles(methods.groups))
    rate, size = fig.axes
    assert not rate.xaxis.get_inverted() and not rate.yaxis.get_inverted()
    assert size.xaxis.get_inverted(), "fewer parameters are better"
    front = next(line for line in size.lines if line.get_label() == "Pareto front")
    assert sorted(front.get_xdata()) == [1.0, 2.0, 3.0]


MANY = [f"model {i}" for i in range(9)]


def test_of_many_models_the_reference_and_the_highlighted_are_not_grey():
    with style.figure_style(style.Style(highlighted=("model 4", "model 7"))):
        looks = style.plot_styles(MANY)
    vivid = [name for name, look in looks.items() if look.color != style.GREY]
    assert vivid == ["model 0", "model 4", "model 7"]
    assert len({(look.marker, look.dash) for look in looks.values()}) == len(MANY)


def test_of_many_models_each_is_named_at_the_end_of_its_line():
    with style.figure_style():
        fig = figure.figure()
        axes = fig.subplots()
        for i, look in enumerate(style.plot_styles(MANY).values()):
            x = np.array([0.0, 1.0])
            draw(axes, Curve(x, i * x, x * np.nan, x * np.nan), look, label=f"{look.name}: {i}")
        figure.legend_below(fig, axes)
        fig.draw_without_rendering()
    assert {text.get_text() for text in axes.texts} == {*MANY} and not fig.legends
    boxes = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes)), "no two overlap"


def test_a_style_has_its_width_its_font_and_its_colours(tmp_path):
    path = tmp_path / "paper.toml"
    path.write_text(
        'columns = 1\nfont = "DejaVu Serif"\nfont_size = 9\nformats = ["pdf"]\n'
        '[names]\nbaseline = "Vanilla"\n[colors]\nbaseline = "tab:red"\n'
    )
    with style.figure_style(style.read_style(path)):
        assert figure.figure(style.PAGE).get_figwidth() == figure.COLUMN
        assert mpl.rcParams["font.size"] == 9 and mpl.rcParams["font.family"][0] == "DejaVu Serif"
        assert style.group_styles(["baseline"])["baseline"][::3] == ("tab:red", "Vanilla")
    assert mpl.rcParams["font.size"] != 9, "settings are given back"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('colour = "red"', "there is no .* 'colour'"),
        ('[colors]\na = "no colour"', "expected a colour such as"),
        ("font_size = 99", "24"),
        ('formats = ["gif"]', "formats"),
    ],
)
def test_a_fault_of_a_style_is_told_in_a_sentence(tmp_path, text, message):
    path = tmp_path / "paper.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        style.read_style(path)


def test_the_lower_triangle_of_agreement_with_the_diagonal_of_seeds():
    kappa = np.array([[np.nan, 0.5, 0.25], [0.5, np.nan, 0.75], [0.25, 0.75, np.nan]])
    fig = agreement_plot(
        Agreement("correctness", ("a", "b", "c"), kappa), style.group_styles("abc")
    )
    assert sorted(text for text in texts(fig) if text[:2] == "0.") == ["0.25", "0.50", "0.75"]
    kappa = np.array([[0.9, 0.5], [0.5, 0.8]])
    fig = agreement_plot(Agreement("correctness", ("a", "b"), kappa), style.group_styles("ab"))
    assert {"0.90", "0.50", "0.80"} <= set(texts(fig))


def test_text_is_never_smaller_than_can_be_read(three, analyses):
    lines = summary.summarize(three, analyses)
    with style.figure_style():
        looks = style.group_styles(three.groups)
        ranks = rank_plot(comparison.overall_ranking(lines, three.groups), looks)
        figures = [drawn(three, analyses)[1], ranks, decision_plot(lines, [], looks)]
    for fig in figures:
        assert min(t.get_fontsize() for t in fig.findobj(Text) if t.get_text()) >= 6.5
        assert fig.get_figwidth() <= style.PAGE
