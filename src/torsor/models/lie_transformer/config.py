"""Settings of the LieTransformer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from torsor.config import Settings
from torsor.errors import ConfigError, GroupError, unknown_name
from torsor.signatures import PointClouds

if TYPE_CHECKING:
    from torsor.models.lie_transformer.model import LieTransformer

Normalisation = Literal["softmax", "constant", "exp"]
Combination = Literal["add", "mlp", "product", "relative"]
Content = Literal["dot", "concat", "linear_concat", "none"]
Location = Literal["mlp", "plain", "none"]

_NAMED: dict[str, dict[str, str]] = {
    "mlp": {"combination": "add", "content": "dot", "location": "mlp"},
    "dot_product_only": {"combination": "add", "content": "dot", "location": "none"},
    "location_only": {"combination": "add", "content": "none", "location": "mlp"},
    "relative_position": {"combination": "relative", "content": "dot", "location": "plain"},
}
_DIGITS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("normalisation", ("softmax", "constant")),
    ("combination", ("add", "mlp", "product")),
    ("content", ("dot", "concat", "linear_concat")),
    ("location", ("mlp", "plain")),
)
_ATTENTION = {"softmax": "softmax", "dot_product": "constant", "norm_exp": "exp"}


def published_kernel(code: str, attention: str = "softmax") -> dict[str, str]:
    """The settings that the authors' code calls by a name or by four digits: `LieTransformer(..., **published_kernel("2232"))`.

    Args:
        code: "mlp", "dot_product_only", "location_only", "relative_position", or four digits for normalisation (1 softmax, 2 constant),
            combination (1 sum, 2 MLP, 3 product), content (1 dot product, 2 concat, 3 linear-concat-linear) and location (1 MLP, 2 plain).
        attention: normalisation of a kernel given by name: "softmax", "dot_product" (constant) or "norm_exp". Digits have their own.

    Raises:
        UnknownNameError: there is no such name.
        ConfigError: the digits name nothing, or `attention` is given with digits.
    """
    if code in _NAMED:
        if attention not in _ATTENTION:
            raise unknown_name("published attention", attention, _ATTENTION)
        return _NAMED[code] | {"normalisation": _ATTENTION[attention]}
    if not code.isdigit():
        raise unknown_name("published kernel", code, (*_NAMED, "2232"))
    if attention != "softmax":
        raise ConfigError(f"kernel {code!r} names its normalisation by its first digit: leave out attention={attention!r}")
    fits = len(code) == len(_DIGITS) and all("1" <= digit <= str(len(names)) for digit, (_, names) in zip(code, _DIGITS, strict=True))
    if not fits:
        ranges = ", ".join(f"{name} 1 to {len(names)}" for name, names in _DIGITS)
        raise ConfigError(f"kernel {code!r} names nothing: give four digits, {ranges}")
    return {name: names[int(digit) - 1] for digit, (name, names) in zip(code, _DIGITS, strict=True)}


@dataclass(frozen=True)
class LieTransformerConfig(Settings):
    """Settings of `LieTransformer`. The defaults are exact and smooth; `published_...` give the authors' settings.

    Args:
        group: whose symmetry the model has: "Trivial(n)", "T(n)", "SO(n)", "O(n)", "SE(n)", "E(n)" with n = 2 or 3, "TC(n)" (planar
            translations with n-ths of a turn), "Scale(n)", "ScaleRotation", "ScaleSqueeze", "Squeeze", "Tx" or "Ty". It has to act on the
            space of the points; the name of a family alone, "SE", "T" ..., takes their dimension for n (for "TC" give n).
        lift: where the frames of a point come from if it has a continuum of them. "data": from the other points, exactly equivariant away
            from degenerate clouds. "sampled": Haar (stratified on the circle), drawn anew for each point, as published. "rotated": a
            randomly turned finite subgroup for each point. "shared": one for all points of a cloud. The last three are noise, see
            `LieTransformer.draw`; called without it, such a model takes frames from the data.
        samples: lifted elements of each point; an even number for O(n) and E(n), which have mirrored frames too.
        pairs: coordinates of g_i^-1 g_j: "matrix" (smooth), "log" (published; has a cut at rotation by pi), "quaternion",
            "dual_quaternion", or "pseudo" (the published name of cosine and sine in the plane, of quaternions in space).
        conditioning: "tanh" bounds the coordinates of a pair, P tanh(|P| / 7) / (|P| + 1e-6), or "none".
        max_sample_norm: redraw sampled frames until no pair has coordinates longer than this, None for never.
        hidden: channels of a lifted element.
        heads: attention heads; `hidden` must divide by it.
        layers: attention blocks.
        normalisation: of the weights of a neighbourhood: "softmax", "constant" (divide by its size) or "exp" (exponential, then constant).
        combination: of content and location: their sum "add", a network "mlp", their "product", or "relative" (Transformer-XL).
        content: what two features have to say: "dot" product, "concat" or "linear_concat" (vectors, for combination "mlp"), or "none".
        location: what g_i^-1 g_j has to say: a network "mlp", its coordinates "plain", or "none".
        kernel_dim: hidden units of each head's networks.
        content_dim: length of the vectors of content; hidden / (4 heads) if not given.
        neighbours: only so many elements, the nearest by group distance, are attended to; None for all.
        fill: share of nearest elements that are neighbours; below 1, `neighbours` of `neighbours / fill` nearest are drawn at random
            (noise, see `LieTransformer.draw`); called without noise the nearest are taken. Equally far elements are told apart by rounding.
        alpha: weight of rotations against translations (or of the group against orbits) in the distance.
        activation: "swish", "relu" or "softplus".
        norm: "layer", "batch" (over valid elements) or "none".
        norm_position: before ("pre") or after ("post") each half of a block.
        final_activation: whether the networks of heads and the feed-forward part end in an activation (published; bounds logits below).
        head: "elementwise" (activation and linear map, then the mean over elements) or "pooled" (mean or maximum, then three linear layers;
            scalars only).
        path: "fast", or "naive", the formulation of the paper word for word: the slow oracle, with the same parameters.
    """

    families: ClassVar[tuple[type, ...]] = (PointClouds,)
    group: str = "SE"
    lift: Literal["data", "sampled", "rotated", "shared"] = "data"
    samples: int = 1
    pairs: Literal["matrix", "log", "quaternion", "dual_quaternion", "pseudo"] = "matrix"
    conditioning: Literal["none", "tanh"] = "none"
    max_sample_norm: float | None = None
    hidden: int = 128
    heads: int = 8
    layers: int = 4
    normalisation: Normalisation = "softmax"
    combination: Combination = "add"
    content: Content = "dot"
    location: Location = "mlp"
    kernel_dim: int = 16
    content_dim: int | None = None
    neighbours: int | None = None
    fill: float = 1.0
    alpha: float = 0.2
    activation: Literal["swish", "relu", "softplus"] = "swish"
    norm: Literal["layer", "batch", "none"] = "layer"
    norm_position: Literal["pre", "post"] = "pre"
    final_activation: bool = False
    head: Literal["elementwise", "pooled"] = "elementwise"
    path: Literal["fast", "naive"] = "fast"

    def build(self, signature: PointClouds) -> LieTransformer:
        """The model for a task's signature.

        Raises:
            SignatureError: the group does not act on the space of the signature, or the signature has irreps that the model lacks.
        """
        from torsor.models.lie_transformer.model import LieTransformer

        return LieTransformer(
            self.group,
            signature.rep_in,
            signature.rep_out,
            edge_features=signature.edge_features,
            pool=signature.pool,
            dimension=signature.dimension,
            config=self,
        )

    def content_width(self) -> int:
        """Length e of the vectors of content of a head."""
        return self.hidden // (4 * self.heads) if self.content_dim is None else self.content_dim

    def validate(self, pair_dim: int) -> None:
        """Refuse settings that do not go together.

        Args:
            pair_dim: number of coordinates of a pair, edge features included.

        Raises:
            ConfigError: a number makes no sense.
            GroupError: scalars meet vectors in the kernel.
        """
        if self.heads < 1 or self.hidden % self.heads:
            raise ConfigError(f"hidden {self.hidden} does not divide by {self.heads} heads: change one of the two")
        if self.neighbours is not None and self.neighbours < 1:
            raise ConfigError(f"neighbours is {self.neighbours}: give 1 or more, or None for all")
        if not 0 < self.fill <= 1:
            raise ConfigError(f"fill is {self.fill}: give a share in (0, 1]")
        if self.samples < 1:
            raise ConfigError(f"samples is {self.samples}: give 1 or more")
        self._validate_kernel(pair_dim)

    def _validate_kernel(self, pair_dim: int) -> None:
        if self.content == "none" and self.location == "none":
            raise ConfigError("content and location are both 'none': attention needs one of them")
        if self.combination == "relative":
            if (self.content, self.location) != ("dot", "plain"):
                raise ConfigError(
                    f"combination 'relative' takes content 'dot' and location 'plain', not {self.content!r}, {self.location!r}"
                )
            return
        if self.content in ("concat", "linear_concat"):
            width = self.content_width()
            if width < 1 or (self.content == "concat" and width % 2):
                raise ConfigError(f"content {self.content!r} has {width} numbers a head: give content_dim, an even number for 'concat'")
        if self.combination == "mlp":
            return
        if self.content in ("concat", "linear_concat"):
            raise GroupError(
                f"content {self.content!r} is a vector, and combination {self.combination!r} needs a scalar: "
                "take content 'dot', or combination 'mlp'"
            )
        if self.location == "plain" and pair_dim != 1:
            raise GroupError(
                f"location 'plain' is a vector of {pair_dim} coordinates, and combination {self.combination!r} needs a scalar: "
                "take location 'mlp', or combination 'mlp'"
            )
        if self.combination == "product" and "none" in (self.content, self.location):
            raise ConfigError("combination 'product' needs content and location: for one of them alone take 'add'")
