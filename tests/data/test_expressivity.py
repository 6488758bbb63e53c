"""Readers of published sets of graphs, on real files where they are and on small ones that are written here."""

from pathlib import Path

import numpy as np
import pytest
import torch

from torsor.data.canonical_forms import canonical_form, indistinguishable
from torsor.data.expressivity import BREC, FOLDER, brec, csl, exp, read_formulas, read_strings, sr25
from torsor.data.graphs import sparse
from torsor.errors import DataError

TEXT = "1\n3 1\n1 2 1 2\n1 1 0\n0 1 0\n"


def classes(graphs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    dense = sparse(graphs).dense(max(map(len, graphs)))
    return indistinguishable(dense["adjacency"].bool(), dense["mask"])


def test_all_pairs_of_the_published_exp_look_alike_and_one_of_each_is_satisfiable(shared_data: Path) -> None:
    found = exp(shared_data)
    assert len(found.graphs) == 1200
    assert max(map(len, found.graphs)) == 73  # the published pickle, another draw, has at most 64
    assert found.pairs is not None
    assert found.kinds is not None
    assert torch.equal(found.pairs[7], torch.tensor([14, 15]))
    labels = torch.cat(found.kinds)
    assert set(labels.tolist()) == {0, 1}
    for graph, kinds in zip(found.graphs[:20], found.kinds, strict=False):
        assert graph[kinds == 1][:, kinds == 1].sum(1).eq(1).all()  # a literal and its negation
        assert not graph[kinds == 0][:, kinds == 0].any()
    numbers = classes(found.graphs[:60])
    assert torch.equal(numbers[::2], numbers[1::2])


def test_the_published_exp_and_cexp_are_balanced(shared_data: Path) -> None:
    for name in ("EXP", "CEXP"):
        labels = [formula.satisfiable for formula in read_formulas(shared_data / FOLDER / f"{name}_GRAPHSAT.txt")]
        assert (len(labels), sum(labels)) == (1200, 600)


def test_circular_skip_links_are_4_regular_and_indistinguishable(shared_data: Path) -> None:
    found = csl(shared_data)
    assert len(found.graphs) == 150
    assert found.pairs is not None
    assert len(found.pairs) == 150 * 135 // 2
    assert all(graph.sum(1).eq(4).all() and not graph.diagonal().any() for graph in found.graphs)
    assert len(classes(found.graphs).unique()) == 1
    first, other = found.pairs[0].tolist()
    assert canonical_form(found.graphs[first]) != canonical_form(found.graphs[other])


def test_strongly_regular_graphs_have_their_parameters(shared_data: Path) -> None:
    graphs = sr25(shared_data).graphs
    assert len(graphs) == 15
    for graph in graphs:
        square = graph.int() @ graph.int()
        assert square.diagonal().eq(12).all()
        assert square[graph].eq(5).all()
        assert square[~graph & ~torch.eye(25, dtype=torch.bool)].eq(6).all()


def test_pairs_of_brec_look_alike_and_missing_parts_are_named(shared_data: Path) -> None:
    found = brec(shared_data)
    assert len(found.graphs) == 2 * 280
    assert "280 of the 400 pairs of BREC: its parts cfi (100 pairs), dr (20 pairs) are not there" in found.notes[0]
    numbers = classes(found.graphs)
    assert torch.equal(numbers[::2], numbers[1::2])
    assert sum(BREC.values()) == 400
    for first, second in zip(found.graphs[:20:2], found.graphs[1:20:2], strict=True):
        assert canonical_form(first) != canonical_form(second)


def test_formulas_are_read_from_text(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text(TEXT)
    (formula,) = read_formulas(tmp_path / "some.txt")
    assert formula.satisfiable
    assert formula.kinds.tolist() == [1, 1, 0]
    assert formula.adjacency.nonzero().tolist() == [[0, 1], [0, 2], [1, 0], [2, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT.replace("1 1 0\n0", "1 1 2\n0"), "one way only"),
        (TEXT.replace("1 2 1 2", "1 3 1 2"), "node 0 has neighbours"),
        (TEXT.replace("1 2 1 2", "1 2 1 9"), "node 0 has neighbours"),
        (TEXT[:12], "it breaks off"),
        ("2\n" + TEXT[2:], "line 6"),
        ("1\n3 x\n", "line 2"),
        ("", "is no text of EXP"),
    ],
)
def test_a_damaged_text_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "some.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        read_formulas(tmp_path / "some.txt")


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "some.npy"
    np.save(path, np.array(["A_", b"A_"], dtype=object))
    with pytest.raises(DataError, match="cannot be read as an array of strings"):
        read_strings(path)
    np.save(path, np.array([1.0]))
    with pytest.raises(DataError, match="float64, not strings"):
        read_strings(path)
    np.save(path, np.array([[b"A_", b"A?"]]))
    assert read_strings(path) == ("A_", "A?")
    with pytest.raises(DataError, match="no file"):
        read_strings(tmp_path / "none.npy")


def test_a_part_of_brec_with_another_number_of_graphs_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    with pytest.raises(DataError, match="no part of BREC"):
        brec(tmp_path)
    np.save(folder / "BREC_basic.npy", np.array(["A_", "A?"]))
    with pytest.raises(DataError, match="this part of BREC has 60 pairs"):
        brec(tmp_path)
