"""Learned laws of small groups and signatures, the networks they symmetrise, and what must hold of their elements."""

import torch
from torch import nn

from torsor import groups
from torsor.dial.symmetrize.learned import LearnedConfig
from torsor.dial.symmetrize.module import Symmetrized
from torsor.groups import S
from torsor.models import MLP
from torsor.models.graphs import graph
from torsor.signatures import Graphs, PointClouds

IN_SPACE = ("O(3)", "SO(3)", "E(3)", "SE(3)", "S() x O(3)", "S() x SO(3)", "S() x E(3)", "SE(3) x S()", "S()", "T(3) x S()")
IN_PLANE = ("O(2)", "SO(2)", "S() x SE(2)", "E(2)")
CLOUDS = PointClouds("1x0e + 1x1o", "1x0e + 1x1o", edge_features=2, points=5)
PLANE = PointClouds("1x0e", "2x0e", edge_features=2, points=5, dimension=2)
GRAPHS = Graphs(2, 1, 2, "node", nodes=5)
LENGTHS = (5, 3, 1)


def signature_of(group):
    return GRAPHS if group is None else PLANE if "2" in group else CLOUDS


def contract_of(group, signature=None):
    signature = signature_of(group) if signature is None else signature
    return signature.symmetry(None if group is None else groups.parse(group))


def law(group, signature=None, **settings):
    signature = signature_of(group) if signature is None else signature
    torch.manual_seed(4)
    made = LearnedConfig(**({"hidden": 12} | settings)).build(signature, contract_of(group, signature)).double()
    for p in made.interface.parameters():  # away from the biases of norms at zero
        p.data.add_(0.1 * torch.randn(p.shape, dtype=torch.float64))
    return made.eval()


class GraphMLP(nn.Module):
    """Adjacency, features and edge features, flattened: no symmetry at all."""

    def __init__(self, signature):
        super().__init__()
        n = signature.nodes
        width = n * n * (1 + signature.edge_features) + n * signature.node_features
        self.signature = signature
        self.layers = nn.Sequential(nn.Linear(width, 32), nn.Tanh(), nn.Linear(32, n * signature.outputs)).double()

    def forward(self, adjacency, features=None, edge_features=None, mask=None):
        seen = graph(adjacency, features, edge_features, mask, self.signature)
        parts = [x.flatten(1) for x in (seen.adjacency, seen.features, seen.edge_features) if x is not None]
        y = self.layers(torch.cat(parts, 1)).unflatten(1, (self.signature.nodes, -1))
        return y if mask is None else y.where(mask[..., None], 0)


def symmetrized(sampler, signature, **settings):
    torch.manual_seed(5)
    if isinstance(signature, Graphs):
        base = GraphMLP(signature)
    else:
        base = MLP(
            signature.rep_in,
            signature.rep_out,
            points=5,
            edge_features=signature.edge_features,
            dimension=signature.dimension,
            output_scale=1.0,
            hidden=16,
            layers=1,
        ).double()
    return Symmetrized(base, sampler, **({"samples": 3} | settings)).eval()


def example(group, generator, signature=None, lengths=LENGTHS):
    signature = signature_of(group) if signature is None else signature
    return signature.example(len(lengths), 5, generator, torch.float64, lengths=lengths)


def elements_of(sampler, inputs, noise, samples=3):
    found = sampler(inputs, noise, samples).elements
    return found if isinstance(found, tuple) else (found,)


def require_moved(sampler, inputs, noise, generator):
    """q(h x, h noise) = h q(x, noise): integers for integers, rotations to 1e-10."""
    contract = Symmetrized(nn.Linear(1, 1), sampler).symmetry
    everything = {**inputs, **noise}
    h = contract.sample(everything, generator)
    moved = contract.transform(h, everything)
    drawn = elements_of(sampler, inputs, noise)
    again = elements_of(sampler, {k: moved[k] for k in inputs}, {k: moved[k] for k in noise})
    for factor, g, before, after in zip(contract.factors, h if isinstance(h, tuple) else (h,), drawn, again, strict=True):
        expected = factor.compose(g.unsqueeze(1), before)
        if isinstance(factor, S):
            assert torch.equal(after, expected)
        else:
            assert (after - expected).abs().max() < 1e-10


def require_valid(sampler, elements, tolerance=1e-12):
    for factor, element in zip(sampler.symmetry.factors, elements, strict=True):
        if isinstance(factor, S):
            assert element.dtype == torch.int64
            assert torch.equal(element.sort(-1).values, torch.arange(element.shape[-1]).expand(element.shape))
        elif not str(factor).startswith("T("):
            matrix = factor.linear(element)
            assert (matrix.mT @ matrix - torch.eye(factor.n, dtype=matrix.dtype)).abs().max() < tolerance
            if str(factor).startswith("S"):
                assert (torch.linalg.det(matrix) - 1).abs().max() < tolerance
