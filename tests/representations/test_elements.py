import pytest
import torch

from torsor.errors import ShapeError
from torsor.groups import GL, SE, SL2, SO, TC, C, D, E, Lorentz, O, RestrictedLorentz, S, Scale, ScaleRotation, T
from torsor.groups.base import FiniteGroup
from torsor.representations import LeftMultiplied, Permuted, Trivial
from torsor.symmetry import Symmetry

GROUPS = (T(3), SO(2), SO(3), O(2), O(3), SO(4), SE(2), SE(3), E(3), C(5), D(4), TC(4), S(5), Lorentz(), RestrictedLorentz(), SL2(), GL(2))
GROUPS += (Scale(2), ScaleRotation())


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_elements_are_multiplied_from_the_left(group, generator):
    g = group.sample(3, generator=generator, dtype=torch.float64)
    x = group.sample(3, 4, 2, generator=generator, dtype=torch.float64)
    moved = LeftMultiplied().apply(group, g, x)
    assert moved.shape == x.shape
    assert moved.dtype == x.dtype
    for i in range(3):
        for j in range(4):
            torch.testing.assert_close(moved[i, j, 1], group.compose(g[i], x[i, j, 1]), rtol=0, atol=1e-12)
    whole = LeftMultiplied().apply(group, g[0], x)
    torch.testing.assert_close(whole[0], moved[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_left_multiplication_is_an_action(group, generator):
    g, h = (group.sample(3, generator=generator, dtype=torch.float64) for _ in range(2))
    x = group.sample(3, 4, generator=generator, dtype=torch.float64)
    act = LeftMultiplied().apply
    torch.testing.assert_close(act(group, g, act(group, h, x)), act(group, group.compose(g, h), x), rtol=0, atol=1e-10)
    torch.testing.assert_close(act(group, group.identity(3, dtype=torch.float64), x), x, rtol=0, atol=1e-14)
    assert isinstance(group, FiniteGroup) == (not x.is_floating_point())


def test_permutations_of_open_size_leave_masked_places_alone(generator):
    contract = Symmetry(
        SO(3) * S(),
        {"x": (Trivial(), Permuted(1)), "rotation": (LeftMultiplied(), Trivial()), "order": (Trivial(), LeftMultiplied())},
        (Trivial(), Trivial()),
    )
    mask = torch.tensor([[True, False, True, True, False], [True] * 5])
    order = S(5).sample(2, 3, generator=generator, mask=mask[:, None].expand(2, 3, 5))
    inputs = {
        "x": torch.randn(2, 5, 1, generator=generator, dtype=torch.float64),
        "rotation": SO(3).sample(2, 3, generator=generator, dtype=torch.float64),
        "order": order,
        "mask": mask,
    }
    g = contract.sample(inputs, generator)
    moved = contract.transform(g, inputs)
    assert torch.equal(moved["order"][0, :, [1, 4]], order[0, :, [1, 4]])
    assert torch.equal(moved["order"][1, 2], g[1][1][order[1, 2]])
    torch.testing.assert_close(moved["rotation"][1, 2], g[0][1] @ inputs["rotation"][1, 2], rtol=0, atol=1e-14)
    assert torch.equal(moved["order"].sort(-1).values, torch.arange(5).expand(2, 3, 5))


def test_what_holds_no_elements_is_refused():
    with pytest.raises(ShapeError, match=r"SO\(3\) cannot multiply \[2, 4, 2\]"):
        LeftMultiplied().apply(SO(3), torch.eye(3).expand(2, 3, 3), torch.zeros(2, 4, 2))
