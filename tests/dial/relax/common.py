"""Small models and inputs for the tests of relaxed models."""

import torch

from torsor.dial.relax import RelaxedConfig, extended, fixed_representation, relax
from torsor.groups import O
from torsor.models import EquivariantMLP
from torsor.representations import Trivial, Vectors
from torsor.signatures import FeatureVectors, Graphs, Particles, PointClouds

SIGNATURES = {
    "points": PointClouds("2x0e + 1x1o", "1x0e + 1x1o", points=5),
    "positions only": PointClouds("", "1x0e", pool="sum", points=5),
    "plane": PointClouds("1x0e", "1x0e", pool="mean", dimension=2),
    "particles": Particles(scalars_in=2, scalars_out=1, vectors_out=1),
    "graphs": Graphs(node_features=2, edge_features=1, outputs=2, level="node", nodes=5),
    "vectors": FeatureVectors(O(3), 2 * Vectors() + Trivial(2), Vectors() + Trivial()),
}
SMALL = {
    "points": {"name": "egnn", "hidden": 8, "layers": 2},
    "positions only": {"name": "egnn", "hidden": 8, "layers": 2},
    "plane": {"name": "egnn", "hidden": 8, "layers": 2},
    "particles": {"name": "lgatr-slim", "vectors": 4, "scalars": 8, "blocks": 1, "heads": 2},
    "graphs": {"name": "gin", "width": 8, "layers": 2, "update": 8, "output_scale": 1.0},
}


def example(kind, dtype=torch.float64, batch=3):
    signature, generator = SIGNATURES[kind], torch.Generator().manual_seed(5)
    if isinstance(signature, FeatureVectors):
        return signature.example(batch, generator, dtype)
    return signature.example(batch, 5, generator, dtype, lengths=(5, 3, 4)[:batch])


def relaxed(kind, seed=0, **settings):
    """A relaxed model in double precision and evaluation mode, with fixed inputs everywhere if nothing else is said."""
    settings = {"box": float("inf"), "hidden": 8, **settings}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "vectors":
            return relaxed_vectors(settings).double().eval()
        return RelaxedConfig(**{"model": SMALL[kind], **settings}).build(SIGNATURES[kind]).double().eval()


def vector_model(signature):
    return EquivariantMLP(signature.group, signature.rep_in, signature.rep_out, hidden=2, depth=1)


def relaxed_vectors(settings):
    """As the configuration builds it, but small."""
    signature = SIGNATURES["vectors"]
    if settings.get("method", "fixed-inputs") != "fixed-inputs":
        return relax(vector_model(signature), **settings)
    if settings.get("injection") == "add":
        return relax(vector_model(signature), signature=signature, **settings)
    inner = extended(signature, fixed_representation(signature, 1))
    return relax(vector_model(inner), signature=signature, inputs=1, **settings)
