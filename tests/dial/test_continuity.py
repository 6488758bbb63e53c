import pytest
import torch
from torch import nn

from torsor.dial.continuity import Jumps, eigenvalue_crossing, exchange, probe, straight
from torsor.errors import NonFiniteError, ShapeError
from torsor.report import plots

DOUBLE = {"dtype": torch.float64}


def line(t):
    return {"x": torch.tensor([[t]], **DOUBLE)}


def test_jump_of_a_step_is_found_where_it_is_and_as_large_as_it_is():
    """A step of height 3 at 0.37 on a function of root mean square size near 5."""
    found = probe(lambda x: 5 + 3 * (x > 0.37).double(), line)
    size = torch.tensor([5.0 + 3.0 * (i / 32 > 0.37) for i in range(33)], **DOUBLE).square().mean().sqrt().item()
    assert abs(found.position - 0.37) < 1e-8
    assert abs(found.jump - 3 / size) < 1e-12
    assert abs(found.order) < 1e-6


def test_smooth_functions_change_in_proportion_to_the_step():
    found = probe(lambda x: (3 * x).sin() + 2, line)
    assert found.jump < 1e-6
    assert abs(found.order - 1) < 0.05


def test_roots_are_continuous_with_their_own_order():
    found = probe(lambda x: (x - 0.5).abs().sqrt(), line, halvings=40)
    assert found.jump < 1e-5
    assert abs(found.order - 0.5) < 0.05


def test_the_largest_of_several_jumps_is_found():
    assert abs(probe(lambda x: (x > 0.2).double() + 4 * (x > 0.8).double(), line).position - 0.8) < 1e-8


def test_steps_are_halved():
    found = probe(lambda x: x, line, scan=4, halvings=3)
    assert found.steps == (0.25, 0.125, 0.0625, 0.03125)
    assert len(found.changes) == 4


def test_constant_output_does_not_jump():
    found = probe(lambda x: torch.zeros(1), line)
    assert found.jump == 0


def test_module_is_left_as_it_was():
    norm = nn.BatchNorm1d(1).double()
    probe(norm, lambda t: {"input": torch.tensor([[t], [1.0]], **DOUBLE)}, scan=2, halvings=2)
    assert norm.num_batches_tracked == 0


def test_straight_lines_keep_what_is_not_floating(generator):
    start = {"x": torch.zeros(2, 3), "mask": torch.tensor([True, False]), "name": None}
    end = {"x": torch.ones(2, 3), "mask": torch.tensor([False, False]), "name": None}
    middle = straight(start, end)(0.25)
    assert torch.equal(middle["x"], torch.full((2, 3), 0.25))
    assert middle["mask"].tolist() == [True, False]
    assert middle["name"] is None


def test_items_that_are_exchanged_meet_half_way(generator):
    x = torch.randn(2, 4, 3, generator=generator, **DOUBLE)
    path = exchange({"x": x}, "x", 1, 3)
    torch.testing.assert_close(path(1.0)["x"][:, [0, 3, 2, 1]], x)
    torch.testing.assert_close(path(0.5)["x"][:, 1], path(0.5)["x"][:, 3])
    assert torch.equal(path(0.7)["x"][:, 0], x[:, 0])


@pytest.mark.parametrize("dimension", [2, 3, 4])
def test_eigenvalues_cross_half_way(dimension, generator):
    x = torch.randn(2, 7, dimension, generator=generator, **DOUBLE)
    path = eigenvalue_crossing({"x": x, "other": None}, "x")

    def largest(t):
        y = path(t)["x"] - path(t)["x"].mean(1, keepdim=True)
        return torch.linalg.eigh(y.mT @ y)

    values = largest(0.5).eigenvalues
    torch.testing.assert_close(values[:, -1], values[:, -2])
    before, after = (largest(t).eigenvectors[..., -1] for t in (0.4, 0.6))
    assert (before * after).sum(-1).abs().max() < 1e-10
    torch.testing.assert_close(path(0.1)["x"].mean(1), x.mean(1))


def test_paths_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="give the same inputs"):
        straight({"x": torch.zeros(1)}, {"y": torch.zeros(1)})
    with pytest.raises(ShapeError, match="give one shape"):
        straight({"x": torch.zeros(1)}, {"x": torch.zeros(2)})
    with pytest.raises(NonFiniteError, match=r"at t = 0\.5 of the path"):
        probe(lambda x: 1 / (x - 0.5), line)


def test_plot_names_every_curve():
    jumps = {"frame": Jumps(0.5, (0.1, 0.05), (0.4, 0.39)), "weighted": Jumps(0.5, (0.1, 0.05), (0.4, 0.0))}
    svg = plots.jumps(jumps)
    assert svg.startswith("<svg")
    assert "Change of the output over shorter and shorter steps" in svg
    assert svg == plots.jumps(jumps)
