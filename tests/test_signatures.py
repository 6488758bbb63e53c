"""Signatures: validation, example inputs, and the contract of the models that serve them."""

from dataclasses import replace

import pytest
import torch

from torsor.check import assert_equivariant
from torsor.errors import EquivarianceError, RepresentationError, SignatureError
from torsor.groups import SE, SO, C, E, Lorentz, O, RestrictedLorentz, S, T
from torsor.representations import Commuting, Irreps, Matrix, Regular, Trivial, Vectors
from torsor.signatures import FeatureVectors, Graphs, Particles, PointClouds


def test_strings_are_parsed_and_equal_signatures_are_equal():
    a, b = PointClouds("4x0e + 2x1o", "1x1o"), PointClouds(Irreps("4x0e + 2x1o"), Irreps("1x1o"))
    assert a == b
    assert hash(a) == hash(b)
    assert a.rep_in.dim == 10
    assert a != PointClouds("4x0e", "1x1o")


def test_examples_have_the_shapes_of_the_forward(generator):
    inputs = PointClouds("2x0e + 1x1o", "1x0e", edge_features=3).example(batch=4, points=6, generator=generator, dtype=torch.float64)
    assert {name: tuple(x.shape) for name, x in inputs.items()} == {
        "positions": (4, 6, 3),
        "features": (4, 6, 5),
        "edge_features": (4, 6, 6, 3),
    }
    assert {x.dtype for x in inputs.values()} == {torch.float64}
    assert set(PointClouds("", "1x0e").example()) == {"positions"}


def test_examples_are_zero_behind_the_mask(generator):
    inputs = PointClouds("2x0e", "1x0e", edge_features=1).example(3, 5, generator, lengths=(5, 2, 0))
    mask = inputs["mask"]
    assert mask.sum(1).tolist() == [5, 2, 0]
    assert not inputs["positions"][~mask].any()
    assert not inputs["edge_features"][~(mask.unsqueeze(1) & mask.unsqueeze(2))].any()
    assert inputs["positions"][mask].all()


