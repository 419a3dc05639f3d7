"""The networks of a command: names, groups, settings."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from catchup_eval import datasets
from catchup_eval.analysis import ANALYSES, setting_defaults
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.core.errors import UserError
from catchup_eval.core.settings import check_keywords
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.jobs.evaluate import EvaluationSettings, _make_context
from catchup_eval.jobs.networks import ModelUnderTest, load_models
from catchup_eval.models.zoo import build
from catchup_eval.results import study
from catchup_eval.results.merge import merge_by_dataset
from catchup_eval.results.result import Result
from catchup_eval.results.store import Key, ResultRecord, Store, to_json_types
from catchup_eval.results.study import Study


@pytest.fixture
def net(tmp_path: Path) -> Path:
    model = build("resnet8", classes=10, mean=(0.5,) * 3, std=(0.5,) * 3)
    torch.save(model.net.state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_what_is_published_is_known(net: Path, few_digits: AnySet) -> None:
    (one,) = load_models([f"resnet8@{net}?norm=half&published=91.73"], few_digits)
    assert one.info.published == 91.73
    assert one.info.spec == f"net=resnet8@{net}?norm=half&published=91.73"


def test_loaded_networks_compute_channels_last_and_the_callers_own_stay(
    net: Path, few_digits: AnySet
) -> None:
    for changed in (True, False):
        (one,) = load_models([f"resnet8@{net}?norm=half"], few_digits)
        one = one if changed else replace(one, spec=None)  # as one that was in memory
        _make_context(one, few_digits, ASKED, None)
        weight = next(w for w in one.model.parameters() if w.ndim == 4 and w.shape[1] > 3)
        assert weight.is_contiguous(memory_format=torch.channels_last) == changed
        assert weight.is_contiguous() != changed


def test_a_list_stands_for_all_of_its_models(tmp_path: Path, net: Path, few_digits: AnySet) -> None:
    listed = tmp_path / "models.toml"
    listed.write_text(f'[models.a]\nspec = "resnet8@{net}"\nnorm = "half"\n')
    assert [one.info.group for one in load_models([str(listed)], few_digits)] == ["a"]


def test_the_network_that_was_found_is_reported(net: Path, few_digits: AnySet) -> None:
    (one,) = load_models([f"{net}?norm=half"], few_digits)
    text = "net: its names and shapes are those of resnet8; shapes do not determine inner_relu"
    assert one.notes == (text,)


NETS = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, sign):
        super().__init__()
        self.fc = nn.Linear(3, 10)
        self.sign = sign
    def forward(self, x):
        return self.sign * self.fc(x.mean((2, 3)))
def build(*, sign=1.0):
    return Net(sign)
"""
ASKED = EvaluationSettings(["clean"])


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(NETS)
    fc = torch.nn.Linear(3, 10)
    torch.save({"fc.weight": fc.weight.detach(), "fc.bias": fc.bias.detach()}, tmp_path / "w.pth")
    return tmp_path / "nets.py"


def loaded(nets: Path, options: str = "") -> ModelUnderTest:
    (one,) = load_models([f"n={nets}:build@{nets.parent}/w.pth?norm=half{options}"])
    return one


Again = Callable[..., bool]


@pytest.fixture
def is_measured_again(evaluate: Callable[..., Study]) -> Again:
    def again(
        store: Store, one: ModelUnderTest, data: AnySet, settings: EvaluationSettings = ASKED
    ) -> bool:
        path = store.path(one.info.key, "clean", "json")
        before = path.stat().st_mtime_ns if path.exists() else 0
        evaluate([one], data, settings, store)
        return path.stat().st_mtime_ns != before

    return again


def test_edited_code_of_a_network_is_measured_again(
    nets: Path, few_digits: AnySet, is_measured_again: Again
) -> None:
    store = Store(nets.parent)
    first = loaded(nets)
    assert is_measured_again(store, first, few_digits)
    assert not is_measured_again(store, loaded(nets), few_digits)
    stored = store.get("n-s0", "clean")
    nets.write_text(NETS.replace("self.sign *", "-self.sign *"))
    second = loaded(nets)
    assert second.info.fingerprint == first.info.fingerprint
    assert is_measured_again(store, second, few_digits)
    found = store.get("n-s0", "clean").samples["prediction"]
    assert (stored.samples["prediction"] != found).all()


