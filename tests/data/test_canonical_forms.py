"""Colour refinement and canonical forms: relabelling changes nothing, and what is different is told apart."""

from itertools import permutations

import pytest
import torch
from torch import Tensor

from torsor.data.canonical_forms import canonical_form, canonical_order, colour_refinement, indistinguishable, isomorphic
from torsor.data.graph8c import connected_graphs
from torsor.data.graph_formats import parse_graph


def circle(nodes: int) -> Tensor:
    matrix = torch.zeros(nodes, nodes, dtype=torch.bool)
    places = torch.arange(nodes)
    matrix[places, (places + 1) % nodes] = True
    return matrix | matrix.T


def beside(first: Tensor, second: Tensor) -> Tensor:
    return torch.block_diag(first.int(), second.int()).bool()


def relabelled(matrix: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    order = torch.randperm(len(matrix), generator=generator)
    return matrix[order][:, order], order


def test_relabelled_graphs_have_one_form(generator: torch.Generator) -> None:
    for nodes in (1, 2, 5, 9, 20):
        for _ in range(5):
            upper = (torch.rand(nodes, nodes, generator=generator) < 0.5).triu(1)
            matrix = upper | upper.T
            assert canonical_form(matrix) == canonical_form(relabelled(matrix, generator)[0])


def test_the_order_is_a_permutation_that_makes_the_form(generator: torch.Generator) -> None:
    upper = (torch.rand(9, 9, generator=generator) < 0.5).triu(1)
    matrix = upper | upper.T
    order = canonical_order(matrix)
    assert sorted(order) == list(range(9))
    moved, _ = relabelled(matrix, generator)
    places, moved_places = torch.tensor(order), torch.tensor(canonical_order(moved))
    assert torch.equal(matrix[places][:, places], moved[moved_places][:, moved_places])


def test_forms_agree_with_trying_all_permutations() -> None:
    graphs = connected_graphs(5)
    orders = torch.tensor(list(permutations(range(5))))
    for first in graphs[:12]:
        images = first[orders[:, :, None], orders[:, None, :]]
        for second in graphs:
            assert isomorphic(first, second) == bool((images == second).all(-1).all(-1).any())


def test_forms_tell_apart_what_colour_refinement_does_not() -> None:
    """Two triangles and a hexagon; the Shrikhande graph and the rook's graph of a 4 x 4 board, which no 2-dimensional test separates."""
    triangles, hexagon = beside(circle(3), circle(3)), circle(6)
    assert len(set(indistinguishable(torch.stack((triangles, hexagon))).tolist())) == 1
    assert not isomorphic(triangles, hexagon)
    row, column = torch.arange(16) // 4, torch.arange(16) % 4
    rook = (row[:, None] == row) ^ (column[:, None] == column)
    steps = {(0, 1), (0, 3), (1, 0), (3, 0), (1, 1), (3, 3)}
    shrikhande = torch.tensor([[((int(a) - int(c)) % 4, (int(b) - int(d)) % 4) in steps for c, d in zip(row, column, strict=True)]
                               for a, b in zip(row, column, strict=True)])  # fmt: skip
    assert rook.sum(1).eq(6).all()
    assert shrikhande.sum(1).eq(6).all()
    assert not isomorphic(rook, shrikhande)


def test_colours_of_nodes_are_kept_by_isomorphisms() -> None:
    path = parse_graph("Bg")
    ends = [node for node in range(3) if int(path[node].sum()) == 1]
    middle = next(node for node in range(3) if node not in ends)
    coloured = [[int(node == chosen) for node in range(3)] for chosen in (*ends, middle)]
    forms = [canonical_form(path, colours) for colours in coloured]
    assert forms[0] == forms[1] != forms[2]


def test_many_automorphisms_are_no_obstacle(generator: torch.Generator) -> None:
    """Without automorphisms to prune by, the tree of the complete graph alone has 20! leaves."""
    complete = ~torch.eye(20, dtype=torch.bool)
    star = torch.zeros(20, 20, dtype=torch.bool)
    star[0, 1:] = star[1:, 0] = True
    for matrix in (complete, star, ~complete, circle(40), beside(circle(5), circle(5))):
        assert canonical_form(matrix) == canonical_form(relabelled(matrix, generator)[0])


def test_stable_colours_are_those_of_the_naive_refinement(generator: torch.Generator) -> None:
    sizes = (5, 7, 9)
    matrices = [(torch.rand(n, n, generator=generator) < 0.3).triu(1) for n in sizes]
    padded, mask = torch.zeros(3, 9, 9, dtype=torch.bool), torch.zeros(3, 9, dtype=torch.bool)
    for i, (n, upper) in enumerate(zip(sizes, matrices, strict=True)):
        padded[i, :n, :n], mask[i, :n] = upper | upper.T, True
    stable = colour_refinement(padded, mask)
    naive = {(i, u): 0 for i, n in enumerate(sizes) for u in range(n)}
    for _ in range(9):
        naive = {(i, u): hash((naive[i, u], *sorted(naive[i, v] for v in range(sizes[i]) if padded[i, u, v]))) for i, u in naive}
    keys = list(naive)
    for first in keys:
        for second in keys:
            assert (naive[first] == naive[second]) == bool(stable[first] == stable[second])
    assert stable[~mask].eq(-1).all()


def test_padding_and_what_is_behind_it_change_no_class() -> None:
    graphs = connected_graphs(5)
    wide, mask = torch.ones(len(graphs), 8, 8, dtype=torch.bool), torch.zeros(len(graphs), 8, dtype=torch.bool)
    wide[:, :5, :5], mask[:, :5] = graphs, True
    wide[:, 5:, :5] = wide[:, :5, 5:] = False
    assert torch.equal(indistinguishable(wide, mask), indistinguishable(graphs))


def test_initial_colours_refine() -> None:
    hexagon = circle(6).unsqueeze(0)
    assert len(colour_refinement(hexagon).unique()) == 1
    assert len(colour_refinement(hexagon, colours=torch.tensor([[1, 0, 0, 0, 0, 0]])).unique()) == 4


@pytest.mark.slow
def test_circular_skip_links_are_told_apart_by_their_forms() -> None:
    def skip(step: int) -> Tensor:
        matrix, places = circle(41), torch.arange(41)
        matrix[places, (places + step) % 41] = matrix[(places + step) % 41, places] = True
        return matrix

    steps = (2, 3, 4, 5, 6, 9, 11, 12, 13, 16)
    assert len({canonical_form(skip(step)) for step in steps}) == 10
