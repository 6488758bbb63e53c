"""SE(3)-equivariant self-attention: invariant weights, values that turn with the points.

Fuchs, Worrall, Fischer, Welling: SE(3)-Transformers (2020), equations 9 to 13.

Axes: N nodes, e edges, m components, p components in the local frame, h heads, d channels of a head, c channels.
"""

from __future__ import annotations

from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.errors import SignatureError
from torsor.models.se3_transformer.config import SE3TransformerConfig
from torsor.nn.depthwise import DepthwiseKernel
from torsor.nn.fiber import Fiber
from torsor.nn.frames import Frames, SenderFrames, degree_major
from torsor.nn.irreps_linear import AttentiveLinear, IrrepsLinear
from torsor.nn.radial import RadialSettings
from torsor.nn.tensor_field import TensorFieldKernel


def with_position(fiber: Fiber, how: str) -> Fiber:
    """The fiber of a sender's features once the relative position has joined them."""
    if how != "cat":
        return fiber
    channels = list(fiber.channels) + [0] * max(0, 2 - len(fiber.channels))
    channels[1] += 1
    return Fiber(tuple(channels))


class Messages(nn.Module):
    """Tensor-field messages along the edges, for one or more projections.

    Args:
        fiber_in: features of a node.
        outputs: fibers of the projections.
        config: settings of the model.
        radial: settings of the radial network.
    """

    def __init__(self, fiber_in: Fiber, outputs: tuple[Fiber, ...], config: SE3TransformerConfig, radial: RadialSettings) -> None:
        super().__init__()
        self.fiber_in, self.position = fiber_in, config.relative_position
        self.sent = with_position(fiber_in, self.position)
        self.before: IrrepsLinear | None = None
        self.kernel: TensorFieldKernel | DepthwiseKernel
        if config.kernel == "depthwise":
            width, l_out = max(f.width for f in outputs), max(f.l_max for f in outputs)
            self.before = IrrepsLinear((self.sent,), Fiber((width,) * (self.sent.l_max + 1)))
            self.kernel = DepthwiseKernel(width, self.sent.l_max, l_out, len(outputs), radial, config.parity, config.orders)
        else:
            self.kernel = TensorFieldKernel(self.sent, outputs, radial, config.trunk, config.parity, config.orders)

    def forward(self, features: Float[Tensor, "N m c"], frames: Frames) -> tuple[Float[Tensor, "e _ _"], ...]:
        """Messages in local coordinates, one tensor for each projection."""
        if isinstance(frames, SenderFrames) and isinstance(self.kernel, TensorFieldKernel) and self.position == "none":
            return self.kernel.by_sender(features, frames)
        if self.position == "none" and self.before is not None:
            # channels are mixed at the nodes, of which there are fewer than edges
            sent = frames.edges.send(self.before(features))
        else:
            sent = self._with_position(frames.edges.send(features), frames)
            sent = sent if self.before is None else self.before(sent)
        messages: tuple[Tensor, ...] = self.kernel(sent, frames)
        return messages

    def _with_position(self, sent: Tensor, frames: Frames) -> Float[Tensor, "e m c"]:
        """Add x_i - x_j to the first vector, or put it beside the vectors."""
        vector = frames.edges.vectors.to(sent.dtype)[..., None]
        if self.position == "cat":
            parts = {l: self.fiber_in.take(sent, l) for l in self.fiber_in.degrees}
            parts[1] = torch.cat([parts[1], vector], -1) if 1 in parts else vector
            return self.sent.join(parts)
        if self.position == "add" and self.fiber_in.l_max and self.fiber_in.channels[1] > 1:
            first = torch.nn.functional.pad(vector, (0, sent.shape[-1] - 1))
            return sent + torch.nn.functional.pad(first, (0, 0, 1, sent.shape[-2] - 4))
        return sent


def self_interaction(inputs: tuple[Fiber, ...], output: Fiber, kind: str, weights: str) -> IrrepsLinear | AttentiveLinear:
    """The self-interaction that the settings name."""
    if kind == "linear":
        return IrrepsLinear(inputs, output)
    return AttentiveLinear(inputs, output, "softmax" if weights == "softmax" else "none")