def test_options_of_a_network_are_measured_again(
    nets: Path, few_digits: AnySet, is_measured_again: Again
) -> None:
    store = Store(nets.parent)
    assert is_measured_again(store, loaded(nets), few_digits)
    assert is_measured_again(store, loaded(nets, "&sign=-1.0"), few_digits)


def test_a_folder_that_moved_is_the_same_network(nets: Path) -> None:
    moved = nets.parent / "moved"
    moved.mkdir()
    for name in ("nets.py", "w.pth"):
        (moved / name).write_bytes((nets.parent / name).read_bytes())
    here, there = loaded(nets).info, loaded(moved / "nets.py").info
    assert here.network == there.network == "nets.py:build"
    assert here.is_same_network(there)


def test_a_report_does_not_show_what_other_code_gave(
    nets: Path, few_digits: AnySet, evaluate: Callable[..., Study]
) -> None:
    before = evaluate([loaded(nets)], few_digits, ASKED, Store(nets.parent))
    assert study.load(nets.parent).available_analyses() == ["clean"]
    nets.write_text(NETS + "# edited\n")
    edited = before.info.model_copy(update={"models": (loaded(nets).info,)})
    study.save(edited, nets.parent)
    after = study.load(nets.parent)
    assert after.available_analyses() == []
    with pytest.raises(UserError, match="has other weights or code"):
        merge_by_dataset([before, after], [nets, nets])


def test_code_of_a_dataset_is_in_the_key(nets: Path) -> None:
    path = nets.parent / "mine.py"
    code = "import torch\ndef few():\n    return torch.zeros(10, 3, 8, 8), torch.arange(10)\n"
    keys = []
    for text in (code, code, code + "# edited\n"):
        path.write_text(text)
        data = datasets.load(f"{path}:few")
        assert data.subsample(5).without_cscores.code == data.code != ""
        keys.append(ASKED.key(loaded(nets), data, "clean"))
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("name", ANALYSES)
def test_a_default_is_the_same_key_as_if_it_were_given(
    name: str, nets: Path, few_digits: AnySet
) -> None:
    one, given = loaded(nets), to_json_types(setting_defaults(ANALYSES[name]))
    check_keywords(ANALYSES[name].measure, given, name)
    printed = EvaluationSettings([name], {name: given}).key(one, few_digits, name)
    silent = EvaluationSettings([name]).key(one, few_digits, name)
    assert printed == silent and silent.settings.keys() == setting_defaults(ANALYSES[name]).keys()
    assert Key.model_validate_json(silent.model_dump_json()) == silent


def test_a_changed_default_is_measured_again(
    nets: Path,
    few_digits: AnySet,
    is_measured_again: Again,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, one = Store(nets.parent), loaded(nets)
    assert is_measured_again(store, one, few_digits)
    fifteen = EvaluationSettings(["clean"], {"clean": {"bins": 15}})
    assert not is_measured_again(store, one, few_digits, fifteen)
    measure = ANALYSES["clean"].measure

    def with_ten(subject: EvaluationContext, *, bins: int = 10) -> Result:
        return measure(subject, bins=bins)

    monkeypatch.setattr(ANALYSES["clean"], "measure", with_ten)
    assert not is_measured_again(store, one, few_digits, fifteen)
    assert is_measured_again(store, one, few_digits)
    record = store.record(one.info.key, "clean")
    assert record is not None and record.key.settings == {"bins": 10}


def test_a_result_of_an_older_version_is_measured_again(
    nets: Path, few_digits: AnySet, is_measured_again: Again
) -> None:
    store, one = Store(nets.parent), loaded(nets)
    assert is_measured_again(store, one, few_digits)
    record = store.record(one.info.key, "clean")
    assert record is not None
    old = record.key.model_copy(update={"settings": {}, "network": "", "network_code": ""})
    result = store.get(one.info.key, "clean")
    store.put(one.info.key, result, ResultRecord(key=old, provenance=record.provenance))
    assert store.get(one.info.key, "clean").table.equals(result.table)
    assert is_measured_again(store, one, few_digits)
