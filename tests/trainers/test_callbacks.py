import sys

import pytest

from catchup_eval.core.errors import Interrupted, UserError
from catchup_eval.trainers.callbacks import TensorBoard
from catchup_eval.trainers.train import train


def test_tensorboard_is_an_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r'pip install "tensorboard>='):
        TensorBoard(tmp_path)


@pytest.mark.trained
def test_tensorboard_has_the_history_and_goes_on_where_it_is_resumed(
    tmp_path, recipe_of, noise_data, stop_after
):
    pytest.importorskip("tensorboard", reason="needs the extra `tensorboard`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def run(folder, **how):
        logs = TensorBoard(tmp_path / folder / "logs", every=1)
        return train(
            recipe_of(), "baseline", noise_data(), folder=tmp_path / folder, callbacks=[logs], **how
        )

    whole = run("a")
    with pytest.raises(Interrupted):
        run("b", progress=stop_after(4))
    resumed = run("b")
    for folder, done in (("a", whole), ("b", resumed)):
        events = EventAccumulator(str(tmp_path / folder / "logs")).Reload()
        top1 = [(each.step, each.value) for each in events.Scalars("epoch/top1")]
        assert [step for step, _ in top1] == [3, 6]
        values = [value for _, value in top1]
        assert values == pytest.approx(done.history.frame["top1"].tolist())
        assert [each.step for each in events.Scalars("step/loss")] == [1, 2, 3, 4, 5, 6]
    assert whole.checkpoint.read_bytes() == resumed.checkpoint.read_bytes()
