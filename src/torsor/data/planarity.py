"""Whether a graph can be drawn in the plane without crossings: exact, for graphs of a few dozen nodes.

Demoucron, Malgrange, Pertuiset: Graphes planaires (1964). A graph is planar if its blocks are. A block is drawn piece by piece, beginning
with a cycle: whatever is left falls into fragments, each has to go into a face that all its attachments are on, and a fragment that has
one choice goes first. A fragment that has none proves that there is no drawing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from jaxtyping import Bool
from torch import Tensor

Neighbours = dict[int, set[int]]
"""The neighbours of each node."""


def is_planar(adjacency: Bool[Tensor, "n n"]) -> bool:
    """Whether an undirected graph is planar; loops do not matter."""
    graph = {i: {int(j) for j in row.nonzero().flatten()} - {i} for i, row in enumerate(adjacency)}
    return all(_block_is_planar(block) for block in blocks(graph))


def blocks(graph: Neighbours) -> Iterator[Neighbours]:
    """The parts that no single node holds together, with their edges; a bridge is one of them, a node without edges is none."""
    depth: dict[int, int] = {}
    low: dict[int, int] = {}
    edges: list[tuple[int, int]] = []

    def visit(node: int, parent: int | None) -> Iterator[Neighbours]:
        depth[node] = low[node] = len(depth)
        for other in graph[node]:
            if other not in depth:
                mark = len(edges)
                edges.append((node, other))
                yield from visit(other, node)
                low[node] = min(low[node], low[other])
                if low[other] >= depth[node]:
                    yield _joined(edges[mark:])
                    del edges[mark:]
            elif other != parent and depth[other] < depth[node]:
                edges.append((node, other))
                low[node] = min(low[node], depth[other])

    for root in graph:
        if root not in depth:
            yield from visit(root, None)


def _joined(edges: Sequence[tuple[int, int]]) -> Neighbours:
    graph: Neighbours = {}
    for a, b in edges:
        graph.setdefault(a, set()).add(b)
        graph.setdefault(b, set()).add(a)
    return graph


def _block_is_planar(block: Neighbours) -> bool:
    size = sum(map(len, block.values())) // 2
    if len(block) < 5:
        return True
    if size > 3 * len(block) - 6:
        return False
    cycle = _cycle(block)
    faces = [cycle, cycle[::-1]]
    drawn = _joined(list(zip(cycle, [*cycle[1:], cycle[0]], strict=True)))
    while sum(map(len, drawn.values())) // 2 < size:
        choices = [(fragment, [face for face in faces if fragment.attachments <= set(face)]) for fragment in _fragments(block, drawn)]
        fragment, allowed = min(choices, key=lambda choice: len(choice[1]))
        if not allowed:
            return False
        path = fragment.path()
        faces.remove(allowed[0])
        faces += _split(allowed[0], path)
        for a, b in pairwise(path):
            drawn.setdefault(a, set()).add(b)
            drawn.setdefault(b, set()).add(a)
    return True


class _Fragment:
    """An edge that is not drawn between two nodes that are, or a connected piece of what is not drawn.

    Args:
        edges: its edges.
        drawn: the nodes that are drawn.
    """

    def __init__(self, edges: Sequence[tuple[int, int]], drawn: Neighbours) -> None:
        self.graph = _joined(edges)
        self.attachments = set(self.graph) & set(drawn)

    def path(self) -> list[int]:
        """A path from one attachment to another with nothing drawn in between."""
        start = next(iter(self.attachments))
        before: dict[int, int] = {}
        fresh = [start]
        while fresh:
            node = fresh.pop()
            for other in self.graph[node]:
                if other in before or other == start:
                    continue
                before[other] = node
                if other not in self.attachments:
                    fresh.append(other)
                    continue
                path = [other]
                while path[-1] != start:
                    path.append(before[path[-1]])
                return path
        raise AssertionError("a fragment of a block has two attachments")


def _fragments(block: Neighbours, drawn: Neighbours) -> Iterator[_Fragment]:
    for a in drawn:
        yield from (_Fragment([(a, b)], drawn) for b in block[a] if b in drawn and b not in drawn[a] and a < b)
    seen: set[int] = set()
    for root in block:
        if root in drawn or root in seen:
            continue
        piece, fresh = {root}, [root]
        while fresh:
            reached = block[fresh.pop()] - set(drawn) - piece
            piece |= reached
            fresh += reached
        seen |= piece
        yield _Fragment([(a, b) for a in piece for b in block[a]], drawn)


def _cycle(block: Neighbours) -> list[int]:
    """Any cycle of a block."""
    path, place = [next(iter(block))], {next(iter(block)): 0}
    while True:
        before = path[-2] if len(path) > 1 else None
        step = next(other for other in block[path[-1]] if other != before)
        if step in place:
            return path[place[step] :]
        place[step] = len(path)
        path.append(step)


def _split(face: Sequence[int], path: Sequence[int]) -> tuple[list[int], list[int]]:
    """The two faces into which a path between two of its corners cuts a face."""
    i, j = face.index(path[0]), face.index(path[-1])
    there = [*face[i:], *face[:i]]
    cut = (j - i) % len(face)
    return [*there[: cut + 1], *path[-2:0:-1]], [*there[cut:], *path[:-1]]
