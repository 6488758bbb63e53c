import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from torsor.data import arrays as described
from torsor.errors import ConfigError, DataError, TorsorError
from torsor.representations import Irreps
from torsor.tasks import REGISTRY
from torsor.tasks.arrays import ArraysConfig, ArraysTask

SAMPLES, POINTS = 60, 4


def columns() -> dict[str, np.ndarray]:
    """Arrays that go with the example of the documentation; torque = spin x field, plus nothing else."""
    rng = np.random.default_rng(11)
    spin, field = rng.normal(size=(SAMPLES, POINTS, 3)), rng.normal(size=(SAMPLES, 3))
    return {
        "site": rng.normal(size=(SAMPLES, POINTS, 3)),
        "spin": spin,
        "species": rng.integers(0, 2, size=(SAMPLES, POINTS)),
        "quadrupole": rng.normal(size=(SAMPLES, POINTS, 5)),
        "field": field,
        "coupling": rng.normal(size=(SAMPLES, POINTS, POINTS, 2)),
        "torque": np.cross(spin, field[:, None]),
        "present": np.arange(POINTS) < rng.integers(2, POINTS + 1, size=(SAMPLES, 1)),
        "fold": np.array(["train"] * 40 + ["valid"] * 10 + ["test"] * 10),
    }


def example() -> str:
    """The TOML of the module's documentation, with sizes that fit the arrays here."""
    text = re.search(r"```toml\n(.*?)```", described.__doc__ or "", flags=re.DOTALL)
    assert text is not None
    return text[1].replace("= 100", "= 10")


SMALL = """data = "spins.npz"
target = "torque"
columns.site.acts = "point"
columns.spin.acts = "vector"
columns.torque.acts = "1x1e"
"""


def build(folder: Path, toml: str = SMALL, change: dict | None = None, train_size: int | None = None) -> ArraysTask:
    held = {name: array for name, array in (columns() | (change or {})).items() if array is not None}
    np.savez(folder / "spins.npz", **held)
    (folder / "spins.toml").write_text(toml)
    return ArraysConfig(file=str(folder / "spins.toml"), train_size=train_size).build()


def test_example_of_the_documentation_makes_a_task(tmp_path: Path) -> None:
    task = build(tmp_path, example())
    assert REGISTRY.load("arrays") is ArraysConfig
    assert [len(samples) for _, samples in task.splits.items()] == [40, 10, 10]
    assert task.signature.rep_in == Irreps("1x1o + 1x0e + 1x2e + 1x1o")
    assert str(task.signature.rep_out) == "1x1e"
    batch = task.splits.train.take(slice(3))
    assert batch["features"].shape == (3, POINTS, 3 + 1 + 5 + 3)
    assert batch["edge_features"].shape == (3, POINTS, POINTS, 2)
    assert batch["mask"].shape == (3, POINTS)
    assert set(task.symmetry.inputs) == set(batch) - {"mask"}
    assert task.units == {"mse": "(meV)^2", "mae": "meV"}
    assert task.symmetry.exactness == "approximate"


def test_sample_columns_are_given_to_every_point(tmp_path: Path) -> None:
    task = build(tmp_path, example())
    batch = task.splits.test.take(slice(None))
    field = batch["features"][..., -3:]
    assert torch.equal(field, field[:, :1].expand_as(field))
    spin = batch["features"][..., :3]
    torch.testing.assert_close(torch.linalg.cross(spin, field), batch["target"], rtol=1e-5, atol=1e-5)


def test_contract_of_the_file_is_kept_by_data_that_have_it(tmp_path: Path, generator: torch.Generator) -> None:
    # torque = spin x field is a pseudovector: moving inputs and target together keeps the law, reflections and all
    task = build(tmp_path, example())
    batch = task.splits.train.to(torch.float64).take(slice(8))
    moved = task.symmetry.transform(task.symmetry.sample(batch, generator), batch)
    law = torch.linalg.cross(moved["features"][..., :3], moved["features"][..., -3:])
    torch.testing.assert_close(law[moved["mask"]], moved["target"][moved["mask"]], rtol=0, atol=1e-6)
    assert (moved["positions"] - batch["positions"]).abs().max() > 0.1


