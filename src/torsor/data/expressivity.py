"""Sets of graphs that tell how much a network can tell apart: GRAPH8c, EXP and CEXP, CSL, SR25 and BREC.

GRAPH8c and EXP are made by `graph8c` and `satisfiability`; a local folder may hold the others, and the published EXP, in the folder
`graph_expressivity`: `EXP_GRAPHSAT.txt` and `CEXP_GRAPHSAT.txt` (Abboud et al. 2021), `CSL_adjacency.npz` (Murphy et al. 2019),
`sr251256.g6` (fifteen strongly regular graphs of 25 nodes), `graph8c.g6`, and `BREC_basic.npy`, `_regular`, `_str`, `_extension`, `_4vtx`,
`_cfi` and `_dr` (Wang, Zhang: An empirical study of realized GNN expressiveness, 2024), arrays of strings in graph6. Arrays of Python
objects are refused.

Axes: n nodes, p pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from torsor.data.archives import read_npz
from torsor.data.graph8c import connected_graphs
from torsor.data.graph_formats import parse_graph, read_graphs
from torsor.data.satisfiability import PAIRS, FormulaGraph, pairs
from torsor.errors import DataError

FOLDER = "graph_expressivity"
BREC = {"basic": 60, "regular": 50, "str": 50, "extension": 100, "cfi": 100, "4vtx": 20, "dr": 20}
"""Pairs in each part of BREC, 400 in all."""


@dataclass(frozen=True)
class GraphPairs:
    """Graphs, and which of them are to be told apart.

    Args:
        graphs: their adjacency matrices.
        pairs: numbers of graphs, `[p, 2]`; None for all pairs.
        kinds: the kind of each node of each graph; None where all nodes are alike.
        notes: sentences to print beside figures.
    """

    graphs: tuple[Bool[Tensor, "_ _"], ...]
    pairs: Int64[Tensor, "p 2"] | None
    kinds: tuple[Int64[Tensor, "_"], ...] | None = None
    notes: tuple[str, ...] = ()


def graph8c(folder: Path | None = None) -> GraphPairs:
    """All 11,117 connected graphs of eight nodes, every one against every other; from a folder they come in the order of its file."""
    if folder is None:
        return GraphPairs(tuple(connected_graphs(8)), None)
    return GraphPairs(read_graphs(folder / FOLDER / "graph8c.g6"), None)


def exp(folder: Path | None = None, seed: int = 0, count: int = PAIRS) -> GraphPairs:
    """The pairs of EXP, the first `count` of a seed made here, or all 600 of the published text from a folder."""
    if folder is None:
        formulas, note = pairs(count, seed), "pairs of our own generator, not those of the published file"
    else:
        formulas, note = (
            read_formulas(folder / FOLDER / "EXP_GRAPHSAT.txt"),
            "the published text file, another draw than the published pickle",
        )
    return GraphPairs(tuple(f.adjacency for f in formulas), _consecutive(len(formulas)), tuple(f.kinds for f in formulas), (note,))


def csl(folder: Path) -> GraphPairs:
    """The circular skip links: 150 regular graphs of 41 nodes in ten classes, pairs of different classes."""
    path = folder / FOLDER / "CSL_adjacency.npz"
    arrays = read_npz(path, ["A", "y"])
    matrices, classes = arrays["A"], arrays["y"]
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or classes.shape != matrices.shape[:1]:
        raise DataError(f"{path} has A {list(matrices.shape)} and y {list(classes.shape)}: give [s, n, n] and [s]")
    # the published matrices have a loop at every node
    without = matrices.astype(bool) & ~np.eye(matrices.shape[1], dtype=bool)
    if (without != without.transpose(0, 2, 1)).any():
        raise DataError(f"{path} holds a matrix that is not symmetric")
    chosen = [pair for pair in combinations(range(len(classes)), 2) if classes[pair[0]] != classes[pair[1]]]
    return GraphPairs(tuple(torch.from_numpy(without)), torch.tensor(chosen).reshape(-1, 2))


def sr25(folder: Path) -> GraphPairs:
    """The fifteen strongly regular graphs with parameters (25, 12, 5, 6), every one against every other."""
    return GraphPairs(read_graphs(folder / FOLDER / "sr251256.g6"), None)


def brec(folder: Path) -> GraphPairs:
    """The pairs of BREC; parts whose file is missing are left out, and named in a note.

    Raises:
        DataError: no part is there, or a file is damaged.
    """
    graphs: list[Bool[Tensor, "_ _"]] = []
    missing = []
    for part, count in BREC.items():
        path = folder / FOLDER / f"BREC_{part}.npy"
        if not path.is_file():
            missing.append(f"{part} ({count} pairs)")
            continue
        lines = read_strings(path)
        if len(lines) != 2 * count:
            raise DataError(f"{path} holds {len(lines)} graphs: this part of BREC has {count} pairs")
        graphs += [parse_graph(line, f"{path}, graph {number}") for number, line in enumerate(lines)]
    if not graphs:
        raise DataError(f"no part of BREC in {folder / FOLDER}: give BREC_basic.npy or another part")
    note = (f"{len(graphs) // 2} of the 400 pairs of BREC: its parts {', '.join(missing)} are not there",) if missing else ()
    return GraphPairs(tuple(graphs), _consecutive(len(graphs)), None, note)


def read_strings(path: Path) -> tuple[str, ...]:
    """An array of strings, row after row, from an `.npy` file; objects are refused.

    Raises:
        DataError: the file is missing, damaged or holds something else.
    """
    try:
        with path.open("rb") as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"no file {path}") from None
    except (OSError, ValueError, EOFError) as fault:
        raise DataError(f"{path} cannot be read as an array of strings: {(str(fault).splitlines() or ['damaged'])[0]}") from fault
    if array.dtype.kind not in "SU":
        raise DataError(f"{path} holds {array.dtype.name}, not strings")
    return tuple(entry.decode("ascii", "replace") if isinstance(entry, bytes) else str(entry) for entry in array.reshape(-1).tolist())


def read_formulas(path: Path) -> tuple[FormulaGraph, ...]:
    """The graphs of EXP or CEXP from their published text.

    The number of graphs; for each its number of nodes and 1 or 0, whether its formula is satisfiable; and a line a node: its kind (1 for a
    literal), how many neighbours it has, and which.

    Raises:
        DataError: the file is missing or is no such text; names the line.
    """
    if not path.is_file():
        raise DataError(f"no file {path}")
    rows = [[int(number) for number in line.split()] for line in _number_lines(path)]
    graphs, at = [], 1
    try:
        for _ in range(rows[0][0]):
            nodes, label = rows[at]
            graphs.append(_formula(rows[at + 1 : at + 1 + nodes], nodes, bool(label)))
            at += 1 + nodes
    except (ValueError, IndexError) as fault:
        raise DataError(f"{path} is no text of EXP at line {at + 1}: {fault}") from fault
    return tuple(graphs)


def _formula(rows: list[list[int]], nodes: int, satisfiable: bool) -> FormulaGraph:
    if len(rows) != nodes:
        raise ValueError("it breaks off")
    adjacency = torch.zeros(nodes, nodes, dtype=torch.bool)
    for node, (_, degree, *neighbours) in enumerate(rows):
        if len(neighbours) != degree or not all(0 <= other < nodes for other in neighbours):
            raise ValueError(f"node {node} has neighbours {neighbours}, and should have {degree}")
        adjacency[node, neighbours] = True
    if not torch.equal(adjacency, adjacency.T):
        raise ValueError("an edge is there one way only")
    return FormulaGraph(adjacency, torch.tensor([kind for kind, *_ in rows]), satisfiable)


def _number_lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        if not all(word.isdigit() for word in line.split()):
            raise DataError(f"{path} is no text of EXP at line {number}: {line[:30]!r}")
    return lines


def _consecutive(graphs: int) -> Int64[Tensor, "p 2"]:
    return torch.arange(graphs).reshape(-1, 2)
