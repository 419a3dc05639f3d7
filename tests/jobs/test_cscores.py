"""C-scores that are estimated: training, saved files, and which analyses use the scores."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from catchup_eval.cli.data import write_cscores
from catchup_eval.cli.options import Options
from catchup_eval.cli.run import run_plan
from catchup_eval.core.errors import DONE, UserError
from catchup_eval.core.files import locked
from catchup_eval.datasets import load
from catchup_eval.datasets.cscores import estimate, read_scores, with_cscores
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.jobs import cscores, engine
from catchup_eval.jobs.cscores import CScoreEstimation, needed_estimation, plan_cscores
from catchup_eval.jobs.data import DataSource
from catchup_eval.jobs.evaluate import EvaluationSettings, plan_evaluate
from catchup_eval.jobs.networks import ModelSource, ModelUnderTest, describe
from catchup_eval.jobs.plan import CScoreSettings, Plan
from catchup_eval.jobs.task import Worker
from catchup_eval.models.classifier import Classifier
from catchup_eval.results import study
from catchup_eval.results.store import MemoryStore
from catchup_eval.trainers import train as trainers_train

pytestmark = [pytest.mark.trained, pytest.mark.usefixtures("sketches")]
RECIPE = """
architecture = "preactresnet10"
options = {width = 4}
epochs = 2
batch_size = 50
optimiser = {lr = 0.1}
schedule = {kind = "one_cycle"}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of the smallest recipe that trains at all."""
    path = tmp_path_factory.mktemp("recipe") / "smallest.toml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture
def few(tmp_path: Path, few_digits: TensorDataset) -> str:
    """A file of few digits, without scores."""
    train, test = few_digits.split("train"), few_digits.split("test")
    np.savez(
        tmp_path / "few.npz",
        images=test.images.numpy(),
        labels=test.labels.numpy(),
        train_images=train.images.numpy(),
        train_labels=train.labels.numpy(),
    )
    return str(tmp_path / "few.npz")


Estimations = Callable[..., CScoreEstimation]


@pytest.fixture
def estimation(tmp_path: Path, recipe: str, few_digits: TensorDataset) -> Estimations:
    """`estimation(networks, shares)`: of few digits, kept in this test's folder."""

    def of(networks: int = 2, shares: tuple[float, ...] = (0.5, 1.0)) -> CScoreEstimation:
        settings = CScoreSettings(networks=networks, shares=shares, recipe=recipe)
        return CScoreEstimation(settings, few_digits.without_cscores, tmp_path / "kept")

    return of


