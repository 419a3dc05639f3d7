"""With the real packages, where they are installed."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from catchup_eval.integrations import evaluation_callback, headline_numbers
from catchup_eval.models.wrapping import wrap


@pytest.mark.trained
@pytest.mark.filterwarnings("ignore")  # Lightning's own, of loaders, loggers and folders
@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_it_logs_and_changes_nothing(package, few_digits, networks, tmp_path) -> None:
    pl = pytest.importorskip(package, reason="needs Lightning")

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = networks(0).net

        def forward(self, images):
            return self.net(images)

        def training_step(self, batch, _):
            return cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch, _):
            self.log("validation", cross_entropy(self(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    split = few_digits.split("train")
    pairs = TensorDataset(split.images[:64].float() / 255, split.labels[:64])
    logged, weights = [], []

    class Note(pl.Callback):
        def on_train_epoch_end(self, trainer, _):
            names = [name for name in trainer.callback_metrics if "/" in name]
            logged.append({name: float(trainer.callback_metrics[name]) for name in names})

    def train(*callbacks):
        module = Module()
        pl.Trainer(
            max_epochs=3,
            callbacks=[*callbacks],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        ).fit(module, DataLoader(pairs, 32, shuffle=False), DataLoader(pairs, 32))
        weights.append(module.state_dict())
        return module

    train()
    evaluation = evaluation_callback(
        few_digits,
        every=2,
        only=["clean", "adversarial"],
        settings={"adversarial": {"epsilons": [4], "pgd_epsilons": []}},
    )
    module = train(evaluation, Note())
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    assert logged[0] == {} and logged[1] and logged[2]
    model = wrap(module, mean=few_digits.mean, std=few_digits.std)
    expected = headline_numbers(model, few_digits, only=["clean"])
    assert logged[2]["clean/accuracy"] == pytest.approx(expected["clean/accuracy"])