def test_the_same_seed_draws_the_same_example():
    signature = PointClouds("2x0e", "1x0e")
    draws = [signature.example(generator=torch.Generator().manual_seed(seed))["features"] for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def differences(positions, features=None, edge_features=None, mask=None):
    """One vector and one scalar for each point, in closed form."""
    d = positions.unsqueeze(2) - positions.unsqueeze(1)
    vectors = d.sum(2) if edge_features is None else (edge_features[..., :1] * d).sum(2)
    scalars = d.square().sum((2, 3)).unsqueeze(-1)
    return torch.cat((scalars, vectors if features is None else vectors + features[..., 1:4]), -1)


@pytest.mark.parametrize("group", [SE(3) * S(), E(3) * S(), S() * E(3)], ids=str)
def test_the_contract_is_that_of_a_closed_form(generator, group):
    signature = PointClouds("1x0e + 1x1o", "1x0e + 1x1o", edge_features=2)
    assert_equivariant(differences, signature.example(3, 5, generator, torch.float64), symmetry=signature.symmetry(group))


@pytest.mark.parametrize("group", [SE(3), E(3), T(3), S(), SE(3) * S(), T(3) * S()], ids=str)
@pytest.mark.parametrize("pool", ["sum", None])
def test_the_contract_fits_every_group_that_acts_on_clouds(generator, group, pool):
    signature = PointClouds("1x0e + 1x1o", "1x0e + 1x1o", edge_features=2, pool=pool)

    def function(**inputs):
        y = differences(**inputs)
        return y if pool is None else y.sum(1)

    contract = signature.symmetry(group, exactness="approximate")
    assert contract.group == group
    if group.name.startswith(("T", "S()")):
        assert_equivariant(
            lambda positions, features, edge_features: function(positions=positions, features=features, edge_features=edge_features),
            signature.example(3, 5, generator, torch.float64),
            tolerance=1e-10,
            symmetry=contract,
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rep_out": ""}, "rep_out is empty"),
        ({"edge_features": -1}, "edge_features is -1"),
        ({"pool": "max"}, "pool 'max' of 1x1o would depend on the frame"),
        ({"points": 0}, "points is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, message):
    with pytest.raises(SignatureError, match=message):
        PointClouds(**({"rep_in": "1x0e", "rep_out": "1x1o"} | settings))


def test_an_unknown_pool_is_refused_with_those_that_are_known(request):
    if request.config.getoption("jaxtyping_packages"):
        pytest.skip("the import hook refuses the type before we do")
    with pytest.raises(SignatureError, match="give one of 'sum', 'mean', 'max'"):
        PointClouds("1x0e", "1x0e", pool="median")


def test_replacing_a_field_validates_again():
    assert replace(PointClouds("1x0e", "1x1o"), points=7).points == 7
    with pytest.raises(SignatureError, match="points is 0"):
        replace(PointClouds("1x0e", "1x1o"), points=0)


def test_lengths_that_do_not_fit_are_refused():
    with pytest.raises(SignatureError, match="give 2 numbers from 0 to 5"):
        PointClouds("", "1x0e").example(2, 5, lengths=(3, 6))


def test_a_signature_reads_as_a_sentence():
    text = str(PointClouds("2x0e", "1x1o", edge_features=1, pool="mean", points=9))
    assert text == "point clouds, at most 9 points: 2x0e and 1 features of each pair -> 1x1o of the cloud (mean)"
    assert "positions only" in str(PointClouds("", "1x1o"))


def test_points_in_the_plane_have_scalars_alone():
    signature = PointClouds("2x0e", "1x0e", pool="sum", dimension=2)
    assert signature.example(batch=3, points=4)["positions"].shape == (3, 4, 2)
    assert str(signature.symmetry().group) == "SE(2) x S()"
    assert str(signature) == "point clouds in R^2: 2x0e -> 1x0e of the cloud (sum)"
    with pytest.raises(SignatureError, match=r"2x0e -> 1x1o in R\^2: irreps are those of O\(3\)"):
        PointClouds("2x0e", "1x1o", dimension=2)
    with pytest.raises(SignatureError, match="dimension is 0"):
        PointClouds("2x0e", "1x0e", dimension=0)


def total_momentum(momenta, scalars, mask=None):
    """One scalar and one four-vector for each particle, in closed form."""
    total = momenta.sum(1, keepdim=True)
    metric = torch.tensor([1.0, -1, -1, -1], dtype=momenta.dtype)
    return torch.cat(((momenta * total * metric).sum(-1, keepdim=True) + scalars[..., :1], total + scalars[..., 1:] * momenta), -1)


@pytest.mark.parametrize(
    "group", [None, Lorentz() * S(), S() * RestrictedLorentz(), Lorentz(), SO(3) * S(), O(3), SO(2) * S(), O(2), S()], ids=str
)
def test_the_contract_of_particles_is_that_of_a_closed_form(generator, group):
    signature = Particles(2, 1, 1)
    assert_equivariant(total_momentum, signature.example(3, 5, generator, torch.float64), symmetry=signature.symmetry(group))


def test_energies_are_no_scalars_of_boosts(generator):
    """The negative control: the energy is invariant under rotations and under nothing more."""
    signature = Particles()
    inputs = signature.example(3, 5, generator, torch.float64)
    assert_equivariant(lambda momenta: momenta[..., :1], inputs, symmetry=signature.symmetry(O(3) * S()))
    with pytest.raises(EquivarianceError, match="RestrictedLorentz"):
        assert_equivariant(lambda momenta: momenta[..., :1], inputs, symmetry=signature.symmetry())


def test_examples_of_particles_are_on_the_mass_shell(generator):
    inputs = Particles(3).example(4, 6, generator, torch.float64, lengths=(6, 2, 0, 5))
    momenta, mask = inputs["momenta"], inputs["mask"]
    squares = momenta[..., 0] ** 2 - momenta[..., 1:].square().sum(-1)
    assert ((squares > 0) & (squares < 1))[mask].all()
    assert (momenta[..., 0] > 0)[mask].all()
    assert not momenta[~mask].any()
    assert inputs["scalars"].shape == (4, 6, 3)
    assert set(Particles().example()) == {"momenta"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scalars_in": -1}, "scalars_in is -1"),
        ({"vectors_out": -2}, "vectors_out is -2"),
        ({"scalars_out": 0}, "scalars_out and vectors_out are 0"),
        ({"vectors_out": 1, "pool": "max"}, "pool 'max' of four-vectors would depend on the frame"),
    ],
)
def test_particles_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(SignatureError, match=message):
        Particles(**settings)


def test_groups_that_do_not_act_on_momenta_are_named():
    with pytest.raises(SignatureError, match=r"SE\(3\) does not act on four-momenta: give Lorentz\(\), "):
        Particles().symmetry(SE(3) * S())


def test_particles_read_as_a_sentence():
    assert str(Particles(2, 1, 3, "sum")) == "particles: momenta and 2 scalars -> 1 scalars and 3 four-vectors of the jet (sum)"


def test_graphs_have_the_shapes_of_the_forward(generator):
    inputs = Graphs(3, 2).example(2, 4, generator, dtype=torch.float64)
    assert {name: tuple(x.shape) for name, x in inputs.items()} == {
        "adjacency": (2, 4, 4),
        "features": (2, 4, 3),
        "edge_features": (2, 4, 4, 2),
    }
    assert torch.equal(inputs["adjacency"], inputs["adjacency"].mT)
    assert not inputs["adjacency"].diagonal(dim1=1, dim2=2).any()
    assert not inputs["edge_features"][inputs["adjacency"] == 0].any()


def test_graphs_are_zero_behind_the_mask(generator):
    inputs = Graphs(1, 1).example(2, 4, generator, lengths=(4, 2))
    assert not inputs["adjacency"][1, 2:].any()
    assert not inputs["adjacency"][1, :, 2:].any()
    assert not inputs["features"][1, 2:].any()
    assert inputs["adjacency"][0].any()


@pytest.mark.parametrize(
    ("level", "read"),
    [
        ("graph", lambda steps: steps.sum((1, 2))),
        ("node", lambda steps: steps.sum(2)),
        ("pair", lambda steps: steps),
    ],
)
def test_the_contract_of_graphs_is_that_of_a_closed_form(generator, level, read):
    signature = Graphs(1, 1, level=level)
    model = lambda adjacency, features, edge_features: read((adjacency @ adjacency).unsqueeze(-1) * features.unsqueeze(1) + edge_features)  # noqa: E731
    inputs = signature.example(3, 5, generator, dtype=torch.float64)
    assert_equivariant(model, inputs, symmetry=signature.symmetry())
    wrong = lambda adjacency, features, edge_features: model(adjacency.triu(), features, edge_features)  # noqa: E731
    with pytest.raises(EquivarianceError):
        assert_equivariant(wrong, inputs, symmetry=signature.symmetry())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"node_features": -1}, "node_features is -1"),
        ({"outputs": 0}, "outputs is 0"),
        ({"level": "edge"}, "'graph', 'node', 'pair'"),
        ({"nodes": 0}, "nodes is 0"),
    ],
)
def test_graphs_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(SignatureError, match=message):
        Graphs(**settings)


