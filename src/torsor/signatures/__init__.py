"""What a family of tasks feeds a model and expects of it: the meeting point of tasks and models, one family a file.

A task has a signature. A model's configuration builds a module for one, `config.build(signature)`, and declares in `families` which kinds
it serves. Tensors are named and padded: `[b, n, ...]` with `mask [b, n]`, True at valid places.
"""

from torsor.signatures.common import POOLS, Pool
from torsor.signatures.feature_vectors import FeatureVectors
from torsor.signatures.graphs import Graphs
from torsor.signatures.particles import Particles
from torsor.signatures.point_clouds import PointClouds
from torsor.signatures.serving import cannot_serve, check_family, serving

__all__ = ["POOLS", "FeatureVectors", "Graphs", "Particles", "PointClouds", "Pool", "cannot_serve", "check_family", "serving"]
