"""Several processes give the numbers of one."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.toy import SETTINGS, ToyConfig, ToyModelConfig
from torsor.io import load_tensors, read_lines
from torsor.training import train
from torsor.training.runs import RunDirectory
from torsor.training.workers import Workers

ROOT = Path(__file__).parents[2]
EXACT = ("dropout=0.0", "normalise=false", 'precision="float64"')
LAUNCHERS = {
    "torchrun": ("torch.distributed.run", "--nproc-per-node", "2"),
    "accelerate": ("accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"),
}


def free_port() -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("batch_size", [8, 7])
def test_two_processes_give_the_numbers_of_one(tmp_path: Path, launcher: str, batch_size: int) -> None:
    flag = "--master-port" if launcher == "torchrun" else "--main_process_port"
    module, *options = LAUNCHERS[launcher]
    target = ["-m", "tests.training.run_toy", str(tmp_path / "two"), *EXACT, f"batch_size={batch_size}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_CONFIG_FILE": ""}
    command = [sys.executable, "-m", module, *options, flag, free_port(), *target]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    config = replace(SETTINGS, batch_size=batch_size, precision="float64")
    train(ToyConfig().build(), ToyModelConfig(dropout=0.0, normalise=False), config, tmp_path / "one", augment=True, quiet=True)
    one, two = (load_tensors(RunDirectory(tmp_path / name).checkpoints()[-1])[0] for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-10, atol=1e-12)
    losses = [[record["loss"] for record in read_lines(tmp_path / name / "metrics.jsonl") if "loss" in record] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)
    assert len(losses[0]) == 21


def test_parts_make_up_the_batch_and_their_weights_its_mean() -> None:
    batch = {"x": torch.randn(7, 2, dtype=torch.float64), "y": torch.arange(7)}
    parts = []
    for rank in range(3):
        workers = Workers(SETTINGS)
        workers.rank, workers.count = rank, 3
        parts.append(workers.part(batch))
    assert torch.cat([part["y"] for part, _ in parts]).tolist() == list(range(7))
    mean = sum(weight * part["x"].mean() for part, weight in parts) / 3
    torch.testing.assert_close(mean, batch["x"].mean(), rtol=1e-14, atol=0)
