import pytest
import torch
from e3nn import o3

from torsor import groups
from torsor.errors import RepresentationError, ShapeError, TorsorError
from torsor.representations import Trivial, Vectors
from torsor.representations.base import Representation
from torsor.representations.harmonics import spherical_harmonics
from torsor.representations.irreps import Irrep, Irreps

STRINGS = ("16x0e + 8x1o + 4x2e", "0e+1o", "3x1e+2x1o+5x0o", "2x3o + 1x4e + 2x3o", "8x0e", "")


def orthogonal(generator: torch.Generator) -> torch.Tensor:
    """Rotations and reflections."""
    q = torch.linalg.qr(torch.randn(6, 3, 3, generator=generator, dtype=torch.float64)).Q
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0, -1.0], dtype=torch.float64)
    return q * (torch.linalg.det(q) * signs)[:, None, None]


@pytest.mark.parametrize("text", STRINGS)
def test_string_reads_back_as_the_same_value(text):
    irreps = Irreps(text)
    assert Irreps(str(irreps)) == irreps
    assert hash(Irreps(str(irreps))) == hash(irreps)
    assert str(irreps) == str(o3.Irreps(text))


@pytest.mark.parametrize("text", STRINGS)
def test_dimensions_and_places_are_those_of_e3nn(text):
    ours, theirs = Irreps(text), o3.Irreps(text)
    assert ours.dim == theirs.dim
    assert ours.num_irreps == theirs.num_irreps
    assert list(ours.slices()) == theirs.slices()
    assert str(ours.simplify()) == str(theirs.simplify())
    assert str(ours.sort()) == str(theirs.sort().irreps)
    if text:
        assert ours.lmax == theirs.lmax


@pytest.mark.usefixtures("double_by_default")
@pytest.mark.parametrize("text", STRINGS[:-1])
def test_matrices_are_those_of_e3nn_with_parity(text, generator):
    angles = 6 * torch.rand(3, 4, generator=generator, dtype=torch.float64)
    flips = torch.tensor([0, 1, 0, 1])
    q = o3.angles_to_matrix(*angles) * (1 - 2 * flips)[:, None, None]
    torch.testing.assert_close(Irreps(text).matrix(q), o3.Irreps(text).D_from_angles(*angles, flips), rtol=0, atol=1e-12)


def test_matrices_multiply_as_the_elements_do(generator):
    irreps = Irreps("2x0o+1e+3x1o+2e+2o+3e")
    a, b = orthogonal(generator), orthogonal(generator).flip(0)
    assert (irreps.matrix(a @ b) - irreps.matrix(a) @ irreps.matrix(b)).abs().max() < 1e-14


def test_harmonics_transform_by_their_irreps(generator):
    q, v = orthogonal(generator), torch.randn(6, 3, generator=generator, dtype=torch.float64)
    turned = spherical_harmonics(5, (q @ v.unsqueeze(-1)).squeeze(-1))
    ours = Irreps.harmonics(5).apply(groups.O(3), q, spherical_harmonics(5, v))
    torch.testing.assert_close(ours, turned, rtol=0, atol=1e-13)


def test_blockwise_application_equals_the_dense_matrix(generator):
    irreps = Irreps("4x0e+3x1o+0x2e+2x2o+1e")
    x = torch.randn(6, 2, 5, irreps.dim, generator=generator, dtype=torch.float64)
    for g in (orthogonal(generator), orthogonal(generator)[0]):
        dense = Representation.apply(irreps, groups.O(3), g, x)
        torch.testing.assert_close(irreps.apply(groups.O(3), g, x), dense, rtol=0, atol=1e-14)


def test_autocast_does_not_touch_the_action(generator):
    q, x = orthogonal(generator).float(), torch.randn(6, 5, 9, generator=generator)
    vectors = 2 * Vectors() @ Irreps("0e") + Trivial(3)
    expected = [rep.apply(groups.O(3), q, x) for rep in (Irreps("1o+1e+2x0e+0o"), vectors)]
    with torch.autocast("cpu", torch.bfloat16):
        found = [rep.apply(groups.O(3), q, x) for rep in (Irreps("1o+1e+2x0e+0o"), vectors)]
    assert all(map(torch.equal, found, expected))


def test_translations_act_as_the_identity(generator):
    g = torch.eye(4, dtype=torch.float64).repeat(6, 1, 1)
    g[:, :3, :3], g[:, :3, 3] = orthogonal(generator), 7.0
    assert torch.equal(Irreps("1o+0o").on(groups.E(3)).matrix(g), Irreps("1o+0o").matrix(g[:, :3, :3]))


def test_vector_irrep_acts_by_the_rotation_itself(generator):
    q = orthogonal(generator)
    assert torch.equal(Irreps("1x1o").matrix(q), q)


def test_product_of_irreps_is_that_of_e3nn():
    for a, b in (("1o", "2e"), ("3e", "2o"), ("0o", "1o")):
        assert [str(ir) for ir in Irrep.parse(a) * Irrep.parse(b)] == [str(ir) for ir in o3.Irrep(a) * o3.Irrep(b)]


def test_algebra_concatenates_without_reordering():
    x = Irreps("2x1o+0e")
    assert str(x + Irreps("0e")) == "2x1o+1x0e+1x0e"
    assert str(2 * x) == "2x1o+1x0e+2x1o+1x0e"
    assert [(mul, irrep.l, irrep.p) for mul, irrep in x] == [(2, 1, -1), (1, 0, 1)]
    assert "1o" in x
    assert Irrep(1, 1) not in x
    assert (x + x).count("1o") == 4


@pytest.mark.parametrize("text", ["1x", "1q", "2x1o+", "a", "-1x0e", "1x1o,1x2e", "1.5x0e"])
def test_unreadable_strings_are_named(text):
    with pytest.raises(RepresentationError, match="write multiplicity x degree parity"):
        Irreps(text)


def test_groups_without_such_irreps_are_refused():
    for name in ("SO(3)", "O(3)", "SE(3)", "E(3)"):
        assert Irreps("1o").on(groups.parse(name)).dim == 3
    for name in ("SO(2)", "SL2", "S(3)"):
        with pytest.raises(RepresentationError, match="SE\\(3\\)"):
            Irreps("1o").on(groups.parse(name))


def test_elements_of_the_wrong_shape_are_refused():
    with pytest.raises(ShapeError, match=r"\[2, 2\]"):
        Irreps("1o").matrix(torch.eye(2))
    with pytest.raises(TorsorError):
        Irreps([(1, (2, 0))])
