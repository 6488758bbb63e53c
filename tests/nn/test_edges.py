"""Neighbour lists: who is in them, what they do at their edge, and the dense form against the sparse one."""

import pytest
import torch
from torch import Tensor

from torsor.nn.edges import dense_edges, envelope, sparse_edges


def received(edges: object, values: Tensor) -> Tensor:
    return edges.total(edges.send(values) * (1 if edges.weight is None else edges.weight))


def test_all_other_points_send_and_none_to_itself(generator: torch.Generator) -> None:
    x, values = torch.randn(2, 5, 3, generator=generator), torch.randn(10, 4, generator=generator)
    sums = values.view(2, 5, 4).sum(1, keepdim=True) - values.view(2, 5, 4)
    torch.testing.assert_close(received(dense_edges(x), values), sums.flatten(0, 1))


def test_a_sharp_cut_takes_exactly_the_nearest(generator: torch.Generator) -> None:
    x = torch.randn(1, 7, 3, generator=generator)
    edges = dense_edges(x, neighbours=3, fade=False)
    nearest = torch.cdist(x[0], x[0]).fill_diagonal_(float("inf")).topk(3, largest=False).indices
    assert torch.equal(edges.source.view(7, 3).sort().values, nearest.sort().values)


def test_padding_sends_nothing(generator: torch.Generator) -> None:
    x = torch.randn(1, 6, 3, generator=generator)
    mask = torch.tensor([[True] * 4 + [False] * 2])
    values = torch.randn(6, 2, generator=generator)
    for neighbours in (None, 2, 4):
        padded = received(dense_edges(x, mask, neighbours=neighbours), values)[:4]
        torch.testing.assert_close(padded, received(dense_edges(x[:, :4], neighbours=neighbours), values[:4]))


def test_tied_points_are_treated_alike_by_a_fading_cut() -> None:
    corners = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    near = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.0, 0.0]])
    x = torch.cat([near, corners])[None]
    # the centre has one nearest point and eight corners at equal distance: four neighbours cannot be chosen among them
    edges = dense_edges(x, neighbours=4)
    weights = edges.weight.view(10, 4)[1]
    assert torch.equal(weights, torch.tensor([1.0, 0.0, 0.0, 0.0]))


def test_messages_are_continuous_where_a_neighbour_is_replaced() -> None:
    values = torch.arange(1.0, 5.0)[:, None].double()

    def at(shift: float) -> Tensor:
        x = torch.tensor([[[0.0, 0, 0], [1.0, 0, 0], [0, 1 + shift, 0], [0, 0, 1.0]]], dtype=torch.float64)
        x[0, 1] *= 0.5
        return received(dense_edges(x, neighbours=2), values)[0]

    torch.testing.assert_close(at(1e-7), at(-1e-7), atol=1e-6, rtol=0)


def test_an_envelope_is_one_inside_zero_outside_and_smooth_between() -> None:
    t = torch.tensor([1.0, 0.5, 0.25, 0.0, -0.3], dtype=torch.float64, requires_grad=True)
    value = envelope(t, 0.5)
    torch.testing.assert_close(value, torch.tensor([1.0, 1.0, 0.5, 0.0, 0.0], dtype=torch.float64))
    (first,) = torch.autograd.grad(value.sum(), t, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), t)
    assert first[1] == 0
    assert first[3] == 0
    assert second[1].abs() < 1e-12


@pytest.mark.parametrize("radius", [None, 1.5])
def test_sparse_edges_equal_dense_ones(radius: float | None, generator: torch.Generator) -> None:
    x = torch.randn(1, 5, 3, generator=generator)
    pairs = torch.tensor([(j, i) for i in range(5) for j in range(5) if i != j]).T
    values, logits = torch.randn(5, 2, generator=generator), torch.randn(5, 5, generator=generator)
    dense, sparse = dense_edges(x, radius=radius), sparse_edges(x[0], pairs, radius=radius)
    torch.testing.assert_close(received(sparse, values), received(dense, values))
    of_dense = dense.softmax(logits[torch.arange(5).repeat_interleave(4), dense.source][:, None])
    of_sparse = sparse.softmax(logits[pairs[1], pairs[0]][:, None])
    torch.testing.assert_close(sparse.total(of_sparse * values[pairs[0]]), dense.total(of_dense * dense.send(values)))


def test_points_that_differ_by_rounding_have_no_direction() -> None:
    x = torch.full((1, 2, 3), 1e3, dtype=torch.float64)
    x[0, 1, 0] = torch.nextafter(x[0, 1, 0], torch.tensor(2e3, dtype=torch.float64))
    edges = dense_edges(x)
    assert edges.coincident.all()
    assert torch.equal(edges.vectors, torch.zeros(2, 3, dtype=torch.float64))