class AttentionBlock(nn.Module):
    """Multi-head attention over the neighbours, a skip connection and self-interaction.

    alpha_ij = softmax_j(<q_i, k_ij> / sqrt(F)),  z_i = sum_j alpha_ij v_ij,  f_i' = W [z_i, f_i]

    with q_i = W_Q f_i, and k_ij, v_ij tensor-field messages; F is the number of components of a key, all heads together.

    Args:
        fiber_in: features of a node.
        fiber_out: features that leave the block.
        config: settings of the model.
        radial: settings of the radial network.
        values: channels of the values for each degree of the output, all heads together.
        heads: attention heads.
        interaction: kind of self-interaction.

    Raises:
        RepresentationError: channels of the values do not divide by the heads.
        SignatureError: input and output have no degree in common.
    """

    def __init__(
        self,
        fiber_in: Fiber,
        fiber_out: Fiber,
        config: SE3TransformerConfig,
        radial: RadialSettings,
        values: tuple[int, ...],
        heads: int,
        interaction: str,
    ) -> None:
        super().__init__()
        self.keys, self.per_degree = config.keys, config.attention == "per_degree"
        uniform = config.kernel == "depthwise"
        mixed = Fiber((max(values),) * len(values) if uniform else values, heads)
        common = [l for l in mixed.degrees if l in fiber_in.degrees]
        if not common:
            raise SignatureError(f"features of degrees {fiber_in.degrees} have no degree in common with {mixed.degrees}: raise `degrees`")
        query = mixed if uniform or self.keys == "tied" else mixed.only(common)
        self.query = IrrepsLinear((fiber_in,), query)
        self.heads, self.width = heads, mixed.width
        shared = config.key_value_heads == "one"
        value_fiber, key_fiber = (_one_head(f) if shared else f for f in (mixed, query))
        outputs = (key_fiber, value_fiber) if self.keys == "own" else (value_fiber,)
        self.messages = Messages(fiber_in, outputs, config, radial)
        self.key = IrrepsLinear((fiber_in,), key_fiber) if self.keys == "linear" else None
        self.adds = config.skip == "sum" and fiber_in.channels == fiber_out.channels
        joined = (mixed,) if self.adds else (mixed, fiber_in)
        self.interaction = self_interaction(joined, fiber_out, interaction, config.interaction_weights)
        self.sizes = {l: query.channels[l] * (2 * l + 1) for l in common}
        self.degrees_out = mixed.l_max + 1

    def forward(self, features: Float[Tensor, "N m c"], frames: Frames) -> Float[Tensor, "N _ o"]:
        """New features of each node."""
        messages = self.messages(features, frames)
        weights = self._attend(features, messages[0], frames)
        values = messages[-1]
        # one head's values serve all heads
        values = values if values.shape[-1] == self.width else values.repeat(1, 1, self.heads)
        mixed = frames.total(values * weights.repeat_interleave(self.width // self.heads, -1).to(values.dtype))
        output: Tensor = self.interaction(mixed) if self.adds else self.interaction(mixed, features)
        return output + features if self.adds else output

    def _attend(self, features: Tensor, message: Tensor, frames: Frames) -> Float[Tensor, "e #p h"]:
        """Attention weights of each head, one for all components or one for each."""
        edges = frames.edges
        query = self.query(features)
        if self.key is None:
            query, key, components = frames.receive(query), message, frames.components(self.query.output.l_max)
        else:
            query, key, components = edges.receive(query), edges.send(self.key(features)), degree_major(self.query.output.l_max)
        key = key if key.shape[-1] == query.shape[-1] else key.repeat(1, 1, self.heads)
        products = (query * key).to(edges.lengths.dtype)
        size = sum(self.sizes.values())
        if not self.per_degree:
            return edges.softmax(torch.unflatten(products.sum(1), -1, (self.heads, -1)).sum(-1) * size**-0.5)[:, None]
        # a degree without keys follows those of all the others
        sums = [[self._share(l, k, size) for k, _ in components] for l in range(self.degrees_out)]
        logits = torch.unflatten(products.new_tensor(sums) @ products, -1, (self.heads, -1)).sum(-1)
        weights = edges.softmax(logits.flatten(1)).view_as(logits)
        return weights[:, [l for l, _ in frames.components(self.degrees_out - 1)]]

    def _share(self, l: int, k: int, size: int) -> float:
        """What a component of degree k of query and key counts in the logit of degree l."""
        if l not in self.sizes:
            return 1 / sqrt(size)
        return 1 / sqrt(self.sizes[l]) if l == k else 0.0


def _one_head(fiber: Fiber) -> Fiber:
    """The channels of one head of a fiber."""
    return Fiber(tuple(count // fiber.heads for count in fiber.channels))


class TensorFieldLayer(nn.Module):
    """f_i' = mean_j W(x_ij) f_j, with the node's own features added after self-interaction, or self-interaction of the mean.

    Args:
        fiber_in: features of a node.
        fiber_out: features that leave the layer.
        config: settings of the model.
        radial: settings of the radial network.
    """

    def __init__(self, fiber_in: Fiber, fiber_out: Fiber, config: SE3TransformerConfig, radial: RadialSettings) -> None:
        super().__init__()
        message = fiber_out
        if config.kernel == "depthwise":
            message = Fiber((config.hidden().width,) * (fiber_out.l_max + 1))
        self.messages = Messages(fiber_in, (message,), config, radial)
        self.own = IrrepsLinear((fiber_in,), fiber_out) if config.self_term == "skip" else None
        self.mix = IrrepsLinear((message,), fiber_out) if self.own is None or message != fiber_out else None

    def forward(self, features: Float[Tensor, "N m c"], frames: Frames) -> Float[Tensor, "N _ o"]:
        """New features of each node."""
        (message,) = self.messages(features, frames)
        total = frames.total(message)
        mean = total / frames.edges.counts(total)[..., None]
        mean = mean if self.mix is None else self.mix(mean)
        return mean if self.own is None else mean + self.own(features)
