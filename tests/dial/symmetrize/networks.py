"""Networks without any symmetry, and what they are symmetrised by."""

import torch
from torch import nn

from torsor.dial.symmetrize.averages import Haar
from torsor.dial.symmetrize.controls import Identity, Phased, SameNoise
from torsor.dial.symmetrize.symdiff import Symdiff
from torsor.groups import SE, SO, TC, C, D, E, O, S, T
from torsor.representations import Pairs, Permuted, Points, Trivial, Vectors
from torsor.symmetry import Symmetry


class Linear(nn.Module):
    """W x along the last axis, or along the places of a set."""

    def __init__(self, matrix, axis=-1):
        super().__init__()
        self.matrix, self.axis = nn.Parameter(matrix.clone()), axis

    def forward(self, x):
        return (x.movedim(self.axis, -1) @ self.matrix.mT).movedim(-1, self.axis)


class Dense(nn.Module):
    """A small network that sees every number of its inputs, and none of their structure; outputs behind the mask are zero."""

    def __init__(self, width, outputs, seed=0, dtype=torch.float64):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Linear(width, 16), nn.Tanh(), nn.Linear(16, outputs)).to(dtype)

    def forward(self, positions, edges=None, mask=None):
        seen = positions if mask is None else positions * mask[..., None]
        if mask is not None and edges is not None:
            edges = edges * (mask[:, None] & mask[:, :, None])
        flat = [seen.flatten(1), *(() if edges is None else (edges.flatten(1),))]
        y = self.layers(torch.cat(flat, -1)).unflatten(-1, positions.shape[1:])
        return y if mask is None else y * mask[..., None]


class Graphwise(nn.Module):
    """Three outputs of a graph with an order: of its nodes, its pairs, and all of it."""

    def __init__(self, nodes, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.inner = nn.Linear(nodes * nodes + 2 * nodes, 12).double()
            self.outer = nn.Linear(12, nodes + nodes * nodes + 1).double()
        self.nodes = nodes

    def forward(self, adjacency, features):
        n = self.nodes
        y = self.outer(torch.tanh(self.inner(torch.cat((adjacency.flatten(1), features.flatten(1)), -1))))
        return {"node": y[:, :n, None], "pair": y[:, n : n + n * n].unflatten(-1, (n, n)), "graph": y[:, n + n * n :]}


GRAPH = Symmetry(
    S(),
    {"adjacency": Pairs(1, 2), "features": Permuted(1)},
    {"node": Permuted(1), "pair": Pairs(1, 2), "graph": Trivial()},
)


def cloud_contract(group):
    """Points in, vectors of the points out, with one number for each pair."""
    factors = getattr(group, "factors", (group,))

    def each(space, places):
        found = tuple(places if isinstance(f, S) else space for f in factors)
        return found if len(found) > 1 else found[0]

    inputs = {"positions": each(Points(), Permuted(1)), "edges": each(Trivial(), Pairs(1, 2))}
    return Symmetry(group, inputs, each(Vectors(), Permuted(1)))


def cloud(generator, dimension=3, batch=2, points=4, masked=False):
    inputs = {
        "positions": torch.randn(batch, points, dimension, generator=generator, dtype=torch.float64),
        "edges": torch.randn(batch, points, points, generator=generator, dtype=torch.float64),
    }
    if masked:
        mask = torch.ones(batch, points, dtype=torch.bool)
        mask[0, -1] = mask[0, 1] = False
        inputs["mask"] = mask
        inputs["edges"] = inputs["edges"] * (mask[:, None] & mask[:, :, None])
    return inputs


def dense(dimension=3, points=4):
    return Dense(points * dimension + points**2, points * dimension)


COMPACT = (SO(2), O(2), SO(3), O(3), SO(4), C(5), D(4), S(), O(3) * S(), SO(3) * S(), D(3) * S())
MOVING = (T(3), SE(2), SE(3), E(3), TC(4), SE(3) * S(), E(3) * S())


def dimension(group):
    first = getattr(group, "factors", (group,))[0]
    return 3 if isinstance(first, S) else first.space_dim


def coupled_error(module, inputs, generator):
    """The largest difference when one generic element moves the inputs and every tensor of noise."""
    whole = {**inputs, **module.draw(inputs, generator)}
    h = module.symmetry.sample(whole, generator)
    with torch.no_grad():
        moved = module.symmetry.named_outputs(module(**module.symmetry.transform(h, whole)))
        still = module.symmetry.named_outputs(module.symmetry.transform_output(h, module(**whole)))
    return max(float((moved[name] - y).abs().max()) for name, y in still.items())


class Corrections(nn.Module):
    """Coordinates of what turns and scores of what is permuted, from a network that respects nothing."""

    def __init__(self, group, points=4, constant=False, noise=0):
        super().__init__()
        factors = getattr(group, "factors", (group,))
        self.factors = [f for f in factors if not isinstance(f, T)]
        self.constant, d = constant, dimension(group)
        widths = [points if isinstance(f, S) else f.dim for f in self.factors]
        self.widths, self.noise_features = widths, noise
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.inner = nn.Linear(points * d + points**2 + noise, 16).double()
            self.outer = nn.Linear(16, sum(widths)).double()

    def forward(self, positions, edges, mask=None, noise=None):
        if mask is not None:
            positions, edges = positions * mask[..., None], edges * (mask[:, None] & mask[:, :, None])
        flat = [positions.flatten(1), edges.flatten(1), *(() if noise is None else (noise,))]
        y = self.outer(torch.tanh(self.inner(torch.cat(flat, -1)))) * (0.0 if self.constant else 1.0)
        found = torch.split(y, self.widths, -1)
        return found if len(found) > 1 else found[0]


ARMS = {
    "average": lambda contract: Haar(contract),
    "symdiff": lambda contract: Symdiff(contract, Corrections(contract.group)),
    "same noise": lambda contract: SameNoise(Haar(contract)),
    "test-time average": lambda contract: Phased(Identity(contract), Haar(contract)),
}
