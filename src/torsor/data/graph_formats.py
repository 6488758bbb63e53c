"""Graphs as lines of printable characters: graph6 and sparse6.

McKay: graph6 and sparse6 graph formats (the file `formats.txt` of nauty). Six bits a character, each plus 63. graph6 holds the upper
triangle of the adjacency matrix, column by column; sparse6 a list of edges.

Axes: n nodes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from torsor.errors import DataError

HEADERS = (">>graph6<<", ">>sparse6<<")
SHORT, MEDIUM = 62, 258_047
"""The largest numbers of nodes that one and that four characters hold."""


def read_graphs(path: Path) -> tuple[Bool[Tensor, "_ _"], ...]:
    """The graphs of a file in graph6 or sparse6, one a line.

    Raises:
        DataError: the file is missing, or a line is no graph; names the line.
    """
    if not path.is_file():
        raise DataError(f"no file {path}")
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    return tuple(parse_graph(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip())


def parse_graph(text: str, where: str = "the line") -> Bool[Tensor, "n n"]:
    """The adjacency matrix of a graph in graph6, or in sparse6 where the text begins with a colon. Repeated edges count once.

    Args:
        text: one line, with or without its header.
        where: how an error names it.

    Raises:
        DataError: it is no such line.
    """
    body = text.strip()
    for header in HEADERS:
        body = body.removeprefix(header)
    sparse = body.startswith(":")
    codes = np.frombuffer(body.removeprefix(":").encode("utf-8"), dtype=np.uint8).astype(np.int64) - 63
    if not len(codes) or codes.min() < 0 or codes.max() > 63:
        raise DataError(f"{where} is neither graph6 nor sparse6: {text[:30]!r}")
    nodes, used = _node_count(codes, where)
    bits = ((codes[used:, None] >> np.arange(5, -1, -1)) & 1).reshape(-1)
    matrix = (_from_sparse if sparse else _from_triangle)(bits, nodes, where)
    return torch.from_numpy(matrix)


def graph6(adjacency: Bool[Tensor, "n n"]) -> str:
    """A simple graph in graph6.

    Raises:
        DataError: the matrix is not symmetric, or has a loop.
    """
    matrix = adjacency.cpu().numpy()
    if (matrix != matrix.T).any() or matrix.diagonal().any():
        raise DataError("graph6 holds simple graphs: give a symmetric matrix with zeros on its diagonal")
    nodes = len(matrix)
    columns, rows = np.tril_indices(nodes, -1)
    bits = matrix[rows, columns]
    padded = np.concatenate([bits, np.zeros(-len(bits) % 6, dtype=bool)]).reshape(-1, 6)
    return "".join(chr(63 + int(code)) for code in (*_count_codes(nodes), *(padded @ (1 << np.arange(5, -1, -1)))))


def _count_codes(nodes: int) -> tuple[int, ...]:
    if nodes <= SHORT:
        return (nodes,)
    digits, marks = (3, 1) if nodes <= MEDIUM else (6, 2)
    return (63,) * marks + tuple((nodes >> 6 * k) & 63 for k in range(digits - 1, -1, -1))


def _node_count(codes: NDArray[Any], where: str) -> tuple[int, int]:
    """The number of nodes and how many characters say it."""
    if codes[0] < 63:
        return int(codes[0]), 1
    first, digits = (2, 6) if len(codes) > 1 and codes[1] == 63 else (1, 3)
    if len(codes) < first + digits:
        raise DataError(f"{where} breaks off in its number of nodes")
    return sum(int(code) << 6 * (digits - 1 - k) for k, code in enumerate(codes[first : first + digits])), first + digits


def _from_triangle(bits: NDArray[Any], nodes: int, where: str) -> NDArray[Any]:
    pairs = nodes * (nodes - 1) // 2
    if not pairs <= len(bits) < pairs + 6:
        raise DataError(f"{where} has {len(bits)} bits: a graph of {nodes} nodes has {pairs}, filled up to sixes")
    matrix = np.zeros((nodes, nodes), dtype=bool)
    columns, rows = np.tril_indices(nodes, -1)
    matrix[rows, columns] = bits[:pairs]
    return matrix | matrix.T


def _from_sparse(bits: NDArray[Any], nodes: int, where: str) -> NDArray[Any]:
    """Units of one bit, which moves on to the next node, and a number: of that node, where it is larger, or of its neighbour."""
    width = max(nodes - 1, 0).bit_length()
    if (1 << max(nodes - 1, 0).bit_length()) * nodes > 1 << 40:
        raise DataError(f"{where} has {nodes} nodes: its matrix is too large")
    matrix = np.zeros((nodes, nodes), dtype=bool)
    units = bits[: len(bits) // (width + 1) * (width + 1)].reshape(-1, width + 1)
    numbers = units[:, 1:] @ (1 << np.arange(width - 1, -1, -1)) if width else np.zeros(len(units), dtype=np.int64)
    node = 0
    for moves, number in zip(units[:, 0].tolist(), numbers.tolist(), strict=True):
        node += moves
        if max(node, number) >= nodes:  # what fills up the last character
            break
        if number > node:
            node = number
        else:
            matrix[number, node] = matrix[node, number] = True
    return matrix
