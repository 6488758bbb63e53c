"""The generator of EXP: what makes its pairs what they are."""

from itertools import product

import pytest
import torch

from torsor.data import satisfiability
from torsor.data.canonical_forms import canonical_form, indistinguishable
from torsor.data.graphs import Ragged, SparseGraphs
from torsor.data.planarity import is_planar
from torsor.data.satisfiability import FILLERS, LARGEST, WIDTHS, Formula, core, formula_graph, is_satisfiable, pairs, planar_formula


@pytest.mark.parametrize("variables", [4, 6, 8, 10])
def test_cores_are_planar_alike_different_and_one_of_them_is_satisfiable(variables: int) -> None:
    formulas = [core(variables, satisfiable) for satisfiable in (True, False)]
    assert [is_satisfiable(formula) for formula in formulas] == [True, False]
    graphs, kinds = zip(*map(formula_graph, formulas), strict=True)
    for graph in graphs:
        assert len(graph) == 4 * variables
        assert int(graph.sum()) == 2 * 5 * variables
        assert is_planar(graph)
    first, second = indistinguishable(torch.stack(graphs), colours=torch.stack(kinds)).tolist()
    assert first == second
    assert canonical_form(graphs[0]) != canonical_form(graphs[1])


def test_satisfiability_agrees_with_evaluating_every_assignment(generator: torch.Generator) -> None:
    answers = set()
    for _ in range(40):
        draws = torch.randint(6, (9, 2), generator=generator).tolist()
        clauses = tuple(frozenset({(a // 2, bool(a % 2)), (b // 2, bool(b % 2))}) for a, b in draws)
        naive = any(
            all(any(values[v] != negated for v, negated in clause) for clause in clauses) for values in product((False, True), repeat=3)
        )
        assert is_satisfiable(Formula(3, clauses)) == naive
        answers.add(naive)
    assert answers == {True, False}


@pytest.mark.parametrize("size", [12, 15])
def test_second_components_are_planar_satisfiable_formulas(size: int, generator: torch.Generator) -> None:
    for _ in range(10):
        formula = planar_formula(size, generator)
        assert formula.variables + len(formula.clauses) == size
        assert is_satisfiable(formula)
        assert is_planar(formula_graph(formula)[0])
        assert all(WIDTHS[0] <= len(clause) <= WIDTHS[1] for clause in formula.clauses)
        assert len(set(formula.clauses)) == len(formula.clauses)
        uses = [sum(variable in {v for v, _ in clause} for clause in formula.clauses) for variable in range(formula.variables)]
        assert min(uses) >= 2


def test_pairs_are_planar_alike_different_and_one_of_each_is_satisfiable() -> None:
    made = pairs(18, 3)
    assert [member.satisfiable for member in made] == [True, False] * 18
    assert all(is_planar(member.adjacency) for member in made)
    assert max(len(member.kinds) for member in made) <= LARGEST
    graphs = SparseGraphs(
        Ragged.of([member.adjacency.nonzero() for member in made]), {"kinds": Ragged.of([member.kinds for member in made])}
    )
    dense = graphs.dense(LARGEST)
    classes = indistinguishable(dense["adjacency"].bool(), dense["mask"], dense["kinds"])
    assert torch.equal(classes[::2], classes[1::2])
    assert len(classes.unique()) == 18  # different pairs are different
    forms = [canonical_form(member.adjacency, member.kinds.tolist()) for member in made[:12]]
    assert len(set(forms)) == 12


def test_pairs_are_a_prefix_of_more_pairs_and_depend_on_their_seed() -> None:
    few, many, others = pairs(2, 5), pairs(4, 5), pairs(2, 6)
    for first, second in zip(few, many, strict=False):
        assert torch.equal(first.adjacency, second.adjacency)
    assert any(len(a.kinds) != len(b.kinds) or not torch.equal(a.adjacency, b.adjacency) for a, b in zip(few, others, strict=True))


def test_a_sixth_of_the_pairs_has_the_larger_second_component() -> None:
    assert [FILLERS.count(size) * satisfiability.PAIRS // len(FILLERS) for size in (12, 15)] == [500, 100]
