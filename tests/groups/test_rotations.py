"""Rotations: the Haar measure of the draws, finite subgroups, and stratified samples."""

from math import pi

import numpy as np
import pytest
import scipy.stats
import torch

from torsor.errors import GroupError, UnknownNameError
from torsor.groups import SE, SO, E, Group, O

SURE = 1e-3
"""Level of the two-sided tests; the draws are seeded, so a correct sampler never fails twice differently."""
DRAWS = 4000


def angle(r: torch.Tensor) -> np.ndarray:
    return SO(3).log(r).norm(dim=-1).flatten().numpy()


def haar_angles(t: np.ndarray) -> np.ndarray:
    """Distribution function of the density (1 - cos t) / pi on [0, pi]."""
    return (t - np.sin(t)) / pi


def sample(group: Group, generator: torch.Generator, *batch: int) -> torch.Tensor:
    return group.sample(*batch, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("group", [SO(1), SO(2), SO(3), SO(4), SO(5), O(1), O(2), O(3), O(4)], ids=str)
def test_draws_are_orthogonal(group, generator):
    r = sample(group, generator, 300)
    assert (r @ r.mT - torch.eye(group.n)).abs().max() < 5e-15
    determinants = torch.linalg.det(r)
    assert (determinants.abs() - 1).abs().max() < 1e-14
    if isinstance(group, SO):
        assert (determinants > 0).all()
    else:
        assert 110 < (determinants > 0).sum() < 190


def test_draws_of_so2_have_uniform_angles(generator):
    angles = SO(2).log(sample(SO(2), generator, DRAWS)).squeeze(-1).numpy()
    assert scipy.stats.kstest(angles, scipy.stats.uniform(-pi, 2 * pi).cdf).pvalue > SURE


@pytest.mark.parametrize("seed", range(3))
def test_draws_of_so3_have_the_haar_density_of_angles(seed):
    r = sample(SO(3), torch.Generator().manual_seed(seed), DRAWS)
    assert scipy.stats.kstest(angle(r), haar_angles).pvalue > SURE
    traces = r.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert traces.mean().abs() < 4 / DRAWS**0.5


@pytest.mark.parametrize("group", [SO(3), SO(4), SO(6), O(2), O(3), O(4)], ids=str)
@pytest.mark.parametrize("column", [0, -1])
def test_the_columns_of_draws_are_uniform_on_the_sphere(group, column, generator):
    """A coordinate of a uniform unit vector has square Beta(1/2, (n - 1)/2) and a fair sign; QR without its sign fix has not."""
    x = sample(group, generator, DRAWS)[:, 0, column].numpy()
    assert scipy.stats.kstest(x**2, scipy.stats.beta(0.5, (group.n - 1) / 2).cdf).pvalue > SURE
    assert scipy.stats.binomtest(int((x > 0).sum()), DRAWS).pvalue > SURE


@pytest.mark.parametrize("group", [SO(4), SO(5), O(3), O(4)], ids=str)
def test_the_character_of_draws_has_mean_zero_and_square_one(group, generator):
    traces = sample(group, generator, DRAWS).diagonal(dim1=-2, dim2=-1).sum(-1)
    assert traces.mean().abs() < 4 / DRAWS**0.5
    assert abs(traces.square().mean() - 1) < 4 * 2**0.5 / DRAWS**0.5


@pytest.mark.parametrize(("name", "order"), [("klein", 4), ("tetrahedral", 12), ("octahedral", 24), ("icosahedral", 60)])
def test_finite_subgroups_are_exact_and_closed(name, order):
    rotations = SO(3).finite_subgroup(name)
    eye = torch.eye(3, dtype=torch.float64)
    assert rotations.shape == (order, 3, 3)
    assert rotations.dtype == torch.float64
    assert torch.equal(rotations[0], eye)
    assert (rotations @ rotations.mT - eye).abs().max() < 1e-15
    assert (torch.linalg.det(rotations) - 1).abs().max() < 1e-15
    products = (rotations[:, None] @ rotations[None]).flatten(0, 1)
    gaps = (products[:, None] - rotations[None]).abs().amax((-1, -2))
    assert gaps.amin(-1).max() < 1e-15
    assert ((gaps < 1e-3).sum(-1) == 1).all()


def test_the_entries_of_the_icosahedral_rotations_are_those_of_the_golden_ratio():
    sizes = SO(3).finite_subgroup("icosahedral").abs().unique()
    golden = (1 + 5**0.5) / 2
    assert sizes.tolist() == [0, (5**0.5 - 1) / 4, 0.5, golden / 2, 1]


def test_the_orders_of_the_icosahedral_rotations_are_those_of_a5():
    turns = np.sort(np.round(angle(SO(3).finite_subgroup("icosahedral")) * 180 / pi))
    values, counts = np.unique(turns, return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {0: 1, 72: 12, 120: 20, 144: 12, 180: 15}


@pytest.mark.parametrize(("name", "degree"), [("tetrahedral", 2), ("octahedral", 3), ("icosahedral", 5)])
def test_polyhedra_integrate_low_degrees_exactly(name, degree, generator):
    """The mean of (x . R y)^k over the group is that over all rotations, 1/(k + 1) for even k and 0 for odd; one degree up it is not."""
    x, y = torch.nn.functional.normalize(torch.randn(2, 20, 3, generator=generator, dtype=torch.float64), dim=-1)
    cosines = torch.einsum("bi, gij, bj -> gb", x, SO(3).finite_subgroup(name), y)
    for k in range(degree + 1):
        assert (cosines.pow(k).mean(0) - ((k + 1) % 2) / (k + 1)).abs().max() < 1e-15
    assert (cosines.pow(degree + 1).mean(0) - (degree % 2) / (degree + 2)).abs().max() > 1e-2


def test_a_finite_subgroup_is_not_changed_through_its_copies():
    SO(3).finite_subgroup("tetrahedral").zero_()
    assert torch.equal(SO(3).finite_subgroup("tetrahedral")[0], torch.eye(3, dtype=torch.float64))


def test_an_unknown_polyhedron_gets_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'icosahedral'"):
        SO(3).finite_subgroup("icosahedron")
    with pytest.raises(GroupError, match=r"use SO\(3\)"):
        SO(2).finite_subgroup("octahedral")


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("order", [1, 2, 3, 4, 7, 12])
def test_cyclic_subgroups_are_the_powers_of_one_turn(n, order):
    turns = SO(n).cyclic(order)
    axis = torch.zeros(SO(n).dim, dtype=torch.float64)
    axis[-1] = 2 * pi / order
    assert (turns - SO(n).exp(torch.arange(order)[:, None] * axis)).abs().max() < 3e-15
    if order == 4:
        assert set(turns.unique().tolist()) == {-1.0, 0.0, 1.0}


def test_there_is_no_cyclic_subgroup_about_one_axis_in_four_dimensions():
    with pytest.raises(GroupError, match=r"SO\(4\) has no cyclic subgroup"):
        SO(4).cyclic(3)


@pytest.mark.parametrize("samples", [1, 4, 5, 12, 24, 60, 48])
def test_each_stratified_rotation_is_haar_by_itself(samples, generator):
    r = SO(3).stratified_sample(samples, 1500, generator=generator, dtype=torch.float64)
    assert r.shape == (1500, samples, 3, 3)
    assert scipy.stats.kstest(angle(r[:, 0]), haar_angles).pvalue > SURE
    assert scipy.stats.kstest(angle(r[:, -1]), haar_angles).pvalue > SURE


@pytest.mark.parametrize(("samples", "copies"), [(4, 1), (12, 1), (24, 1), (60, 1), (48, 2), (36, 3)])
def test_stratified_rotations_are_cosets_of_a_finite_subgroup(samples, copies, generator):
    r = SO(3).stratified_sample(samples, generator=generator, dtype=torch.float64).unflatten(0, (copies, samples // copies))
    relative = r[:, :1].mT @ r
    products = (relative[:, :, None] @ relative[:, None]).flatten(1, 2)
    gaps = (products[:, :, None] - relative[:, None]).abs().amax((-1, -2)).amin(-1)
    assert gaps.max() < 1e-14
    if copies > 1:
        assert (r[0, :, None] - r[1]).abs().amax((-1, -2)).min() > 1e-3


def test_the_mean_over_stratified_rotations_varies_far_less(generator):
    weights = 0.3 * torch.randn(3, 3, generator=generator, dtype=torch.float64)

    def mean(r: torch.Tensor) -> torch.Tensor:
        return torch.tanh((weights * r).sum((-1, -2))).square().mean(-1)

    spread = mean(SO(3).stratified_sample(24, 400, generator=generator, dtype=torch.float64)).std()
    independent = mean(sample(SO(3), generator, 400, 24)).std()
    assert spread < independent / 5


@pytest.mark.parametrize("samples", [1, 3, 8])
def test_stratified_rotations_of_the_plane_are_evenly_spaced(samples, generator):
    r = SO(2).stratified_sample(samples, 2, 5, generator=generator, dtype=torch.float64)
    assert r.shape == (2, 5, samples, 2, 2)
    assert (SO(2).log(r[..., :1, :, :].mT @ r) - SO(2).log(SO(2).cyclic(samples))).abs().remainder(2 * pi).max() < 1e-14
    assert (r[0, 0, 0] - r[0, 1, 0]).abs().max() > 1e-3


@pytest.mark.parametrize("group", [SO(2), SO(3), SO(4), O(3), SE(3), E(2)], ids=str)
def test_half_turns_turn_by_pi_and_quarter_turns_by_half_of_it(group, generator):
    probes = group.probes(6, generator, torch.float64)
    eye = torch.eye(group.space_dim, dtype=torch.float64)
    half, quarter = group.linear(probes["half turn"]), group.linear(probes["quarter turn"])
    assert (half @ half - eye).abs().max() < 1e-14
    assert (half.diagonal(dim1=-2, dim2=-1).sum(-1) - (group.space_dim - 4)).abs().max() < 1e-14
    assert torch.equal(quarter @ quarter @ quarter @ quarter, eye.expand(6, -1, -1))
    assert (quarter @ quarter - eye).abs().amax((-1, -2)).min() == 2
    assert set(quarter.unique().tolist()) <= {-1.0, 0.0, 1.0}


@pytest.mark.parametrize("group", [O(1), O(2), O(3), E(1), E(3)], ids=str)
def test_reflections_have_determinant_minus_one(group, generator):
    probes = group.probes(6, generator, torch.float64)
    reflection = group.linear(probes["reflection"])
    assert (torch.linalg.det(reflection) + 1).abs().max() < 1e-14
    assert (reflection @ reflection - torch.eye(group.space_dim)).abs().max() < 1e-14
    assert torch.equal(group.linear(probes["inversion"]), -torch.eye(group.space_dim, dtype=torch.float64).expand_as(reflection))


@pytest.mark.parametrize("group", [SE(2), SE(3), E(3)], ids=str)
def test_far_translations_are_a_hundred_times_generic_ones(group, generator):
    probes = group.probes(500, generator, torch.float64)
    generic, far = (group.shift(probes[kind]).std() for kind in ("generic", "far translation"))
    assert abs(generic - 1) < 0.1
    assert abs(far / 100 - 1) < 0.1
    assert (group.shift(group.sample(500, generator=generator, scale=3.0)).std() / 3 - 1).abs() < 0.1


@pytest.mark.parametrize("group", [SE(2), E(3)], ids=str)
def test_an_assembled_motion_has_its_parts(group, generator):
    linear = group.rotations.sample(4, generator=generator, dtype=torch.float64)
    shift = torch.randn(4, group.n, generator=generator, dtype=torch.float64)
    motion = group.assemble(linear, shift)
    assert torch.equal(group.linear(motion), linear)
    assert torch.equal(group.shift(motion), shift)
