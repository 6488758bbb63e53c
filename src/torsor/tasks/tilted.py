"""Charged bodies in a uniform field: where do they go, when the world has an up and a down as strongly as one likes?

One physical problem for every model of point clouds, with its symmetry on a dial. Without the field the answer commutes with E(3) and with
permutations. A field of strength e leaves translations, permutations, and the turns about its direction and mirrors along it.

Axes: b batch, n bodies, k directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from torsor.data.tilted import DURATION, Bodies, draw_bodies, simulate
from torsor.errors import ConfigError
from torsor.groups import SO, E, S
from torsor.representations import Irreps, Permuted
from torsor.signatures import PointClouds
from torsor.tasks.base import with_targets
from torsor.tasks.breaking import BreakingConfig, BreakingRegression, linear_fit

UP = (0.0, 0.0, 1.0)
"""Direction of the field."""


@dataclass(frozen=True)
class TiltedConfig(BreakingConfig):
    """How many bodies, how many systems, and how strong the field is.

    Args:
        train_size: training systems; a smaller set is a prefix of a larger one.
        valid_size: validation systems.
        test_size: test systems.
        strength: of the field, the acceleration of a charge of one; 0 for none. At 1 the field moves a body about as far from its straight
            path as the other bodies do.
        seed: of all systems.
        bodies: in each system.
    """

    bodies: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bodies < 2:
            raise ConfigError(f"bodies is {self.bodies}: give 2 or more")

    def build(self) -> TiltedTask:
        """Make the task."""
        return TiltedTask(self)


class TiltedTask(BreakingRegression):
    """Predict the displacement of every body after `data.tilted.DURATION`.

    Fed: positions, the charge and the velocity of each body ("1x0e + 1x1o"), and the product of charges of each pair. Returned: "1x1o" a
    body, in multiples of `scale`.

    Args:
        config: the bodies and the field.
    """

    name = "tilted"
    config: TiltedConfig

    def __init__(self, config: TiltedConfig) -> None:
        super().__init__(config)
        self.signature = PointClouds("1x0e + 1x1o", "1x1o", 1, None, config.bodies)
        symmetry = self.signature.symmetry(E(3) * S(), "approximate" if self.broken else "exact")
        self.symmetry = with_targets(symmetry, {"target": (Irreps("1x1o"), Permuted(1))})
        self.units = self.with_moved({"mse": "length^2"})
        self.notes = (
            (f"a field of strength {config.strength:g} along z: these data keep translations, and lack rotations that turn the field",)
            if self.broken
            else ()
        )

    def draw(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Systems and where their bodies go."""
        start = draw_bodies(count, self.config.bodies, generator)
        x, v, q = start
        return {
            "positions": x,
            "features": torch.cat((q.unsqueeze(-1), v), -1),
            "edge_features": (q[:, :, None] * q[:, None]).unsqueeze(-1),
            "target": simulate(start, self._field(torch.tensor(UP, dtype=torch.float64))).positions - x,
        }

    def _field(self, direction: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
        return self.config.strength * direction

    def baselines(self) -> dict[str, dict[str, float]]:
        """Nothing moves; every body goes straight on; the best equivariant linear map of velocity and position; the same and the field.

        In a field there is one more, "equivariance floor": the least error that an exactly rotation-equivariant model can reach. Systems
        are drawn alike in all orientations, so that the best such model is the mean of the answers under fields in all directions. Six are
        tried, to and fro along three axes: exact but for terms above the third order in the field.
        """
        train = self.splits.train
        wanted = rearrange(train["target"].double(), "b n xyz -> (b n xyz) 1")
        rows = _rows(train.take(slice(None)))
        linear, tilted = linear_fit(rows[:, :2], wanted), linear_fit(rows, wanted)

        def still(batch: Mapping[str, Tensor]) -> Float[Tensor, "b n 3"]:
            return torch.zeros_like(batch["target"])

        def straight(batch: Mapping[str, Tensor]) -> Float[Tensor, "b n 3"]:
            return DURATION * batch["features"][..., 1:]

        def equivariant(batch: Mapping[str, Tensor]) -> Float[Tensor, "b n 3"]:
            return (_rows(batch)[:, :2] @ linear).view_as(batch["target"])

        def aware(batch: Mapping[str, Tensor]) -> Float[Tensor, "b n 3"]:
            return (_rows(batch) @ tilted).view_as(batch["target"])

        predictors = {"no change": still, "constant velocity": straight, "least-squares linear": equivariant}
        if self.broken:
            predictors |= {"least-squares linear and field": aware, "equivariance floor": self._best_equivariant}
        return self.figures({name: self.rescaled(predict) for name, predict in predictors.items()})

    def _best_equivariant(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "b n 3"]:
        """The mean of the answers under fields along the axes of a random frame, to and fro."""
        frame = SO(3).sample(generator=torch.Generator().manual_seed(self.config.seed), dtype=torch.float64)
        start = Bodies(batch["positions"], batch["features"][..., 1:], batch["features"][..., 0])
        answers = [simulate(start, self._field(sign * axis)).positions - start.positions for axis in frame for sign in (1, -1)]
        return torch.stack(answers).mean(0)


def _rows(batch: Mapping[str, Tensor]) -> Float[Tensor, "rows 3"]:
    """For each coordinate of each body: velocity, position from the centre, and how the field pulls."""
    x, v = batch["positions"].double(), batch["features"][..., 1:].double()
    pull = batch["features"][..., :1].double() * torch.tensor(UP, dtype=torch.float64)
    return torch.stack((v, x - x.mean(1, keepdim=True), pull), -1).flatten(0, 2)
