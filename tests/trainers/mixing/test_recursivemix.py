import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from catchup_eval.core.errors import Interrupted, UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.models.wrapping import wrap
from catchup_eval.trainers.loop import fit
from catchup_eval.trainers.mixing.recursivemix import box_features, paste_whole, recursivemix
from catchup_eval.trainers.mixing.shared.boxes import Box


class Scripted:
    """A generator whose boxes were chosen beforehand: (area, row, column) of each step."""

    def __init__(self, *boxes):
        self.left = [number for box in boxes for number in box]

    def uniform(self, low, high):
        assert low <= self.left[0] <= high
        return self.left.pop(0)

    def integers(self, high):
        assert 0 <= self.left[0] < high
        return self.left.pop(0)


@pytest.fixture
def model(new_model):
    return new_model(3).eval()


def batch_of(n=4, seed=0, side=8):
    source = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, side, side, generator=source), torch.arange(n) % 3


def one_hot(*labels):
    return torch.eye(3)[[int(label) for label in labels]]


class Noting:
    """A criterion that keeps what it was asked."""

    def __init__(self):
        self.targets = []

    def __call__(self, logits, targets):
        self.targets.append(targets)
        return cross_entropy(logits, targets)


def test_the_whole_old_image_is_pasted_small():
    old = torch.arange(16.0).view(1, 1, 4, 4)
    mixed = paste_whole(torch.full((1, 1, 4, 4), -1.0), old, Box(0, 2, 1, 3))
    assert mixed[0, 0].tolist() == [[-1, 0, 2, -1], [-1, 8, 10, -1], [-1] * 4, [-1] * 4]


