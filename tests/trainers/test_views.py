"""Images of varying size: preprocessed by the recipe, which the checkpoint holds."""

from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import generator
from catchup_eval.datasets.file_dataset import FileDataset
from catchup_eval.datasets.files import files_from_index
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.models import loading
from catchup_eval.models.checkpoints import read
from catchup_eval.models.zoo import build
from catchup_eval.trainers import loop
from catchup_eval.trainers import train as module
from catchup_eval.trainers.loop import _step, move_to_device
from catchup_eval.trainers.state import TrainingState
from catchup_eval.trainers.train import train

pytestmark = pytest.mark.trained
SIZES = [(40, 60), (48, 36), (50, 50), (36, 80)]


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    draw = np.random.default_rng(0)
    names = []
    for number in range(12):
        height, width = SIZES[number % 4]
        pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
        names.append(f"{number}.png")
        Image.fromarray(pixels).save(folder / names[-1])
    parts = {
        "train": files_from_index(folder, names[:8], [0, 1] * 4),
        "test": files_from_index(folder, names[8:], [0, 1] * 2),
    }
    return FileDataset("photographs", parts, ("a", "b"), (0.5,) * 3, (0.5,) * 3, root=tmp_path)


@pytest.fixture
def recipe(recipe_of):
    return partial(
        recipe_of,
        epochs=1,
        batch_size=4,
        view={"size": 32},
        test_view={"size": 24, "resize": 32},
        augmentation={"size": 24},
    )


def seen_by_fit(monkeypatch):
    seen = {}

    def watch(model, method, train_part, validation, *rest, **more):
        seen.update(train=train_part.images, test=validation.images)
        return fit(model, method, train_part, validation, *rest, **more)

    fit = loop.fit
    monkeypatch.setattr(module, "fit", watch)
    return seen


def test_each_split_is_preprocessed_by_the_recipe(photographs, tmp_path, monkeypatch, recipe):
    seen = seen_by_fit(monkeypatch)
    done = train(recipe(), "cutmix", photographs, folder=tmp_path / "runs")
    assert (seen["train"].shape, seen["test"].shape) == ((8, 3, 32, 32), (4, 3, 24, 24))
    first = next(iter(photographs.parts["train"]))
    assert torch.equal(seen["train"][0], Preprocess(32).pixels(Image.open(first)))
    _, card = read(done.checkpoint)
    assert card.preprocess == Preprocess(24, resize=32)
    assert loading.load(str(done.checkpoint)).model.preprocess == Preprocess(24, resize=32)
    assert train(recipe(), "cutmix", photographs, folder=tmp_path / "runs").skipped


def test_another_view_is_another_training(photographs, tmp_path, recipe):
    train(recipe(), "baseline", photographs, folder=tmp_path / "runs")
    squashed = recipe(view={"size": 32, "squash": True})
    with pytest.raises(UserError, match=r"recipe\.view\.squash is False there and True here"):
        train(squashed, "baseline", photographs, folder=tmp_path / "runs")


def test_images_that_have_their_size_are_used_as_they_are(few_digits, tmp_path, recipe):
    done = train(recipe(), "baseline", few_digits, folder=tmp_path)
    assert read(done.checkpoint)[1].preprocess is None
    large = recipe(augmentation={"size": 224})
    with pytest.raises(UserError, match="size up to the image's side, got 224 for 32x32"):
        train(large, "baseline", few_digits, folder=tmp_path, name="large")


def test_without_a_recipe_s_preprocessing_the_dataset_s_is_used(
    photographs, tmp_path, monkeypatch, recipe
):
    seen = seen_by_fit(monkeypatch)
    plain = recipe(view=None, test_view=None, augmentation={})
    done = train(plain, "baseline", photographs, folder=tmp_path / "runs")
    assert seen["train"].shape == (8, 3, 224, 224)
    assert read(done.checkpoint)[1].preprocess == photographs.preprocess


def test_decoding_is_reported(photographs, tmp_path, recipe):
    seen = []
    train(
        recipe(),
        "baseline",
        photographs,
        folder=tmp_path / "runs",
        progress=lambda done, total, words: seen.append((done, total, words)),
    )
    assert seen[:2] == [(8, 8, "decoding images"), (4, 4, "decoding images")]


def test_what_a_gpu_has_no_room_for_stays_where_it_is(few_digits, monkeypatch):
    part = few_digits.split("train")
    free = 2 * part.images.nbytes
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (free - 1, 0))
    assert move_to_device(part, torch.device("cuda")) is part
    assert move_to_device(part, torch.device("meta")).images.is_meta


def test_a_step_moves_its_own_batch(few_digits, monkeypatch, recipe):
    """The images lie here and the network elsewhere; only what a batch needs goes there."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # not for such tensors
    model = build("preactresnet10", classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, width=8)
    own = recipe(augmentation={"size": 24, "flip": True, "jitter": 0.4, "lighting": 0.1})
    seen = []

    def method(images, labels, _generator):
        seen.append((images, labels))
        return images.mean().requires_grad_()

    elsewhere, here = torch.device("meta"), few_digits.split("train")
    run = TrainingState(model.to(elsewhere), method, own, len(here), generator(0), elsewhere)
    run.begin_epoch()
    rows = next(run.batches(here.images.device))
    _step(run, here, rows)
    assert (rows.device.type, here.images.device.type) == ("cpu", "cpu")
    images, labels = seen[0]
    assert images.is_meta and labels.is_meta
    assert (images.shape, images.dtype) == ((4, 3, 24, 24), torch.float32)
