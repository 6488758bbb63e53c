"""Coordinates of the relative element g_i^-1 g_j of two lifted points, i the query and j the key.

LieTransformer, section 3.2: whatever is a function of g_i^-1 g_j is invariant when the group moves both.

Axes: b batch, n points, s samples, m = n s lifted elements (point-major), d dimension of space, q orbit identifiers, p coordinates of
a pair.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.errors import GroupError
from torsor.groups import SE, SO, TC, E, Flow, Group, LieGroup, O, T
from torsor.groups.flows import wrapped
from torsor.groups.motions import plane_jacobian_inverse
from torsor.groups.numerics import safe_norm
from torsor.groups.rotation3 import left_jacobian_inverse, quaternion_from_matrix
from torsor.groups.special_orthogonal import log_special
from torsor.groups.translations import homogeneous
from torsor.models.lie_transformer.config import LieTransformerConfig
from torsor.models.lie_transformer.lifts import Elements

_NEAR = 1e-3
"""Keeps the relative difference of two radii finite at the origin."""
_BOUND = 7.0
"""Where "tanh" conditioning saturates."""


class Pairs:
    """The coordinates of pairs for one group, and its distance.

    Args:
        group: the group.
        config: which coordinates, and how they are bounded.

    Raises:
        GroupError: the group has no such coordinates; names those it has.
    """

    def __init__(self, group: Group, config: LieTransformerConfig) -> None:
        self.group, self.config = group, config
        self.framed = isinstance(group, SE | E | SO | O | TC)
        self.moves = isinstance(group, SE | E | TC)
        self.mirrors = isinstance(group, E | O)
        self.kind = self._kind(config.pairs)

    def _kind(self, asked: str) -> str:
        """The coordinates in plain words."""
        space = self.framed and getattr(self.group, "space_dim", 0) == 3
        if not self.framed:
            return "difference"
        if self.mirrors and asked != "matrix":
            raise GroupError(f"{self.group} has pairs that reflect, and those have no {asked!r} coordinates: take pairs 'matrix'")
        if asked == "pseudo":
            return "quaternion" if space else "matrix"
        if asked in ("quaternion", "dual_quaternion") and not space:
            raise GroupError(f"pairs {asked!r} are rotations of space, and {self.group} acts on the plane: take 'matrix' or 'log'")
        if asked == "dual_quaternion" and not self.moves:
            raise GroupError(f"pairs 'dual_quaternion' are motions, and {self.group} has no translations: take 'quaternion' or 'matrix'")
        return "turns" if isinstance(self.group, TC) and asked == "log" else asked

    def dim(self, orbits: int, places: int) -> int:
        """Number of coordinates p, for groups with so many orbit identifiers and coordinates of places."""
        if not self.framed:
            return places + 2 * orbits
        plane = getattr(self.group, "space_dim", 0) == 2
        rotation = {
            "matrix": (4 if self.mirrors else 2) if plane else 9,
            "log": 1 if plane else 3,
            "quaternion": 4,
            "dual_quaternion": 4 + 1,
            "turns": 1,
        }[self.kind]
        return rotation + places + 2 * orbits

    def coordinates(self, elements: Elements) -> Float[Tensor, "b m m p"]:
        """The coordinates of all pairs."""
        framed = self.framed
        relative = _encode(self.kind, self.mirrors, self.group, *self.relative(elements)) if framed else self._differences(elements)
        return self._conditioned(torch.cat((relative, *_orbit_pairs(elements)), dim=-1))

    def relative(self, elements: Elements) -> tuple[Float[Tensor, "b m m d d"], Float[Tensor, "b m m k"]]:
        """Rotations R_i^T R_j and translations R_i^T (x_j - x_i); k = 0 for groups without translations."""
        assert elements.frames is not None
        frames, places = elements.frames.flatten(1, 2), _spread(elements.places, elements.frames.shape[2])
        batch, count, d = frames.shape[:3]
        flat = frames.flatten(1, 2)
        rotations = (flat @ flat.mT).view(batch, count, d, count, d).transpose(2, 3)
        if not self.moves:
            return rotations, frames.new_zeros(batch, count, count, 0)
        return rotations, (places[:, None] - places[:, :, None]) @ frames.mT

    def _differences(self, elements: Elements) -> Float[Tensor, "b m m k"]:
        places = elements.places
        difference = places[:, None] - places[:, :, None]
        angles = self.group.angles if isinstance(self.group, Flow) else ()
        if not angles:
            return difference
        return torch.stack([wrapped(x) if k in angles else x for k, x in enumerate(difference.unbind(-1))], dim=-1)

    def _conditioned(self, pairs: Tensor) -> Tensor:
        if self.config.conditioning == "none":
            return pairs
        size = safe_norm(pairs).unsqueeze(-1)
        return pairs * (torch.tanh(size / _BOUND) / (size + 1e-6))

    def naive_coordinates(self, elements: Elements) -> Float[Tensor, "b m m p"]:
        """The same through the group itself, as published: elements, g_i^-1 g_j, logarithm, and from that what is asked for."""
        if not self.framed or self.mirrors or self.kind == "turns":
            return self.coordinates(elements)
        assert elements.frames is not None
        assert isinstance(self.group, SE | SO | TC)
        group: LieGroup = SE(2) if isinstance(self.group, TC) else self.group
        turned = elements.frames.flatten(1, 2).mT
        places = _spread(elements.places, elements.frames.shape[2])
        g = homogeneous(turned, places) if self.moves else turned
        logs = group.log(group.compose(group.inverse(g)[:, :, None], g[:, None]))
        again = group.exp(logs)
        d = turned.shape[-1]
        relative = _encode(self.kind, False, self.group, again[..., :d, :d], again[..., :d, d:].flatten(-2))
        return self._conditioned(torch.cat((relative, *_orbit_pairs(elements)), dim=-1))

    # -- distance ---------------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def distance(self, elements: Elements) -> Float[Tensor, "b m m"]:
        """The distance of lifted elements that neighbourhoods are made of; a function of g_i^-1 g_j and the orbits."""
        alpha = self.config.alpha
        samples = 1 if elements.frames is None else elements.frames.shape[2]
        orbits = _spread(elements.orbits, samples)
        apart = safe_norm(orbits[:, None] - orbits[:, :, None])
        if not self.framed:
            return self._flow_distance(self._differences(elements), apart)
        rotations, translations = self.relative(elements)
        turn, shift = self._lengths(rotations, translations)
        if self.moves:
            return alpha * turn + (1 - alpha) * shift
        if turn.shape[-1] and rotations.shape[-1] == 2:
            radii = orbits[..., 0]
            apart = apart / (radii[:, None] + radii[:, :, None] + _NEAR)
        return alpha * turn + (1 - alpha) * apart

    def _flow_distance(self, difference: Tensor, apart: Tensor) -> Tensor:
        alpha = self.config.alpha
        if isinstance(self.group, T):
            return alpha * safe_norm(difference)
        if difference.shape[-1] == 2:  # scale first, then angle or squeeze
            return alpha * difference[..., 1].abs() + (1 - alpha) * difference[..., 0].abs()
        if difference.shape[-1] == 0:
            return (1 - alpha) * apart
        return alpha * safe_norm(difference) + (1 - alpha) * apart

    def _lengths(self, rotations: Tensor, translations: Tensor) -> tuple[Float[Tensor, "b m m"], Float[Tensor, "b m m"]]:
        """How far a pair turns and moves: lengths of the parts of its logarithm; of its matrix where it has no logarithm."""
        if self.mirrors:
            eye = torch.eye(rotations.shape[-1], dtype=rotations.dtype, device=rotations.device)
            return safe_norm((rotations - eye).flatten(-2)) / 2**0.5, safe_norm(translations)
        w = log_special(rotations)
        if self.moves and not isinstance(self.group, TC):
            translations = _algebra_translation(w, translations)
        return safe_norm(w), safe_norm(translations)


def _spread(x: Float[Tensor, "b n k"], samples: int) -> Float[Tensor, "b m k"]:
    """The same for every sample of a point."""
    return x.repeat_interleave(samples, 1) if samples > 1 else x


def _orbit_pairs(elements: Elements) -> tuple[Float[Tensor, "b m m q"], Float[Tensor, "b m m q"]]:
    """The orbits of query and key."""
    orbits = _spread(elements.orbits, 1 if elements.frames is None else elements.frames.shape[2])
    shape = (orbits.shape[0], orbits.shape[1], orbits.shape[1], orbits.shape[2])
    return orbits[:, :, None].expand(shape), orbits[:, None].expand(shape)


def _algebra_translation(w: Float[Tensor, "*shape r"], t: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
    """The translation part V(w)^-1 t of a logarithm."""
    inverse = plane_jacobian_inverse(w) if t.shape[-1] == 2 else left_jacobian_inverse(w)
    return (inverse @ t.unsqueeze(-1)).squeeze(-1)


def _encode(kind: str, mirrors: bool, group: Group, rotations: Float[Tensor, "b m m d d"], t: Float[Tensor, "b m m k"]) -> Tensor:
    """Rotations and translations as coordinates."""
    if kind == "turns":
        assert isinstance(group, TC)
        return torch.cat((t, group.turns(rotations)[..., None].to(t.dtype)), dim=-1)
    if kind == "log":
        w = log_special(rotations)
        return torch.cat((w, _algebra_translation(w, t) if t.shape[-1] else t), dim=-1)
    if kind == "quaternion":
        return torch.cat((quaternion_from_matrix(rotations), t), dim=-1)
    if kind == "dual_quaternion":
        real = quaternion_from_matrix(rotations)
        return torch.cat((real, _dual_part(real, t)), dim=-1)
    plane = rotations.shape[-1] == 2
    entries = rotations[..., 0] if plane and not mirrors else rotations.flatten(-2)
    return torch.cat((entries, t), dim=-1)


def _dual_part(real: Float[Tensor, "*shape 4"], t: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 4"]:
    """Half the quaternion product of the translation and the rotation."""
    w, v = real[..., :1], real[..., 1:]
    product = torch.cat((-(t * v).sum(-1, keepdim=True), w * t + torch.linalg.cross(t, v)), dim=-1)
    return product / 2
