"""Pairs of propositional formulas whose graphs look alike to colour refinement, one of each pair satisfiable: the benchmark EXP.

After Abboud, Ceylan, Grohe, Lukasiewicz: The surprising power of graph neural networks with random node initialization (2021), with a
generator of our own. A formula in conjunctive normal form is a graph: a node for each literal and each clause, an edge between the two
literals of a variable and between a clause and its literals.

The core has an even number n of variables x_i and the clauses "not x_i or x_(i+1)". In the unsatisfiable member they run in one circle, so
that all variables are equal; in the satisfiable one in two circles of h = n / 2, the second one backwards, so that those of each half are.
A bridge, the same in both, makes each variable of the first half the negation of one of the second. Locally, the two are the same. Both
members get the same second component: a random planar formula that can be satisfied.

Axes: n nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from torsor.data.planarity import is_planar

PAIRS, LARGEST = 600, 64
"""Pairs of the benchmark, and the nodes of its largest graph."""
CORES = (4, 6, 8)
"""Variables of a core."""
FILLERS = (12, 12, 12, 12, 12, 15)
"""Variables and clauses of the second component, by turns: 500 pairs with 12 and 100 with 15."""
WIDTHS = (2, 5)
"""Fewest and most literals of a clause."""

Literal = tuple[int, bool]
"""A variable, and whether it is negated."""


class Formula(NamedTuple):
    """A formula in conjunctive normal form.

    Args:
        variables: how many there are.
        clauses: each a disjunction of literals.
    """

    variables: int
    clauses: tuple[frozenset[Literal], ...]


class FormulaGraph(NamedTuple):
    """The graph of a formula.

    Args:
        adjacency: of literals and clauses.
        kinds: 0 for a clause, 1 for a literal.
        satisfiable: whether the formula is.
    """

    adjacency: Bool[Tensor, "n n"]
    kinds: Int64[Tensor, "n"]
    satisfiable: bool


def core(variables: int, satisfiable: bool) -> Formula:
    """The member of a pair that is, or is not, satisfiable.

    Args:
        variables: an even number, at least 4.
        satisfiable: which member.
    """
    half = variables // 2
    clauses = []
    for i in range(variables):
        second = i // half
        step = (i + 1) % variables if not satisfiable else half * second + (i + 1) % half
        first, then = (step, i) if satisfiable and second else (i, step)
        clauses.append(frozenset({(first, True), (then, False)}))
    for i in range(half):
        partner = half + (-i - 1) % half
        clauses += [frozenset({(i, negated), (partner, negated)}) for negated in (False, True)]
    return Formula(variables, tuple(clauses))


def is_satisfiable(formula: Formula) -> bool:
    """Whether some assignment makes all clauses true, by trying all of them."""
    values = (np.arange(1 << formula.variables)[:, None] >> np.arange(formula.variables) & 1).astype(bool)
    holds = np.ones(len(values), dtype=bool)
    for clause in formula.clauses:
        holds &= np.any([values[:, variable] ^ negated for variable, negated in clause], axis=0)
    return bool(holds.any())


def joined(first: Formula, second: Formula) -> Formula:
    """Both formulas, each with variables of its own."""
    moved = tuple(frozenset((first.variables + variable, negated) for variable, negated in clause) for clause in second.clauses)
    return Formula(first.variables + second.variables, first.clauses + moved)


def formula_graph(formula: Formula) -> tuple[Bool[Tensor, "n n"], Int64[Tensor, "n"]]:
    """The adjacency of literals, each variable's two side by side, and after them clauses; and the kinds of the nodes."""
    literals, nodes = 2 * formula.variables, 2 * formula.variables + len(formula.clauses)
    adjacency = torch.zeros(nodes, nodes, dtype=torch.bool)
    for variable in range(formula.variables):
        adjacency[2 * variable, 2 * variable + 1] = True
    for place, clause in enumerate(formula.clauses):
        for variable, negated in clause:
            adjacency[2 * variable + negated, literals + place] = True
    kinds = torch.zeros(nodes, dtype=torch.int64)
    kinds[:literals] = 1
    return adjacency | adjacency.T, kinds