def test_normalisation_undoes_itself_and_shifts_invariants_only(tmp_path: Path) -> None:
    toml = SMALL.replace('columns.torque.acts = "1x1e"', 'columns.torque.acts = "1x0e + 1x0o + 2x1o"')
    target = np.random.default_rng(5).normal(size=(SAMPLES, POINTS, 8)) * np.array([3, 1, 2, 2, 2, 9, 9, 9]) + 7
    task = build(tmp_path, toml, {"torque": target})
    train = task.splits.train["target"].double().flatten(0, 1)
    assert task.shift[0] == pytest.approx(float(train[:, 0].mean()), rel=1e-6)
    assert task.shift[1:].tolist() == [0.0] * 7
    assert len(task.scale[2:5].unique()) == 1
    assert len(task.scale[5:].unique()) == 1
    assert task.scale[5] > 1.2 * task.scale[2]
    powers = ((train - task.shift) / task.scale).square().mean(0)
    for part in (slice(0, 1), slice(1, 2), slice(2, 5), slice(5, 8)):
        assert float(powers[part].mean()) == pytest.approx(1, rel=1e-6)
    batch = task.splits.test.to(torch.float64).take(slice(None))
    answer = (batch["target"] - task.shift) / task.scale
    assert task.loss(answer, batch) < 1e-20
    assert task.metrics(answer, batch)["mae"].max() < 1e-10


def test_masked_points_do_not_count(tmp_path: Path) -> None:
    task = build(tmp_path, SMALL + 'mask = "present"\n')
    batch = task.splits.test.to(torch.float64).take(slice(None))
    wrong = torch.where(batch["mask"].unsqueeze(-1), (batch["target"] - task.shift) / task.scale, 1e6)
    assert task.loss(wrong, batch) < 1e-20
    assert task.metrics(wrong, batch)["mse"].max() < 1e-20


def test_pooled_target_has_one_row_a_sample(tmp_path: Path) -> None:
    toml = 'pool = "sum"\n' + SMALL.replace('acts = "1x1e"', 'acts = "scalar"\ncolumns.torque.each = "sample"')
    task = build(tmp_path, toml, {"torque": columns()["spin"][..., 0].sum(1)})
    assert task.signature.pool == "sum"
    batch = task.splits.train.take(slice(6))
    assert batch["target"].shape == (6, 1)
    assert task.metrics(torch.zeros(6, 1), batch)["mse"].shape == (6,)
    # the sum of a component over points is linear in the mean of the features
    assert task.baselines()["least-squares linear"]["mse"] < 1e-8
    assert task.baselines()["mean"]["mse"] > 1


def test_linear_baseline_finds_a_linear_law_of_points(tmp_path: Path) -> None:
    data = columns()
    centred = data["site"] - data["site"].mean(1, keepdims=True)
    task = build(tmp_path, SMALL, {"torque": 2 * data["spin"] - 3 * centred})
    assert task.baselines()["least-squares linear"]["mse"] < 1e-8
    mean = task.splits.train["target"].double().flatten(0, 1).mean(0)
    by_hand = float((task.splits.test["target"].double() - mean).square().mean())
    assert task.baselines()["mean"]["mse"] == pytest.approx(by_hand, rel=1e-9)


def test_random_split_is_a_partition_and_training_sets_are_prefixes(tmp_path: Path) -> None:
    whole, small = build(tmp_path), build(tmp_path, train_size=7)
    assert torch.cat(whole.indices).sort().values.tolist() == list(range(SAMPLES))
    assert torch.equal(small.indices[0], whole.indices[0][:7])
    assert torch.equal(small.indices[2], whole.indices[2])
    other = build(tmp_path, SMALL + "splits.seed = 1\n")
    assert not torch.equal(other.indices[2], whole.indices[2])


def test_split_column_says_what_each_sample_is_for(tmp_path: Path) -> None:
    task = build(tmp_path, SMALL + 'splits.column = "fold"\n')
    assert [indices.tolist() for indices in task.indices] == [list(range(40)), list(range(40, 50)), list(range(50, 60))]


