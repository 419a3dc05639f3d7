"""A job in parts, as job arrays have it, is the job as a whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catchup_eval.core.errors import UserError
from catchup_eval.results import study
from catchup_eval.results.shards import Shard, parse

WORDS = (
    "--methods", "baseline", "cutmix", "--seeds", "0", "1", "--epochs", "1", "--only", "clean",
    "--limit", "20", "--quiet",
)  # fmt: skip


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("items", [[], [*"abcde"], [*"abcdefgh"]])
def test_every_item_is_in_one_shard(items: list[str], count: int) -> None:
    parts = [Shard(number, count).select(items) for number in range(1, count + 1)]
    assert sorted(item for part in parts for item in part) == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["2", "0/3", "4/3", "a/b", "1/0", "-1/2"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="expected --shard as NUMBER/COUNT"):
        parse(text)


def test_a_shard_without_work_is_a_mistake() -> None:
    with pytest.raises(UserError, match="shard 3/3 has nothing to do: there are only 2"):
        parse("3/3").select(["a", "b"])


@pytest.mark.trained
@pytest.mark.usefixtures("few_digits_train", "few_resamples", "sketches")
def test_the_shards_make_the_whole(call: Callable[..., Any], tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    assert call("run", *WORDS, "--name", "whole", folder=tmp_path).returncode == 0
    for number in (1, 2, 3):
        done = call("run", *WORDS, "--name", "part", "--shard", f"{number}/3")
        assert done.returncode == 0, done.stderr
    parts = [f"reports/part-shard{number}of3" for number in (3, 1, 2)]
    lacking = call("report", *parts[:2], "--name", "two")
    assert lacking.returncode == 3
    assert "skipped all: is not among the merged reports (shard 2/3)" in lacking.stdout
    assert "shard 2/3" in (reports / "two" / "report.md").read_text()
    done = call("report", *parts, "--name", "merged")
    assert done.returncode == 0 and "not among" not in done.stdout

    def info(name: str) -> study.StudyInfo:
        return study.load(reports / name).info

    assert [model.key for model in info("merged").models] == [m.key for m in info("whole").models]
    assert info("merged").reference == info("whole").reference == "baseline"
    for name in ("index.html", "tables/clean.csv"):
        assert (reports / "merged" / name).is_file()
    one, other = (reports / name / "tables" / "clean.csv" for name in ("merged", "whole"))
    assert one.read_bytes() == other.read_bytes()
