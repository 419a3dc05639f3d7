"""The page: whole, escaped, self-contained, the same each time, and every number as measured."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pandas as pd
import pytest

from catchup_eval.report import formatting, page
from catchup_eval.report.page import summary, write
from catchup_eval.results import study
from catchup_eval.results.store import Store
from catchup_eval.results.study import Study
from catchup_eval.results.summary import seeds_interval, summarize

ONE = {"only": (80.0, 1.0, 40.0)}
pytestmark = pytest.mark.usefixtures("module_sketches")
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}


class Html(HTMLParser):
    """What a browser would see; fails where a tag is not closed by its own end."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script", "title"):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def pages(module_sketches, tmp_path_factory, made, three, methods, analyses) -> dict[str, Path]:
    """A page of one network, of three, of three methods, and of one whose names are wild."""
    wild = {'<script>alert("x")</script>': (80.0, 1.0, 40.0), "$a_b$ & <b>": (92.0, 1.6, 21.0)}
    studies = {
        "one": made(abilities=ONE),
        "three": three,
        "methods": methods,
        "wild": made(2, wild, name="<i>wild</i>", command="run '<x>'"),
        "nothing": made(analyses=()),
    }
    folder = tmp_path_factory.mktemp("pages")
    return {name: write(one, analyses, folder / name) for name, one in studies.items()}


KINDS = ["one", "three", "methods", "wild", "nothing"]


@pytest.fixture(params=KINDS)
def index(request, pages) -> Path:
    return pages[request.param]


