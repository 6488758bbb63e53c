import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torsor import __version__
from torsor.cli import VERBS, main
from torsor.cli.flags import one_line
from torsor.errors import GroupError
from torsor.groups import parse
from torsor.groups.numerics import normal
from torsor.io import read_json
from torsor.representations import Irreps, Permuted, Trivial, Vectors
from torsor.signatures import PointClouds
from torsor.study import shipped_studies
from torsor.training import RunResult, TrainConfig

SMALL = (
    "--task.variant",
    "gravity",
    "--task.train-size",
    "40",
    "--task.valid-size",
    "20",
    "--task.test-size",
    "20",
    "--train.steps",
    "8",
    "--train.batch-size",
    "8",
    "--quiet",
)


class Lopsided(nn.Module):
    """A module of the user's own that claims SE(3) and has a favourite direction."""

    def __init__(self) -> None:
        super().__init__()
        self.signature = PointClouds(Irreps(""), Irreps("1x1o"), points=4)
        self.symmetry = self.signature.symmetry()

    def forward(self, positions: Tensor) -> Tensor:
        return positions - positions.mean(1, keepdim=True) + torch.tensor([0.0, 0.0, 1e-6], dtype=positions.dtype)


class Roughly(nn.Module):
    """Nearly blind to turns, and says so."""

    def __init__(self) -> None:
        super().__init__()
        self.signature = PointClouds(Irreps(""), Irreps("1x1o"), points=4)
        self.symmetry = self.signature.symmetry(exactness="approximate")

    def forward(self, positions: Tensor) -> Tensor:
        return (positions - positions.mean(1, keepdim=True)) * torch.tensor([1.0, 1.0, 1.01], dtype=positions.dtype)


