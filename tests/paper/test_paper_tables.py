"""The paper's tables from a study: its numbers, the best bold, the paper's own in italics."""

from types import SimpleNamespace

import pytest

from catchup_eval.metrics.intervals import Interval
from catchup_eval.metrics.significance import Difference
from catchup_eval.paper.reproduction import shipped_reproductions
from catchup_eval.paper.tables import paper_tables
from catchup_eval.report.formatting import NONE
from catchup_eval.report.tables import latex, markdown
from catchup_eval.results.comparison import PairwiseComparison
from catchup_eval.results.headline import Headline
from catchup_eval.results.result import ModelResult, Result, Rows
from catchup_eval.results.summary import SummaryRow

GROUPS = ["base", "ours"]


def clean(value: float) -> Result:
    rows = Rows("clean@1")
    rows.add("accuracy", value, unit="%", n=100, interval=Interval(value - 2, value + 1))
    return Result(rows.frame(), {})


def attacked(value: float) -> Result:
    rows = Rows("fgsm@1")
    for epsilon in (0.0, 4.0):
        rows.add("accuracy", value - epsilon, unit="%", n=100, attack="fgsm", epsilon=epsilon)
    return Result(rows.frame(), {})


def boxes(value: float) -> Result:
    rows = Rows("cam@1")
    rows.add("gt_known", value, unit="%", n=100)
    rows.add("top1_localization", value - 10, unit="%", n=100)
    return Result(rows.frame(), {})


class Answers(SimpleNamespace):
    """What of a study is looked at."""

    groups = GROUPS
    info = SimpleNamespace(reference="base")

    def available_analyses(self):
        return list(self.results)

    def members(self, analysis):
        return iter(self.results.get(analysis, []))

    def models_of(self, group):
        return [SimpleNamespace(card={"method": {"ours": self.method}.get(group, "")})]


def study(method: str = "", **results: list[Result]) -> Answers:
    named = {
        name: [ModelResult(GROUPS[i % 2], i // 2, one) for i, one in enumerate(many)]
        for name, many in results.items()
    }
    return Answers(results=named, method=method)


def better(analysis: str, metric: str, p: float, **where: object) -> PairwiseComparison:
    line = SummaryRow(analysis, "", Headline(metric, "", "higher", where=where), True, "%")
    return PairwiseComparison(line, "ours", Difference(5.0, 4.0, 6.0, p), "samples", "", p)


def texts(one: Answers, verdicts=()) -> dict[str, list[list[str]]]:
    tables = paper_tables(one, verdicts)
    return {table.name: [[c.text for c in row] for row in table.rows] for table, _ in tables}


def test_an_error_is_what_is_left_of_the_accuracy_and_so_is_its_interval():
    one = study(clean=[clean(70.0), clean(80.0)], adversarial=[attacked(50.0), attacked(60.0)])
    assert texts(one) == {
        "paper-table-1": [
            ["base", "30.00 [29.00, 32.00]", "54.00"],
            ["ours", "20.00 [19.00, 22.00]", "44.00"],
        ]
    }


def test_seeds_are_averaged():
    one = study(localization=[boxes(40.0), boxes(50.0), boxes(42.0), boxes(60.0)])
    assert texts(one) == {"paper-table-7": [["base", "41.00", "31.00"], ["ours", "55.00", "45.00"]]}


def test_a_group_without_an_answer_has_a_dash():
    one = study(clean=[clean(70.0), clean(80.0)], localization=[boxes(40.0)])
    assert texts(one)["paper-table-7"][1] == ["ours", NONE, NONE, "80.00 [78.00, 81.00]"]


def test_accuracy_alone_is_no_table_of_the_papers():
    assert texts(study(clean=[clean(70.0), clean(80.0)])) == {}


@pytest.mark.parametrize(("p", "marked"), [(0.01, ["ours"]), (0.2, [])])
def test_what_is_significantly_better_has_a_mark_and_the_best_is_bold(p, marked):
    one = study(clean=[clean(70.0), clean(80.0)], adversarial=[attacked(50.0), attacked(60.0)])
    verdicts = [
        better("adversarial", "accuracy", p, attack="fgsm", epsilon=4.0),
        better("adversarial", "accuracy", 0.001, attack="fgsm", epsilon=0.0),
    ]
    ((table, frame),) = paper_tables(one, verdicts)
    assert [row[0].text for row in table.rows if row[2].mark] == marked
    assert not any(row[1].mark for row in table.rows)
    assert [[cell.best for cell in row] for row in table.rows] == [[False] * 3, [False, True, True]]
    assert frame["significantly_better"].sum() == len(marked)


def test_the_papers_numbers_stand_beside_in_italics_for_the_method_they_are_of():
    """Catch-up Mix on CIFAR-100, Table 1: the paper's Top-1 error and FGSM error."""
    wanted = shipped_reproductions()["table1"]
    printed = next(row.paper for row in wanted.rows if row.method == "catchup")
    results = {"clean": [clean(70.0), clean(80.0)], "adversarial": [attacked(50.0), attacked(60.0)]}
    ((table, _),) = paper_tables(study("catchup", **results), [])
    assert table.columns == ["Method", "Top-1 Err (%)", "paper", "FGSM Err (%)", "paper"]
    assert table.quoted == [False, False, True, False, True]
    assert [row[2].text for row in table.rows] == [NONE, f"{printed[0]:.2f}"]


def deformed(value: float) -> Result:
    rows = Rows("manifold8@1")
    for strength in (20.0, 40.0):
        rows.add(
            "accuracy", value - strength, unit="%", n=100, deformation="rotation", strength=strength
        )
    rows.add("mean_accuracy", value - 30, unit="%", n=100)
    return Result(rows.frame(), {})


def test_a_group_of_columns_has_a_heading_and_each_cell_a_line_of_the_csv():
    one = study(clean=[clean(70.0), clean(80.0)], deformation=[deformed(60.0), deformed(50.0)])
    ((table, frame),) = paper_tables(one, [better("deformation", "mean_accuracy", 0.01)])
    assert table.columns == ["Method", "Top-1 Err (%)", "rotation 20", "rotation 40", "mean"]
    assert table.spans == [("", 2), ("accuracy under deformation (%)", 3)]
    assert latex(table).count(r"$\blacktriangle$") == 1
    assert r"\cmidrule(lr){3-5}" in latex(table) and latex(table).count(r"\textbf") == 4
    assert "| accuracy under deformation (%): mean |" in markdown(table)
    assert table.links == [f"tables/paper-table-2.csv#row={lines}" for lines in ("2-5", "6-9")]
    mine = frame.iloc[9 - 2]
    assert (mine["method"], mine["number"], mine["value"]) == ("ours", "mean", 20.0)
    assert "Only the mean is tested. Protocols: clean@1, manifold8@1." in table.caption


def test_every_column_is_a_number_that_an_analysis_gives():
    from catchup_eval.analysis import ANALYSES

    layouts = [one for one in shipped_reproductions().values() if one.layout]
    named = {c.measure for one in layouts for c in (*one.columns, *one.layout.extra)}
    known = {f"{name}.{h.metric}" for name, one in ANALYSES.items() for h in one.HEADLINES}
    others = {"adversarial.error", "deformation.accuracy", "localization.centred_box"}
    assert named - known == {*others, "timing.seconds"}