def test_parquet_gives_the_same_samples_as_npz(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    task = build(tmp_path, example())
    parquet.write_table(pyarrow.table({name: array.tolist() for name, array in columns().items()}), tmp_path / "spins.parquet")
    (tmp_path / "again.toml").write_text(example().replace("spins.npz", "spins.parquet"))
    again = ArraysConfig(file=str(tmp_path / "again.toml")).build()
    for name in task.splits.train:
        assert torch.equal(task.splits.train[name], again.splits.train[name])
    table = pyarrow.table({"site": [[[0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]], "spin": [None, None], "torque": [1, 2]})
    parquet.write_table(table, tmp_path / "spins.parquet")
    (tmp_path / "again.toml").write_text(SMALL.replace("spins.npz", "spins.parquet"))
    with pytest.raises(DataError, match=r"'site' of spins\.parquet has rows of different lengths"):
        ArraysConfig(file=str(tmp_path / "again.toml")).build()
    (tmp_path / "spins.parquet").write_bytes(b"damaged")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        ArraysConfig(file=str(tmp_path / "again.toml")).build()


def nan() -> np.ndarray:
    spin = columns()["spin"]
    spin[3, 1, 2] = np.nan
    spin[5, 0, 0] = np.inf
    return spin


def empty() -> dict[str, np.ndarray]:
    return {"site": np.zeros((0, 4, 3)), "spin": np.zeros((0, 4, 3)), "torque": np.zeros((0, 4, 3))}


@pytest.mark.parametrize(
    ("toml", "change", "message"),
    [
        (SMALL, {"spin": None}, "unknown column of spins.npz 'spin': .*known: coupling, field"),
        (SMALL, {"spinn": columns()["spin"], "spin": None}, "did you mean 'spinn'"),
        (SMALL, {"spin": np.zeros((60, 4, 2))}, r"spin is \[60, 4, 2\] but acts as 'vector' on each point: give \[60, 4, 3\]"),
        (SMALL, {"torque": np.zeros((60, 5, 3))}, r"torque is \[60, 5, 3\] but acts as '1x1e' on each point: give \[60, 4, 3\]"),
        (SMALL, {"site": np.zeros((60, 4, 2))}, r"site is \[60, 4, 2\] but acts as 'point': give \[s, n, 3\]"),
        (SMALL, {"spin": nan()}, r"'spin' of spins.npz has 2 values that are not finite, the first at \[3, 1, 2\]"),
        (SMALL, {"spin": np.array([["a"]])}, "'spin' of spins.npz holds str32, not numbers"),
        (SMALL, empty(), "there is no sample or no point"),
        (SMALL.replace('target = "torque"', 'target = "torq"'), {}, "unknown target column 'torq': did you mean 'torque'"),
        (SMALL.replace('spin.acts = "vector"', 'spin.acts = "point"'), {}, "the columns site and spin acts as 'point': exactly one has to"),
        (SMALL.replace('site.acts = "point"', 'site.acts = "vector"'), {}, "no column acts as 'point'"),
        (SMALL.replace('target = "torque"', 'target = "site"'), {}, "predict a displacement"),
        (SMALL.replace('acts = "1x1e"', 'acts = "spinor"'), {}, "torque acts as 'spinor': give 'point', 'vector', 'scalar' or irreps"),
        (SMALL + 'columns.spin.eech = "point"\n', {}, "did you mean 'each'"),
        (SMALL + 'poool = "sum"\n', {}, "did you mean 'pool'"),
        (SMALL + 'group = "SE(2)"\n', {}, "unknown group of points in space 'SE.2.'"),
        (SMALL + 'columns.spin.each = "pair"\n', {}, "only a 'scalar' may be"),
        (SMALL + 'mask = "species"\n', {}, r"the mask species is int64 \[60, 4\]: give true and false, \[60, 4\]"),
        (SMALL + 'mask = "present"\n', {"present": np.zeros((60, 4), dtype=bool)}, "leaves sample 0 without a point"),
        (SMALL + 'splits.column = "fold"\n', {"fold": np.array(["train"] * 60)}, "the split column fold has no 'valid'"),
        (SMALL + "splits.test = 60\n", {}, "60 samples cannot be split into 6 for validation, 60 for testing"),
        (SMALL.replace("spins.npz", "spins.csv"), {}, "is neither .npz nor .parquet"),
        (SMALL.replace("spins.npz", "none.npz"), {}, "no file"),
        ("data = [", {}, "not readable as TOML"),
        ("", {}, "lacks 'data'"),
    ],
)
def test_every_mistake_gets_one_clear_line(tmp_path: Path, toml: str, change: dict, message: str) -> None:
    # keys added at the end of the text belong to the top of the file: dotted keys open no table
    with pytest.raises(TorsorError, match=message) as caught:
        build(tmp_path, toml, change)
    assert "\n" not in str(caught.value)


def test_missing_description_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'set file = "my_data\.toml"'):
        ArraysConfig().build()
    with pytest.raises(ConfigError, match="there is no file"):
        ArraysConfig(file=str(tmp_path / "none.toml")).build()
    with pytest.raises(ConfigError, match="train_size is 49: give 1 to 48"):
        build(tmp_path, train_size=49)


def test_example_is_toml() -> None:
    assert set(tomllib.loads(example())) == {"data", "target", "group", "pool", "mask", "columns", "splits"}
