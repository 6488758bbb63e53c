"""Depthwise tensor-field messages: each channel is turned and weighted by itself, channels are mixed before and after.

Batzner et al.: NequIP (2022). Not equivalent to `TensorFieldKernel`: a radial network gives one number for each channel and term, not for
each pair of channels, which is cheaper by the number of channels.

Axes: e edges, h hidden units, q trunks, s slots (terms of all pairs of degrees), p projections, c channels.
"""

from __future__ import annotations

from math import pi, prod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.nn.frames import EdgeFrames, Frames, SpaceFrames, order_major
from torsor.nn.radial import SILU_POWER, RadialSettings, RadialTrunk
from torsor.nn.tensor_field import in_place_factor, order_table, terms, truncation


class DepthwiseKernel(nn.Module):
    """f'^l_c = sum_k W^{lk}_c f^k_c, for several projections with weights of their own.

    Args:
        channels: channels of every degree, of the sender's features and of the messages.
        l_in: highest degree of the features.
        l_out: highest degree of the messages.
        projections: number of projections.
        radial: the radial network; one trunk serves all terms.
        parity: only terms that are equivariant under reflections too.
        orders: highest order |m| that is coupled.
    """

    def __init__(
        self,
        channels: int,
        l_in: int,
        l_out: int,
        projections: int,
        radial: RadialSettings,
        parity: bool = False,
        orders: int | None = None,
    ) -> None:
        super().__init__()
        self.channels, self.l_in, self.l_out, self.projections, self.parity = channels, l_in, l_out, projections, parity
        self.orders = min(l_in, l_out) if orders is None else orders
        self.slots = [(l, k, j) for l in range(l_out + 1) for k in range(l_in + 1) for j in terms(l, k, parity)]
        self.trunk = RadialTrunk(radial)
        # W_J has squared norm 1 / 4 pi over 2l + 1 rows
        per_degree = [sum(l == slot[0] for slot in self.slots) for l in range(l_out + 1)]
        scale = [(4 * pi * (2 * l + 1) / (SILU_POWER * radial.hidden * per_degree[l])) ** 0.5 for l, _, _ in self.slots]
        self.weight = nn.Parameter(torch.randn(len(self.slots), radial.hidden, projections * channels) * torch.tensor(scale)[:, None, None])

    def forward(self, features: Float[Tensor, "e m c"], frames: Frames) -> tuple[Float[Tensor, "e _ c"], ...]:
        """Local messages of each projection; `frames` decides the path."""
        hidden = self.trunk(frames.edges).squeeze(2)
        local = frames.enter(features)[:, :, None]
        if isinstance(frames, SpaceFrames):
            return self._in_space(hidden, local, frames).unbind(2)
        assert isinstance(frames, EdgeFrames)
        return self._in_edge_frames(hidden, local, frames).unbind(2)

    def _radial(self, hidden: Tensor, weight: Float[Tensor, "s h pc"]) -> Float[Tensor, "e s p c"]:
        """Numbers for each edge, term, projection and channel."""
        return torch.unflatten(hidden @ weight.transpose(0, 1).flatten(1), 1, (-1, self.projections, self.channels))

    def _in_space(self, hidden: Tensor, features: Tensor, frames: SpaceFrames) -> Float[Tensor, "e m p c"]:
        """Contract with the basis, then weight each term."""
        radial, outs = self._radial(hidden, self._truncated()), []
        for l in range(self.l_out + 1):
            message = torch.zeros(())
            for k in range(self.l_in + 1):
                basis = frames.basis(l, k, 1 + self.parity)
                part = features[:, k * k : (k + 1) ** 2, 0].to(basis.dtype)
                places = [i for i, slot in enumerate(self.slots) if slot[:2] == (l, k)]
                message = message + (torch.einsum("eabj,ebc->eajc", basis, part)[:, :, :, None] * radial[:, None, places]).sum(2)
            outs.append(message)
        return torch.cat(outs, 1)

    def _truncated(self) -> Tensor:
        """The parameters, less what orders above the limit contribute."""
        if self.orders >= min(self.l_in, self.l_out):
            return self.weight
        parts = []
        for l in range(self.l_out + 1):
            for k in range(self.l_in + 1):
                rows = self.weight[[i for i, slot in enumerate(self.slots) if slot[:2] == (l, k)]]
                table = truncation.like(rows, l, k, int(self.parity), self.orders)
                parts.append(torch.tensordot(table, rows, 1) if self.orders < min(l, k) else rows)
        return torch.cat(parts)

    def _in_edge_frames(self, hidden: Tensor, local: Tensor, frames: EdgeFrames) -> Float[Tensor, "e _ p c"]:
        """y_0 = h_0 g_0; y_m - i y_{-m} = (h_m + i h_{-m}) (g_m - i g_{-m})."""
        counts = [self.l_in + 1 - abs(m) for m in range(self.l_in + 1) for _ in ((1,) if m == 0 else (1, -1))]
        rows, parts = [row[:, :, None] for row in torch.split(local, counts, 1)], []
        for m, numbers in enumerate(self._slots(hidden, frames)):
            if m == 0:
                parts.append((numbers[0] * rows[0]).sum(1))
                continue
            plus, minus = rows[2 * m - 1 : 2 * m + 1]
            up, down = numbers[0] * plus, numbers[0] * minus
            if not self.parity:
                up, down = torch.addcmul(up, numbers[1], minus), torch.addcmul(down, numbers[1], plus, value=-1)
            parts += [up.sum(1), down.sum(1)]
        message = torch.cat(parts, 1)
        message = torch.nn.functional.pad(message, (0, 0, 0, 0, 0, (self.l_out + 1) ** 2 - message.shape[1]))
        return message if frames.coincident is None else message + self._in_place(hidden.where(frames.coincident, 0), local)

    def _slots(self, hidden: Tensor, frames: EdgeFrames) -> list[tuple[Float[Tensor, "e k l p c"], ...]]:
        """For each order m the numbers h_m and (without parity) h_{-m} of each edge, zero between points in the same place."""
        degrees_in = " ".join(map(str, range(self.l_in + 1)))
        table = order_table.like(self.weight, self.l_out, self.l_in, degrees_in, int(self.parity), self.orders)
        if frames.coincident is not None:
            hidden = hidden.masked_fill(frames.coincident, 0)
        orders = range(min(self.l_in, self.l_out, self.orders) + 1)
        shapes = [(1 if m == 0 or self.parity else 2, self.l_out + 1 - m, self.l_in + 1 - m) for m in orders]
        blocks = torch.split(torch.tensordot(table, self.weight, 1), [prod(shape) for shape in shapes])
        # degrees out beside projections: gradients of the features are sums over both, which is slow across an axis in between
        turned = [torch.unflatten(block, 0, shape).transpose(1, 2).flatten(0, 2) for block, shape in zip(blocks, shapes, strict=True)]
        numbers = torch.split(self._radial(hidden, torch.cat(turned)), [prod(shape) for shape in shapes], 1)
        return [torch.unflatten(h, 1, (signs, ins, outs)).unbind(1) for h, (signs, outs, ins) in zip(numbers, shapes, strict=True)]

    def _in_place(self, hidden: Tensor, local: Tensor) -> Float[Tensor, "e _ p c"]:
        """Messages between points in the same place: only J = 0, which multiplies each degree by a number."""
        common = range(min(self.l_in, self.l_out) + 1)
        weight = torch.stack([self._truncated()[self.slots.index((l, l, 0))] * in_place_factor(l) for l in common])
        numbers = self._radial(hidden, weight)
        places = {key: i for i, key in enumerate(order_major(self.l_in))}
        parts = [
            numbers[:, l] * local[:, places[l, m]] if l in common else torch.zeros_like(numbers[:, 0]) for l, m in order_major(self.l_out)
        ]
        return torch.stack(parts, 1)