@pytest.mark.parametrize("box", [Box(0, 2, 0, 3), Box(5, 8, 2, 7), Box(0, 8, 0, 8)])
def test_what_is_pasted_is_what_a_grid_of_nearest_pixels_gives(box):
    (images, _), (old, _) = batch_of(3), batch_of(3, seed=1)
    rows = [8 * row // (box.bottom - box.top) for row in range(box.bottom - box.top)]
    columns = [8 * column // (box.right - box.left) for column in range(box.right - box.left)]
    expected = images.numpy().copy()
    expected[:, :, box.top : box.bottom, box.left : box.right] = old.numpy()[:, :, rows][
        ..., columns
    ]
    assert np.array_equal(paste_whole(images, old, box).numpy(), expected)


@pytest.mark.parametrize("box", [Box(0, 0, 0, 0), Box(0, 0, 2, 5), Box(3, 6, 8, 8)])
def test_a_box_without_area_pastes_nothing(box):
    images, _ = batch_of()
    assert torch.equal(paste_whole(images, images.flip(0), box), images)


def test_features_of_a_box_worked_by_hand():
    # 2 x 4 cells for an image of 8 x 8: a cell is 4 rows high and 2 columns wide.
    maps = torch.tensor([[[[0.0, 1.0, 2.0, 3.0], [10.0, 11.0, 12.0, 13.0]]]])
    maps = torch.cat([maps, 100 + maps])
    cells = {
        Box(0, 4, 0, 2): 0,  # one cell
        Box(4, 8, 4, 8): 12.5,  # two cells side by side
        Box(0, 8, 2, 4): 6,  # two above each other
        Box(0, 8, 0, 8): 6.5,  # the whole image: what average pooling gives
        Box(2, 6, 1, 3): 5.5,  # halfway between four
    }
    for box, expected in cells.items():
        assert box_features(maps, box, 8, 8).flatten().tolist() == [expected, 100 + expected]


def test_features_of_a_box_keep_to_their_image_in_half_precision():
    numbers = torch.arange(600.0) % 127  # above 256, 16 bits cannot count images one by one
    maps = numbers.view(600, 1, 1, 1).expand(600, 1, 2, 2).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(box_features(maps, Box(0, 4, 2, 6), 8, 8).flatten(), numbers)


def test_three_steps_worked_by_hand(model):
    noting = Noting()
    method = recursivemix(model, criterion=noting, omega=0.5)
    (first, a), (second, b), (third, c) = (batch_of(2, seed) for seed in range(3))
    b, c = b + 1, c.flip(0)
    # A quarter of the area around (2, 2): rows and columns 0 to 3. Then half of it, 5 pixels a
    # side, 2 before the centre and 2 after, around (7, 0): rows 5 to 7, columns 0 and 1.
    draw = Scripted((0.25, 2, 2), (0.5, 7, 0))
    losses = [method(*batch, draw) for batch in ((first, a), (second, b), (third, c))]
    assert not draw.left

    mixed_2 = paste_whole(second, first, Box(0, 4, 0, 4))
    mixed_3 = paste_whole(third, mixed_2, Box(5, 8, 0, 2))
    y_1, y_2 = one_hot(0, 1), 0.75 * one_hot(1, 2) + 0.25 * one_hot(0, 1)
    y_3 = 58 / 64 * one_hot(1, 0) + 6 / 64 * y_2
    for targets, expected in zip(noting.targets, (y_1, y_2, y_3)):
        torch.testing.assert_close(targets, expected)

    expected = [cross_entropy(model(first), y_1)]
    steps = [
        (mixed_2, y_2, 0.25, Box(0, 4, 0, 4), first),
        (mixed_3, y_3, 6 / 64, Box(5, 8, 0, 2), mixed_2),
    ]
    for mixed, targets, share, box, before in steps:
        again = method.second_head(box_features(model.feature_map(mixed), box, 8, 8))
        echo = cross_entropy(again, model(before).softmax(1))
        expected.append(cross_entropy(model(mixed), targets) + 0.5 * share * echo)
    torch.testing.assert_close(losses, expected)


@pytest.mark.parametrize("centre", [(0, 4), (4, 0), (0, 0)])
def test_a_box_of_less_than_two_pixels_is_a_clean_step(centre, model):
    # One pixel a side: from the centre - 0 to the centre + 0, none.
    noting = Noting()
    method = recursivemix(model, criterion=noting)
    method(*batch_of(), Scripted())
    images, labels = batch_of(seed=1)
    loss = method(images, labels, Scripted((1 / 64, *centre)))
    torch.testing.assert_close(loss, cross_entropy(model(images), labels))
    assert torch.equal(noting.targets[1], one_hot(*labels))


@pytest.mark.parametrize("height, width", [(1, 16), (16, 1), (2, 9)])
def test_boxes_with_no_height_or_no_width_alone(height, width, model):
    method, draw = recursivemix(model), generator(0)
    for seed in range(20):
        images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
        assert method(images, torch.tensor([0, 1]), draw).isfinite()


@pytest.mark.parametrize(
    "before, now, partners", [(4, 2, [0, 1]), (2, 5, [0, 1, 0, 1, 0]), (1, 3, [0] * 3)]
)
def test_smaller_and_larger_batches_than_the_last(before, now, partners, model):
    noting = Noting()
    method = recursivemix(model, criterion=noting, omega=0)
    old, old_labels = batch_of(before)
    images, labels = batch_of(now, seed=1)
    method(old, old_labels, Scripted())
    loss = method(images, labels, Scripted((0.25, 4, 4)))
    mixed = paste_whole(images, old[partners], Box(2, 6, 2, 6))
    targets = 0.75 * one_hot(*labels) + 0.25 * one_hot(*old_labels[partners])
    torch.testing.assert_close(noting.targets[1], targets)
    torch.testing.assert_close(loss, cross_entropy(model(mixed), targets))


def test_an_epoch_starts_without_memory_and_without_a_draw(model):
    method, draw = recursivemix(model), generator(1)
    images, labels = batch_of()
    clean = cross_entropy(model(images), labels)
    for _ in range(2):
        untouched = copy.deepcopy(draw)
        torch.testing.assert_close(method(images, labels, draw), clean)
        assert draw.bit_generator.state == untouched.bit_generator.state
        assert (method(images, labels, draw) - clean).abs() > 1e-3
        method.start_epoch()


def test_areas_are_uniform_up_to_alpha_and_drawn_as_documented(model):
    draw, noting = generator(0), Noting()
    method = recursivemix(model, criterion=noting, alpha=0.3)
    images, labels = batch_of(side=16)
    method(images, labels, draw)
    for _ in range(10):
        same = copy.deepcopy(draw)
        method.start_epoch()
        method(images, torch.zeros_like(labels), draw)
        method(images, torch.ones_like(labels), draw)
        area, row, column = same.uniform(0, 0.3), same.integers(16), same.integers(16)
        half = int(16 * area**0.5) // 2
        rows, columns = (min(centre + half, 16) - max(centre - half, 0) for centre in (row, column))
        assert noting.targets[-1][0, 0] == pytest.approx(rows * columns / 256)
        assert draw.bit_generator.state == same.bit_generator.state


def test_the_memory_is_a_constant_of_its_own(model):
    method, draw = recursivemix(model), generator(0)
    images, labels = batch_of()
    method(images, labels, draw)
    memory = method.get_extra_state()
    assert not any(value.requires_grad for value in memory.values())
    kept = memory["images"].clone()
    images.zero_()  # a caller may use the buffer again
    assert torch.equal(method.get_extra_state()["images"], kept)
    for _ in range(3):
        method(*batch_of(), draw).backward()  # a graph that reached back would be gone


def test_the_second_head_learns_and_is_all_that_is_added(model):
    method, draw = recursivemix(model), generator(0)
    assert {name: tuple(p.shape) for name, p in method.named_parameters()} == {
        "second_head.weight": (3, 64),
        "second_head.bias": (3,),
    }
    method(*batch_of(), draw)
    method(*batch_of(), Scripted((0.25, 4, 4))).backward()
    assert all(p.grad.abs().sum() > 0 for p in method.parameters())


def test_the_shared_head_adds_nothing_and_pools_what_the_network_pools(model):
    method = recursivemix(model, share_head=True, alpha=1.0, omega=1.0)
    assert not list(method.parameters())
    (first, a), (second, b) = batch_of(), batch_of(seed=1)
    method(first, a, Scripted())
    # The box is the whole image: what comes out is the old image, and the box's features are the
    # network's own, so what is said of them is what is said of the image.
    loss = method(second, b, Scripted((1.0, 4, 4)))
    said = model(first)
    expected = cross_entropy(said, one_hot(*a)) + cross_entropy(said, said.softmax(1))
    torch.testing.assert_close(loss, expected)


def test_building_leaves_the_global_generator_and_repeats_with_it(model):
    with fork_global_rng(generator(1)):
        before = torch.get_rng_state()
        first, second = recursivemix(model), recursivemix(model)
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.second_head.weight, second.second_head.weight)


@pytest.fixture(scope="module")
def training(new_model, noise_split, recipe_of, stop_after):
    """Trains for 9 steps: the weights, the memory and the losses at the end."""

    def run(path, stop=None, forget=False):
        model = new_model(4)
        with fork_global_rng(generator(0)):
            method = recursivemix(model)
        if forget:
            method.set_extra_state = lambda _state: None
        recipe, progress = recipe_of(epochs=3, schedule={"kind": "one_cycle"}), stop_after(stop)
        history = fit(model, method, noise_split(), None, recipe, resume=path, progress=progress)
        method.close()
        weights = {**model.state_dict(), **dict(method.named_parameters())}
        losses = torch.tensor(history.frame["train_loss"].to_numpy())
        return {**method.get_extra_state(), **weights, "losses": losses}

    return run


@pytest.fixture(scope="module")
def whole(training):
    return training(None)


@pytest.mark.trained
@pytest.mark.parametrize("stop", [1, 4, 5, 6])
def test_a_training_that_was_stopped_ends_bit_for_bit_as_one_that_was_not(
    stop, training, whole, tmp_path
):
    with pytest.raises(Interrupted):
        training(tmp_path / "resume.pt", stop)
    again = training(tmp_path / "resume.pt")
    assert whole.keys() == again.keys()
    for name, value in whole.items():
        assert torch.equal(value, again[name]), name


@pytest.mark.trained
def test_that_needs_the_memory_and_the_second_head_is_trained(training, whole, new_model, tmp_path):
    with fork_global_rng(generator(0)):
        fresh = recursivemix(new_model(4)).second_head
    assert not torch.equal(whole["second_head.weight"], fresh.weight)
    assert not torch.equal(whole["second_head.bias"], fresh.bias)
    with pytest.raises(Interrupted):
        training(tmp_path / "resume.pt", 4)
    assert not torch.equal(training(tmp_path / "resume.pt", forget=True)["losses"], whole["losses"])


def test_a_network_that_pools_nothing_says_what_is_needed():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 3))
    for model in (net, wrap(net)):
        with pytest.raises(UserError, match=r"what the network's head pools: give it catchup_eval"):
            recursivemix(model)


def test_a_head_that_does_not_see_the_map_is_refused():
    layers = (nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(UserError, match=r"one map \(N, 16, h, w\) .* got \[\(4, 4, 6, 6\)\]"):
        recursivemix(wrap(nn.Sequential(*layers)))(*batch_of(), generator(0))


def test_a_closed_method_reports_it(model):
    method = recursivemix(model)
    method.close()
    method.close()
    with pytest.raises(UserError, match="got none; a method that was closed has none"):
        method(*batch_of(), generator(0))


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_map_inside_a_checkpointed_part_must_have_gradients(reentrant):
    """With use_reentrant=True it has none: the second head would teach the network nothing."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.pool = nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1)
            self.body, self.head = nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

        def inner(self, x):
            return self.pool(self.body(x)).flatten(1)

        def forward(self, x):
            return self.head(checkpoint(self.inner, self.conv(x), use_reentrant=reentrant))

    method = recursivemix(wrap(Net(), pool="pool"))
    if reentrant:
        with pytest.raises(UserError, match="a pooled map that gradients reach"):
            method(*batch_of(2, 0), generator(0))
    else:
        assert method(*batch_of(2, 0), generator(0)).isfinite()