def planar_formula(size: int, generator: torch.Generator) -> Formula:
    """A random formula that can be satisfied, whose graph is planar and where every variable is in two clauses or more.

    Args:
        size: variables and clauses together.
        generator: where the numbers come from.
    """
    while True:
        graph = _PlanarBipartite(size, _below(generator))
        formula = graph.formula()
        widths = [len(clause) for clause in formula.clauses]
        fits = WIDTHS[0] <= min(widths) and max(widths) <= WIDTHS[1] and len(set(formula.clauses)) == len(widths)
        if fits and is_satisfiable(formula) and is_planar(formula_graph(formula)[0]):
            return formula


def pair(index: int, generator: torch.Generator) -> tuple[FormulaGraph, FormulaGraph]:
    """A satisfiable formula and one that is not, alike to colour refinement, their nodes in random order.

    Args:
        index: of the pair, which says how large the second component is.
        generator: where the numbers come from.
    """
    filler = planar_formula(FILLERS[index % len(FILLERS)], generator)
    variables = CORES[_below(generator)(len(CORES))]
    members = []
    for satisfiable in (True, False):
        adjacency, kinds = formula_graph(joined(core(variables, satisfiable), filler))
        order = torch.randperm(len(kinds), generator=generator)
        members.append(FormulaGraph(adjacency[order][:, order], kinds[order], satisfiable))
    return members[0], members[1]


@lru_cache(maxsize=4)
def pairs(count: int = PAIRS, seed: int = 0) -> tuple[FormulaGraph, ...]:
    """The two members of each pair in turn, the satisfiable one first; a smaller number is a prefix of a larger one.

    Args:
        count: pairs.
        seed: of the second components and of the order of nodes.
    """
    generator = torch.Generator().manual_seed(seed)
    return tuple(member for index in range(count) for member in pair(index, generator))


class _PlanarBipartite:
    """A random planar graph between variables and clauses where every node has two neighbours or more.

    A circle is drawn, then paths and edges across faces, each from a corner to another: nothing ever crosses.

    Args:
        size: nodes.
        below: gives a random whole number below another.
    """

    def __init__(self, size: int, below: Callable[[int], int]) -> None:
        self.below = below
        start = 4 + 2 * below(2)
        self.is_clause = [bool(node % 2) for node in range(start)]
        self.edges = {frozenset({node, (node + 1) % start}) for node in range(start)}
        circle = list(range(start))
        self.faces = [circle, circle[::-1]]
        while len(self.is_clause) < size:
            self.cross(size - len(self.is_clause))
        for _ in range(below(size // 2)):
            self.cross(0)

    def cross(self, room: int) -> None:
        """Draw a path with at most `room` new nodes across a random face, where there is one that goes."""
        face = self.faces[self.below(len(self.faces))]
        i, j = sorted(self.below(len(face)) for _ in range(2))
        if i == j:
            return
        a, b = face[i], face[j]
        between = 1 if self.is_clause[a] == self.is_clause[b] else 2 * self.below(2) * (room > 1)
        if between > room or (not between and frozenset({a, b}) in self.edges):
            return
        new = list(range(len(self.is_clause), len(self.is_clause) + between))
        for node in range(between):
            self.is_clause.append(self.is_clause[a] ^ (node % 2 == 0))
        path = [a, *new, b]
        self.edges |= {frozenset(edge) for edge in pairwise(path)}
        self.faces.remove(face)
        self.faces += [face[:i] + path + face[j + 1 :], face[i : j + 1] + new[::-1]]

    def formula(self) -> Formula:
        """The graph as a formula, each literal negated or not at random."""
        variables = [node for node, clause in enumerate(self.is_clause) if not clause]
        number = {node: place for place, node in enumerate(variables)}
        clauses: dict[int, set[Literal]] = {node: set() for node, clause in enumerate(self.is_clause) if clause}
        for edge in sorted(map(sorted, self.edges)):
            clause, variable = edge if self.is_clause[edge[0]] else edge[::-1]
            clauses[clause].add((number[variable], bool(self.below(2))))
        return Formula(len(variables), tuple(map(frozenset, clauses.values())))


def _below(generator: torch.Generator) -> Callable[[int], int]:
    return lambda limit: int(torch.randint(limit, (), generator=generator))
