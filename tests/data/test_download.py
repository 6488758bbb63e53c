import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from torsor.data import qm9, rmd17
from torsor.data.download import Published, extract, fetch
from torsor.errors import DataError

pytest.importorskip("pooch")


def published(content: bytes) -> Published:
    return Published("https://localhost:1/nothing.bin", "nothing.bin", "sha256:" + hashlib.sha256(content).hexdigest(), 0.1, "CC0-1.0")


def test_file_that_is_there_is_verified_and_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "nothing.bin").write_bytes(b"whole")
    assert fetch(published(b"whole"), tmp_path).read_bytes() == b"whole"


def test_file_that_cannot_be_fetched_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing.bin could not be fetched from https://localhost:1/nothing.bin") as caught:
        fetch(published(b"whole"), tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_checksums_of_published_files_are_whole() -> None:
    for source in (rmd17.ARCHIVE, qm9.ARCHIVE, qm9.UNCHARACTERIZED):
        kind, digest = source.checksum.split(":")
        assert len(digest) == 2 * hashlib.new(kind).digest_size
        assert source.url.startswith("https://")


def test_only_the_named_members_are_unpacked_and_never_outside_the_folder(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.bz2"
    with tarfile.open(archive, "w:bz2") as tar:
        for name in ("in/wanted.txt", "in/other.txt", "../escaped.txt"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"text"))
    (tmp_path / "to").mkdir()
    extract(archive, ["in/wanted.txt"], tmp_path / "to")
    assert [path.name for path in (tmp_path / "to").rglob("*.txt")] == ["wanted.txt"]
    with pytest.raises(DataError, match="cannot be unpacked"):
        extract(archive, ["../escaped.txt"], tmp_path / "to")
    assert not (tmp_path / "escaped.txt").exists()
    with pytest.raises(DataError, match=r"has no member in/none\.txt"):
        extract(archive, ["in/none.txt"], tmp_path / "to")
    archive.write_bytes(b"damaged")
    with pytest.raises(DataError, match="cannot be unpacked"):
        extract(archive, ["in/other.txt"], tmp_path / "to")
