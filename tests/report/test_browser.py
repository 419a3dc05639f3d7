"""The page in a headless Chromium: sorted, dark, on a phone, of thirty models, without network.

The browser is spoken to in its DevTools protocol over two pipes: no driver, and no port.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from catchup_eval.analysis import ANALYSES
from catchup_eval.api import write_report
from catchup_eval.report import page as report_page
from catchup_eval.report.formatting import MINUS, NONE
from catchup_eval.results import study

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which is not installed")
MANY = 30
PATIENCE = 600  # seconds until a browser that hangs is stopped
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--remote-debugging-pipe",
)
COLUMN = """
[...document.querySelectorAll("#{figure} ~ .scroll table")[0].tBodies].flatMap((body) =>
  [...body.rows].map((row) => row.cells[row.cells.length - {back}].innerText.trim()))
"""


class Tab:
    """One page, which records its requests and console messages.

    Args:
        requests: requested addresses, in order.
        complaints: errors and warnings of the page.
    """

    def __init__(self, read: Any, write: Any):
        self._read, self._write, self._numbers = read, write, count(1)
        self._session: str | None = None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._events: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, and its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        self._write.flush()
        while (answer := self._next()).get("id") != number:
            self._note(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        text = bytearray()
        while (byte := self._read.read(1)) != b"\0":
            assert byte, "the browser has gone"
            text += byte
        return json.loads(text)

    def _note(self, event: dict[str, Any]) -> None:
        method, details = event["method"], event["params"]
        self._events.append(method)
        if method == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"])
        level = {
            "Runtime.exceptionThrown": "error",
            "Log.entryAdded": details.get("entry", {}).get("level"),
            "Runtime.consoleAPICalled": details.get("type"),
        }
        if level.get(method) in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(details))

    def open(self, path: Path) -> None:
        """Load a file, and wait until it is there."""
        self._events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while "Page.loadEventFired" not in self._events:
            self._note(self._next())

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """The window's size in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )

    def prefer(self, scheme: str) -> None:
        """What the browser tells pages to be: "dark" or "light"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)


@contextmanager
def chromium(profile: Path) -> Iterator[Tab]:
    """A tab of a browser that ends with the block."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # The browser reads from descriptor 3 and writes to 4.
    start = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
    command = ["bash", "-c", start, str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}"]
    with subprocess.Popen(
        command,
        pass_fds=(theirs_in, theirs_out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(theirs_in)
        os.close(theirs_out)
        watch = Timer(PATIENCE, process.kill)
        watch.start()
        try:
            with os.fdopen(ours_in, "rb") as read, os.fdopen(ours_out, "wb") as write:
                tab = Tab(read, write)
                yield tab
                tab.call("Browser.close")
        finally:
            watch.cancel()
            process.terminate()


@pytest.fixture(scope="module")
def page(module_sketches, tmp_path_factory, made, analyses) -> Path:
    """Thirty models, the first ten alike."""
    folder = tmp_path_factory.mktemp("many")
    abilities = {
        f"model-{i:02d}": (80.0 + 0.5 * max(0, i - 10), 1.0 + 0.02 * i, 40.0 - i)
        for i in range(MANY)
    }
    return report_page.write(made(abilities=abilities), analyses, folder)


@pytest.fixture(scope="module")
def tab(tmp_path_factory, page) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("profile")) as one:
        one.resize(1280, 900)
        one.open(page)
        yield one


def column(tab: Tab, figure: str, back: int) -> list[str]:
    """The texts of a column, counted from the last one."""
    tab.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    return tab.run(COLUMN.format(figure=figure, back=back))


def press(tab: Tab, figure: str, name: str) -> str:
    """Press a heading; what it says of the order."""
    return tab.run(
        f"""(() => {{
          const head = [...document.querySelectorAll("#{figure} ~ .scroll thead th")].find(
            (one) => one.innerText.trim().startsWith("{name}"));
          head.querySelector("button").click();
          return head.getAttribute("aria-sort");
        }})()"""
    )


def numbers(texts: list[str]) -> list[float]:
    return [float(text.split(" ")[0].replace(MINUS, "-")) for text in texts]


def test_a_press_sorts_by_value_and_another_one_turns_it(tab):
    before = column(tab, "table-models", 7)
    assert press(tab, "table-models", "Latency") == "ascending"
    assert press(tab, "table-models", "Parameters") == "ascending"
    assert sorted(column(tab, "table-models", 7)) == sorted(before)
    names = column(tab, "table-models", 10)
    assert press(tab, "table-models", "Method") == "ascending"
    assert column(tab, "table-models", 10) == sorted(names)
    assert press(tab, "table-models", "Method") == "descending"
    assert column(tab, "table-models", 10) == sorted(names, reverse=True)


def test_only_the_column_pressed_last_says_that_it_is_in_order(tab):
    press(tab, "table-models", "Method")
    press(tab, "table-models", "Epochs")
    assert tab.run("document.querySelectorAll('#table-models ~ .scroll [aria-sort]').length") == 1


def test_blocks_stay_together_under_their_names(tab):
    bodies = "[...document.querySelectorAll('#table-verdicts ~ .scroll tbody')]"
    names = f"{bodies}.map((one) => one.rows[0].cells[0].innerText)"
    before, rows = tab.run(names), sorted(column(tab, "table-verdicts", 4))
    press(tab, "table-verdicts", "Improvement")
    assert tab.run(names) == before
    assert sorted(column(tab, "table-verdicts", 4)) == rows
    first = numbers(column(tab, "table-verdicts", 4)[: MANY - 1])
    assert first == sorted(first)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["10.0 [9, 12]", "9.5", "", f"{MINUS}2.0"], [f"{MINUS}2.0", "9.5", "10.0 [9, 12]", ""]),
        (["5 min 12 s", "4.3 s", NONE, "2 h 5 min"], ["4.3 s", "5 min 12 s", "2 h 5 min", NONE]),
        (["1,200", "900", f"1e{MINUS}05", NONE], [f"1e{MINUS}05", "900", "1,200", NONE]),
        (["0.002", "< 0.001", "1", NONE], ["< 0.001", "0.002", "1", NONE]),
    ],
)
def test_numbers_are_ordered_as_numbers_and_gaps_come_last(tab, texts, expected):
    """Texts as pages write them."""
    pairs = f"{texts}.map((text) => [text, key(text, true)])"
    for turn, wanted in ((1, expected), (-1, expected[-2::-1] + expected[-1:])):
        order = f"{pairs}.sort((a, b) => compare(a[1], b[1], {turn})).map((pair) => pair[0])"
        assert tab.run(order) == wanted


