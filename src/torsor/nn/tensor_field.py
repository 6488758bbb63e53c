"""Tensor-field messages: features of the sender times a kernel that turns with the edge.

Thomas et al.: Tensor field networks (2018); Fuchs et al.: SE(3)-Transformers (2020), equation 8; Passaro and Zitnick: Reducing SO(3)
convolutions to SO(2) (2023).

W^{lk}(x) = sum_J phi_J(|x|) sum_c w^{lkJ}[:, :, c] Y_Jc(x / |x|),  phi = A z(|x|)

Two ways to the same numbers from the same parameters A: "cg" contracts the features with the basis W_J in space, "so2" works in the frame
of each edge, where the kernel is h = T phi and couples equal orders alone.

Axes: e edges, h hidden units of the radial network, q trunks, p projections (kernels that share their input), j the terms J, m components,
c channels in, o channels out.
"""

from __future__ import annotations

from math import pi, prod, sqrt
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.nn.fiber import Fiber
from torsor.nn.frames import EdgeFrames, Frames, SenderFrames, SpaceFrames, order_major
from torsor.nn.hidden_contraction import contract
from torsor.nn.radial import SILU_POWER, RadialSettings, RadialTrunk
from torsor.nn.sender_contraction import contract_by_sender
from torsor.representations.clebsch_gordan import radial_tables, so2_tables
from torsor.representations.tables import Array, Table

Trunk = Literal["shared", "per_pair"]


def terms(l: int, k: int, parity: bool) -> list[int]:
    """The J of a kernel; with parity only those for which a reflection turns it like a rotation."""
    return [j for j in range(abs(l - k), l + k + 1) if not parity or (l + k + j) % 2 == 0]


def _chosen(l: int, k: int, parity: bool) -> list[int]:
    return [j - abs(l - k) for j in terms(l, k, parity)]


@Table
def truncation(l: int, k: int, parity: int, orders: int) -> Array:
    """The map of phi that removes the orders above `orders` from the kernel, `[j, j]`."""
    least = min(l, k)
    kept = np.array([float(abs(slot) <= orders) for slot in range(-least, least + 1)])
    chosen = _chosen(l, k, bool(parity))
    matrix = radial_tables(l, k) @ (kept[:, None] * so2_tables(l, k))
    return np.ascontiguousarray(matrix[np.ix_(chosen, chosen)])


@Table
def order_table(l_out: int, l_in: int, present: str, parity: int, orders: int) -> Array:
    """All tables T as one matrix, from the phi of all (l, k, J) to the h of all (m, sign, l, k).

    Rows: for m = 0 all l in 0..l_out and k in 0..l_in, then for m = 1, 2, .. the slots +m and (without parity) -m of all l, k >= m.
    Columns: only for the degrees k in `present`, "0 2"; the others have rows of zeros.
    """
    columns = [(l, k, j) for l in range(l_out + 1) for k in map(int, present.split()) for j in terms(l, k, bool(parity))]
    rows = []
    for m in range(min(l_out, l_in, orders) + 1):
        for slot in (m,) if m == 0 or parity else (m, -m):
            for l in range(m, l_out + 1):
                for k in range(m, l_in + 1):
                    entries = so2_tables(l, k)[min(l, k) + slot]
                    rows.append([entries[j - abs(l - k)] if (a, b) == (l, k) else 0.0 for a, b, j in columns])
    return np.array(rows)


def in_place_factor(l: int) -> float:
    """The kernel of (l, l) between points in the same place is phi_0 times this number: w^{ll0} Y_0 = 1 / sqrt(4 pi (2l + 1))."""
    return 1 / sqrt(4 * pi * (2 * l + 1))


