"""One linear layer for every permutation symmetry.

"n -> n" is Deep Sets (Zaheer et al. 2017), "r c -> r c" the exchangeable matrix layer (Hartford et al. 2018), "n n -> n n" the invariant
graph network (Maron et al. 2019, fifteen maps), and a weight space "w0: h i=2, b0: h, w1: o=1 h, b1: o=1" the layer of DWSNets (Navon et
al. 2023). All maps that carry the same sets over share one matrix product; the dense matrix is never built.

Axes: *b batch axes, then the axes of the specification, then c channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from torsor.errors import ShapeError, unknown_name
from torsor.nn.permutation_access import Reader, Sets, clear, fold, unfold, write
from torsor.nn.permutation_maps import Axes, Key, Pattern, count_invariants, count_maps, input_patterns, output_patterns, parse

Tensors = Float[Tensor, "..."] | Mapping[str, Float[Tensor, "..."]]
Uses = dict[Key, list[tuple[int, Pattern]]]
"""For each key, which tensors take part and how."""


class PermutationLinear(nn.Module):
    """Every linear map that commutes with the permutations of its axes.

    Axes with one name are permuted together, axes with different names apart. An axis written with its size, "i=3", is not permuted and has
    weights of its own for each place. Sets may have any size, another one at every call.

    Args:
        spec: axes of input and output as in einsum, "n n -> n"; without an arrow the output has the axes of the input. Several tensors
            are named, "w: h i=2, b: h", and come and go as a mapping from names to tensors.
        in_channels: channels of the input, or of each named tensor.
        out_channels: channels of the output, or of each named tensor.
        bias: whether to add the invariant vectors (one for each partition of an output's axes).
        pool: "mean" or "sum" over the valid items. Sums grow with the set; means do not.
        generator: where the initial weights come from; torch's own generator if not given.

    Raises:
        RepresentationError: the specification makes no sense.
        ShapeError: channels are not given for exactly the tensors of the specification.
        UnknownNameError: there is no such pooling.
    """

    def __init__(
        self,
        spec: str,
        in_channels: int | Mapping[str, int],
        out_channels: int | Mapping[str, int],
        *,
        bias: bool = True,
        pool: str = "mean",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if pool not in ("mean", "sum"):
            raise unknown_name("pool", pool, ("mean", "sum"))
        self.spec = parse(spec)
        self.pool = pool
        self.in_widths = _widths("in_channels", in_channels, self.spec.inputs)
        self.out_widths = _widths("out_channels", out_channels, self.spec.outputs)
        self.reads = _by_key(self.spec.inputs, input_patterns)
        self.writes = _by_key(self.spec.outputs, output_patterns)
        self.keys: tuple[Key, ...] = tuple(sorted((k for k in self.reads if k in self.writes), key=lambda k: (len(k), k)))
        self.weights = nn.ParameterDict({_slot(key): nn.Parameter(torch.empty(self._shape(key))) for key in self.keys})
        self.bias = nn.Parameter(torch.zeros(self._shape(())[0])) if bias else None
        self.reset_parameters(generator)

    @property
    def maps(self) -> int:
        """Number of maps for one channel in and out."""
        return count_maps(self.spec)

    @property
    def invariants(self) -> int:
        """Number of biases for one channel."""
        return count_invariants(self.spec)

    def _shape(self, key: Key) -> tuple[int, int]:
        """Rows and columns of the matrix that mixes what carries `key`."""
        return sum(self.out_widths[i] for i, _ in self.writes[key]), sum(self.in_widths[i] for i, _ in self.reads[key])

    def _terms(self, output: int) -> int:
        """How many numbers add up in an entry of an output off all diagonals."""
        plain = [key for key in self.keys for i, pattern in self.writes[key] if i == output and all(len(b) == 1 for b in pattern.blocks)]
        return sum(self._shape(key)[1] for key in plain)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Uniform weights with variance 1 / (numbers that add up in an entry of the output), biases zero."""
        for key in self.keys:
            outputs = [i for i, _ in self.writes[key]]
            for rows, i in zip(torch.split(self.weights[_slot(key)], [self.out_widths[i] for i in outputs]), outputs, strict=True):
                bound = (3 / self._terms(i)) ** 0.5
                rows.uniform_(-bound, bound, generator=generator)
        if self.bias is not None:
            self.bias.zero_()

    def forward(
        self,
        x: Tensors,
        mask: Bool[Tensor, "*b n"] | Mapping[str, Bool[Tensor, "..."]] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> Tensors:
        """Apply all maps.

        Args:
            x: `[*b, *axes, c]`, or a mapping of such where the specification names its tensors.
            mask: true at valid items: one for each set, by name, or `[*b, n]` where there is a single set.
            sizes: places of sets that only the output has.

        Raises:
            ShapeError: a tensor does not fit the specification, or the size of a set is not known; the message says which.
        """
        tensors = self._tensors(x)
        sets = self._sets(tensors, mask, sizes)
        readers = [
            Reader(clear(fold(t, axes), axes, sets), axes, sets, self.pool) for t, axes in zip(tensors, self.spec.inputs, strict=True)
        ]
        outputs = {
            axes.name: unfold(clear(write(parts, axes, sets), axes, sets), axes)
            for axes, parts in zip(self.spec.outputs, self._mix(readers), strict=True)
        }
        return outputs.get("", outputs)

    def _mix(self, readers: list[Reader]) -> list[list[tuple[Pattern, Tensor]]]:
        """For each output, what is written to it and how: one matrix product for each key."""
        written: list[list[tuple[Pattern, Tensor]]] = [[] for _ in self.spec.outputs]
        for key in self.keys:
            read = [readers[i].read(pattern) for i, pattern in self.reads[key]]
            rows = torch.cat(read, -1) if len(read) > 1 else read[0]
            mixed = nn.functional.linear(rows, self.weights[_slot(key)], None if key else self.bias)
            parts = torch.split(mixed, [self.out_widths[i] for i, _ in self.writes[key]], -1)
            for (i, pattern), part in zip(self.writes[key], parts, strict=True):
                written[i].append((pattern, part))
        return written

    def _tensors(self, x: Tensors) -> list[Tensor]:
        """The inputs in the order of the specification."""
        names = [axes.name for axes in self.spec.inputs]
        given = x if isinstance(x, Mapping) else {"": x}
        if set(given) != set(names):
            wanted = "one tensor" if names == [""] else f"a mapping with {', '.join(names)}"
            raise ShapeError(f"the input of '{self.spec}' is {sorted(given) if isinstance(x, Mapping) else 'one tensor'}: give {wanted}")
        return [given[name] for name in names]

    def _sets(self, tensors: list[Tensor], mask: Tensor | Mapping[str, Tensor] | None, sizes: Mapping[str, int] | None) -> Sets:
        """Sizes and masks of all sets, checked against each other."""
        names = list(dict.fromkeys(name for axes in (*self.spec.inputs, *self.spec.outputs) for name in axes.sets))
        if isinstance(mask, Tensor) and len(names) != 1:
            raise ShapeError(f"'{self.spec}' has {len(names)} sets: give a mapping from their names to masks")
        masks = dict(mask) if isinstance(mask, Mapping) else {} if mask is None else {names[0]: mask}
        found = dict(sizes or {})
        for name in (*masks, *found):
            if name not in names:
                raise unknown_name("set", name, names)
        for name, given in masks.items():
            _agree(found, name, given.shape[-1], "its mask")
        for tensor, axes, width in zip(tensors, self.spec.inputs, self.in_widths, strict=True):
            _check(tensor, axes, width // axes.copies, found)
        leading = {t.shape[: t.ndim - 1 - len(axes.names)] for t, axes in zip(tensors, self.spec.inputs, strict=True)}
        if len(leading) > 1:
            raise ShapeError(f"the tensors have the batch axes {' and '.join(map(str, map(list, leading)))}: give one batch for all")
        for name in names:
            if name not in found:
                raise ShapeError(f"only the output of '{self.spec}' has the axis {name}: give sizes={{'{name}': ...}}")
        return Sets(found, masks)


def _slot(key: Key) -> str:
    """Name of the weight of a key: neither axes nor parameters of torch can have what joins it."""
    return "_".join(("carry", *key))


def _by_key(side: tuple[Axes, ...], patterns: Callable[[Axes], tuple[Pattern, ...]]) -> Uses:
    """Which tensors, read or written how, carry a key."""
    uses: Uses = {}
    for i, axes in enumerate(side):
        for pattern in patterns(axes):
            uses.setdefault(pattern.key, []).append((i, pattern))
    return uses


def _widths(what: str, channels: int | Mapping[str, int], side: tuple[Axes, ...]) -> tuple[int, ...]:
    """Channels of each tensor, the axes that are not permuted among them."""
    names = [axes.name for axes in side]
    given = channels if isinstance(channels, Mapping) else dict.fromkeys(names, channels)
    if set(given) != set(names) or min(given.values()) < 1:
        hint = "" if names == [""] else f", or one for each of {', '.join(names)}"
        raise ShapeError(f"{what} is {channels}: give a positive number{hint}")
    return tuple(given[axes.name] * axes.copies for axes in side)


def _check(tensor: Tensor, axes: Axes, channels: int, sizes: dict[str, int]) -> None:
    """Compare a tensor with its axes, and note the sizes of its sets."""
    what = axes.name or "the input"
    if tensor.ndim < len(axes.names) + 1 or tensor.shape[-1] != channels:
        raise ShapeError(f"{what} is {list(tensor.shape)}: give [*batch, {', '.join((*axes.names, str(channels)))}]")
    for name, size in zip(axes.names, tensor.shape[tensor.ndim - 1 - len(axes.names) : -1], strict=True):
        expected = dict(axes.fixed).get(name)
        if expected is None:
            _agree(sizes, name, size, what)
        elif size != expected:
            raise ShapeError(f"axis {name} of {what} has {size} places: the specification says {expected}")


def _agree(sizes: dict[str, int], name: str, size: int, where: str) -> None:
    """Note the size of a set, or compare it with what was noted."""
    if sizes.setdefault(name, size) != size:
        raise ShapeError(f"the set {name} has {size} places in {where} but {sizes[name]} elsewhere: give one size")
