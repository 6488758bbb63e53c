"""Settings of all ways to relax a model, said once for `relax` and for `RelaxedConfig`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from torsor.config import Settings
from torsor.dial.relax.base import check_strength
from torsor.dial.relax.fixed_inputs import Box
from torsor.errors import ConfigError

Method = Literal["fixed-inputs", "residual", "relaxed-convolution", "projection", "penalty"]
_DEFAULT_STRENGTH: dict[str, float] = {"projection": 0.5, "penalty": 0.5}
_DEFAULT_PENALTY: dict[str, float] = {"residual": 1e-5, "projection": 1.0, "penalty": 1.0}


@dataclass(frozen=True)
class RelaxSettings(Settings):
    """How a model is relaxed.

    Args:
        method: "fixed-inputs" (functions of absolute position join the features), "residual" (a free weight beside each equivariant one, or
            a plain network beside the whole), "relaxed-convolution" (filters that change from place to place), "projection" (free weights
            that are drawn towards the equivariant ones) or "penalty" (a penalty on what the module lacks of its symmetry).
        strength: the dial, from 0, strict, to 1, free. It multiplies the fixed inputs, the free weight, or the weights of the filters; a
            penalty counts (1 - strength) / strength. None stands for 1, and for 1/2 with the two penalties.
        inputs: fixed-inputs: invariant numbers at each place; for feature vectors copies of the input. They bound how far from
            equivariance the model can go. None stands for 8 numbers, or 1 copy. With "add" they are as many as the features.
        vectors: fixed-inputs: vectors at each point, for point clouds in space.
        parity: fixed-inputs: "o" for vectors that reflections turn, "e" for axes such as a magnetic field.
        injection: fixed-inputs: "concat" beside the features of a model that is built for them, or "add" to the features. None stands for
            "concat" where a model is built for a signature, and for "add" where it stands already.
        box: fixed-inputs and relaxed-convolution: where absolute position is heard. "seen" is where training samples have been (for
            convolutions everywhere), a number the cube from minus to plus that number, inf all of space.
        taper: width of the edge of the box on which fixed inputs fade out; 0 for a sharp one (published).
        hidden: width of the hidden layers of functions of position.
        activation: of these layers; "relu" is published, "silu" is smooth.
        fourier: these functions see sines and cosines of so many wavelengths, up to the width of the box; 0 for positions.
        dropout: fixed-inputs and relaxed-convolution: probability that a training sample sees the strict branch.
        filters: relaxed-convolution: number of filters.
        prior: residual: sigma_equivariant / sigma_free, the ratio of the widths of the weights' priors.
        penalty: weight of what joins the loss: the mean square of the fixed inputs, 1 / sigma_equivariant^2 of the priors, the squared
            distance from equivariant weights, or the relative squared equivariance error; the last two at strength 1/2. None stands for 1
            with these two, for 1e-5 with the priors, and for 0 with fixed inputs.
        places: residual: size of the largest set of each name, for layers that permute, such as {n = 20}.
    """

    method: Method = "fixed-inputs"
    strength: float | None = None
    inputs: int | None = None
    vectors: int = 0
    parity: Literal["o", "e"] = "o"
    injection: Literal["concat", "add"] | None = None
    box: float | Literal["seen"] = "seen"
    taper: float = 0.0
    hidden: int = 32
    activation: Literal["relu", "silu"] = "silu"
    fourier: int = 0
    dropout: float = 0.5
    filters: int = 3
    prior: float = 10.0
    penalty: float | None = None
    places: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_strength(self.dial)
        if self.prior <= 0 or self.loss_weight < 0:
            raise ConfigError(f"prior is {self.prior} and penalty {self.penalty}: give a positive ratio, and a weight of 0 or more")
        if isinstance(self.box, float) and self.box <= 0:
            raise ConfigError(f"box is {self.box}: give half its width, inf for all of space, or 'seen'")

    @property
    def dial(self) -> float:
        """The strength, that of the method where none is given."""
        return _DEFAULT_STRENGTH.get(self.method, 1.0) if self.strength is None else self.strength

    @property
    def loss_weight(self) -> float:
        """The weight of the penalty, that of the method where none is given."""
        return _DEFAULT_PENALTY.get(self.method, 0.0) if self.penalty is None else self.penalty

    def make_box(self, dimension: int) -> Box:
        """The box of functions on R^d."""
        if isinstance(self.box, float):
            return Box(-self.box, self.box, dimension, self.taper)
        return Box.seen(dimension, self.taper)

    def functions(self) -> dict[str, Any]:
        """What functions of position have in common."""
        return {"hidden": self.hidden, "activation": self.activation, "fourier": self.fourier}
