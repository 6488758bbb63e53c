"""Which linear maps commute with permutations of axes: reading axes from a string and listing the maps.

Maron et al., Invariant and Equivariant Graph Networks (2019): the maps between tensors with permuted axes are the set partitions of the
axes of both, input and output. A block of the partition is an index that its axes share: with axes on both sides it is carried over, with
input axes alone it is pooled, with output axes alone it is broadcast; two axes of one side in a block are a diagonal. Navon et al.,
Equivariant Architectures for Learning in Deep Weight Spaces (2023): axes of different sets never share a block, and axes that are not
permuted are dense.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, combinations, permutations, product
from math import prod

from torsor.errors import RepresentationError

Key = tuple[str, ...]
"""The sets whose indices are carried over, sorted."""

Blocks = tuple[tuple[int, ...], ...]
"""A partition of the permuted axes of a tensor; axes of one block share an index."""


@dataclass(frozen=True)
class Axes:
    """The axes of one tensor, between its batch axes and its channels.

    Args:
        name: name of the tensor, "" where there is one without a name.
        names: names of the axes, in order.
        fixed: sizes of those of the axes that are not permuted.
    """

    name: str
    names: tuple[str, ...]
    fixed: tuple[tuple[str, int], ...]

    @property
    def fixed_places(self) -> tuple[int, ...]:
        """Places of the axes that are not permuted."""
        return tuple(i for i, axis in enumerate(self.names) if axis in dict(self.fixed))

    @property
    def fixed_sizes(self) -> tuple[int, ...]:
        """Sizes of the axes that are not permuted."""
        return tuple(dict(self.fixed)[self.names[i]] for i in self.fixed_places)

    @property
    def sets(self) -> tuple[str, ...]:
        """Names of the permuted axes, in order."""
        return tuple(axis for axis in self.names if axis not in dict(self.fixed))

    @property
    def copies(self) -> int:
        """Entries along the axes that are not permuted."""
        return prod(self.fixed_sizes)

    def __str__(self) -> str:
        axes = " ".join(f"{a}={dict(self.fixed)[a]}" if a in dict(self.fixed) else a for a in self.names)
        return f"{self.name}: {axes}" if self.name else axes


@dataclass(frozen=True)
class Spec:
    """Axes of the tensors that go in and come out."""

    inputs: tuple[Axes, ...]
    outputs: tuple[Axes, ...]

    def __str__(self) -> str:
        return " -> ".join(", ".join(map(str, side)) for side in (self.inputs, self.outputs))


@dataclass(frozen=True)
class Pattern:
    """How one tensor takes part in a map.

    Args:
        blocks: a partition of its permuted axes; axes in one block share an index.
        carried: the blocks whose index is carried over, in the order of `key`; the others are pooled (input) or broadcast (output).
        key: the sets of the carried blocks.
    """

    blocks: Blocks
    carried: tuple[int, ...]
    key: Key


def parse(text: str) -> Spec:
    """Read a specification such as "n n -> n n" or "w0: h i=2, b0: h"; without an arrow the output has the axes of the input.

    Raises:
        RepresentationError: the text makes no sense; the message says what to write.
    """
    sides = text.split("->")
    if len(sides) > 2:
        raise RepresentationError(f"{text!r} has {len(sides) - 1} arrows: write one, or none where the output has the axes of the input")
    fixed: dict[str, int] = {}
    tokens = [[_tokens(part, text) for part in side.split(",")] for side in sides]
    for axis, size in chain.from_iterable(axes for side in tokens for _, axes in side):
        if size is not None and fixed.setdefault(axis, size) != size:
            raise RepresentationError(f"axis {axis} of {text!r} has the sizes {fixed[axis]} and {size}: give one")
    read = [tuple(_axes(name, axes, fixed) for name, axes in side) for side in tokens]
    for side in read:
        names = [axes.name for axes in side]
        if len(set(names)) < len(names) or (len(names) > 1 and "" in names):
            raise RepresentationError(f"{text!r} has tensors that cannot be told apart: give each a name of its own, 'w: h i, b: h'")
    return Spec(read[0], read[-1])


def _tokens(part: str, text: str) -> tuple[str, list[tuple[str, int | None]]]:
    """Name and axes of one tensor, each with its size where it is not permuted."""
    name, colon, axes = part.rpartition(":")
    if colon and not re.fullmatch(r"\s*[A-Za-z]\w*\s*", name):
        raise RepresentationError(f"{name.strip()!r} in {text!r} cannot name a tensor: write letters, digits and underscores")
    found = []
    for token in axes.split():
        match = re.fullmatch(r"([A-Za-z][A-Za-z0-9]*)(?:=([1-9][0-9]*))?", token)
        if match is None:
            raise RepresentationError(
                f"{token!r} in {text!r} is no axis: write letters and digits, and 'i=3' for 3 places that are not permuted"
            )
        found.append((match[1], int(match[2]) if match[2] else None))
    return name.strip(), found


def _axes(name: str, axes: list[tuple[str, int | None]], fixed: dict[str, int]) -> Axes:
    names = tuple(axis for axis, _ in axes)
    return Axes(name, names, tuple((axis, fixed[axis]) for axis in dict.fromkeys(names) if axis in fixed))


def partitions(places: tuple[int, ...]) -> Iterator[Blocks]:
    """All set partitions, the one with the smallest blocks first."""
    if not places:
        yield ()
        return
    first, rest = places[0], places[1:]
    for smaller in partitions(rest):
        yield ((first,), *smaller)
    for smaller in partitions(rest):
        for i, block in enumerate(smaller):
            yield ((first, *block), *smaller[:i], *smaller[i + 1 :])


def axis_partitions(axes: Axes) -> tuple[Blocks, ...]:
    """Partitions of the permuted axes in which a block holds axes of one set, each sorted by first axis."""
    places = [tuple(i for i, other in enumerate(axes.sets) if other == one) for one in dict.fromkeys(axes.sets)]
    return tuple(tuple(sorted(chain.from_iterable(choice))) for choice in product(*map(partitions, places)))


def input_patterns(axes: Axes) -> tuple[Pattern, ...]:
    """Every way to read a tensor: blocks, which of them are carried, and in which order where they are of one set."""
    return tuple(
        Pattern(blocks, order, key)
        for blocks in axis_partitions(axes)
        for count in range(len(blocks) + 1)
        for order in permutations(range(len(blocks)), count)
        if (key := tuple(axes.sets[blocks[i][0]] for i in order)) == tuple(sorted(key))
    )


def output_patterns(axes: Axes) -> tuple[Pattern, ...]:
    """Every way to write a tensor; the order of carried blocks is settled on the input's side, so one order stands for all."""
    return tuple(
        Pattern(blocks, order, tuple(axes.sets[blocks[i][0]] for i in order))
        for blocks in axis_partitions(axes)
        for count in range(len(blocks) + 1)
        for chosen in combinations(range(len(blocks)), count)
        for order in [tuple(sorted(chosen, key=lambda i: axes.sets[blocks[i][0]]))]
    )


def count_maps(spec: Spec) -> int:
    """Dimension of the space of equivariant linear maps, for one channel in and out and sets large enough for every partition."""
    counts = [_count_keys(spec.inputs, input_patterns), _count_keys(spec.outputs, output_patterns)]
    return sum(count * counts[1].get(key, 0) for key, count in counts[0].items())


def count_invariants(spec: Spec) -> int:
    """Dimension of the space of invariant outputs, which is the number of biases, for one channel."""
    return sum(axes.copies * len(axis_partitions(axes)) for axes in spec.outputs)


def _count_keys(side: tuple[Axes, ...], patterns: Callable[[Axes], tuple[Pattern, ...]]) -> dict[Key, int]:
    counts: dict[Key, int] = {}
    for axes in side:
        for pattern in patterns(axes):
            counts[pattern.key] = counts.get(pattern.key, 0) + axes.copies
    return counts
