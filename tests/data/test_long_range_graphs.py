"""The long-range graph benchmark from text: molecules as graphs, tables, splits, contacts; and the stand-in."""

import csv
import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from torsor.data import long_range_graphs as lrgb
from torsor.data import peptide_chains as chains
from torsor.data.molecular_graphs import ATOM_FEATURES, BOND_FEATURES, ELEMENT_CHANNELS, molecular_graphs
from torsor.data.smiles import parse_smiles
from torsor.errors import DataError


def write_table(
    folder: Path,
    kind: str,
    rows: list[dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
    delimiter: str = ",",
    numbers: tuple[int, int, int] | None = None,
) -> None:
    """A table of the benchmark with rows of our own, and its checksum and numbers, if given, in place of the published ones."""
    table = lrgb.TABLES[kind]
    if numbers is None:
        monkeypatch.setattr(lrgb, "require_published", lambda *_: None)
    else:
        table = table._replace(**dict(zip(("molecules", "atoms", "bonds"), numbers, strict=True)))
    path = folder / lrgb.FOLDER / table.file
    path.parent.mkdir(exist_ok=True)
    with gzip.open(path, "wt", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    monkeypatch.setitem(lrgb.TABLES, kind, table._replace(md5=hashlib.md5(path.read_bytes()).hexdigest()))


def write_splits(folder: Path, kind: str, **splits: list[int]) -> None:
    (folder / lrgb.FOLDER / f"lrgb_splits_peptides_{kind}.json").write_text(json.dumps(splits))


def test_molecules_become_graphs_with_an_edge_both_ways_for_each_bond() -> None:
    graphs = molecular_graphs([parse_smiles("CC=O"), parse_smiles("C"), parse_smiles("[NH4+].c1ccccc1")])
    dense = graphs.dense(7)
    assert dense["features"].shape == (3, 7, ATOM_FEATURES)
    assert dense["edge_features"].shape == (3, 7, 7, BOND_FEATURES)
    assert dense["adjacency"][0].nonzero().tolist() == [[0, 1], [1, 0], [1, 2], [2, 1]]
    assert dense["edge_features"][0, 1, 2].tolist() == dense["edge_features"][0, 2, 1].tolist() == [0, 1, 0, 0, 0]
    assert dense["edge_features"][2, 1, 2].tolist() == [0, 0, 0, 1, 1]
    assert dense["features"][0, :3, :ELEMENT_CHANNELS].argmax(-1).tolist() == [2, 2, 4]
    assert dense["features"].sum(-1)[dense["mask"]].tolist() == [5] * 5 + [7] * 6
    assert not dense["features"][~dense["mask"]].any()


def test_labels_and_splits_of_peptides_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"peptide_seq": "G" * n, "smiles": "NCC(=O)" * n + "O", "labels": str([n % 2] * 10)} for n in range(1, 7)]
    write_table(tmp_path, "func", rows, monkeypatch, numbers=(6, 90, 84))  # 4 n + 1 atoms in a chain with branches
    write_splits(tmp_path, "func", train=[5, 0, 2], val=[1], test=[4, 3])
    found = lrgb.read_peptides(tmp_path, "func")
    assert found.graphs.sizes.tolist() == [5, 9, 13, 17, 21, 25]
    assert found.targets is not None
    assert found.targets[:, 3].tolist() == [1, 0, 1, 0, 1, 0]
    assert {name: part.tolist() for name, part in found.splits.items()} == {"train": [5, 0, 2], "valid": [1], "test": [4, 3]}


def test_numbers_of_peptides_are_standardised_over_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(5, 3, (6, 11))
    rows = [{"smiles": "C" * (n + 1), "matrix": "1," * 100_000, **dict(zip(lrgb.STRUCTURE, values[n], strict=True))} for n in range(6)]
    write_table(tmp_path, "struct", rows, monkeypatch)
    write_splits(tmp_path, "struct", train=[0, 1], valid=[2, 3], test=[4, 5])
    before = csv.field_size_limit()
    found = lrgb.read_peptides(tmp_path, "struct")
    assert csv.field_size_limit() == before
    assert found.targets is not None
    expected = (values - values.mean(0)) / values.std(0, ddof=1)
    assert np.allclose(found.targets.numpy(), expected, atol=1e-12)


