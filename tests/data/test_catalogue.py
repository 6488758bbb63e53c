from pathlib import Path

import pytest
import torch

from torsor.data.catalogue import DATASETS, Request, load
from torsor.errors import DataError, UnknownNameError


def test_unknown_data_set_gives_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'rmd17'"):
        load(Request("rmd-17", "ethanol", 1, "forces"))


def test_second_request_is_answered_from_memory() -> None:
    request = Request("rmd17", "ethanol", 1, "forces")
    assert load(request) is load(request)


def test_random_split_is_a_partition_drawn_by_its_seed(shared_data: Path) -> None:
    sets = [load(Request("qm7", "", seed, "energy", str(shared_data))) for seed in (1, 2)]
    for one in sets:
        assert (len(one.pool), len(one.test), one.valid_size) == (6391, 710, 710)
    assert not torch.equal(sets[0].test.positions[:5], sets[1].test.positions[:5])
    energies = [torch.cat([one.pool["energy"], one.test["energy"]]).sort().values for one in sets]
    assert torch.equal(*energies)


def test_partial_sets_say_that_they_cannot_be_compared(shared_data: Path) -> None:
    for name in ("md17", "qm7", "qm9-under14", "qm9-11k"):
        assert any("not comparable" in note for note in load(Request(name, "ethanol", 1, "energy", str(shared_data))).notes)


def test_sets_that_need_a_folder_say_which_variable_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORSOR_DATA", raising=False)
    for name in DATASETS:
        if name not in ("rmd17", "file"):
            with pytest.raises(DataError, match="is read from a local folder: give the setting 'folder', or the variable TORSOR_DATA"):
                load(Request(name, "aspirin", 1, "energy"))


def test_too_few_molecules_cannot_be_split(tmp_path: Path) -> None:
    (tmp_path / "few.xyz").write_text("1\nenergy=1\nHe 0 0 0\n" * 9)
    with pytest.raises(DataError, match="9 molecules are too few to split: give 10 or more"):
        load(Request("file", "", 1, "energy", file=str(tmp_path / "few.xyz")))