@pytest.mark.parametrize(("scheme", "light"), [("dark", False), ("light", True)])
def test_the_page_is_dark_where_the_browser_is_and_figures_stay_on_white(tab, scheme, light):
    tab.prefer(scheme)
    paper = tab.run("getComputedStyle(document.body).backgroundColor")
    assert (min(map(int, paper[4:-1].split(", "))) > 200) is light
    cards = tab.run(
        "[...document.querySelectorAll('.card')].map((c) => getComputedStyle(c).backgroundColor)"
    )
    assert set(cards) == {"rgb(255, 255, 255)"}


@pytest.mark.parametrize("width", [390, 1280])
def test_tables_scroll_inside_their_card_and_the_page_does_not(tab, width):
    tab.resize(width, 844, phone=width < 500)
    tab.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.run(
        "[...document.querySelectorAll('.scroll')].some((one) => one.scrollWidth > one.clientWidth)"
    )


def test_the_names_of_rows_stay_in_sight(tab):
    tab.resize(1280, 844)
    left = tab.run(
        """(() => {
          const box = document.querySelector("#summary .scroll");
          box.scrollLeft = 200;
          const name = box.querySelector("tbody th").getBoundingClientRect();
          return [box.scrollLeft, name.left - box.getBoundingClientRect().left];
        })()"""
    )
    assert left == [200, 0]


def test_no_picture_is_larger_than_a_screen_or_two(tab):
    """With thirty models a figure must not grow with each of them."""
    heights = tab.run("[...document.images].map((one) => one.height)")
    assert heights and max(heights) <= 1800


def test_no_request_and_no_error_of_the_page(tab, page):
    assert {address.split(":")[0] for address in tab.requests} == {"file", "data"}
    assert [address for address in tab.requests if address[:4] == "file"] == [page.as_uri()]
    assert tab.complaints == []


def test_without_the_script_the_page_is_whole(tab, page):
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    tab.open(page)
    found = tab.call("DOM.getDocument", depth=-1)
    tab.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "model-29" in str(found) and "'nodeName': 'BUTTON'" not in str(found)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, finished_report) -> Path:
    """The page of a run with three models, its figures drawn."""
    folder = Path(shutil.copytree(finished_report, tmp_path_factory.mktemp("drawn") / "example"))
    return write_report(study.load(folder, ANALYSES), folder)


@pytest.mark.parametrize(("width", "most"), [(1400, 8_000), (390, 12_000)])
def test_a_page_of_three_models_has_few_screens(tab, drawn, width, most):
    tab.resize(width, 1000, phone=width < 500)
    tab.open(drawn)
    assert 2_000 < tab.run("document.documentElement.scrollHeight") <= most


def test_the_first_screen_shows_the_message(tab, drawn):
    tab.resize(1400, 1000)
    tab.open(drawn)
    ends = "['.finding', '.top .card', '.chips'].map((name) => "
    ends += "document.querySelector(name).getBoundingClientRect().bottom)"
    assert max(tab.run(ends)) <= 1000


def test_on_a_phone_no_number_of_the_table_is_cut(tab, drawn):
    tab.resize(390, 844, phone=True)
    tab.open(drawn)
    cells = "[...document.querySelectorAll('#summary td, #summary tbody th')].filter("
    cells += "(one) => one.offsetParent !== null)"
    edges = tab.run(f"{cells}.map((one) => one.getBoundingClientRect().right)")
    assert len(edges) > 50 and max(edges) <= 390
    assert tab.run(f"{cells}.every((one) => one.scrollWidth <= one.clientWidth)")
    named = tab.run(
        "getComputedStyle(document.querySelector('#summary tbody td'), '::before').content"
    )
    assert named == '"baseline"'


def test_without_a_click_there_are_few_words(tab, drawn):
    tab.resize(1400, 1000)
    tab.open(drawn)
    assert tab.run("document.body.innerText.split(/\\s+/).length") < 1_200


def test_every_figure_in_sight_has_its_full_size(tab, drawn):
    tab.resize(1400, 1000)
    tab.open(drawn)
    sizes = tab.run(
        """[...document.images].filter((one) => one.checkVisibility()).map(
          (one) => one.width / Number(one.getAttribute("width")))"""
    )
    assert len(sizes) > 10 and min(sizes) > 0.99
