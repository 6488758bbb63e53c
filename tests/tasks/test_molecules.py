from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from torsor.data.molecules import HARTREE_IN_EV, KCAL_PER_MOL_IN_EV, Molecules
from torsor.data.qm9 import FREE_ATOMS, PROPERTIES
from torsor.data.rmd17 import read_shipped
from torsor.errors import ConfigError, DataError, UnknownNameError
from torsor.groups import E, S
from torsor.tasks import REGISTRY
from torsor.tasks.molecules import ForcesTask, MoleculesConfig, PropertyTask, QM9Config

FRAMES = """2
energy=-1.5 gap={gap} Properties=species:S:1:pos:R:3:forces:R:3
H 0 0 0 0.1 0 0
H 0 0 {x} -0.1 0 0
1
energy=-0.5 gap={gap} Properties=species:S:1:pos:R:3:forces:R:3
He {x} 0 0 0 0 0
"""


@pytest.fixture
def own_file(tmp_path: Path) -> str:
    path = tmp_path / "own.xyz"
    path.write_text("".join(FRAMES.format(x=0.7 + 0.01 * i, gap=i) for i in range(20)))
    return str(path)


class Springs(nn.Module):
    """An invariant energy with known forces: the sum of squared distances to the centre."""

    def __init__(self, symmetry: object) -> None:
        super().__init__()
        self.symmetry = symmetry

    def forward(
        self, positions: Tensor, features: Tensor | None = None, edge_features: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        return (positions - positions.mean(1, keepdim=True)).square().sum((1, 2)).unsqueeze(1)


def test_default_is_shipped_ethanol_and_needs_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORSOR_DATA", raising=False)
    task = REGISTRY.load("molecules")().build()
    assert isinstance(task, ForcesTask)
    assert [len(samples) for _, samples in task.splits.items()] == [950, 50, 1000]
    assert str(task.signature.rep_in) == "3x0e"
    assert task.signature.points == 9
    assert task.symmetry.group == E(3) * S()
    assert task.symmetry.exactness == "exact"


def test_features_are_one_hot_elements() -> None:
    batch = MoleculesConfig(train_size=3).build().splits.train.take(slice(1))
    # hydrogen, carbon, oxygen; the atoms of ethanol are C C O H H H H H H
    assert batch["features"][0].argmax(1).tolist() == [1, 1, 2, 0, 0, 0, 0, 0, 0]
    assert batch["features"].sum(-1).unique().tolist() == [1.0]
    assert "mask" not in batch


def test_training_frames_are_a_prefix_and_validation_frames_the_end_of_the_official_ones() -> None:
    frames, _ = read_shipped()
    splits = MoleculesConfig(train_size=20, valid_size=10).build().splits
    torch.testing.assert_close(splits.train["positions"], frames.positions[:20].float())
    torch.testing.assert_close(splits.valid["positions"], frames.positions[-10:].float())


def test_force_baseline_is_the_mean_absolute_force_in_both_units() -> None:
    _, test = read_shipped()
    figures = MoleculesConfig().build().baselines()["zero force"]
    by_hand = float(test["forces"].abs().mean())
    assert figures["force_mae_kcal"] == pytest.approx(by_hand, rel=1e-5)
    assert figures["force_mae_mev"] == pytest.approx(by_hand * 43.36410, rel=1e-5)


def test_energy_baselines_of_one_molecule_are_its_mean() -> None:
    train, test = read_shipped()
    task = MoleculesConfig(target="energy").build()
    assert isinstance(task, PropertyTask)
    by_hand = float((test["energy"] - train["energy"][:950].mean()).abs().mean())
    for figures in task.baselines().values():
        assert figures["energy_mae_kcal"] == pytest.approx(by_hand, rel=1e-6)
    both = MoleculesConfig(target="energy+forces").build()
    for figures in both.baselines().values():
        assert figures["energy_mae_kcal"] == pytest.approx(by_hand, rel=1e-6)
        assert figures["force_mae_kcal"] == pytest.approx(float(test["forces"].abs().mean()), rel=1e-5)


@pytest.mark.parametrize("target", ["forces", "energy+forces"])
def test_gradient_wrapper_gives_forces_of_the_energy(target: str) -> None:
    task = MoleculesConfig(target=target, train_size=10).build()
    batch = task.splits.train.to(torch.float64).take(slice(4))
    output = task.wrap(Springs(task.signature.symmetry()))(**task.inputs(batch))
    centred = batch["positions"] - batch["positions"].mean(1, keepdim=True)
    torch.testing.assert_close(output["forces"], -2 * centred, rtol=0, atol=1e-12)
    metrics = task.metrics(output, batch)
    by_hand = (task.scale * output["forces"] - batch["forces"]).abs().mean((1, 2))
    torch.testing.assert_close(metrics["force_mae_kcal"], by_hand, rtol=1e-12, atol=0)
    assert set(metrics) == set(task.units)
    assert task.loss(output, batch).ndim == 0


def test_the_answer_itself_has_no_loss_and_no_error() -> None:
    for config in (
        MoleculesConfig(target="energy+forces"),
        MoleculesConfig(target="forces", forces="direct"),
        MoleculesConfig(target="energy"),
    ):
        task = replace(config, train_size=20).build()
        batch = task.splits.test.take(slice(8))
        if config.target == "energy":
            answer = batch["target"].unsqueeze(1) / task.scale
        elif config.forces == "direct":
            answer = batch["forces"] / task.scale
        else:
            answer = {name: batch[name] / task.scale for name in ("energy", "forces")}
        assert task.loss(answer, batch) == 0
        for values in task.metrics(answer, batch).values():
            assert values.shape == (8,)
            assert values.max() < 1e-2


def test_direct_model_returns_a_vector_at_each_atom() -> None:
    task = MoleculesConfig(forces="direct").build()
    assert str(task.signature.rep_out) == "1x1o"
    assert task.signature.pool is None
    model = nn.Identity()
    assert task.wrap(model) is model


def test_symmetry_turns_forces_with_positions_and_leaves_energies(generator: torch.Generator) -> None:
    task = MoleculesConfig(target="energy+forces", train_size=20).build()
    batch = task.splits.train.to(torch.float64).take(slice(5))
    moved = task.symmetry.transform(task.symmetry.sample(batch, generator), batch)
    assert torch.equal(moved["energy"], batch["energy"])
    # the virial with respect to the centre is an invariant of positions and forces moved together
    virial, there = (((b["positions"] - b["positions"].mean(1, keepdim=True)) * b["forces"]).sum((1, 2)) for b in (batch, moved))
    torch.testing.assert_close(virial, there, rtol=1e-9, atol=1e-9)
    assert (moved["forces"] - batch["forces"]).abs().max() > 1


def test_own_molecules_of_different_sizes_get_a_mask(own_file: str) -> None:
    task = MoleculesConfig(dataset="file", file=own_file, target="energy+forces", energy_unit="Hartree", valid_size=4).build()
    batch = task.splits.train.take(slice(None))
    assert batch["mask"].sum(1).unique().tolist() == [1, 2]
    assert len(task.splits.test) == 4
    assert task.molecules[0]["energy"].min() == pytest.approx(-1.5 * HARTREE_IN_EV / KCAL_PER_MOL_IN_EV, rel=1e-9)
    # two kinds of molecules, two elements: a sum over atoms explains every energy
    figures = task.baselines()
    assert figures["atom-count linear energy, zero force"]["energy_mae_kcal"] < 1e-3
    assert figures["mean energy, zero force"]["energy_mae_kcal"] > 100
    # padded places do not count: the mean over real atoms and axes is a third of 0.1 Hartree/angstrom for H2, zero for He
    force = task.metrics({"energy": torch.zeros(len(batch["mask"])), "forces": torch.zeros_like(batch["forces"])}, batch)["force_mae_kcal"]
    expected = 0.1 / 3 * HARTREE_IN_EV / KCAL_PER_MOL_IN_EV
    torch.testing.assert_close(force, torch.where(batch["mask"].sum(1) == 2, expected, 0.0), rtol=1e-5, atol=1e-6)


def test_own_property_is_read_by_its_key_and_keeps_its_unit(own_file: str) -> None:
    task = MoleculesConfig(dataset="file", file=own_file, target="gap").build()
    assert task.signature.pool == "mean"
    assert task.headline == "mae"
    truth = task.molecules[2]["gap"]
    by_hand = float((truth - task.molecules[0]["gap"].mean()).abs().mean())
    assert task.baselines()["mean"]["mae"] == pytest.approx(by_hand, rel=1e-6)


def test_properties_grow_with_the_molecule_or_do_not(shared_data: Path) -> None:
    task = MoleculesConfig(dataset="qm9-under14", target="U0", folder=str(shared_data), train_size=1000).build()
    assert task.signature.pool == "sum"
    assert task.units == {"mae": "meV"}
    assert any("not comparable" in note for note in task.notes)
    figures = task.baselines()
    # a sum over atoms explains most of an atomisation energy
    assert figures["atom-count linear"]["mae"] < 0.3 * figures["mean"]["mae"]
    assert task.splits.train["mask"].sum(1).max() == 14


@pytest.mark.parametrize(("dataset", "settings"), [("qm7", {}), ("qm9-11k", {}), ("md17", {})])
def test_local_sets_make_tasks_with_disjoint_splits(shared_data: Path, dataset: str, settings: dict) -> None:
    task = MoleculesConfig(dataset=dataset, target="energy", folder=str(shared_data), **settings).build()
    keys = [{tuple(row) for row in part.positions[:, :3].flatten(1).tolist()} for part in task.molecules]
    assert len(keys[0] | keys[1] | keys[2]) == sum(map(len, keys))
    assert task.units["energy_mae_kcal"] == "kcal/mol"
    assert task.notes
    figures = task.baselines()
    assert figures["atom-count linear"]["energy_mae_kcal"] <= 1.001 * figures["mean"]["energy_mae_kcal"]


def test_every_rmd17_molecule_makes_a_task(shared_data: Path) -> None:
    task = MoleculesConfig(molecule="aspirin", folder=str(shared_data), train_size=100, test_size=50).build()
    assert task.signature.points == 21
    assert len(task.splits.test) == 50


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"forces": "direct", "target": "energy"}, ConfigError, "forces = 'direct' predicts forces alone"),
        ({"target": "gap"}, UnknownNameError, "unknown target of rmd17 'gap'"),
        ({"train_size": 980}, ConfigError, "train_size 980 and valid_size 50 do not fit the 1000"),
        ({"valid_size": 0}, ConfigError, "valid_size 0"),
        ({"test_size": 1001}, ConfigError, "test_size is 1001: give 1 to 1000"),
        ({"molecule": "ethanl"}, UnknownNameError, "did you mean 'ethanol'"),
        ({"pool": "max"}, ConfigError, "pool is for properties, but target is 'forces'"),
        ({"target": "energy", "reference": "free atoms"}, ConfigError, "reference 'free atoms' is for U0, U, H, G, Cv of qm9"),
        ({"dataset": "file"}, DataError, "no file was given"),
        ({"dataset": "qm9", "target": "mu"}, DataError, "QM9 is read from a local folder"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings: dict, error: type, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORSOR_DATA", raising=False)
    with pytest.raises(error, match=message):
        MoleculesConfig(**settings).build()


def test_unknown_energy_unit_gives_the_nearest(own_file: str) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'kcal/mol'"):
        MoleculesConfig(dataset="file", file=own_file, target="energy", energy_unit="kcal").build()


@pytest.mark.parametrize("target", PROPERTIES)
def test_every_target_of_qm9_makes_a_task_in_its_published_unit(shared_data: Path, target: str) -> None:
    task = QM9Config(dataset="qm9-all-targets", target=target, folder=str(shared_data)).build()
    assert [len(part) for part in task.molecules] == [159, 19, 19]
    assert task.units == {"mae": PROPERTIES[target].unit}
    targets = task.splits.train["target"]
    assert abs(float((targets / task.scale).std()) - 1) < 0.01
    assert task.baselines()["mean"]["mae"] > 0
    assert "not comparable" in task.notes[0]


def test_homo_is_learned_from_the_molecules_that_have_it(shared_data: Path) -> None:
    task = QM9Config(dataset="qm9-under14", folder=str(shared_data)).build()
    assert sum(len(part) for part in task.molecules) == 1335
    assert task.units == {"mae": "meV"}
    assert "1,335" in task.notes[0]
    with pytest.raises(UnknownNameError, match="unknown target of qm9-under14 'mu'"):
        QM9Config(dataset="qm9-under14", target="mu", folder=str(shared_data)).build()


@pytest.mark.parametrize("target", sorted(FREE_ATOMS))
def test_free_atoms_and_the_mean_are_subtracted_before_a_property_is_learned(shared_data: Path, target: str) -> None:
    task = QM9Config(dataset="qm9-all-targets", target=target, folder=str(shared_data), reference="free atoms").build()
    train = task.molecules[0]
    atoms = sum((train.numbers == z).sum(1).double() * value for z, value in FREE_ATOMS[target].items())
    by_hand = train[target] - atoms
    torch.testing.assert_close(task.splits.train["target"].double(), by_hand - by_hand.mean(), rtol=1e-5, atol=1e-2)
    # whatever is subtracted, the figures of the baselines are the same
    assert task.baselines()["mean"]["mae"] == pytest.approx(replace(task.config, reference=None).build().baselines()["mean"]["mae"])


def test_property_may_be_learned_in_its_own_unit_and_from_nothing(own_file: str) -> None:
    task = MoleculesConfig(dataset="file", file=own_file, target="gap", reference="none", standardise=False, pool="max").build()
    torch.testing.assert_close(task.splits.train["target"].double(), task.molecules[0]["gap"], rtol=1e-6, atol=0)
    assert task.scale == 1
    assert task.signature.pool == "max"
    output = task.molecules[2]["gap"].unsqueeze(1)
    assert task.metrics(output, task.splits.test.take(slice(None)))["mae"].max() < 1e-6


def test_atoms_are_described_as_the_papers_do(shared_data: Path) -> None:
    settings = {"dataset": "qm9-all-targets", "folder": str(shared_data)}
    powers, bonds = (QM9Config(features=features, **settings).build() for features in ("charge powers", "bonds"))
    assert (str(powers.signature.rep_in), powers.signature.edge_features) == ("15x0e", 0)
    assert (str(bonds.signature.rep_in), bonds.signature.edge_features) == ("6x0e", 4)
    batch = bonds.splits.train.take(slice(5))
    pairs = bonds.inputs(batch)["edge_features"]
    # as many bonds as atoms or more for molecules with rings, one less without
    missing = batch["mask"].sum(1) - pairs.sum((1, 2, 3)) / 2
    assert missing.max() <= 1
    assert "edge_features" not in powers.inputs(batch)


def test_padding_changes_neither_loss_nor_figures_nor_scale(generator: torch.Generator) -> None:
    task = MoleculesConfig(train_size=20, valid_size=5, test_size=5, target="energy+forces").build()
    batch = {name: x.double() for name, x in task.splits.test.take(slice(None)).items() if name in ("forces", "energy")}
    output = {"forces": torch.randn(5, 9, 3, generator=generator).double(), "energy": torch.randn(5, 1, generator=generator).double()}
    output["energy"] = output["energy"].reshape(batch["energy"].shape)
    mask = torch.arange(12).expand(5, 12) < 9
    padded = [{**held, "forces": nn.functional.pad(held["forces"], (0, 0, 0, 3), value=7.0 + i)} for i, held in enumerate((output, batch))]
    assert task.loss(padded[0], padded[1] | {"mask": mask}) == pytest.approx(float(task.loss(output, batch)), rel=1e-12)
    figures = task.metrics(output, batch)
    for name, values in task.metrics(padded[0], padded[1] | {"mask": mask}).items():
        torch.testing.assert_close(values, figures[name], rtol=1e-12, atol=0)
    alone = task.scale
    train = task.molecules[0]
    values = {"energy": train["energy"], "forces": nn.functional.pad(train["forces"], (0, 0, 0, 3))}
    wide = Molecules(nn.functional.pad(train.numbers, (0, 3)), nn.functional.pad(train.positions, (0, 0, 0, 3)), values)
    again = MoleculesConfig(train_size=20, valid_size=5, test_size=5, target="energy+forces").build()
    again.molecules = (wide, *task.molecules[1:])
    assert again.scale == pytest.approx(alone, rel=1e-12)


def test_the_energy_counts_in_the_loss_with_its_weight() -> None:
    def loss(weight: float) -> float:
        task = MoleculesConfig(train_size=20, valid_size=5, test_size=5, target="energy+forces", energy_weight=weight).build()
        batch = task.splits.test.to(torch.float64).take(slice(None))
        return float(task.loss({"forces": torch.zeros_like(batch["forces"]), "energy": torch.zeros_like(batch["energy"])}, batch))

    assert loss(3.0) - loss(0.0) == pytest.approx(3 * (loss(1.0) - loss(0.0)), rel=1e-10)
    assert loss(1.0) > loss(0.0) > 0
