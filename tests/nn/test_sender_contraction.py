"""The contraction at the sender against the formula at once, its derivatives of first and second order, and the order of edges."""

import pytest
import torch
from torch import Tensor

from torsor.nn import sender_contraction
from torsor.nn.sender_contraction import SenderOrder, contract_by_sender

SOURCE = torch.tensor([4, 0, 4, 2, 0, 4, 4, 1, 2, 4, 4, 4])


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_contraction, "_CHUNK_BYTES", {"cpu": 1000})


def arguments(generator: torch.Generator) -> list[Tensor]:
    """Features and weights of two degrees, hidden units and bases of each edge."""
    shapes = ((5, 1, 2), (5, 3, 4), (12, 3), (12, 4, 1, 2), (12, 4, 3, 4), (2, 3, 2, 5), (4, 3, 4, 5))
    return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]


def by_sender(x0: Tensor, x1: Tensor, z: Tensor, b0: Tensor, b1: Tensor, w0: Tensor, w1: Tensor) -> Tensor:
    order = SenderOrder.of(SOURCE, 5)
    features = [x.index_select(0, order.senders) for x in (x0, x1)]
    bases = [b.index_select(0, order.filled) for b in (b0, b1)]
    return order.leave(contract_by_sender(features, order.enter(z), bases, [w0, w1], order.groups))


def by_edge(x0: Tensor, x1: Tensor, z: Tensor, b0: Tensor, b1: Tensor, w0: Tensor, w1: Tensor) -> Tensor:
    parts = [torch.einsum("eabt,eh,thco,ebc->eao", b, z, w, x[SOURCE]) for x, b, w in ((x0, b0, w0), (x1, b1, w1))]
    return parts[0] + parts[1]


@pytest.mark.usefixtures("small_chunks")
def test_the_contraction_is_the_sum_of_the_formula(generator: torch.Generator) -> None:
    drawn = arguments(generator)
    torch.testing.assert_close(by_sender(*drawn), by_edge(*drawn), atol=1e-12, rtol=1e-12)


@pytest.mark.usefixtures("small_chunks")
def test_first_second_and_forward_derivatives_are_right(generator: torch.Generator) -> None:
    assert torch.autograd.gradcheck(by_sender, arguments(generator), check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(by_sender, arguments(generator), fast_mode=True)


@pytest.mark.usefixtures("small_chunks")
def test_gradients_do_not_depend_on_which_of_them_are_asked_for(generator: torch.Generator) -> None:
    drawn = arguments(generator)
    expected = torch.autograd.grad(by_sender(*drawn).square().sum(), drawn)
    for place, value in enumerate(drawn):
        alone = [x if x is value else x.detach() for x in drawn]
        torch.testing.assert_close(torch.autograd.grad(by_sender(*alone).square().sum(), value)[0], expected[place])


@pytest.mark.usefixtures("small_chunks")
def test_batches_of_features_and_of_weights_give_stacked_results(generator: torch.Generator) -> None:
    x0, x1, z, b0, b1, w0, w1 = (value.detach() for value in arguments(generator))
    batch, weights = torch.stack([x1, 2 * x1, x1.flip(0)]), torch.stack([w0, -w0])
    found = torch.func.vmap(lambda x: by_sender(x0, x, z, b0, b1, w0, w1))(batch)
    torch.testing.assert_close(found, torch.stack([by_edge(x0, x, z, b0, b1, w0, w1) for x in batch]), atol=1e-12, rtol=0)
    slopes = torch.func.vmap(torch.func.grad(lambda w: by_sender(x0, x1, z, b0, b1, w, w1).square().sum()))(weights)
    expected = [torch.func.grad(lambda w: by_edge(x0, x1, z, b0, b1, w, w1).square().sum())(w) for w in weights]
    torch.testing.assert_close(slopes, torch.stack(expected), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("points", [2, 3, 9, 40])
def test_the_order_has_every_edge_once_beside_those_of_its_sender(points: int, generator: torch.Generator) -> None:
    source = torch.randint(points, (7 * points,), generator=generator).clamp(min=1)
    order = SenderOrder.of(source, points)
    assert order.edges[order.places].tolist() == list(range(len(source)))
    assert len(order.edges) == sum(size * room for size, room in order.groups) < 1.5 * len(source) + 2 * points
    owners = torch.cat([torch.full((size,), room) for size, room in order.groups])
    owner_of_place = order.senders.repeat_interleave(owners)
    filled = order.edges < len(source)
    assert filled.sum() == len(source)
    assert torch.equal(owner_of_place[filled], source[order.edges[filled]])
    assert sorted(order.senders.tolist()) == sorted(set(source.tolist()))


def test_no_edges_give_no_messages(generator: torch.Generator) -> None:
    order = SenderOrder.of(SOURCE[:0], 5)
    x, z, basis, weight = torch.zeros(0, 1, 2), torch.zeros(0, 3), torch.zeros(0, 4, 1, 2), torch.zeros(2, 3, 2, 5)
    assert contract_by_sender([x], order.enter(z), [basis], [weight], order.groups).shape == (0, 4, 5)
