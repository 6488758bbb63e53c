"""The graph isomorphism network sees what colour refinement sees; with identifiers it sees everything and is symmetric no more."""

import pytest
import torch

from torsor.check import assert_equivariant, equivariance_error
from torsor.errors import ConfigError, ShapeError, SignatureError
from torsor.models import GINConfig
from torsor.signatures import Graphs

GRAPH8C = {"update": None, "activation": "tanh", "output_activation": "tanh", "output_scale": 1.0}


def cycles(*lengths: int) -> torch.Tensor:
    """Disjoint cycles side by side."""
    blocks = [torch.eye(n, dtype=torch.float64).roll(1, 0) for n in lengths]
    one_way = torch.block_diag(*blocks)
    return (one_way + one_way.T)[None]


def test_a_hexagon_and_two_triangles_are_one_to_colours_and_two_to_identifiers() -> None:
    torch.manual_seed(0)
    signature = Graphs(outputs=10, nodes=6)
    plain, numbered = (GINConfig(identifiers=identifiers, **GRAPH8C).build(signature).double() for identifiers in (False, True))
    hexagon, triangles = cycles(6), cycles(3, 3)
    torch.testing.assert_close(plain(hexagon), plain(triangles), rtol=0, atol=1e-12)
    assert (numbered(hexagon) - numbered(triangles)).abs().max() > 1e-3


def test_identifiers_give_up_the_symmetry_and_the_contract_says_so(generator) -> None:
    torch.manual_seed(0)
    signature = Graphs(2, outputs=3, level="node", nodes=5)
    inputs = signature.example(3, 5, generator, torch.float64)
    plain, numbered = (GINConfig(identifiers=identifiers).build(signature).double() for identifiers in (False, True))
    assert plain.symmetry.exactness == "exact"
    assert_equivariant(plain, inputs)
    assert numbered.symmetry.exactness == "none"
    assert equivariance_error(numbered, inputs).max_relative > 1e-2


def test_numbered_nodes_of_smaller_graphs_keep_their_numbers(generator) -> None:
    torch.manual_seed(0)
    signature = Graphs(1, outputs=2, nodes=7)
    model = GINConfig(identifiers=True).build(signature).double()
    padded = signature.example(2, 7, generator, torch.float64, lengths=(4, 4))
    torch.testing.assert_close(model(**padded), model(padded["adjacency"][:, :4, :4], padded["features"][:, :4]), rtol=0, atol=1e-12)


def test_two_rounds_are_the_written_formula(generator) -> None:
    torch.manual_seed(0)
    signature = Graphs(2, outputs=1, nodes=4)
    model = GINConfig(width=3, layers=2, update=None, readout=(5,), pool="mean").build(signature).double()
    inputs = signature.example(3, 4, generator, torch.float64)
    h = inputs["features"]
    for layer in model.rounds:
        h = ((1 + layer.epsilon) * h + inputs["adjacency"].mT @ h) @ layer.last.weight.T + layer.last.bias
        h = h.relu()
    hidden = model.readout[0][0](h.mean(1)).relu()
    torch.testing.assert_close(model(**inputs), model.output(hidden), rtol=0, atol=1e-12)


def test_the_published_network_has_its_parameters() -> None:
    """Three rounds of one linear map and one epsilon on [1, degree, place among eight], then ten numbers."""
    model = GINConfig(identifiers=True, **GRAPH8C).build(Graphs(2, outputs=10, nodes=8))
    assert sum(p.numel() for p in model.parameters()) == (11 * 64 + 1) + 2 * (65 * 64 + 1) + 65 * 10


def test_pairs_and_unbounded_numbers_are_refused() -> None:
    with pytest.raises(SignatureError, match=r"no features of pairs to read out; models of this family: .*mlp"):
        GINConfig().build(Graphs(1, level="pair"))
    with pytest.raises(SignatureError, match="identifiers need the size of the largest graph: give nodes="):
        GINConfig(identifiers=True).build(Graphs(1))
    with pytest.raises(ShapeError, match="adjacency has 4 nodes, but this model was built for 3"):
        GINConfig(identifiers=True).build(Graphs(nodes=3))(torch.zeros(1, 4, 4))
    with pytest.raises(ConfigError, match="below 1"):
        GINConfig(layers=0)
