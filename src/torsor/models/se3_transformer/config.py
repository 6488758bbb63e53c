"""Settings of the SE(3)-Transformer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from torsor.config import Settings
from torsor.errors import SignatureError
from torsor.models import REGISTRY
from torsor.nn.fiber import Fiber
from torsor.nn.radial import RadialSettings
from torsor.signatures import PointClouds, cannot_serve

if TYPE_CHECKING:
    from torsor.models.se3_transformer.model import SE3Transformer


@dataclass(frozen=True)
class SE3TransformerConfig(Settings):
    """Settings of `SE3Transformer`. The defaults are smooth in the positions; `published_nbody` and `published_qm9` give the paper's.

    Args:
        degrees: number of degrees of the hidden features, 0 to degrees - 1.
        channels: channels of each hidden degree, or one number for each degree (fewer for higher degrees is cheaper).
        depth: attention blocks before the final layer.
        heads: attention heads.
        div: values and keys have channels / div channels.
        neighbours: only so many nearest points send messages, None for all.
        radius: only points nearer than this do, None for all.
        cut: "smooth", edges fade out towards the radius or the first point that is no neighbour, or "sharp" (published). With a sharp
            cut and several points equally far away, which of them are neighbours depends on rounding.
        path: how messages are computed; same parameters, same result. "so2" in the frame of each edge, "cg" in space, "sender" in space
            with the weights contracted at the points that send (full kernels without relative position; elsewhere, and where tensors are
            traced or batched by `torch.func`, the same as "cg"). "auto" takes the faster one: "sender" where points send along so many
            edges that it needs much fewer operations (all pairs, or degrees 0 and 1); "cg" for scalars alone, for at most 8 channels of
            degrees 0 and 1, and where each pair of degrees has a trunk of its own (hidden units cannot be shared there, so contracting in
            the hidden layer gains nothing); else "so2".
        kernel: "full", a weight for each pair of channels, or "depthwise", each channel by itself (cheaper, not equivalent).
        trunk: "shared", one radial trunk for all kernels of a layer, or "per_pair", one for each projection and pair of degrees
            (published; a depthwise kernel has one trunk).
        radial: "smooth" or "published" radial networks, see `torsor.nn.radial`.
        basis: functions of the length that enter them: "gaussian", "bessel" or "distance" (published).
        functions: number of Gaussians or Bessel functions.
        radial_width: hidden units of radial networks.
        scale: a typical distance of neighbours, in units of the positions; not used where there is a radius.
        keys: "own" kernels (published), "tied" to the values, or "linear" maps of the sender's features without a kernel.
        key_value_heads: "all" heads have keys and values of their own, or all queries share "one" (multi-query attention).
        attention: weights "shared" by all degrees of a head (published) or separate for each ("per_degree").
        relative_position: whether x_i - x_j joins the sender's features: "none", "cat" (one more vector) or "add" (to the first vector).
        skip: "cat" features and messages before self-interaction, or "sum" after it; blocks whose fibers differ concatenate.
        interaction: self-interaction at the end of a block, "linear" or "attentive".
        last_interaction: that of the final block.
        interaction_weights: "softmax" (published) or "none" for attentive self-interaction.
        norm: "layer" normalisation of every degree after a block, or "none" (published).
        nonlinearity: after it, "gate", "norm" (GNormSE3) or "norm_bias" (GNormBias), or "none".
        norm_eps: eps of the norm nonlinearities; 1e-12 is published, and amplifies rounding noise of features that vanish by symmetry.
        block: the hidden layers are "attention" blocks or "tfn" layers (tensor-field networks).
        final: the last layer is an "attention" block or a "tfn" layer (mean of tensor-field messages).
        last_heads: heads of the final block, None for `heads`.
        last_channels: channels of its values for each degree, None for those of the hidden features.
        self_term: how a "tfn" layer uses its own features: "skip" (added to the mean) or "message" (self-interaction of the mean).
        readout: channels of a network on pooled scalars that makes the output, None for none (needs `pool`, and scalars as output).
        parity: equivariant under reflections too; irreps must have natural parity (0e, 1o, 2e, ..).
        orders: highest order |m| that kernels couple, None for all; fewer is cheaper and less expressive, and still exactly equivariant.
    """

    families: ClassVar[tuple[type, ...]] = (PointClouds,)
    degrees: int = 3
    channels: int | tuple[int, ...] = 16
    depth: int = 2
    heads: int = 4
    div: int = 1
    neighbours: int | None = None
    radius: float | None = None
    cut: Literal["smooth", "sharp"] = "smooth"
    path: Literal["auto", "cg", "so2", "sender"] = "auto"
    kernel: Literal["full", "depthwise"] = "full"
    trunk: Literal["shared", "per_pair"] = "shared"
    radial: Literal["smooth", "published"] = "smooth"
    basis: Literal["gaussian", "bessel", "distance"] = "gaussian"
    functions: int = 8
    radial_width: int = 32
    scale: float = 1.0
    keys: Literal["own", "tied", "linear"] = "own"
    key_value_heads: Literal["all", "one"] = "all"
    attention: Literal["shared", "per_degree"] = "shared"
    relative_position: Literal["none", "cat", "add"] = "none"
    skip: Literal["cat", "sum"] = "cat"
    interaction: Literal["linear", "attentive"] = "linear"
    last_interaction: Literal["linear", "attentive"] = "linear"
    interaction_weights: Literal["softmax", "none"] = "softmax"
    norm: Literal["layer", "none"] = "layer"
    nonlinearity: Literal["gate", "norm", "norm_bias", "none"] = "gate"
    norm_eps: float = 0.1
    block: Literal["attention", "tfn"] = "attention"
    final: Literal["attention", "tfn"] = "attention"
    last_heads: int | None = None
    last_channels: int | None = None
    self_term: Literal["skip", "message"] = "skip"
    readout: int | None = None
    parity: bool = False
    orders: int | None = None

    def hidden(self) -> Fiber:
        """The fiber between blocks.

        Raises:
            SignatureError: `channels` does not fit `degrees`.
        """
        channels = (self.channels,) * self.degrees if isinstance(self.channels, int) else tuple(self.channels)
        if self.degrees < 1 or len(channels) != self.degrees:
            raise SignatureError(f"channels is {self.channels} but degrees is {self.degrees}: give one number, or {self.degrees}")
        if self.nonlinearity == "gate" and self.depth and channels[0] == 0:
            raise SignatureError("gates are functions of scalars, and degree 0 has no channels: give it some, or another nonlinearity")
        return Fiber(channels)

    def radial_settings(self, edge_features: int) -> RadialSettings:
        """Settings of the radial networks, for edges with so many features."""
        return RadialSettings(self.basis, self.functions, self.radial_width, self.radius, self.scale, edge_features, self.radial)

    def build(self, signature: PointClouds) -> SE3Transformer:
        """The model for a task's signature.

        Raises:
            SignatureError: the points are not in R^3.
        """
        from torsor.models.se3_transformer.model import SE3Transformer

        if signature.dimension != 3:
            raise cannot_serve("se3-transformer", signature, "its irreps are those of rotations in R^3", REGISTRY)

        return SE3Transformer(signature.rep_in, signature.rep_out, edge_features=signature.edge_features, pool=signature.pool, config=self)
