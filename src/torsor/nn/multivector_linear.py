"""Linear layers of multivectors and scalars that commute with every versor.

Brehmer, de Haan, Behrends, Cohen: Geometric Algebra Transformer (2023), proposition 2: y_o = sum_c sum_m w_moc B_m(x_c), with B_m a basis
of the commuting maps, each divided by its Frobenius norm. Scalars enter and leave through the grade 0 alone.

Every B_m copies components with a sign, so the map is one matrix product of channels for each slot and one for each pair of slots: for the
nine maps of E(3), 24 C C' multiplications a token, where the dense matrix needs 256 C C'.

Axes: c channels in, d channels out, s scalars in, r scalars out, m basis maps.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from torsor.nn.multivector_slots import map_slots, slot_blocks, slot_maps, spreading
from torsor.representations import GeometricAlgebra

Initialisation = Literal["default", "small", "unit_scalar", "almost_unit_scalar"]
Implementation = Literal["auto", "component", "dense"]
_SCALES = {"small": 0.1, "unit_scalar": 0.1, "almost_unit_scalar": 0.5}
_SHIFTS = {"unit_scalar": 1.0, "almost_unit_scalar": 1.0}


class MultivectorLinear(nn.Module):
    """y = sum_m B_m(x) w_m, plus scalars and a bias in the grade 0; s' = W (x_0, s) + b.

    Args:
        algebra: whose versors the map commutes with.
        channels_in: multivector channels of the input.
        channels_out: multivector channels of the output, 0 for none.
        scalars_in: scalar channels of the input.
        scalars_out: scalar channels of the output; 0 for none.
        reflections: commute with odd versors too, which leaves fewer maps: 9 of 16 for G(3, 0, 1), 5 of 10 for G(1, 3).
        bias: add one to the grade 0 and to the scalars; no other bias commutes.
        initialisation: see `initialise`.
        implementation: "component" goes slot by slot, "dense" uses one matrix for all slots; "auto" takes the first on a CPU and the
            second elsewhere. Same parameters, same result.
    """

    weight: Tensor

    def __init__(
        self,
        algebra: GeometricAlgebra,
        channels_in: int,
        channels_out: int,
        scalars_in: int = 0,
        scalars_out: int = 0,
        *,
        reflections: bool = True,
        bias: bool = True,
        initialisation: Initialisation = "default",
        implementation: Implementation = "auto",
    ) -> None:
        super().__init__()
        self.scalars_in = scalars_in
        self.metric, self.reflections, self.implementation = algebra.metric, int(reflections), implementation
        self.blocks = slot_blocks(self.metric, self.reflections)
        maps = len(slot_maps(self.metric, self.reflections))
        weight = torch.empty(maps, channels_in, channels_out)
        if channels_out:
            self.weight = nn.Parameter(weight)
        else:  # an empty parameter gets no gradient, and distributed training would wait for it
            self.register_buffer("weight", weight, persistent=False)
        self.bias = nn.Parameter(torch.empty(channels_out)) if bias and channels_out else None
        self.from_scalars = nn.Parameter(torch.empty(channels_out, scalars_in)) if scalars_in and channels_out else None
        self.to_scalars = nn.Linear(channels_in + scalars_in, scalars_out, bias) if scalars_out else None
        self.initialise(initialisation)

    @torch.no_grad()
    def initialise(self, how: Initialisation, channels: slice = slice(None)) -> None:
        """Draw the weights that make some output channels anew, and those of the scalars.

        Uniform, so that with inputs of unit variance each map adds its share to the variance of the outputs.

        Args:
            how: "default"; "small" is that times 0.1; "unit_scalar" is "small", and the grade 0 begins near 1; "almost_unit_scalar" is
                "default" times 0.5, and near 1.
            channels: which multivector channels of the output.
        """
        channels_in = self.weight.shape[1]
        scalars_in = self.scalars_in
        scale = _SCALES.get(how, 1.0)
        bounds = scale * _bounds(self.metric, self.reflections) / channels_in**0.5
        if scalars_in:
            bounds[0] /= 2**0.5
        for weight, bound in zip(self.weight, bounds.tolist(), strict=True):
            weight[:, channels].uniform_(-bound, bound)
        if self.from_scalars is not None:
            bound = scale * (2 * scalars_in) ** -0.5
            self.from_scalars[channels].uniform_(-bound, bound)
        if self.bias is not None:
            bound = scale * (scalars_in + channels_in) ** -0.5
            self.bias[channels].uniform_(-bound, bound).add_(_SHIFTS.get(how, 0.0))
        if self.to_scalars is not None:
            self._initialise_scalars(channels_in, scalars_in)

    @torch.no_grad()
    def undo_correction(self) -> None:
        """Weights as the released code of the paper draws them, for G(3, 0, 1).

        There those of the grade 0 are not smaller where scalars feed it too, as was intended, and those of the grade 3 leave e123 half of
        the variance that other components have.
        """
        self.weight[3] /= 2**0.5
        if self.scalars_in:
            self.weight[0] *= 2**0.5

    def _initialise_scalars(self, channels_in: int, scalars_in: int) -> None:
        """Both sources of the scalars give one half of their variance."""
        assert self.to_scalars is not None
        halves = 2 if channels_in and scalars_in else 1
        for columns, fan_in in ((slice(channels_in), channels_in), (slice(channels_in, None), scalars_in)):
            bound = (halves * max(fan_in, 1)) ** -0.5
            self.to_scalars.weight[:, columns].uniform_(-bound, bound)
        if self.to_scalars.bias is not None:
            bound = (channels_in + scalars_in) ** -0.5
            self.to_scalars.bias.uniform_(-bound, bound)

    def forward(
        self, x: Float[Tensor, "16 *tokens c"], s: Float[Tensor, "*tokens s"] | None = None
    ) -> tuple[Float[Tensor, "16 *tokens d"], Float[Tensor, "*tokens r"]]:
        """Map multivectors and scalars; None stands for no scalars."""
        multivectors = self._multivectors(x, self._grade0(s))
        if self.to_scalars is None:
            return multivectors, x[0, ..., :0]
        return multivectors, self.to_scalars(x[0] if s is None else torch.cat((x[0], s), -1))

    def _grade0(self, s: Tensor | None) -> Tensor | None:
        """What scalars and bias add to the grade 0."""
        if self.from_scalars is None or s is None:
            return self.bias
        return linear(s, self.from_scalars, self.bias)

    def _multivectors(self, x: Tensor, grade0: Tensor | None) -> Tensor:
        """The commuting map, in the type that autocast wants for matrix products."""
        tokens = x.shape[1:-1]
        flat = x.flatten(1, -2) if len(tokens) != 1 else x
        weight = self.weight
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            half = torch.get_autocast_dtype(kind)
            flat, weight = flat.to(half), weight.to(half)
        if grade0 is not None:
            grade0 = grade0.to(flat.dtype).expand(*tokens, -1).reshape(flat.shape[1], -1)
        if self.implementation == "component" or (self.implementation == "auto" and kind == "cpu"):
            spread = spreading.like(weight, self.metric, self.reflections) @ weight.flatten(1)
            y = map_slots(flat, torch.unflatten(spread, -1, weight.shape[1:]), grade0, self.blocks)
        else:
            y = self._dense(flat, weight, grade0)
        return torch.unflatten(y, 1, tokens) if len(tokens) != 1 else y

    def _dense(self, x: Float[Tensor, "16 t c"], weight: Tensor, grade0: Tensor | None) -> Float[Tensor, "16 t d"]:
        """One matrix from all slots and channels to all."""
        maps = slot_maps.like(weight, self.metric, self.reflections)
        matrix = torch.einsum("mki,mcd->ickd", maps, weight)
        y = x.movedim(0, 1).flatten(1) @ matrix.flatten(2).flatten(0, 1)
        y = torch.unflatten(y, 1, matrix.shape[2:]).movedim(1, 0)
        return y if grade0 is None else torch.cat((y[:1] + grade0, y[1:]))


def _bounds(metric: str, reflections: int) -> Tensor:
    """How far the weights of each map may reach, for one channel.

    For G(3, 0, 1) in units of the map 1 for the grades 0 to 3, and sqrt(1/2) for all others; for other algebras, the maps that feed a
    component share its variance.
    """
    maps = slot_maps(metric, reflections)
    norms = np.sqrt((maps != 0).sum((1, 2)))
    if metric == "0+++":
        return torch.tensor(norms * np.sqrt([1.0] * 4 + [0.5] * (len(maps) - 4)))
    feeding = (maps != 0).sum((0, 2)).max()
    return torch.tensor(norms / np.sqrt(feeding))
