import pytest
import torch

from torsor.check import relaxed_error
from torsor.check.relaxed import all_elements, leaves_alone
from torsor.errors import GroupError
from torsor.groups import SO, C, S
from torsor.representations import Permuted, Trivial, Vectors
from torsor.symmetry import Symmetry

DOUBLE = {"dtype": torch.float64}
SET = Symmetry(S(), {"x": Permuted(1)}, Permuted(1))
NUMBERS = torch.tensor([[1.0, 1.0, 2.0], [3.0, 1.0, 2.0]], **DOUBLE)


def ranks(x):
    """The place of each number in ascending order; equal numbers by where they stand."""
    return x.argsort(dim=1, stable=True).argsort(dim=1).double()


def test_ties_broken_by_place_are_relaxed():
    report = relaxed_error(ranks, {"x": NUMBERS}, SET, samples=8)
    assert report.stabilisers == (2, 1)
    assert report.verdict == "relaxed"
    assert report.strict > 0.1
    assert report.relaxed == 0
    assert "up to stabilisers of 2, 1 elements" in str(report)


def test_inputs_without_symmetry_make_the_same_function_exact():
    assert relaxed_error(ranks, {"x": NUMBERS[1:]}, SET, samples=8).verdict == "exact"


def test_functions_that_look_at_places_are_neither():
    report = relaxed_error(lambda x: x * torch.arange(3, **DOUBLE), {"x": NUMBERS}, SET, samples=4)
    assert report.verdict == "none"
    assert report.relaxed > 0.1


def test_equivariant_functions_are_exact_on_symmetric_inputs():
    assert relaxed_error(lambda x: x**2 - x.sum(1, keepdim=True), {"x": NUMBERS}, SET, samples=4).verdict == "exact"


def test_candidates_stand_in_for_a_group_that_has_no_list():
    """Half turns leave a pair of opposite vectors alone up to their order, which this output does not know."""
    contract = Symmetry(SO(2) * S(), {"x": (Vectors(), Permuted(1))}, (Vectors(), Trivial()))
    x = torch.tensor([[[1.0, 2.0], [-1.0, -2.0]]], **DOUBLE)

    def first(x):
        return x[:, 0]

    with pytest.raises(GroupError, match=r"SO\(2\) x S\(\) cannot be listed: give candidates"):
        relaxed_error(first, {"x": x}, contract)
    half_turn = SO(2).cyclic(2)
    candidates = (half_turn, torch.tensor([[0, 1], [1, 0]]))
    report = relaxed_error(first, {"x": x}, contract, candidates, samples=8)
    assert report.stabilisers == (2,)
    assert report.verdict == "relaxed"


def test_elements_of_products_are_sized_by_the_inputs():
    contract = Symmetry(C(4) * S(), {"x": (Vectors(), Permuted(1))}, (Vectors(), Permuted(1)))
    x = {"x": torch.zeros(2, 3, 2, **DOUBLE), "mask": None}
    elements = all_elements(contract, x)
    assert len(elements[0]) == len(elements[1]) == 24
    assert bool(leaves_alone(contract, x, elements).all())
