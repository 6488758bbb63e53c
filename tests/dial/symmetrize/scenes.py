"""Clouds, graphs and networks without symmetry for the tests of frames and canonicalisers."""

import torch
from torch import nn

from torsor.nn.noise_sources import DrawnNoise
from torsor.representations import Pairs, Permuted, Points, Trivial, Vectors
from torsor.symmetry import Symmetry

DOUBLE = {"dtype": torch.float64}


def cloud_contract(group, output=None, exactness="none"):
    """Positions `[b, n, d]`, and an output that turns like them and is not moved."""
    return Symmetry(group, {"positions": Points()}, Vectors() if output is None else output, exactness=exactness)


def set_contract(group, output=None):
    """Points of space that are permuted too."""
    return Symmetry(group, {"positions": (Points(), Permuted(1))}, (Vectors(), Permuted(1)) if output is None else output)


def graph_contract(group, level="node"):
    return Symmetry(group, {"adjacency": Pairs(1, 2)}, Permuted(1) if level == "node" else Trivial())


def cloud(generator, batch=3, points=6, dimension=3):
    """A cloud with distinct eigenvalues that is centred nowhere in particular."""
    scale = torch.linspace(1, 2, dimension, **DOUBLE)
    return torch.randn(batch, points, dimension, generator=generator, **DOUBLE) * scale + torch.arange(dimension)


class Plain(nn.Module):
    """A network that looks at every coordinate of every place, and has no symmetry; smooth."""

    def __init__(self, places, dimension, out="same"):
        super().__init__()
        seeded = torch.Generator().manual_seed(3)
        width = places * dimension
        self.out, self.shape = out, (places, dimension)
        outputs = width if out == "same" else 2
        self.first = nn.Parameter(torch.randn(width, 16, generator=seeded, **DOUBLE) / width**0.5)
        self.second = nn.Parameter(torch.randn(16, outputs, generator=seeded, **DOUBLE))

    def forward(self, positions, mask=None):
        seen = positions if mask is None else positions.where(mask.unsqueeze(-1), 0)
        missing = self.shape[0] - seen.shape[1]
        rows = nn.functional.pad(seen, (0, 0, 0, missing)).flatten(1)
        output = (rows.to(self.first.dtype) @ self.first + 0.3).tanh() @ self.second
        return output.unflatten(1, self.shape)[:, : positions.shape[1]] if self.out == "same" else output


class PlainGraph(nn.Module):
    """A network on the entries of an adjacency, with one number for each node or two for the graph."""

    def __init__(self, nodes, level="node"):
        super().__init__()
        seeded = torch.Generator().manual_seed(4)
        self.nodes, self.level = nodes, level
        self.first = nn.Parameter(torch.randn(nodes * nodes, 24, generator=seeded, **DOUBLE) / nodes)
        self.second = nn.Parameter(torch.randn(24, nodes if level == "node" else 2, generator=seeded, **DOUBLE))

    def forward(self, adjacency, mask=None):
        seen = adjacency if mask is None else adjacency.where(mask.unsqueeze(-1) & mask.unsqueeze(-2), 0)
        missing = self.nodes - seen.shape[1]
        rows = nn.functional.pad(seen, (0, missing, 0, missing)).flatten(1)
        output = (rows @ self.first + 0.3).tanh() @ self.second
        return output[:, : adjacency.shape[1]].unsqueeze(-1) if self.level == "node" else output


def drawn(sampler, inputs, samples=1, seed=0):
    """Noise and elements of a sampler."""
    noise = sampler.draw(inputs, samples, DrawnNoise(torch.Generator().manual_seed(seed)))
    return noise, sampler(inputs, noise, samples)


def times(group, h, elements):
    """h on the left of `[b, k]` elements; h has one element for each item."""
    if isinstance(elements, tuple):
        return tuple(times(factor, e, x) for factor, e, x in zip(group.factors, h, elements, strict=True))
    return group.compose(h.unsqueeze(1), elements)


def sorted_rows(group, elements):
    """The matrices of the elements `[b, k]` as rows in lexicographic order, to compare frames as sets."""
    rows = group.matrix(elements).flatten(2).round(decimals=6)
    return torch.stack([torch.unique(item, dim=0) for item in rows])


def moved_call(module, inputs, h, noise=None):
    """phi(h x, h noise) and h phi(x, noise)."""
    given = {**inputs, **(noise or {})}
    moved = module(**module.symmetry.transform(h, given))
    return moved, module.symmetry.transform_output(h, module(**given))


def graph(edges, nodes):
    """The adjacency `[1, n, n]` of an undirected graph."""
    adjacency = torch.zeros(1, nodes, nodes, **DOUBLE)
    for i, j in edges:
        adjacency[0, i, j] = adjacency[0, j, i] = 1
    return adjacency


def grid(side):
    places = [(r, c) for r in range(side) for c in range(side)]
    edges = [(i, j) for i, p in enumerate(places) for j, q in enumerate(places) if i < j and abs(p[0] - q[0]) + abs(p[1] - q[1]) == 1]
    return graph(edges, side * side)


GRAPHS = {
    "asymmetric": graph([(0, 1), (0, 2), (2, 3), (0, 4), (4, 5), (5, 6)], 7),
    "star": graph([(0, i) for i in range(1, 7)], 7),
    "tree": graph([(0, 1), (0, 2), (1, 3), (1, 4), (1, 5), (2, 6), (2, 7)], 8),
    "cycle": graph([(i, (i + 1) % 7) for i in range(7)], 7),
    "grid": grid(5),
}
"""Graphs with automorphism groups: trivial (legs of lengths 1, 2 and 3), S_6, S_3 x S_2, D_7 and D_4."""
AUTOMORPHIC = {"star": (1, 2), "tree": (3, 4), "cycle": (0, 3), "grid": (0, 4)}
"""Two nodes that an automorphism exchanges."""