class Shaken(nn.Module):
    """Points from their centroid, shaken by noise that turns with them, or is said not to."""

    def __init__(self, drift: float = 0.0, turns: bool = True) -> None:
        super().__init__()
        self.drift, self.signature = drift, PointClouds(Irreps(""), Irreps("1x1o"), points=4)
        contract = self.signature.symmetry()
        inputs = {**contract.inputs, "shake": (Vectors() if turns else Trivial(), Permuted(1))}
        self.symmetry = replace(contract, inputs=inputs, exactness="coupled" if turns else "in distribution")

    def draw(self, inputs: dict[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        return {"shake": self.drift + normal(inputs["positions"].shape, generator).to(inputs["positions"])}

    def forward(self, positions: Tensor, shake: Tensor) -> Tensor:
        return positions - positions.mean(1, keepdim=True) + shake


def drifting() -> nn.Module:
    return Shaken(drift=5.0)


def unturned() -> nn.Module:
    return Shaken(turns=False)


def needs_arguments(size: int) -> nn.Module:
    return nn.Linear(size, size)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of an error, with its status checked."""
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("torsor: ")
    assert said.count("\n") == 1
    return said.strip()


def test_help_names_every_verb_and_imports_nothing_heavy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb.name} " in shown for verb in VERBS.values())
    code = "import sys, torsor.cli as cli; cli.main(['--help']); print([m for m in ('torch', 'tyro', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"train": ["nbody", "egnn"], "study": ["nbody"]}.get(verb, [])
    with pytest.raises(SystemExit) as stop:
        main([verb, *names, "--help"])
    assert not stop.value.code
    assert f"usage: torsor {verb}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_list_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    everything = capsys.readouterr().out
    assert all(name in everything for name in ("se3-transformer", "egnn", "nbody", "molecules", "SE(n)", "SL2", "molecules/rmd17-ethanol"))
    assert main(["list", "tasks"]) == 0
    tasks = capsys.readouterr().out
    assert "nbody" in tasks
    assert "egnn" not in tasks
    assert main(["list", "studies"]) == 0
    studies = capsys.readouterr().out
    assert all(name in studies for name in shipped_studies())
    assert "task tilted" in studies


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trian",), "unknown verb 'trian': did you mean 'train'?"),
        (("list", "modles"), "invalid choice 'modles'"),
        (("train",), "give TASK MODEL"),
        (("train", "nbdy", "egnn"), "unknown task 'nbdy': did you mean 'nbody'?"),
        (("train", "nbody", "egn"), "unknown model 'egn': did you mean 'egnn'?"),
        (("train", "nbody", "egnn", "--model.hiden", "3"), "did you mean --model.hidden"),
        (("train", "nbody", "egnn", "--train.steps", "x"), "Error parsing --train.steps"),
        (("train", "nbody", "egnn", "--train.steps", "0"), "steps is 0: give 1 or more"),
        (("train", "nbody", "egnn", "--task.train-size", "-1", "--quiet"), "train_size is -1: give 1 or more"),
        (("train", "none.toml"), "there is no file none.toml"),
        (("train", "--resume", "nowhere"), "nowhere holds no run"),
        (("evaluate", "nowhere"), "nowhere holds no run"),
        (("reproduce", "se3-transformer/nbdy"), "did you mean 'se3-transformer/nbody'?"),
        (("check",), "give one thing to check"),
        (("check", "egnn", "--group", "SE(3"), "cannot read the group"),
        (("check", "egnn", "--group", "D(4)"), "D(4) acts on R^2 but the contract is about E(3)"),
        (("check", "--module", "no_such_package:X"), "cannot import 'no_such_package:X'"),
        (("check", "--module", f"{__name__}:needs_arguments"), "cannot be made without arguments"),
        (("check", "--module", "math:pi"), "cannot be made without arguments"),
        (("report", "nowhere"), "nowhere"),
        (("study",), "give a task"),
        (("study", "none.toml"), "there is no file none.toml"),
        (("study", "nbody", "--task.train-size", "3"), "give --sizes instead"),
        (("study", "geometry-toys", "--task.train-size", "3"), "give --sizes instead"),
        (("bench", "none"), "there is no benchmark 'none': give "),
    ],
)
def test_an_error_is_one_line_and_status_2(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = failed(capsys, *arguments)
    assert message in said


def test_debug_shows_where_an_error_came_from() -> None:
    with pytest.raises(GroupError):
        main(["check", "egnn", "--group", "SE(3", "--debug"])


def test_check_leaves_with_1_where_a_model_breaks_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "egnn"]) == 0
    assert "EGNN under E(3) x S()" in (shown := capsys.readouterr().out)
    assert "within the tolerance of 1e-10" in shown
    assert main(["check", "transformer"]) == 0
    assert main(["check", "transformer", "--group", "T(3)"]) == 0
    assert main(["check", "transformer", "--group", "SE(3)"]) == 1
    assert "beyond the tolerance of 1e-10: output under SE(3)" in capsys.readouterr().out
    assert main(["check", "transformer", "--group", "SE(3)", "--tolerance", "10"]) == 0
    assert main(["check", "egnn", "--dtype", "float32", "--group", "SO(3) x S()"]) == 0
    assert "within the tolerance of 1e-05" in capsys.readouterr().out


def test_check_measures_both_guarantees_of_a_model_that_draws(capsys: pytest.CaptureFixture[str]) -> None:
    small = ("--model.hidden", "8", "--model.heads", "2", "--model.layers", "1", "--samples", "1")
    for drawn in (("--model.lift", "sampled"), ("--model.neighbours", "2", "--model.fill", "0.5")):
        assert main(["check", "lie-transformer", *drawn, *small]) == 0
        shown = capsys.readouterr().out
        assert "LieTransformer under SE(3) x S(): coupled promised" in shown
        assert "with noise that moves along: within the tolerance of 1e-10\n" in shown
        assert "with independent noise: means of output over" in shown
        assert "agree within five standard errors" in shown
    assert main(["check", "lie-transformer", *small]) == 0
    shown = capsys.readouterr().out
    assert "exact promised" in shown
    assert "independent" not in shown


def test_check_tells_the_two_guarantees_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """Noise with a favourite direction moves along as well as any; noise that stays behind has the right law all the same."""
    assert main(["check", "--module", f"{__name__}:Shaken", "--samples", "2"]) == 0
    assert main(["check", "--module", f"{__name__}:drifting", "--samples", "2"]) == 1
    shown = capsys.readouterr().out
    assert shown.count("with noise that moves along: within the tolerance") == 2
    assert "differ by more than five standard errors" in shown
    assert main(["check", "--module", f"{__name__}:unturned", "--samples", "2"]) == 0
    shown = capsys.readouterr().out
    assert "with noise that moves along: beyond the tolerance" in shown
    assert "agree within five standard errors" in shown


def test_check_gives_the_size_of_an_approximate_symmetry(capsys: pytest.CaptureFixture[str]) -> None:
    target = ("--module", f"{__name__}:Roughly", "--samples", "2")
    assert main(["check", *target]) == 0
    assert "approximate is what it promises, and the size is measured: 0.0" in capsys.readouterr().out
    assert main(["check", *target, "--tolerance", "1e-10"]) == 1
    assert main(["check", *target, "--group", "SE(3)"]) == 1


def test_check_measures_a_module_of_the_users_own(capsys: pytest.CaptureFixture[str]) -> None:
    target = f"{__name__}:Lopsided"
    assert main(["check", "--module", target]) == 1
    assert "beyond the tolerance" in capsys.readouterr().out
    assert main(["check", "--module", target, "--group", "S()"]) == 0
    assert "under S()" in capsys.readouterr().out


def test_a_run_is_trained_evaluated_checked_resumed_and_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "nbody", "egnn", "--model.hidden", "8", "--model.layers", "2", *SMALL]) == 0
    shown = capsys.readouterr().out
    assert "baseline: constant velocity" in shown
    assert "in runs/nbody-egnn" in shown
    result = RunResult.read("runs/nbody-egnn")
    assert result.steps == 8
    assert read_json("runs/nbody-egnn/run.json")["model"] == {"name": "egnn", **read_json("runs/nbody-egnn/run.json")["model"], "hidden": 8}
    assert main(["evaluate", "runs/nbody-egnn"]) == 0
    shown = capsys.readouterr().out
    assert f"{result.test['mse_position']:.4g}"[:5] in shown
    assert "EGNN under E(3) x S()" in shown
    assert main(["check", "--checkpoint", "runs/nbody-egnn"]) == 0
    assert main(["train", "--resume", "runs/nbody-egnn", "--quiet"]) == 0
    assert main(["train", "nbody", "egnn", "--model.hidden", "8", *SMALL]) == 0
    assert Path("runs/nbody-egnn-2/result.json").is_file()
    assert "holds a run already" in failed(capsys, "train", "nbody", "egnn", *SMALL, "--out", "runs/nbody-egnn")
    assert main(["report", "runs/nbody-egnn", "runs/nbody-egnn-2"]) == 0
    assert Path(capsys.readouterr().out.strip()).is_file()


RECIPE = """
paper = "A paper (2026), table 1"
[task]
name = "nbody"
variant = "gravity"
train_size = 40
valid_size = 20
test_size = 20
[model]
name = "egnn"
hidden = 8
[train]
steps = 12
batch_size = 8
[[published]]
by = "Linear"
metric = "mse_position"
value = 0.05
std = 0.001
source = "table 1"
setting = "other particles"
[sizes.quick]
note = "short"
train = { steps = 6 }
"""


def test_reproduce_prints_published_figures_baselines_equivariance_and_cost_beside_ours(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text(RECIPE)
    assert main(["reproduce", "mine.toml", "--size", "quick", "--seed", "3", "--quiet"]) == 0
    shown = capsys.readouterr().out
    result = RunResult.read("runs/reproduce/mine-quick-3")
    assert result.steps == 6
    published = next(line for line in shown.splitlines() if line.startswith("Linear"))
    assert "0.05000 +- 0.0010" in published
    assert "table 1; other particles" in published
    ratio = float(published.split("+- 0.0010")[1].split()[1])
    assert ratio == pytest.approx(result.test["mse_position"] / 0.05, rel=0.01)
    assert all(
        part in shown
        for part in ("A paper (2026), table 1", "quick: short", "baseline: constant velocity", "equivariance error", "cost of ours")
    )
    stamp = Path("runs/reproduce/mine-quick-3/result.json").stat().st_mtime_ns
    assert main(["reproduce", "mine.toml", "--seed", "3", "--quiet"]) == 0
    assert Path("runs/reproduce/mine-quick-3/result.json").stat().st_mtime_ns == stamp


def test_a_recipe_trains_with_flags_laid_over_it() -> None:
    Path("mine.toml").write_text(RECIPE)
    assert main(["train", "mine.toml", "--train.steps", "4", "--augment", "--quiet"]) == 0
    settings = read_json("runs/mine/run.json")
    assert settings["train"]["steps"] == 4
    assert settings["train"]["batch_size"] == 8
    assert settings["augment"] is True
    assert settings["task"]["variant"] == "gravity"


def test_study_hands_its_flags_on_and_writes_the_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import torsor.report
    import torsor.study

    seen: dict[str, Any] = {}

    def run_study(config: Any, directory: Path, executor: Any, say: Any) -> str:
        seen.update(config=config, directory=directory, executor=executor, say=say)
        return "findings"

    monkeypatch.setattr(torsor.study, "run_study", run_study)
    monkeypatch.setattr(torsor.report, "text", lambda findings: f"the text of {findings}")
    monkeypatch.setattr(torsor.report, "write_report", lambda directory: directory / "report.html")
    flags = ["--task.variant", "egnn", "--sizes", "10", "20", "--seeds", "1", "--strict", "egnn", "--train.steps", "5", "--workers", "0"]
    assert main(["study", "nbody", *flags, "--out", "here"]) == 0
    config = seen["config"]
    assert config.task["name"] == "nbody"
    assert config.task["variant"] == "egnn"
    assert config.strict == {"name": "egnn"}
    assert config.sizes == (10, 20)
    assert config.seeds == (1,)
    assert config.train == TrainConfig(steps=5)
    assert seen["directory"] == Path("here")
    assert seen["executor"] is None
    assert capsys.readouterr().out == "the text of findings\n\nhere/report.html\n"
    # a task whose training set has a size of its own
    assert main(["study", "geometry-toys", "--task.problem", "norm", "--sizes", "10", "20", "--out", "there"]) == 0
    assert seen["config"].task["problem"] == "norm"
    assert "train_size" not in seen["config"].task


def test_demo_prints_where_its_report_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from torsor.cli import demo

    monkeypatch.setattr(demo, "run", lambda directory: directory / "report.html")
    assert main(["demo", "--out", "here"]) == 0
    assert capsys.readouterr().out == "The report: here/report.html\n"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As if torsor lay in site-packages, far from its repository."""
    import torsor

    monkeypatch.setattr(torsor, "__file__", str(tmp_path / "site-packages" / "torsor" / "__init__.py"))


def checkout(name: str) -> None:
    """Make the working folder the repository of a project, whose benchmarks say that they ran."""
    Path("pyproject.toml").write_text(f'[project]\nname = "{name}"\n')
    Path("benchmarks").mkdir()
    for script, code in (("fast", 0), ("slow", 0), ("wrong", 3)):
        lines = f"open('ran', 'a').write('{script} ')\nraise SystemExit({code})"
        Path("benchmarks", f"{script}.py").write_text(f"if __name__ == '__main__':\n    exec({lines!r})\n")
    Path("benchmarks", "shared.py").write_text("def measure(): ...\n")


@pytest.mark.usefixtures("installed")
def test_bench_runs_the_scripts_of_the_repository_that_the_user_is_in(capsys: pytest.CaptureFixture[str]) -> None:
    checkout("torsor")
    assert main(["bench", "slow", "fast"]) == 0
    assert Path("ran").read_text() == "slow fast "
    assert main(["bench"]) == 3
    assert Path("ran").read_text() == "slow fast fast slow wrong "
    assert failed(capsys, "bench", "shared") == "torsor: there is no benchmark 'shared': give fast, slow, wrong"


@pytest.mark.usefixtures("installed")
def test_bench_says_where_the_benchmarks_are_and_runs_no_scripts_of_another_project(capsys: pytest.CaptureFixture[str]) -> None:
    assert "clone the repository and run torsor bench in its folder" in failed(capsys, "bench")
    checkout("another")
    assert "clone the repository and run torsor bench in its folder" in failed(capsys, "bench")
    assert not Path("ran").exists()


def test_a_dask_cluster_runs_a_study_as_this_process_does() -> None:
    distributed = pytest.importorskip("distributed")
    Path("study.toml").write_text(STUDY)
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        assert main(["study", "study.toml", "--quiet", "--out", "cluster", "--scheduler", cluster.scheduler_address]) == 0
    assert main(["study", "study.toml", "--quiet", "--out", "here"]) == 0
    findings = [read_json(f"{name}/findings.json") for name in ("cluster", "here")]
    assert findings[0]["finished"] == 4
    assert figures("cluster") == figures("here")


def figures(directory: str) -> list[Any]:
    """The numbers of the runs of a study, whenever and wherever they were made."""
    records = [read_json(path) for path in sorted(Path(directory, "ledger").glob("*.json"))]
    return [(record["key"], record["valid"], record["tested"]) for record in records]


STUDY = """
arms = ["strict", "plain"]
sizes = [4, 8]
seeds = [0]
bootstrap = 100
share_samples = 2
workers = 0
task = {name = "tests.study.toy:ToyConfig"}
strict = {name = "egnn", hidden = 4, layers = 1}
plain = {name = "transformer", width = 8, heads = 1, layers = 1}
train = {steps = 4, batch_size = 4, device = "cpu"}
"""


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("torsor.cli.find_spec", lambda name: None if name == "tyro" else found(name))
    assert failed(capsys, "list") == "torsor: the command line needs tyro: pip install 'torsor[train]'"


def test_a_box_becomes_one_line_with_unicode_and_without() -> None:
    rule = "-" * 20
    boxed = [
        "╭─ Value error ──────╮",
        "│ Error parsing x: a │",
        "│ long message       │",
        "│ ────────────────── │",
        "│ See the help       │",
        "╰────╯",
    ]
    plain = ["Value error", rule, "Error parsing x: a", "long message", rule, "See the help", rule]
    for lines in (boxed, plain):
        assert one_line("\n".join(lines)) == "Error parsing x: a long message"


def test_a_contract_is_carried_over_to_another_group() -> None:
    from torsor.cli.looking import SIGNATURE, regrouped

    contract = SIGNATURE.symmetry()
    assert regrouped(contract, parse("SO(3)")).inputs["positions"] is contract.inputs["positions"][0]
    assert len(regrouped(contract, parse("S() x O(3)")).output) == 2
    with pytest.raises(GroupError, match=r"is about SO\(3\) and does not say how S\(4\) acts"):
        regrouped(regrouped(contract, parse("SO(3)")), parse("S(4)"))
