"""Shared by all tests: derandomised hypothesis, one thread a worker, and where to find the optional real data."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

settings.register_profile("torsor", derandomize=True, deadline=None, max_examples=30)
settings.load_profile("torsor")
torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20201)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real data sets; the test is skipped where there is none."""
    folder = Path(os.environ.get("TORSOR_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "MANIFEST.tsv").is_file():
        pytest.skip(f"no real data in {folder}: set TORSOR_DATA to a folder that holds them")
    return folder


@pytest.fixture(autouse=True)
def fresh_compiler(request: pytest.FixtureRequest) -> None:
    """Let a test that compiles begin with an empty cache: the compiler gives up on code that other tests have made it compile too often."""
    if request.node.get_closest_marker("compile"):
        torch.compiler.reset()