def estimate_all(one: CScoreEstimation, *, fresh: bool = False) -> TensorDataset:
    inline = engine.InlineEngine("cpu")
    list(engine.execute(plan_cscores(one), MemoryStore(), engine=inline, fresh=fresh))
    return one.scored()


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all networks that are trained from now on."""
    names, train = [], trainers_train.train

    def noted(*arguments: object, **named: object) -> object:
        names.append(str(named["name"]))
        return train(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(cscores, "train", noted)
    return names


def test_the_networks_take_turns_in_size_and_take_equally_many_steps(
    estimation: Estimations,
) -> None:
    one = estimation(5, (0.25, 0.5, 1.0))
    assert one.sizes == [50, 100, 200, 50, 100]
    assert [one.recipe(size).epochs for size in (50, 100, 200)] == [8, 4, 2]
    assert "5 networks" in one.description and "8 steps of 50 images" in one.description


def test_a_second_call_trains_nothing(estimation: Estimations, trained: list[str]) -> None:
    first = estimate_all(estimation())
    assert [name[:11] for name in trained] == ["network-000", "network-001"]
    again = estimate_all(estimation())
    assert len(trained) == 2
    assert again.fingerprint == first.fingerprint
    folder = estimation().folder
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.npz" for name in trained]


def test_the_scores_are_the_averages_of_the_saved_outcomes(estimation: Estimations) -> None:
    one = estimation(3)
    data = estimate_all(one)
    answers = [np.load(path)["correct"] for path in sorted(one.folder.iterdir())]
    scores = data.split("cscores").cscores
    assert scores is not None
    np.testing.assert_array_equal(scores, estimate(np.stack(answers), one.sizes).scores)
    assert 0 < np.mean(answers) < 1
    assert "estimated from 3 small networks trained on 50, 100 %" in data.about


def test_a_stopped_estimate_goes_on_and_a_longer_one_keeps_what_is_there(
    estimation: Estimations, trained: list[str]
) -> None:
    estimate_all(estimation(2))
    min(estimation().folder.iterdir()).unlink()
    estimate_all(estimation(3))
    assert [name[8:11] for name in trained] == ["000", "001", "000", "002"]
    estimate_all(estimation(3), fresh=True)
    assert len(trained) == 4 + 3


def test_answers_of_another_training_are_not_taken(
    estimation: Estimations, trained: list[str]
) -> None:
    estimate_all(estimation(2, (0.5, 1.0)))
    estimate_all(estimation(2, (0.25, 1.0)))
    assert [name[8:11] for name in trained] == ["000", "001", "000"]


def test_networks_of_one_size_get_different_images(
    estimation: Estimations, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, train = [], trainers_train.train

    def noted(recipe: object, method: str, data: TensorDataset, **named: object) -> object:
        seen.append(data.split("train"))
        return train(recipe, method, data, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(cscores, "train", noted)
    estimate_all(estimation(2, (0.5,)))
    first, second = ({*part.index.tolist()} for part in seen)
    assert len(first) == len(second) == 100 and first != second
    assert torch.bincount(seen[0].labels).tolist() == [10] * 10


def test_an_estimate_is_made_where_it_is_requested_and_not_known(
    tmp_path: Path, few_digits: TensorDataset
) -> None:
    bare, settings = few_digits.without_cscores, CScoreSettings()
    names = ["clean", "cscore"]
    assert needed_estimation(settings, bare, names, tmp_path) is not None
    ones = torch.ones(len(bare.split("test")), dtype=torch.float64)
    assert needed_estimation(settings, with_cscores(bare, ones, ""), names, tmp_path) is None
    assert needed_estimation(settings, bare, ["clean"], tmp_path) is None
    assert needed_estimation(None, bare, names, tmp_path) is None
    untrained = TensorDataset("x", {"test": bare.split("test")}, bare.classes, bare.mean, bare.std)
    assert needed_estimation(settings, untrained, names, tmp_path) is None


def test_too_few_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="each of the 3 fractions, got 2"):
        CScoreSettings(networks=2)


def test_a_run_evaluates_estimated_scores_and_nothing_else_depends_on_them(
    tmp_path: Path, recipe: str, few: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = Options(out=tmp_path, limit=30)
    plan = Plan(name="scored", data=few, recipe=recipe, methods=("baseline",), only=("clean",))
    plan = plan.model_copy(update={"cscores": CScoreSettings(networks=3, recipe=recipe)})
    assert run_plan(plan, options, command="x") == DONE
    assert "C-scores" not in capsys.readouterr().out
    before = study.load(tmp_path / "scored")
    more = plan.model_copy(update={"only": ("clean", "cscore")})
    assert run_plan(more, options, command="x") == DONE
    said = capsys.readouterr().out
    assert said.index("estimated from 3 networks") < said.index("C-scores: network 1")
    after = study.load(tmp_path / "scored")
    assert after.available_analyses() == ["clean", "cscore"]
    assert after.info.data.fingerprint == before.info.data.fingerprint
    key = ("baseline-s0", "clean")
    assert after.provenance[key] == before.provenance[key], "not evaluated again"
    assert len(after.results["baseline-s0", "cscore"].samples["cscore"]) == 30


def test_a_file_of_estimates_is_as_the_published_ones(
    tmp_path: Path, recipe: str, few: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, settings = tmp_path / "few-cscores.npz", CScoreSettings(networks=3, recipe=recipe)
    where = Options(device="cpu", data_root=tmp_path)
    write_cscores(few, out, settings, where)
    assert "3 networks" in capsys.readouterr().out
    scores = read_scores(out, load(few).split("test").labels)
    assert len(scores) == 40 and 0 < scores.mean() < 1
    assert torch.equal(load(few).split("cscores").cscores, scores), "found beside the set"
    assert len([*(tmp_path / "few-cscores-networks").iterdir()]) == 3


def test_a_second_process_on_one_file_is_refused(tmp_path: Path, recipe: str, few: str) -> None:
    out, settings = tmp_path / "x.npz", CScoreSettings(networks=3, recipe=recipe)
    where = Options(device="cpu", data_root=tmp_path)
    with locked(out), pytest.raises(UserError, match="another process is estimating"):
        write_cscores(few, out, settings, where)


def test_nothing_to_train_on_is_reported(tmp_path: Path) -> None:
    images = np.zeros((4, 8, 8), np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, labels=np.arange(4))
    where = Options(device="cpu", data_root=tmp_path)
    with pytest.raises(UserError, match="training images"):
        write_cscores(str(tmp_path / "mine.npz"), tmp_path / "x.npz", CScoreSettings(), where)


@pytest.mark.parametrize(
    ("trained", "reason"),
    [
        ("few", "needs a network that did not learn from these images"),
        ("few-heldout", ""),
        ("", ""),
    ],
)
def test_a_network_that_learned_from_the_images_is_refused(
    few_digits: TensorDataset, network: Classifier, trained: str, reason: str
) -> None:
    scores = torch.linspace(0, 1, len(few_digits.split("test")), dtype=torch.float64)
    data = replace(with_cscores(few_digits, scores, "made"), name="few-heldout")
    info = describe(network, "net", 0, "net", {}).model_copy(update={"card": {"data": trained}})
    model = ModelSource.of(ModelUnderTest(info, network))
    settings, store = EvaluationSettings(["cscore"]), MemoryStore()
    (task,) = plan_evaluate([model], DataSource("few-heldout", Path(), live=data), settings)
    found = task.run(Worker(torch.device("cpu"), store), lambda *_: None)
    assert found.reason.startswith(reason) and bool(found.reason) == bool(reason)
    if not reason:
        notes = store.record("net-s0", "cscore").provenance.notes
        assert ("learned from these images is not known" in " ".join(notes)) == (not trained)
