import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catchup_eval.core.rng import fork_global_rng, generator, image_rngs, torch_generator

keys = st.lists(st.one_of(st.integers(0, 2**32), st.text(max_size=8)), min_size=1, max_size=4)


@settings(max_examples=25)
@given(keys)
def test_the_same_key_draws_the_same(key: list[int | str]) -> None:
    assert generator(*key).random() == generator(*key).random()


def test_another_key_draws_another() -> None:
    draws = {generator(0, name).random() for name in ("a", "b", "ab")} | {
        generator(1, "a").random()
    }
    assert len(draws) == 4


def test_an_image_draws_the_same_in_every_batch() -> None:
    whole = [g.random() for g in image_rngs(0, "x", np.arange(10))]
    halves = [
        g.random() for half in (np.arange(5), np.arange(5, 10)) for g in image_rngs(0, "x", half)
    ]
    assert whole == halves


def test_torch_follows_numpy() -> None:
    a, b = (torch.rand(3, generator=torch_generator(generator(7))) for _ in range(2))
    assert torch.equal(a, b)


def test_isolated_gives_the_global_states_back() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    with fork_global_rng(generator(0)):
        first = (torch.rand(1).item(), np.random.rand())
    with fork_global_rng(generator(0)):
        assert (torch.rand(1).item(), np.random.rand()) == first
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