def test_contacts_are_pairs_of_atoms_with_a_number_in_common(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    molecule, pairs = lrgb.parse_contacts("CCCCCCO |atomProp:0.contact.0&#59;1:5.contact.0:6.contact.1|")
    assert len(molecule.atoms) == 7
    assert sorted(pairs.tolist()) == [[0, 5], [0, 6], [5, 0], [6, 0]]
    plain = lrgb.parse_contacts("CCCCCCO |(0,0,;1,0,;),atomProp:0.contact.0;1:5.contact.0:6.contact.1:6.other.7|")[1]
    assert torch.equal(plain, pairs)
    with pytest.raises(DataError, match="not of two atoms"):
        lrgb.parse_contacts("CC |atomProp:0.contact.0|")
    lines = [{"id": n, "cxsmiles": "CCCCCCO |atomProp:0.contact.0:6.contact.0|" if n % 12 == 0 else "C"} for n in range(50)]
    write_table(tmp_path, "contact", lines, monkeypatch, "\t", numbers=(5, 35, 30))
    found = lrgb.read_contacts(tmp_path)
    assert len(found.graphs) == 5  # of rows 0, 6, ..., 48 those with a contact
    assert found.targets is None
    assert found.graphs.dense(7)["contacts"][1].nonzero().tolist() == [[0, 6], [6, 0]]
    assert sorted(torch.cat(list(found.splits.values())).tolist()) == list(range(5))
    assert len(lrgb.read_contacts(tmp_path, 2).graphs) == 2


def test_the_split_of_contacts_is_the_published_recipe() -> None:
    splits = lrgb.contact_split(529_434)
    order = np.random.default_rng(42).permutation(529_434)
    assert [len(splits[name]) for name in lrgb.SPLITS] == [476_490, 26_472, 26_472]
    assert splits["train"][:5].tolist() == order[:5].tolist()
    assert splits["test"][-1] == order[-1]
    assert len(lrgb.contact_split(1000)["train"]) == 899  # 1 - 0.05 - 0.05 is a little less than nine tenths


def test_numbers_of_molecules_atoms_and_bonds_are_the_published_means() -> None:
    """The authors' overview also gives atoms and directed edges of a graph on average, rounded."""
    for table, atoms, edges in (("func", 150.94, 307.30), ("struct", 150.94, 307.30), ("contact", 30.14, 61.09)):
        published = lrgb.TABLES[table]
        assert round(published.atoms / published.molecules, 2) == atoms
        assert round(2 * published.bonds / published.molecules, 2) == edges


def test_a_table_that_is_read_otherwise_than_the_benchmark_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"smiles": "CC", "labels": str([0] * 10)}]
    write_table(tmp_path, "func", rows, monkeypatch, numbers=(1, 2, 2))
    with pytest.raises(DataError, match="1 molecules with 2 atoms and 1 bonds, but the benchmark has 1 molecules with 2 atoms and 2 bonds"):
        lrgb.read_peptides(tmp_path, "func")


def test_a_row_that_does_not_fit_the_columns_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for row in ("C", 'C,"[0]",7'):
        write_table(tmp_path, "func", [{"smiles": "C", "labels": "[0]"}], monkeypatch)
        path = tmp_path / lrgb.FOLDER / lrgb.TABLES["func"].file
        path.write_bytes(gzip.compress(f"smiles,labels\n{row}\n".encode()))
        monkeypatch.setitem(lrgb.TABLES, "func", lrgb.TABLES["func"]._replace(md5=hashlib.md5(path.read_bytes()).hexdigest()))
        with pytest.raises(DataError, match="a row at line 2 with other columns"):
            lrgb.read_peptides(tmp_path, "func")


