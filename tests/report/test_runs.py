import pytest

from tests.report.test_studies import parsed
from tests.study.toy import ToyConfig
from torsor.errors import CheckpointError
from torsor.models.egnn import EGNNConfig
from torsor.report import write_report
from torsor.training import TrainConfig, train


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for name, seed in (("first", 0), ("second", 1)):
        task = ToyConfig().build()
        train(task, EGNNConfig(hidden=4, layers=1), TrainConfig(steps=6, batch_size=4, seed=seed), root / name, quiet=True)
    return root


def test_page_of_a_run_shows_figures_baselines_curves_and_equivariance(runs):
    path = write_report(runs / "first")
    page = parsed(path)
    assert page.open == []
    assert page.requests == []
    assert page.seen.count("svg") == 2
    source = path.read_text()
    for said in ("mse", "zero", "Equivariance of the trained network", "learning_rate", "torch"):
        assert said in source


def test_several_runs_share_a_page(runs):
    path = write_report([runs / "first", runs / "second"])
    assert path == runs / "first" / "report.html"
    assert "2 training runs" in path.read_text()
    assert "Run second" in path.read_text()


def test_unfinished_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no result"):
        write_report(tmp_path)
