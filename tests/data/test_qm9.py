import io
import lzma
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from torsor.data import qm9
from torsor.data.molecules import BOHR_IN_ANGSTROM, HARTREE_IN_EV
from torsor.errors import DataError

METHANE = (
    "5\n"
    "gdb 1\t157.7118\t157.70997\t157.70699\t0.\t13.21\t-0.3877\t0.1171\t0.5048\t35.3641\t0.044749"
    "\t-40.47893\t-40.476062\t-40.475117\t-40.498597\t6.469\n"
    "C\t-0.0126981359\t 1.0858041578\t 0.0080009958\t-0.535689\n"
    "H\t 0.002150416\t-0.0060313176\t 0.0019761204\t 0.133921\n"
    "H\t 1.0117308433\t 1.4637511618\t 0.0002765748\t 0.133922\n"
    "H\t-0.540815069\t 1.4475266138\t-8.766437152*^-1\t 0.133923\n"
    "H\t-0.5238136345\t 1.4379326443\t 0.9063972942\t 0.133923\n"
    "1341.307\t1341.3284\nC\tC\t\nInChI=1S/CH4/h1H4\tInChI=1S/CH4/h1H4\n"
)


def archive(path: Path, texts: dict[str, str]) -> Path:
    with tarfile.open(path, "w:bz2") as tar:
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


def test_published_record_is_read_with_its_units() -> None:
    number, record = qm9.parse_record(METHANE, "here")
    assert number == 1
    assert record.numbers.tolist() == [6, 1, 1, 1, 1]
    assert record.positions[3, 2] == -0.8766437152
    expected = {"mu": 0.0, "alpha": 13.21, "homo": -0.3877, "lumo": 0.1171, "gap": 0.5048, "r2": 35.3641, "zpve": 0.044749}
    expected |= {"U0": -40.47893, "U": -40.476062, "H": -40.475117, "G": -40.498597, "Cv": 6.469}
    for name, kind in qm9.PROPERTIES.items():
        assert record.properties[kind.column] == expected[name]
    assert qm9.PROPERTIES["gap"].factor == pytest.approx(1000 * HARTREE_IN_EV)


def test_archive_yields_numbered_molecules(tmp_path: Path) -> None:
    path = archive(tmp_path / "qm9.tar.bz2", {"a.xyz": METHANE, "b.xyz": METHANE.replace("gdb 1", "gdb 7")})
    assert [number for number, _ in qm9.read_archive(path)] == [1, 7]


def test_partial_archive_is_not_taken_for_qm9(tmp_path: Path) -> None:
    (tmp_path / "qm9").mkdir()
    archive(tmp_path / "qm9" / "dsgdb9nsd.xyz.tar.bz2", {"a.xyz": METHANE, "b.xyz": METHANE.replace("gdb 1", "gdb 7")})
    (tmp_path / "qm9" / "uncharacterized.txt").write_text("# Index\n====\n   7    CC    CC\n")
    with pytest.raises(DataError, match="leaves 1 molecules without 1: QM9 has 130831 and 3054"):
        qm9.read_qm9(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5\n",
        METHANE[:200],
        METHANE.replace("gdb 1", "gdx 1"),
        METHANE.replace("H\t 0.0021", "Xx\t 0.0021"),
        METHANE.replace("13.21", "abc"),
    ],
)
def test_damaged_record_names_the_file_inside(tmp_path: Path, text: str) -> None:
    path = archive(tmp_path / "qm9.tar.bz2", {"a.xyz": METHANE, "b.xyz": text})
    with pytest.raises(DataError, match=r"qm9.tar.bz2: b.xyz is not a molecule of QM9"):
        list(qm9.read_archive(path))


def test_damaged_and_missing_archives_are_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "qm9.tar.bz2", {f"{i}.xyz": METHANE for i in range(300)})
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match="cannot be unpacked"):
        list(qm9.read_archive(path))
    with pytest.raises(DataError, match="put none of QM9 there, or set download = true"):
        list(qm9.read_archive(tmp_path / "none"))


def test_published_list_of_uncharacterized_molecules_is_complete(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "uncharacterized.txt").write_bytes(lzma.decompress((shared_data / "qm9_subsets" / "uncharacterized.txt.xz").read_bytes()))
    numbers = qm9.read_uncharacterized(tmp_path / "uncharacterized.txt")
    assert len(numbers) == qm9.EXCLUDED
    assert max(numbers) <= qm9.MOLECULES
    (tmp_path / "uncharacterized.txt").write_text("nothing here\n")
    with pytest.raises(DataError, match="holds no numbers"):
        qm9.read_uncharacterized(tmp_path / "uncharacterized.txt")


def test_published_split_is_a_partition_and_refuses_partial_sets() -> None:
    train, valid, test = qm9.published_split(qm9.MOLECULES - qm9.EXCLUDED)
    assert (len(train), len(valid), len(test)) == (100_000, 17_748, 13_083)
    assert torch.equal(torch.cat([train, valid, test]).sort().values, torch.arange(130_831))
    with pytest.raises(DataError, match="not of 4015"):
        qm9.published_split(4015)


def test_qm7_is_read_from_both_layouts_to_the_same_molecules(shared_data: Path, tmp_path: Path) -> None:
    io_ = pytest.importorskip("scipy.io")
    molecules = qm9.read_qm7(shared_data).take(torch.arange(20))
    assert len(qm9.read_qm7(shared_data)) == 7101
    assert molecules["energy"][0] == -417.031
    (tmp_path / "qm7").mkdir()
    raw = {"Z": molecules.numbers.numpy().astype(np.float32), "R": molecules.positions.numpy() / BOHR_IN_ANGSTROM}
    io_.savemat(tmp_path / "qm7" / "qm7.mat", raw | {"T": molecules["energy"].numpy()[None]})
    again = qm9.read_qm7(tmp_path)
    size = again.numbers.shape[1]
    assert torch.equal(again.numbers, molecules.numbers[:, :size])
    torch.testing.assert_close(again.positions, molecules.positions[:, :size], rtol=1e-14, atol=1e-14)
    (tmp_path / "qm7" / "qm7.mat").write_bytes(b"damaged")
    with pytest.raises(DataError, match="cannot be read as QM7"):
        qm9.read_qm7(tmp_path)
    with pytest.raises(DataError, match="no QM7 in"):
        qm9.read_qm7(tmp_path / "qm7")