def test_other_files_than_the_published_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="fetch it from https"):
        lrgb.read_peptides(tmp_path, "func")
    rows = [{"smiles": "C", "labels": "[0, 1]"}]
    published = lrgb.TABLES["func"]
    write_table(tmp_path, "func", rows, monkeypatch)
    with pytest.raises(DataError, match="a peptide has 10, each 0 or 1"):
        lrgb.read_peptides(tmp_path, "func")
    monkeypatch.setitem(lrgb.TABLES, "func", published)
    with pytest.raises(DataError, match=f"the published file has {published.md5}"):
        lrgb.read_peptides(tmp_path, "func")
    write_table(tmp_path, "func", [{"SMILES": "C"}], monkeypatch)
    with pytest.raises(DataError, match="has no column 'smiles': it has SMILES"):
        lrgb.read_peptides(tmp_path, "func")
    path = tmp_path / lrgb.FOLDER / published.file
    path.write_bytes(b"smiles,labels\n")
    monkeypatch.setitem(lrgb.TABLES, "func", published._replace(md5=hashlib.md5(path.read_bytes()).hexdigest()))
    with pytest.raises(DataError, match="cannot be read"):
        lrgb.read_peptides(tmp_path, "func")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"train": [0], "valid": [1]}', "give train, valid, test"),
        ('{"train": [0], "valid": [1], "test": [1]}', "each of 3 molecules once"),
        ('{"train": [0], "valid": [1], "test": ["x"]}', "holds no splits"),
        ("[1", "holds no splits"),
    ],
)
def test_splits_that_are_none_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "splits.json"
    with pytest.raises(DataError, match="no file"):
        lrgb.read_splits(path, 3)
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        lrgb.read_splits(path, 3)


def test_peptides_have_the_atoms_of_their_residues() -> None:
    """Heavy atoms of the free acids, from their formulas; a residue has one oxygen less."""
    acids = dict(zip("ARNDCQEGHILKMFPSTWYV", (6, 12, 9, 9, 7, 10, 10, 5, 11, 9, 9, 10, 9, 12, 8, 7, 8, 15, 13, 8), strict=True))
    assert set(chains.RESIDUES) == set(acids)
    for letter, heavy in acids.items():
        assert len(chains.peptide(letter).molecule.atoms) == heavy
    whole = chains.peptide("WPRG")
    assert len(whole.molecule.atoms) == sum(acids[letter] - 1 for letter in "WPRG") + 1
    assert [whole.molecule.atoms[start].number for start in whole.starts[:-1]] == [7] * 4
    assert [whole.molecule.atoms[end - 1].number for end in whole.starts[1:]] == [8] * 4


def test_autocorrelations_are_those_of_a_loop() -> None:
    values = [chains.HYDROPATHY[letter] for letter in "ARNDC"]
    found = chains.autocorrelations("ARNDC", 6)
    for k in range(1, 5):
        assert float(found[k - 1]) == pytest.approx(sum(values[i] * values[i + k] for i in range(5 - k)) / (5 - k), abs=1e-12)
    assert found[4:].tolist() == [0.0, 0.0]


def test_contacts_of_a_helix_are_five_bonds_apart_or_more() -> None:
    (peptide,) = chains.random_peptides(1, (8, 8), torch.Generator().manual_seed(1), chains.SMALL)
    pairs = chains.contacts(peptide).long()
    assert len(pairs) == 2 * (8 - chains.TURN)
    graph = molecular_graphs([peptide.molecule]).dense(lrgb.CONTACT_ATOMS)["adjacency"][0]
    reached = torch.linalg.matrix_power(graph.double() + torch.eye(len(graph), dtype=torch.float64), 4)
    assert not reached[pairs[:, 0], pairs[:, 1]].any()


def test_random_peptides_are_a_prefix_of_more() -> None:
    few, more = (chains.random_peptides(count, (3, 9), torch.Generator().manual_seed(2)) for count in (3, 6))
    assert few == more[:3]
