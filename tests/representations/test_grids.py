from math import cos, pi, sin

import pytest
import torch

from torsor import groups
from torsor.errors import RepresentationError, ShapeError
from torsor.representations import GridRotated


def rotation(angle: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]], dtype=dtype)


@pytest.mark.parametrize("size", [4, 5])
def test_quarter_turns_are_those_of_torch(size, generator):
    x = torch.randn(8, 2, size, size, generator=generator)
    group = groups.D(4)
    moved = GridRotated().apply(group, group.elements(), x)
    for i in range(4):
        assert torch.equal(moved[i], torch.rot90(x[i], i, (-2, -1)))
        assert torch.equal(moved[4 + i], torch.rot90(x[4 + i].flip(-2), i, (-2, -1)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounded_quarter_turns_of_so2_are_exact_too(dtype, generator):
    x = torch.randn(3, 5, 5, generator=generator, dtype=dtype)
    for turns in range(-3, 4):
        g = rotation(turns * pi / 2, dtype)
        assert GridRotated().exact_for(groups.SO(2), g)
        assert torch.equal(GridRotated().apply(groups.SO(2), g, x), torch.rot90(x, turns, (-2, -1)))


def test_exact_elements_are_told_apart():
    assert not GridRotated().exact
    assert GridRotated().exact_for(groups.SO(2), torch.stack([rotation(pi), rotation(0.1)])).tolist() == [True, False]
    assert GridRotated().exact_for(groups.C(8), torch.tensor([[2, 0], [3, 0]])).tolist() == [True, False]


def test_linear_images_are_turned_without_error_inside():
    r = torch.arange(9, dtype=torch.float64) - 4
    y, x = -r[:, None].expand(9, 9), r.expand(9, 9)
    for angle in (0.3, 1.2, -2.0):
        back = rotation(-angle)
        expected = 2 * (back[0, 0] * x + back[0, 1] * y) - 3 * (back[1, 0] * x + back[1, 1] * y) + 1
        moved = GridRotated().apply(groups.SO(2), rotation(angle), 2 * x - 3 * y + 1)
        inside = x**2 + y**2 < 15.9
        assert (moved - expected)[inside].abs().max() < 1e-13


def test_rotation_moves_mass_anticlockwise():
    x = torch.zeros(9, 9, dtype=torch.float64)
    x[4, 8] = 1.0  # on the right
    moved = GridRotated().apply(groups.SO(2), rotation(pi / 4), x)
    row, column = divmod(int(moved.argmax()), 9)
    assert (row, column) == (1, 7)  # up and to the right


def test_each_item_of_the_batch_has_its_own_element(generator):
    x = torch.randn(3, 2, 6, 6, generator=generator, dtype=torch.float64)
    g = groups.O(2).sample(3, generator=generator, dtype=torch.float64)
    moved = GridRotated().apply(groups.O(2), g, x)
    for i in range(3):
        torch.testing.assert_close(moved[i], GridRotated().apply(groups.O(2), g[i], x[i]), rtol=0, atol=0)


def test_interpolation_differentiates_with_respect_to_angle_and_image(generator):
    angle = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    x = torch.randn(1, 4, 4, generator=generator, dtype=torch.float64, requires_grad=True)

    def turned(angle, x):
        g = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
        return GridRotated().apply(groups.SO(2), g, x)

    assert torch.autograd.gradcheck(turned, (angle, x))


def test_wrong_grids_and_groups_are_refused():
    with pytest.raises(ShapeError, match="square"):
        GridRotated().apply(groups.C(4), torch.tensor([1, 0]), torch.ones(3, 4))
    assert GridRotated().apply(groups.C(2), torch.tensor([1, 0]), torch.ones(3, 4)).shape == (3, 4)
    with pytest.raises(RepresentationError, match=r"SO\(2\)"):
        GridRotated().apply(groups.SO(3), torch.eye(3), torch.ones(3, 3))
