import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torsor.training.order import batch_indices, derived_seed, stream


@given(st.integers(0, 99), st.integers(1, 40), st.integers(1, 17))
def test_every_epoch_shows_every_sample_once_and_batches_run_on_without_a_gap(seed: int, size: int, batch_size: int) -> None:
    steps = -(-3 * size // batch_size)
    seen = torch.cat([batch_indices(seed, step, batch_size, size) for step in range(steps)])
    for epoch in range(3):
        assert seen[epoch * size : (epoch + 1) * size].sort().values.tolist() == list(range(size))


def test_a_step_does_not_depend_on_the_steps_before_it() -> None:
    forwards = [batch_indices(3, step, 8, 50) for step in range(40)]
    backwards = [batch_indices(3, step, 8, 50) for step in reversed(range(40))]
    assert all(torch.equal(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    orders = [tuple(batch_indices(seed, epoch, 50, 50).tolist()) for seed in range(4) for epoch in range(4)]
    assert len(set(orders)) == 16


def test_the_order_is_the_same_on_every_machine() -> None:
    assert batch_indices(0, 0, 8, 20).tolist() == [12, 2, 10, 15, 13, 11, 7, 14]
    assert derived_seed(0, "order", 0) == 1829853113658518448


@pytest.mark.parametrize("other", [(1, "augment", 0), (0, "order", 0), (0, "augment", 1), (0, "augment0"), (0, "augment", 0, 0)])
def test_streams_with_different_labels_differ(other: tuple[int | str, ...]) -> None:
    draw = torch.rand(4, generator=stream(0, "augment", 0))
    assert torch.equal(draw, torch.rand(4, generator=stream(0, "augment", 0)))
    assert not torch.equal(draw, torch.rand(4, generator=stream(*other)))  # type: ignore[arg-type]