def test_no_group_but_permutations_acts_on_graphs():
    with pytest.raises(SignatureError, match="SO\\(3\\) does not act on graphs"):
        Graphs().symmetry(SO(3))


def test_feature_vectors_are_bound_to_their_group(generator):
    signature = FeatureVectors(SO(3), 2 * Vectors(), Vectors() + Trivial())
    assert (signature.rep_in.dim, signature.rep_out.dim) == (6, 4)
    inputs = signature.example(4, generator, dtype=torch.float64)
    assert inputs["x"].shape == (4, 6)

    def model(x):
        a, b = x.split(3, -1)
        return torch.cat((torch.linalg.cross(a, b), (a * b).sum(-1, keepdim=True)), -1)

    assert_equivariant(model, inputs, symmetry=signature.symmetry())
    with pytest.raises(EquivarianceError):
        assert_equivariant(lambda x: model(x.abs()), inputs, symmetry=signature.symmetry())


def test_feature_vectors_under_a_product_have_an_action_for_each_factor(generator):
    shifted = Commuting(Regular() @ Trivial(4), Trivial(3) @ Regular())
    signature = FeatureVectors(C(3) * C(4), shifted, Trivial())
    inputs = signature.example(3, generator, dtype=torch.float64)

    def neighbours(x):
        image = x.unflatten(-1, (3, 4))
        return (image * image.roll(1, -1)).sum((1, 2)).unsqueeze(-1)

    assert_equivariant(neighbours, inputs, symmetry=signature.symmetry())
    with pytest.raises(EquivarianceError, match="C"):
        assert_equivariant(lambda x: x[:, :1], inputs, symmetry=signature.symmetry())
    with pytest.raises(RepresentationError, match="does not say what each factor of C\\(3\\) x C\\(4\\) does: give Commuting"):
        FeatureVectors(C(3) * C(4), Matrix(lambda g: g, 2), Trivial()).symmetry()
