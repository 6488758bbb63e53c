"""Haar draws, corrected by any network: a learned law of p(g | x) that needs no equivariant network to be equivariant.

Zhang, Ashok, Cabezas, Rainforth, Doucet et al.: SymDiff: Equivariant Diffusion via Stochastic Symmetrisation (2024), section 3.

g = g_0 q(g_0^-1 x, noise), with g_0 uniform: h x and h g_0 give h g.

Axes: b batch, k samples, n places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from torsor.dial.symmetrize.averages import FactorSampler, Haar
from torsor.dial.symmetrize.base import Draws, noise_dtype, repeated
from torsor.dial.symmetrize.permutations import descending_order, normalised_scores, order_entropy, soft_order
from torsor.dial.symmetrize.spatial import for_factor
from torsor.dial.symmetrize.transport import argument_names
from torsor.errors import GroupError, ShapeError
from torsor.groups import LieGroup, S
from torsor.groups.base import Element
from torsor.nn.noise_sources import NoiseSource
from torsor.representations import Permuted, Trivial
from torsor.symmetry import Symmetry

EXTRA = "extra"
"""Name of the noise of the network."""


class Symdiff(FactorSampler):
    """Haar draws times what a network makes of the input as these draws have turned it.

    The network takes the arguments of the symmetrised one, each item moved by its own draw, and returns numbers for each item: coordinates
    of the Lie algebra `[b, dim]` for a factor that turns space, a score for each place `[b, n]` for one that permutes; a tuple with one
    tensor for each factor that is drawn, where there are several. It may take an argument `noise`, `[b, noise_features]` standard normal.
    A constant network gives the average over the group.

    Args:
        symmetry: the contract.
        network: any module.
        moving: for each factor whether it is drawn, all if not given; the symmetrised network is equivariant to the others by itself.
        noise_features: how many normal numbers the network gets; 0 for none.
        temperature: of the soft permutations that carry the gradient of scores, see `soft_order`.
        entropy: weight of the penalty that keeps soft permutations near the hard ones.

    Raises:
        GroupError: a factor is finite but no S(n), or the network takes no noise where it should.
    """

    def __init__(
        self,
        symmetry: Symmetry,
        network: nn.Module,
        moving: Sequence[bool] | None = None,
        *,
        noise_features: int = 0,
        temperature: float = 0.05,
        entropy: float = 0.1,
    ) -> None:
        super().__init__(symmetry, moving)
        self.haar = Haar(symmetry, self.moving)
        for i in self.haar.names:
            if not isinstance(symmetry.factors[i], S | LieGroup):
                raise GroupError(
                    f"a network cannot turn uniform draws of {symmetry.factors[i]} a little: use method 'enumerate' or 'average'"
                )
        if noise_features and "noise" not in argument_names(network):
            raise GroupError(f"noise_features is {noise_features} but {type(network).__name__} takes no argument 'noise'")
        self.network, self.noise_features = network, noise_features
        self.temperature, self.entropy = temperature, entropy
        self.noise = {**self.haar.noise, **({EXTRA: for_factor(symmetry, 0, Trivial(), Trivial())} if noise_features else {})}

    def draw(self, inputs: Mapping[str, Any], samples: int, source: NoiseSource) -> dict[str, Tensor]:
        """The Haar draws, and the noise of the network."""
        drawn = self.haar.draw(inputs, samples, source)
        if self.noise_features:
            first = next(iter(drawn.values()))
            numbers = source.normal(EXTRA, (*first.shape[:2], self.noise_features), first.device)
            drawn[EXTRA] = numbers.to(noise_dtype(inputs))
        return drawn

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:
        """The Haar draws times the corrections."""
        uniform: Draws = self.haar(inputs, noise, samples)
        batch, k = uniform.leading
        flat = [e.flatten(0, 1) for e in uniform.each]
        upright = self.symmetry.transform(self.symmetry.group.inverse(self.element(flat)), repeated(inputs, k))
        numbers = self._numbers({**upright, **({"noise": noise[EXTRA].flatten(0, 1)} if self.noise_features else {})})
        soft: list[Tensor | None] = [None] * len(flat)
        penalties = []
        for i, x in numbers.items():
            if isinstance(self.symmetry.factors[i], S):
                valid = self.symmetry.valid_places(upright, i)
                scores = normalised_scores(x, valid)
                order = descending_order(scores.detach(), mask=valid)
                if self.training:
                    near = soft_order(scores, order, self.temperature, mask=valid)
                    soft[i] = Permuted(1).apply(S(), flat[i], near).reshape(batch, k, *near.shape[1:])
                    penalties.append(self.entropy * order_entropy(near, valid).mean())
                flat[i] = S().compose(flat[i], order)
            else:
                flat[i] = self._turned(i, flat[i], x)
        elements = self.element([e.reshape(batch, k, *e.shape[1:]) for e in flat])
        return Draws(elements, None, tuple(soft) if penalties else (), torch.stack(penalties).sum() if penalties else None)

    def _numbers(self, inputs: Mapping[str, Any]) -> dict[int, Tensor]:
        """What the network returns for each factor that is drawn."""
        given = self.network(**inputs)
        found = given if isinstance(given, tuple) else (given,)
        if len(found) != len(self.haar.names):
            raise ShapeError(
                f"{type(self.network).__name__} returns {len(found)} tensors: give one for each of {len(self.haar.names)} factors"
            )
        return dict(zip(self.haar.names, found, strict=True))

    def _turned(self, i: int, g: Element, coordinates: Tensor) -> Element:
        """An element times the exponential of coordinates."""
        factor = self.symmetry.factors[i]
        assert isinstance(factor, LieGroup)
        return factor.compose(g, factor.exp(coordinates.to(g.dtype)))
