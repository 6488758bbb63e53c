from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.toy import SETTINGS, ToyConfig, ToyModelConfig, ToyTask
from torsor.errors import CheckpointError, ConfigError, NonFiniteError
from torsor.io import load_tensors, locked, read_json, read_lines
from torsor.training import RunResult, TrainConfig, evaluate, load_run, train
from torsor.training.evaluation import Numerics
from torsor.training.loop import Loop
from torsor.training.order import batch_indices
from torsor.training.runs import RunConfig, RunDirectory, build_network
from torsor.training.workers import Workers

CPU = Numerics(torch.device("cpu"), "float32")


def run(directory: Path, **settings: Any) -> RunResult:
    """A quiet run of the toy."""
    model = ToyModelConfig(**{key: settings.pop(key) for key in ("dropout", "normalise", "explode", "width") if key in settings})
    task = ToyConfig(**{key: settings.pop(key) for key in ("bad_sample", "huge_validation", "train_size") if key in settings}).build()
    options = {key: settings.pop(key) for key in ("resume", "augment") if key in settings}
    return train(task, model, replace(SETTINGS, **settings), directory, quiet=True, **options)


def records(directory: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in read_lines(directory / "metrics.jsonl")]


def state(directory: Path) -> dict[str, Tensor]:
    return load_tensors(RunDirectory(directory).checkpoints()[-1])[0]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_learns_and_beats_the_trivial_baseline(tmp_path: Path) -> None:
    result = run(tmp_path / "run", steps=400, learning_rate=0.03, dropout=0.0, train_size=400, batch_size=32, width=32)
    zero = ToyConfig(train_size=400).build().baselines()["zero"]["squared_error"]
    assert result.test["squared_error"] < 0.1 * zero


