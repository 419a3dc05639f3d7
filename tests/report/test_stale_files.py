"""A page that is drawn again leaves no table or figure of the page before."""

from pathlib import Path
from typing import Any

import pytest

from catchup_eval.report import page

EXAMPLE = Path(__file__).parents[2] / "reports" / "example"


def test_what_only_the_page_before_linked_to_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tables").mkdir()
    for name in ("old.csv", "new.csv", "users.csv"):
        (tmp_path / "tables" / name).write_text("before")
    outside = tmp_path.parent / "outside.csv"
    outside.write_text("another's")
    links = [
        "tables/old.csv",
        "tables/new.csv#row=2",
        "tables/../../outside.csv",
        "tables/gone.csv",
    ]
    (tmp_path / "index.html").write_text("".join(f'<a href="{link}">' for link in links))
    nothing: Any = None
    monkeypatch.setattr(page, "contents", lambda *_: nothing)
    monkeypatch.setattr(page, "_write_tables", lambda *_: nothing)
    monkeypatch.setattr(page.report_contents, "render", lambda _: "")
    monkeypatch.setattr(page, "render", lambda _: '<a href="tables/new.csv">')
    page.write(nothing, {}, tmp_path)
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"new.csv", "users.csv"}
    assert outside.is_file()


def test_a_page_links_to_every_table_and_figure_that_is_written() -> None:
    files = [*(EXAMPLE / "tables").iterdir(), *(EXAMPLE / "figures").iterdir()]
    names = {path.relative_to(EXAMPLE).as_posix() for path in files}
    assert page._linked_files(EXAMPLE / "index.html") == names