def test_a_page_is_whole_and_self_contained(index):
    text = index.read_text()
    html = Html(text)
    assert html.all("html")[0]["lang"] == "en"
    assert len(html.all("h1")) == len(html.all("main")) == 1
    assert html.all("script") == [{}] and not html.all("link") and not html.all("iframe")
    assert all(image["src"].startswith("data:image/png;base64,") for image in html.all("img"))
    assert "@import" not in text and "url(" not in text
    levels = [int(tag[1]) for tag, _ in html.seen if re.match("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_link_leads_somewhere_and_every_file_is_linked(index):
    html = Html(index.read_text())
    anchors = [a["id"] for _, a in html.seen if a.get("id")]
    assert len(anchors) == len(set(anchors))
    for link in html.all("a"):
        target = link["href"]
        if target.startswith("#"):
            assert target[1:] in anchors
        elif not target.startswith("https://"):
            path, _, rows = unquote(target).partition("#row=")
            content = (index.parent / path).read_bytes()
            assert all(2 <= int(row) <= content.count(b"\n") for row in re.findall(r"\d+", rows))
    files = {path.relative_to(index.parent).as_posix() for path in index.parent.glob("*/*.*")}
    assert page._linked_files(index) == files
    for path in re.findall(r"\]\((figures/[^)]+)\)", (index.parent / "report.md").read_text()):
        assert path in files


def test_figures_and_tables_are_described(index):
    html = Html(index.read_text())
    ids = {a.get("id") for _, a in html.seen}
    assert all(len(image["alt"]) > 10 for image in html.all("img"))
    assert all(table["aria-labelledby"] in ids for table in html.all("table"))
    assert all(head.get("scope") for head in html.all("th"))


@pytest.mark.parametrize("kind", ["three", "methods"])
def test_a_row_of_the_summary_links_the_lines_that_hold_its_numbers(pages, kind):
    text = pages[kind].read_text()
    csv = (pages[kind].parent / "tables" / "summary.csv").read_text().splitlines()
    rows = re.findall(r'summary.csv#row=(\d+)-(\d+)"', text)
    printed = [{line.split(",")[2] for line in csv[int(a) - 1 : int(b)]} for a, b in rows]
    names = [{"accuracy"}, {"error"}, {"AUROC"}, {"top eigenvalue"}]
    assert printed == names


def test_names_are_shown_and_never_run(pages):
    text = pages["wild"].read_text()
    assert text.lower().count("<script") == 1  # the page's own
    assert "<i>wild" not in text and "'<x>'" not in text
    assert '<script>alert("x")</script>' in Html(text).text
    markdown = (pages["wild"].parent / "report.md").read_text()
    outside_code = re.sub(r"```.*?```", "", markdown, flags=re.S)
    assert "<script" not in outside_code


def test_sections_stand_in_order(pages):
    ids = [a["id"] for a in Html(pages["three"].read_text()).all("section")]
    assert ids == ["summary", "decision", "analyses", "skipped", "appendix"]
    assert 'id="decision"' not in pages["one"].read_text()
    text = Html(pages["three"].read_text()).text
    assert "needs boxes (baseline)" in text and "catchup-eval run" in text


@pytest.mark.parametrize("kind", ["three", "methods"])
def test_every_number_of_the_summary_is_the_frames(request, pages, analyses, kind):
    """From the stored frames by hand: value, interval, n, chance, protocol."""
    one: Study = request.getfixturevalue(kind)
    frame = summary(one, analyses)
    row = frame[frame["Metric"] == "accuracy (%) ↑"].iloc[0]
    for group in one.groups:
        rows = [m.result.rows("accuracy").iloc[0] for m in one.members("right") if m.model == group]
        values = [r["value"] for r in rows]
        low, high = (
            (rows[0]["low"], rows[0]["high"]) if len(rows) == 1 else seeds_interval(values, "%")
        )
        mean = sum(values) / len(values)
        assert row[group] == f"{mean:.1f} [{low:.1f}, {high:.1f}]"
        assert row[group] in Html(pages[kind].read_text()).text
    assert (row["Chance"], row["n"], row["Protocol"]) == ("10.0", "400", "clean@1")


def test_the_summary_has_a_row_for_each_headline_and_a_column_for_each_group(three, analyses):
    frame = summary(three, analyses)
    assert list(frame.columns) == [
        *("Analysis", "Metric", "baseline", "cutmix", "catchup", "Chance", "n", "Protocol")
    ]
    assert list(frame["Metric"]) == [
        *("accuracy (%) ↑", "error (%) ↓", "AUROC (%) ↑", "top eigenvalue (curvature) ↓")
    ]


def test_a_model_may_be_called_n(made, analyses):
    study = made(abilities={"n": (80.0, 1.0, 40.0), "Chance": (90.0, 1.0, 40.0)})
    assert summary(study, analyses).shape == (4, 7)


def test_the_csv_files_hold_the_numbers_in_full(pages, three, analyses):
    tables = pages["three"].parent / "tables"
    stored = pd.read_csv(tables / "summary.csv")
    for line in summarize(three, analyses):
        for group, reading in line.readings.items():
            row = stored[(stored["label"] == line.headline.label) & (stored["group"] == group)]
            assert row["value"].item() == reading.mean
    joined = pd.read_csv(tables / "right.csv")
    assert joined["value"].tolist() == three.joined_result("right").frame["value"].tolist()


def test_the_page_has_all_numbers_of_an_analysis(pages, three):
    text = Html(pages["three"].read_text()).text
    for member in three.members("sharp"):
        for value in member.result.rows("eigenvalue")["value"]:
            assert formatting.format_number(value, "curvature") in text


def test_the_same_study_gives_the_same_bytes(pages, three, analyses, tmp_path):
    write(three, analyses, tmp_path)
    first, second = pages["three"].parent, tmp_path
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_a_study_from_disk_gives_the_same_page(pages, three, analyses, stored, tmp_path):
    stored(three, Store(tmp_path))
    study.save(three.info, tmp_path)
    again = write(study.load(tmp_path), analyses, tmp_path).read_text()
    linked = re.sub(
        r"\n *&middot; as measured: .*</a>", "\n", again
    )  # only here are stored results
    assert "results/m0-s0/right.csv" in again
    assert linked == pages["three"].read_text()
    for path in (pages["three"].parent / "tables").iterdir():
        assert path.read_bytes() == (tmp_path / "tables" / path.name).read_bytes()


def test_a_failed_check_is_on_top_with_its_likely_cause(made, analyses, tmp_path):
    one = made(abilities=ONE)
    frame = one.results["m0-s0", "right"].frame
    frame.loc[frame["unit"] == "check", "value"] = 0.0
    text = Html(write(one, analyses, tmp_path).read_text()).text
    assert "A sanity check failed. Clean accuracy: accuracy and error make 100." in text
    frame["cause"] = pd.Series(index=frame.index, dtype=object)
    frame.loc[frame["unit"] == "check", "cause"] = "dropout is on"
    text = Html(write(one, analyses, tmp_path).read_text()).text
    assert "accuracy and error make 100 (likely cause for only: dropout is on)" in text


def test_results_of_an_unknown_analysis_are_listed_as_unknown(made, analyses, tmp_path):
    known = {name: analyses[name] for name in ("right", "sharp")}
    text = Html(write(made(abilities=ONE), known, tmp_path).read_text()).text
    assert "outside : this version does not have the analysis (all models)" in text


def test_an_analysis_without_headlines_has_figures_and_numbers(made, analyses, tmp_path):
    class Curves(type(analyses["sharp"])):
        def plot(self, result):
            return analyses["sharp"].plot(result)

    curves = {**analyses, "sharp": Curves("Curvature of the loss", "How sharp is it?", ())}
    text = Html(write(made(abilities=ONE), curves, tmp_path).read_text()).text
    assert "Curvature of the loss" in text
    assert "curvature" in text


def colors(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", css))


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_every_ink_can_be_read_in_light_and_in_dark(pages, dark):
    css = re.search(r"<style>(.*?)</style>", pages["three"].read_text(), re.S)[1]
    light, _, rest = css.partition("prefers-color-scheme: dark")
    found = colors(rest.partition("@media")[0] if dark else light)
    assert len(found) == 10
    for ink in ("ink", "soft", "accent", "better", "worse"):
        assert contrast(found[ink], found["paper"]) >= 4.5
    assert contrast(found["ink"], found["sheet"]) >= 4.5
    assert contrast(found["caution"], found["caution-sheet"]) >= 4.5


def test_every_table_is_there_for_latex(pages):
    names = {path.stem for path in (pages["three"].parent / "tables").glob("*.tex")}
    assert {"summary", "verdicts", "right", "outside", "sharp", "models", "cost", "checks"} <= names


def test_what_only_the_previous_page_linked_to_is_removed(tmp_path, monkeypatch):
    (tmp_path / "tables").mkdir()
    for name in ("old.csv", "new.csv", "users.csv"):
        (tmp_path / "tables" / name).write_text("before")
    outside = tmp_path.parent / "outside.csv"
    outside.write_text("another's")
    names = ("old.csv", "new.csv#row=2", "../../outside.csv", "gone.csv")
    (tmp_path / "index.html").write_text("".join(f'<a href="tables/{name}">' for name in names))
    contents = SimpleNamespace(numbers=None, study=None)
    monkeypatch.setattr(page, "contents", lambda *_: contents)
    monkeypatch.setattr(page, "_write_tables", lambda *_: None)
    monkeypatch.setattr(page, "write_json", lambda *_: "")
    monkeypatch.setattr(page.report_contents, "render", lambda _: "")
    monkeypatch.setattr(page, "render", lambda *_: '<a href="tables/new.csv">')
    page.write(None, {}, tmp_path)
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"new.csv", "users.csv"}
    assert outside.is_file()