def test_the_first_steps_are_those_of_plain_torch(tmp_path: Path) -> None:
    config = replace(SETTINGS, steps=5, ema=None, schedule="constant", warmup_fraction=0.0, clip=0.7, log_every=1, precision="float64")
    task, model = ToyConfig().build(), ToyModelConfig(dropout=0.0, normalise=False)
    train(task, model, config, tmp_path / "run", quiet=True)
    network = build_network(task, RunConfig(task.config, model, config))
    matrices = [p for p in network.parameters() if p.ndim >= 2]
    vectors = [p for p in network.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    losses = []
    for step in range(5):
        batch = task.splits.train.take(batch_indices(0, step, 8, 50))
        loss = (network(batch["positions"]) - batch["target"]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.7)
        optimizer.step()
        losses.append(loss.item())
    assert [record["loss"] for record in records(tmp_path / "run") if "loss" in record] == losses
    assert all(torch.equal(state(tmp_path / "run")[f"network/{name}"], tensor) for name, tensor in network.state_dict().items())


def test_the_same_settings_give_the_same_bits_and_another_seed_does_not(tmp_path: Path) -> None:
    torch.manual_seed(1)
    run(tmp_path / "a")
    torch.manual_seed(2)
    run(tmp_path / "b")
    run(tmp_path / "c", seed=1)
    assert records(tmp_path / "a") == records(tmp_path / "b")
    assert same(state(tmp_path / "a"), state(tmp_path / "b"))
    assert records(tmp_path / "a") != records(tmp_path / "c")


def test_a_run_leaves_the_global_random_numbers_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(tmp_path / "run", steps=3)
    assert torch.equal(torch.rand(3), expected)


def test_augmentation_changes_the_run_and_is_reproducible(tmp_path: Path) -> None:
    plain, moved, again = (run(tmp_path / name, augment=name != "plain") for name in ("plain", "moved", "again"))
    assert plain.test != moved.test
    assert moved.test == again.test


def test_a_task_prepares_every_training_batch_and_no_other(tmp_path: Path) -> None:
    class Prepared(ToyTask):
        def prepare(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
            seen.append((len(batch["target"]), float(torch.rand((), generator=generator))))
            return {**batch, "target": batch["target"] + 100.0}

    seen: list[tuple[int, float]] = []
    results = [train(Prepared(ToyConfig()), ToyModelConfig(), replace(SETTINGS, steps=5), tmp_path / name, quiet=True) for name in "ab"]
    plain = train(ToyTask(ToyConfig()), ToyModelConfig(), replace(SETTINGS, steps=5), tmp_path / "c", quiet=True)
    assert results[0].test == results[1].test != plain.test
    assert len(seen) >= 10
    half = len(seen) // 2
    assert seen[:half] == seen[half:]
    assert {size for size, _ in seen} == {SETTINGS.batch_size}
    # validation and test targets stay where they were: an error of 100 everywhere would be 10,000
    assert results[0].test["squared_error"] < 5000


def single(tmp_path: Path) -> Loop:
    """A loop over one training sample, which every batch holds."""
    task, settings = ToyConfig(train_size=1).build(), replace(SETTINGS, batch_size=1)
    config = RunConfig(task.config, ToyModelConfig(normalise=False), settings, augment=True)
    return Loop(task, config, RunDirectory(tmp_path), Workers(settings))


def test_a_sample_is_moved_otherwise_each_time_it_is_seen(tmp_path: Path) -> None:
    loop = single(tmp_path)
    first, again, second = (loop.global_batch(step)["positions"] for step in (0, 0, 1))
    assert torch.equal(first, again)
    assert (first - second).abs().max() > 0.1
    assert (first @ first.mT - second @ second.mT).abs().max() < 1e-12


def test_layers_draw_afresh_in_every_step_and_alike_in_the_same(tmp_path: Path) -> None:
    loop, drawn = single(tmp_path), []
    with torch.random.fork_rng():
        for loop.step in (0, 1, 0):
            loop.seed_layers()
            drawn.append((torch.rand(3).tolist(), loop.noise_seed()))
    assert drawn[0] == drawn[2]
    assert drawn[0][0] != drawn[1][0]
    assert drawn[0][1] != drawn[1][1]


def test_a_copied_state_dict_holds_the_live_weights_and_restores_nothing() -> None:
    """Early stopping by `state_dict().copy()`, as in published code: the mapping is copied and the tensors are not."""
    network = torch.nn.Linear(1, 1, bias=False)
    kept, copied = network.state_dict().copy(), {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        network.weight.add_(1.0)  # as an optimiser does
    trained = network.weight.detach().clone()
    network.load_state_dict(kept)
    assert torch.equal(network.weight, trained)
    network.load_state_dict(copied)
    torch.testing.assert_close(network.weight, trained - 1.0)


def test_the_test_split_sees_the_weights_that_were_best_or_the_last_as_asked(tmp_path: Path) -> None:
    wild = {"learning_rate": 3.0, "schedule": "constant", "ema": None}  # so that the best is not the last
    best, last = (run(tmp_path / which, **wild, test_on=which) for which in ("best", "last"))
    assert best.best_step < last.best_step == SETTINGS.steps
    assert best.test != last.test
    assert best.valid["squared_error"] < last.valid["squared_error"]
    found = min((record["valid"]["squared_error"], record["step"]) for record in records(tmp_path / "best") if "valid" in record)
    assert found == (best.valid["squared_error"], best.best_step)


def test_a_result_counts_what_was_trained(tmp_path: Path) -> None:
    result = run(tmp_path / "run", steps=4)
    assert (result.steps, result.samples) == (4, 4 * SETTINGS.batch_size)
    assert result.flops == 4 * result.flops_per_step > 0
    assert result.seconds == pytest.approx(4 * result.seconds_per_step)


def test_a_directory_with_a_run_is_never_overwritten(tmp_path: Path) -> None:
    run(tmp_path / "run", steps=4)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match="holds a run already: give resume=True"):
        run(tmp_path / "run", steps=4)
    with pytest.raises(CheckpointError, match=r"was started with train.steps = 4, not 5: give another directory"):
        run(tmp_path / "run", steps=5, resume=True)
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_resuming_a_finished_run_gives_its_result_and_trains_nothing(tmp_path: Path) -> None:
    result = run(tmp_path / "run", steps=4)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert run(tmp_path / "run", steps=4, resume=True) == result
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_two_processes_do_not_train_in_one_directory(tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(CheckpointError, match=r"run is in use by process \d+ on "):
        run(tmp_path / "run", steps=4)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    result = run(tmp_path / "run", steps=4)
    with locked(tmp_path / "run"):  # a finished run is only read
        assert run(tmp_path / "run", steps=4, resume=True) == result


def test_a_run_directory_holds_what_one_needs_to_run_it_again(tmp_path: Path) -> None:
    result = run(tmp_path / "run")
    content = read_json(tmp_path / "run" / "run.json")
    assert content["task"] == {
        "name": "tests.training.toy:ToyConfig",
        "train_size": 50,
        "points": 4,
        "bad_sample": -1,
        "huge_validation": False,
    }
    assert content["train"]["learning_rate"] == 1e-3
    assert content["provenance"]["torch"] == torch.__version__
    assert [path.name for path in RunDirectory(tmp_path / "run").checkpoints()] == [
        "step-000000056.safetensors",
        "step-000000060.safetensors",
    ]
    assert RunResult.read(tmp_path / "run") == result
    assert not list((tmp_path / "run").rglob("*.tmp"))
    assert [record["step"] for record in records(tmp_path / "run") if "valid" in record] == [10, 20, 30, 40, 50, 60]


def test_test_metrics_are_kept_for_every_sample_and_their_mean_is_the_figure(tmp_path: Path) -> None:
    result = run(tmp_path / "run")
    assert {name: values.shape for name, values in result.per_sample.items()} == {"squared_error": (30,), "absolute_error": (30,)}
    assert {name: float(values.mean()) for name, values in result.per_sample.items()} == result.test


def test_a_loaded_run_gives_the_test_figures_bit_by_bit(tmp_path: Path) -> None:
    result = run(tmp_path / "run", learning_rate=0.3)  # so large that the last weights are not the best
    task, model, config = load_run(tmp_path / "run")
    assert config.train == replace(SETTINGS, learning_rate=0.3)
    assert not model.training
    assert evaluate(model, task, task.splits.test, CPU).means == result.test
    valid = [(record["valid"]["squared_error"], record["step"]) for record in records(tmp_path / "run") if "valid" in record]
    assert min(valid) == (result.valid["squared_error"], result.best_step)
    last = load_run(tmp_path / "run", "last")
    assert evaluate(last.model, task, task.splits.valid, CPU).means["squared_error"] == valid[-1][0]


def test_the_last_weights_are_tested_when_asked_for(tmp_path: Path) -> None:
    result = run(tmp_path / "run", learning_rate=0.3, test_on="last")
    assert result.best_step == 60
    last = load_run(tmp_path / "run", "last")
    assert evaluate(last.model, last.task, last.task.splits.test, CPU).means == result.test


def test_metrics_do_not_depend_on_the_evaluation_batch(tmp_path: Path) -> None:
    run(tmp_path / "run", precision="float64")
    task, model, _ = load_run(tmp_path / "run")
    numerics = Numerics(torch.device("cpu"), "float64")
    whole, parts = (evaluate(model, task, task.splits.test, numerics, size) for size in (100, 7))
    for name, values in whole.per_sample.items():
        torch.testing.assert_close(values, parts.per_sample[name], rtol=1e-12, atol=0)


def test_a_step_stops_at_data_that_are_not_finite_and_names_them(tmp_path: Path) -> None:
    bad = 13
    step = next(step for step in range(60) if bad in batch_indices(0, step, 8, 50).tolist())
    with pytest.raises(NonFiniteError, match=rf"^step {step + 1}: 'target' of the batch is not finite; "):
        run(tmp_path / "run", bad_sample=bad)
    assert all(record["step"] <= step for record in records(tmp_path / "run"))


def test_the_last_good_checkpoint_survives_and_is_named(tmp_path: Path) -> None:
    steps = {bad: min(step for step in range(60) if bad in batch_indices(0, step, 8, 50).tolist()) for bad in range(50)}
    bad = max(steps, key=lambda sample: steps[sample])
    with pytest.raises(NonFiniteError, match=r"the last good checkpoint is .*step-00000000\d.safetensors: lower learning_rate") as caught:
        run(tmp_path / "run", bad_sample=bad, checkpoint_every=2)
    saved = state(tmp_path / "run")
    assert all(torch.isfinite(tensor).all() for tensor in saved.values() if tensor.is_floating_point())
    assert RunDirectory(tmp_path / "run").checkpoints()[-1].name in str(caught.value)
    assert load_tensors(RunDirectory(tmp_path / "run").checkpoints()[-1])[1]["step"] == steps[bad] // 2 * 2


def test_the_first_layer_that_explodes_is_named(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match=r"^step 1: the output of 'activation' is not finite; there was no checkpoint yet"):
        run(tmp_path / "run", explode=True)


def test_a_validation_metric_that_overflows_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="step 10: valid metric 'squared_error' of sample 0 is inf"):
        run(tmp_path / "run", huge_validation=True)


def test_a_damaged_checkpoint_makes_way_for_the_one_before_it(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    run(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    newest = RunDirectory(tmp_path / "run").checkpoints()[-1]
    newest.write_bytes(newest.read_bytes()[:-5])
    with pytest.warns(UserWarning, match="is damaged.*going on from the one before it"):
        resumed = run(tmp_path / "run", resume=True)
    assert resumed.test == whole.test
    assert records(tmp_path / "run") == records(tmp_path / "whole")
    for path in RunDirectory(tmp_path / "run").checkpoints():
        path.write_bytes(b"")
    (tmp_path / "run" / "result.json").unlink()
    with pytest.warns(UserWarning, match="going on"), pytest.raises(CheckpointError, match="is damaged"):
        run(tmp_path / "run", resume=True)


def test_float64_and_bfloat16_train(tmp_path: Path) -> None:
    exact = run(tmp_path / "float64", precision="float64", dropout=0.0)
    rough = run(tmp_path / "bf16", precision="bf16", dropout=0.0)
    assert state(tmp_path / "float64")["network/hidden.weight"].dtype == torch.float64
    assert state(tmp_path / "bf16")["network/hidden.weight"].dtype == torch.float32
    difference = abs(exact.test["squared_error"] - rough.test["squared_error"])
    assert 0 < difference < 0.05 * exact.test["squared_error"]


def test_more_processes_than_samples_or_no_gpu_is_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="device is 'cuda' and this machine has none"):
        train(ToyConfig().build(), ToyModelConfig(), TrainConfig(device="cuda"), tmp_path / "run", quiet=True)


def test_the_bar_shows_loss_and_throughput(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(ToyConfig().build(), ToyModelConfig(), replace(SETTINGS, steps=5), tmp_path / "run")
    shown = capsys.readouterr().out
    assert "toy, 149 parameters" in shown
    assert "loss " in shown
    assert "samples/s" in shown


def test_tensorboard_gets_the_curves(tmp_path: Path) -> None:
    run(tmp_path / "run", tracker="tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("valid/squared_error")] == [10, 20, 30, 40, 50, 60]
    losses = [record["loss"] for record in records(tmp_path / "run") if "loss" in record]
    assert [event.value for event in events.Scalars("loss")] == pytest.approx(losses, rel=1e-6)


@pytest.mark.compile
def test_a_compiled_run_gives_the_numbers_of_a_plain_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run(tmp_path / "plain", steps=5, dropout=0.0)
    original = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: original(self, backend="aot_eager"))
    compiled = run(tmp_path / "compiled", steps=5, dropout=0.0, compile=True)
    assert compiled.test["squared_error"] == pytest.approx(plain.test["squared_error"], rel=1e-5)