class TensorFieldKernel(nn.Module):
    """Messages of several projections (keys and values) along the same edges, with weights for each pair of channels.

    Its parameters are the last layers of the radial networks, `weights["p_l_k"] [j, h, c, o]`, whatever the path.

    Args:
        fiber_in: features of the sender.
        outputs: fiber of the messages of each projection; all have the same heads.
        radial: the radial networks.
        trunk: "shared", one hidden trunk for all kernels, or "per_pair", one for each projection and pair of degrees (published).
        parity: only terms that are equivariant under reflections too, with natural parity (-1)^l.
        orders: highest order |m| that is coupled; fewer than the degree is cheaper, exactly equivariant, and less expressive.
    """

    def __init__(
        self,
        fiber_in: Fiber,
        outputs: tuple[Fiber, ...],
        radial: RadialSettings,
        trunk: Trunk = "shared",
        parity: bool = False,
        orders: int | None = None,
    ) -> None:
        super().__init__()
        self.fiber_in, self.outputs, self.parity = fiber_in, outputs, parity
        self.l_max = max(fiber.l_max for fiber in outputs)
        self.orders = min(self.l_max, fiber_in.l_max) if orders is None else orders
        self.width = max(fiber.width for fiber in outputs)
        self.pairs = [(p, l, k) for p, fiber in enumerate(outputs) for l in fiber.degrees for k in fiber_in.degrees]
        self.shared = trunk == "shared"
        self.trunk = RadialTrunk(radial, 1 if self.shared else len(self.pairs))
        self.weights = nn.ParameterDict({_name(*pair): nn.Parameter(self._initial(*pair, radial)) for pair in self.pairs})
        self._register_selections()

    def _initial(self, p: int, l: int, k: int, radial: RadialSettings) -> Tensor:
        """Published: as a linear layer. Smooth: such that features of unit variance give messages of about unit variance."""
        shape = (len(terms(l, k, self.parity)), radial.hidden, self.fiber_in.channels[k], self.outputs[p].channels[l])
        if radial.network == "published":
            bound = radial.width**-0.5
            return torch.empty(shape).uniform_(-bound, bound)
        received = sum(self.fiber_in.channels[k2] * len(terms(l, k2, self.parity)) for k2 in self.fiber_in.degrees)
        # W_J has squared norm 1 / 4 pi over 2l + 1 rows
        return torch.randn(shape) * sqrt(4 * pi * (2 * l + 1) / (SILU_POWER * radial.hidden * received))

    def _register_selections(self) -> None:
        """Places of what is not padding on the axes (k, c) and (l, p, o) of each order's weight; none where nothing is padded."""
        outs = torch.zeros(self.l_max + 1, len(self.outputs), self.width, dtype=torch.bool)
        for p, fiber in enumerate(self.outputs):
            wide = Fiber((self.width, *fiber.channels), fiber.heads)
            outs[: fiber.l_max + 1, p] = wide.mask()[1:]
        ins = self.fiber_in.mask()
        for m in range(min(self.l_max, self.fiber_in.l_max) + 1):
            for name, mask in (("rows", ins[m:]), ("columns", outs[m:])):
                places = mask.flatten().nonzero().flatten()
                self.register_buffer(
                    f"{name}_{m}", None if mask.all() or (name == "rows" and not self.shared) else places, persistent=False
                )
                if name == "columns":
                    back = torch.full((mask.numel(),), len(places)).scatter(0, places, torch.arange(len(places)))
                    self.register_buffer(f"back_{m}", back, persistent=False)

    def forward(self, features: Float[Tensor, "e m c"], frames: Frames) -> tuple[Float[Tensor, "e _ _"], ...]:
        """Local messages of each projection.

        Args:
            features: features of each edge's sender, in space.
            frames: the local coordinates; their class decides the path.
        """
        hidden = self.trunk(frames.edges)
        local = frames.enter(features)
        if isinstance(frames, SpaceFrames):
            return tuple(self._in_space(p, hidden, local, frames) for p in range(len(self.outputs)))
        assert isinstance(frames, EdgeFrames)
        return self._projections(self._in_edge_frames(hidden, local, frames))

    # "cg"

    def _trunk_of(self, hidden: Tensor, pair: tuple[int, int, int]) -> Float[Tensor, "e h"]:
        return hidden[:, :, 0 if self.shared else self.pairs.index(pair)]

    def _coefficients(self, pair: tuple[int, int, int]) -> Float[Tensor, "j h c o"]:
        """The parameters, less what orders above the limit contribute."""
        weight: Tensor = self.weights[_name(*pair)]
        if self.orders >= min(pair[1:]):
            return weight
        kept: Tensor = torch.tensordot(truncation.like(weight, pair[1], pair[2], int(self.parity), self.orders), weight, 1)
        return kept

    def _in_space(self, p: int, hidden: Tensor, features: Tensor, frames: SpaceFrames) -> Float[Tensor, "e m o"]:
        """Contract the features with the basis, then with the radial weights of each edge."""
        fiber, parts = self.outputs[p], {}
        for l in fiber.degrees:
            moved, radial = [], []
            for k in self.fiber_in.degrees:
                weight = self._coefficients((p, l, k))
                basis = frames.basis(l, k, 1 + self.parity)
                moved.append(torch.einsum("eabj,ebc->eajc", basis, self.fiber_in.take(features, k)).flatten(2))
                radial.append(
                    torch.unflatten(self._trunk_of(hidden, (p, l, k)) @ weight.transpose(0, 1).flatten(1), 1, (-1, fiber.channels[l]))
                )
            parts[l] = torch.cat(moved, -1) @ torch.cat(radial, 1)
        return fiber.join(parts)

    # "sender"

    def by_sender(self, features: Float[Tensor, "N m c"], frames: SenderFrames) -> tuple[Float[Tensor, "e _ _"], ...]:
        """Messages of each projection in space, from the features of the points."""
        order, step = frames.order, 1 + self.parity
        hidden = [order.enter(trunk) for trunk in self.trunk(frames.edges).unbind(2)]
        sent = {k: self.fiber_in.take(features, k).index_select(0, order.senders) for k in self.fiber_in.degrees}
        parts: list[dict[int, Tensor]] = [{} for _ in self.outputs]
        for projections, degrees in self._alike():
            messages = []
            for degrees_in in [self.fiber_in.degrees] if self.shared else [(k,) for k in self.fiber_in.degrees]:
                z = hidden[0 if self.shared else self.pairs.index((projections[0], degrees[0], degrees_in[0]))]
                weights = [torch.cat([self._wide(projections, l, k) for l in degrees]) for k in degrees_in]
                bases = [frames.kernels(degrees, k, step) for k in degrees_in]
                messages.append(contract_by_sender([sent[k] for k in degrees_in], z, bases, weights, order.groups))
            total = messages[0] if self.shared else torch.stack(messages).sum(0)
            found = torch.split(order.leave(total), [2 * l + 1 for l in degrees], 1)
            for l, message in zip(degrees, found, strict=True):
                for p, part in zip(projections, torch.split(message, [self.outputs[p].channels[l] for p in projections], 2), strict=True):
                    parts[p][l] = part
        return tuple(fiber.join(part) for fiber, part in zip(self.outputs, parts, strict=True))

    def _wide(self, projections: tuple[int, ...], l: int, k: int) -> Float[Tensor, "j h c o"]:
        """The parameters of several projections side by side."""
        return torch.cat([self._coefficients((p, l, k)) for p in projections], 3)

    def _alike(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Projections and degrees whose messages are computed in one: the same trunk, and for all degrees the same channels."""
        if not self.shared:
            return [((p,), (l,)) for p, fiber in enumerate(self.outputs) for l in fiber.degrees]
        alike: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for l in range(self.l_max + 1):
            channels = tuple(fiber.channels[l] if l <= fiber.l_max else 0 for fiber in self.outputs)
            if any(channels):
                # from degree 2 on the zeros between degrees would take more memory than fewer products save time
                alike.setdefault((max(l, 1), channels), []).append(l)
        return [(tuple(p for p, count in enumerate(channels) if count), tuple(degrees)) for (_, channels), degrees in alike.items()]

    # "so2"

    def _packed(self) -> Float[Tensor, "s h c p o"]:
        """The numbers h of all orders as linear functions of the hidden units, padded to equal channels."""
        blocks = []
        for l in range(self.l_max + 1):
            for k in self.fiber_in.degrees:
                blocks.append(torch.stack([self._block(p, l, k) for p in range(len(self.outputs))], 3))
        phi = torch.cat(blocks)
        present = " ".join(map(str, self.fiber_in.degrees))
        table = order_table.like(phi, self.l_max, self.fiber_in.l_max, present, int(self.parity), self.orders)
        return torch.unflatten(table @ phi.flatten(1), 1, phi.shape[1:])

    def _block(self, p: int, l: int, k: int) -> Float[Tensor, "j h c o"]:
        """The parameters of one pair, padded; zeros where there are none."""
        fiber = self.outputs[p]
        if (p, l, k) not in self.pairs:
            like: Tensor = next(iter(self.weights.values()))
            return like.new_zeros(len(terms(l, k, self.parity)), like.shape[1], self.fiber_in.width, self.width)
        weight = self.fiber_in.pad(self._coefficients((p, l, k)).transpose(2, 3), k).transpose(2, 3)
        return Fiber((fiber.channels[l], self.width), fiber.heads).pad(weight, 0)

    def _order_weights(self) -> list[Float[Tensor, "r h k c l p o"]]:
        """For each order m the weight of its rows: h_0, or (Gauss's three products) h_m, h_{-m} - h_m and -h_m - h_{-m}."""
        shapes = []
        for m in range(min(self.l_max, self.fiber_in.l_max, self.orders) + 1):
            shapes.append((1 if m == 0 or self.parity else 2, self.l_max + 1 - m, self.fiber_in.l_max + 1 - m))
        weights = []
        for m, (block, shape) in enumerate(zip(torch.split(self._packed(), [prod(shape) for shape in shapes]), shapes, strict=True)):
            block = torch.unflatten(block, 0, shape).permute(0, 3, 2, 4, 1, 5, 6)
            if m > 0:
                plus, *minus = block.unbind(0)
                block = torch.stack([plus, plus] if self.parity else [plus, minus[0] - plus, -plus - minus[0]])
            weights.append(block)
        return weights

    def _rows(self, local: Tensor) -> list[Float[Tensor, "r e k c"]]:
        """For each order the features that multiply the rows of `_order_weights`."""
        counts = [self.fiber_in.l_max + 1 - m for m in range(self.fiber_in.l_max + 1)]
        first, *others = torch.split(local, [counts[0]] + [count for count in counts[1:] for _ in range(2)], 1)
        rows = [first[None]]
        for plus, minus in zip(others[::2], others[1::2], strict=True):
            rows.append(torch.stack([plus, minus] if self.parity else [plus + minus, minus, plus]))
        return rows

    def _in_edge_frames(self, hidden: Tensor, local: Tensor, frames: EdgeFrames) -> Float[Tensor, "e _ p o"]:
        """y_0 = h_0 g_0; y_m - i y_{-m} = (h_m + i h_{-m}) (g_m - i g_{-m})."""
        alone = frames.coincident
        straight = hidden if alone is None else hidden.masked_fill(alone[..., None], 0)
        parts: list[Tensor] = []
        for m, (weight, rows) in enumerate(zip(self._order_weights(), self._rows(local), strict=False)):
            y = self._multiply(m, straight, rows, weight)
            if m == 0 or self.parity:
                parts += y.unbind(0)
            else:
                both, up, down = y.unbind(0)
                parts += [both + up, both + down]
        missing = (self.l_max + 1) ** 2 - sum(part.shape[1] for part in parts)
        if missing:
            parts.append(parts[0].new_zeros(parts[0].shape[0], missing, *parts[0].shape[2:]))
        message = torch.cat(parts, 1)
        return message if alone is None else message + self._in_place(hidden.where(alone[..., None], 0), local)

    def _multiply(self, m: int, hidden: Tensor, rows: Tensor, weight: Tensor) -> Float[Tensor, "r e l p o"]:
        """Contract features, hidden units and weights of one order."""
        if not self.shared:
            return self._multiply_each(m, hidden, rows, weight)
        features, weight = rows.flatten(2), weight.flatten(4).flatten(2, 3)
        active, columns = self._selection("rows", m), self._selection("columns", m)
        if active is not None:
            features, weight = features.index_select(2, active), weight.index_select(2, active)
        if columns is not None:
            weight = weight.index_select(3, columns)
        y = contract(hidden, features[:, :, None], weight.flatten(1, 2))
        if columns is not None:
            y = torch.nn.functional.pad(y, (0, 1)).index_select(2, getattr(self, f"back_{m}"))
        return torch.unflatten(y, 2, (-1, len(self.outputs), self.width))

    def _selection(self, name: str, m: int) -> Tensor | None:
        places: Tensor | None = getattr(self, f"{name}_{m}")
        return places

    def _multiply_each(self, m: int, hidden: Tensor, rows: Tensor, weight: Tensor) -> Float[Tensor, "r e l p o"]:
        """The same where each (projection, degree out, degree in) has hidden units of its own."""
        outs = []
        for l in range(m, self.l_max + 1):
            for p in range(len(self.outputs)):
                trunks = [self.pairs.index((p, l, k)) if (p, l, k) in self.pairs else 0 for k in range(m, self.fiber_in.l_max + 1)]
                outs.append(contract(hidden[:, :, trunks], rows, weight[..., l - m, p, :].flatten(1, 3)))
        return torch.unflatten(torch.stack(outs, 2), 2, (-1, len(self.outputs)))

    def _in_place(self, hidden: Tensor, local: Tensor) -> Float[Tensor, "e _ p o"]:
        """Messages between points in the same place: only J = 0, which couples equal degrees by a multiple of the identity."""
        places = {key: i for i, key in enumerate(order_major(self.fiber_in.l_max))}
        ordered = order_major(self.l_max)
        parts: dict[tuple[int, int], Tensor] = {}
        for l in range(self.l_max + 1):
            if l not in self.fiber_in.degrees:
                continue
            index = [places[l, m] for m in range(-l, l + 1)]
            rows = local[:, index].transpose(0, 1)[:, :, None]
            of_p = []
            for p in range(len(self.outputs)):
                trunk = 0 if self.shared or (p, l, l) not in self.pairs else self.pairs.index((p, l, l))
                weight = self._block(p, l, l)[0].flatten(0, 1) * in_place_factor(l)
                of_p.append(contract(hidden[:, :, trunk : trunk + 1], rows, weight.expand(2 * l + 1, -1, -1)))
            for m, y in zip(range(-l, l + 1), torch.stack(of_p, 2), strict=True):
                parts[l, m] = y
        zero = torch.zeros_like(next(iter(parts.values())))
        return torch.stack([parts.get(key, zero) for key in ordered], 1)

    def _projections(self, message: Float[Tensor, "e _ p o"]) -> tuple[Float[Tensor, "e _ _"], ...]:
        """Take the projections apart, each in the layout of its own fiber."""
        ordered, taken = order_major(self.l_max), []
        for fiber, part in zip(self.outputs, message.unbind(2), strict=True):
            if fiber.l_max < self.l_max:
                part = part[:, [i for i, (l, _) in enumerate(ordered) if l <= fiber.l_max]]
            if fiber.width < self.width:
                part = torch.unflatten(part, -1, (fiber.heads, -1))[..., : fiber.width // fiber.heads].flatten(-2)
            taken.append(part)
        return tuple(taken)


def _name(p: int, l: int, k: int) -> str:
    return f"{p}_{l}_{k}"
