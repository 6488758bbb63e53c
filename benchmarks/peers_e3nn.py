"""The SE(3)-Transformer of `se3_transformer.py` built from e3nn's tensor products, as a practitioner would build it.

Same network as ours: keys and values from one tensor product over the neighbours' features, queries from the centre,
softmax attention over the neighbours, concatenated skip with a linear self-interaction, gated norms between blocks.
`FullyConnectedTensorProduct` with one weight set an edge from a radial network (the tensor-field form), or `uvu`
products followed by a linear map (the depthwise form).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from e3nn import o3
from e3nn.nn import FullyConnectedNet
from torch import Tensor, nn

RADIAL_WIDTH = 32


def irreps(channels: int, l_max: int) -> o3.Irreps:
    """All degrees with even parity, so that every coupling path of SE(3) is allowed, odd ones too."""
    return o3.Irreps([(channels, (degree, 1)) for degree in range(l_max + 1)])


def depthwise_product(rep_in: o3.Irreps, rep_sh: o3.Irreps, l_max: int) -> o3.TensorProduct:
    """One weight for each input channel and path (`uvu`), for all outputs up to degree l_max."""
    middle, paths = [], []
    for i, (multiplicity, ir_in) in enumerate(rep_in):
        for j, (_, ir_sh) in enumerate(rep_sh):
            for ir_out in ir_in * ir_sh:
                if ir_out.l <= l_max:
                    paths.append((i, j, len(middle), "uvu", True))
                    middle.append((multiplicity, ir_out))
    return o3.TensorProduct(rep_in, rep_sh, o3.Irreps(middle), paths, shared_weights=False, internal_weights=False)


class Convolution(nn.Module):
    """Messages along edges, from degrees of `rep_in` to `rep_out`."""

    def __init__(self, rep_in: o3.Irreps, rep_sh: o3.Irreps, rep_out: o3.Irreps, depthwise: bool) -> None:
        super().__init__()
        self.product = (
            depthwise_product(rep_in, rep_sh, rep_out.lmax)
            if depthwise
            else o3.FullyConnectedTensorProduct(rep_in, rep_sh, rep_out, shared_weights=False, internal_weights=False)
        )
        self.radial = FullyConnectedNet([1, RADIAL_WIDTH, RADIAL_WIDTH, self.product.weight_numel], torch.nn.functional.silu)
        self.linear = o3.Linear(self.product.irreps_out.simplify(), rep_out) if depthwise else nn.Identity()

    def forward(self, features: Tensor, harmonics: Tensor, lengths: Tensor) -> Tensor:
        return self.linear(self.product(features, harmonics, self.radial(lengths)))


class Block(nn.Module):
    """Attention over the neighbours and a skip connection."""

    def __init__(self, rep_in: o3.Irreps, rep_sh: o3.Irreps, rep_out: o3.Irreps, heads: int, depthwise: bool) -> None:
        super().__init__()
        self.rep_out, self.heads = rep_out, heads
        self.rep_key = o3.Irreps([(mul, ir) for mul, ir in rep_out if ir in [i for _, i in rep_in]])
        self.convolution = Convolution(rep_in, rep_sh, self.rep_key + rep_out, depthwise)
        self.query = o3.Linear(rep_in, self.rep_key)
        self.project = o3.Linear(rep_out + rep_in, rep_out)

    def split(self, features: Tensor, rep: o3.Irreps) -> Tensor:
        """`[..., rep.dim] -> [..., heads, rep.dim / heads]`."""
        parts = [
            features[..., where].unflatten(-1, (self.heads, mul // self.heads * ir.dim))
            for where, (mul, ir) in zip(rep.slices(), rep, strict=True)
        ]
        return torch.cat(parts, -1)

    def merge(self, features: Tensor, rep: o3.Irreps) -> Tensor:
        """The inverse of `split`."""
        widths = [mul // self.heads * ir.dim for mul, ir in rep]
        return torch.cat([part.flatten(-2) for part in features.split(widths, -1)], -1)

    def forward(self, features: Tensor, index: Tensor, harmonics: Tensor, lengths: Tensor) -> Tensor:
        nodes, neighbours = index.shape
        edges = self.convolution(features[index.reshape(-1)], harmonics, lengths).unflatten(0, (nodes, neighbours))
        key, value = edges.split([self.rep_key.dim, self.rep_out.dim], -1)
        query = self.split(self.query(features), self.rep_key)
        logits = torch.einsum("nhd,nkhd->nkh", query, self.split(key, self.rep_key)) / self.rep_key.dim**0.5
        message = torch.einsum("nkh,nkhd->nhd", logits.softmax(1), self.split(value, self.rep_out))
        return self.project(torch.cat([self.merge(message, self.rep_out), features], -1))


class Norm(nn.Module):
    """Smooth norm nonlinearity: each irrep scaled by a sigmoid of its norm."""

    def __init__(self, rep: o3.Irreps) -> None:
        super().__init__()
        self.norm = o3.Norm(rep, squared=True)
        self.scale = o3.ElementwiseTensorProduct(rep, o3.Irreps([(rep.num_irreps, (0, 1))]))
        self.bias = nn.Parameter(torch.zeros(rep.num_irreps))

    def forward(self, features: Tensor) -> Tensor:
        return self.scale(features, torch.sigmoid((self.norm(features) + 1e-6).sqrt() + self.bias))


class E3nnTransformer(nn.Module):
    """Two blocks and a final layer, scalars in, `channels` scalars and vectors out.

    Args:
        channels: channels of each degree.
        l_max: highest degree.
        heads: attention heads.
        neighbours: how many nearest points attend.
        depthwise: `uvu` products and linear maps in place of fully connected products.
    """

    def __init__(self, channels: int, l_max: int, heads: int, neighbours: int, depthwise: bool = False) -> None:
        super().__init__()
        self.neighbours, self.l_max = neighbours, l_max
        self.rep_sh = o3.Irreps([(1, (degree, 1)) for degree in range(2 * l_max + 1)])
        scalars, hidden = o3.Irreps([(channels, (0, 1))]), irreps(channels, l_max)
        widths = (scalars, hidden, hidden, irreps(channels, 1))
        self.blocks = nn.ModuleList(Block(a, self.rep_sh, b, heads, depthwise) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(Norm(rep) for rep in widths[1:-1])

    def forward(self, positions: Tensor, features: Tensor) -> Tensor:
        b, n, _ = positions.shape
        distance = torch.cdist(positions, positions) + torch.eye(n, device=positions.device) * 1e9
        index = distance.topk(self.neighbours, largest=False).indices
        index = (index + n * torch.arange(b, device=index.device)[:, None, None]).reshape(b * n, -1)
        flat = positions.reshape(b * n, 3)
        vectors = (flat[:, None] - flat[index]).reshape(-1, 3)
        harmonics = o3.spherical_harmonics(self.rep_sh, vectors, normalize=True, normalization="component")
        lengths = vectors.norm(dim=-1, keepdim=True)
        features = features.reshape(b * n, -1)
        for i, block in enumerate(self.blocks):
            features = block(features, index, harmonics, lengths)
            if i < len(self.norms):
                features = self.norms[i](features)
        return features.reshape(b, n, -1)
