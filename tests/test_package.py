"""The package as a whole: what importing costs and changes, which room imports which, and that nothing unpickles."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import torsor
from torsor.errors import TorsorError

ROOT = Path(torsor.__file__).parent
TREE = ROOT.parents[1]
# each may import those before it, never one after it; the first four are free to all and import only each other
ROOMS = (
    *("errors", "registry", "config", "io"),
    *("groups", "representations", "symmetry", "signatures", "check", "testing"),
    *("nn", "models", "dial", "data", "tasks", "training", "recipes", "study", "report", "cli", "__main__"),
)
FREE = 4
HEAVY = ("e3nn", "scipy", "matplotlib", "rich", "tyro", "ase", "pyarrow", "pooch", "accelerate", "distributed", "hypothesis", "beartype")


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (TREE / folder).rglob("*.py"))


def module_names() -> list[str]:
    return sorted(module.name for module in walk_packages([str(ROOT)], "torsor."))


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- importing ---------------------------------------------------------------------------------------------------------------------------


def test_importing_torsor_imports_neither_torch_nor_any_room():
    loaded = python("import sys, torsor; print(*sys.modules)").split()
    assert "torch" not in loaded
    assert "numpy" not in loaded
    assert {name for name in loaded if name.startswith("torsor.")} == set()


def test_the_core_imports_no_optional_package():
    core = [name for name in module_names() if name.split(".")[1] in ROOMS[FREE : ROOMS.index("dial")] and name != "torsor.testing"]
    assert len(core) > 20
    loaded = set(
        python(f"import sys\nfrom importlib import import_module\nfor name in {core}: import_module(name)\nprint(*sys.modules)").split()
    )
    assert "torch" in loaded
    assert loaded.isdisjoint({*HEAVY, "pytest"})


def test_importing_every_module_changes_no_global_state():
    state = "torch.get_rng_state().sum().item(), torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()"
    names = [name for name in module_names() if not name.endswith("__main__")]
    code = "import warnings, torch\nwarnings.simplefilter('error')\nfrom importlib import import_module\n"
    code += f"before = ({state})\nfor name in {names}: import_module(name)\nassert before == ({state}), 'importing changed torch'"
    python(code)


@pytest.mark.parametrize("name", torsor.__all__)
def test_every_public_name_is_there(name):
    assert getattr(torsor, name) is not None
    assert name in dir(torsor)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        torsor.nothing  # noqa: B018


@pytest.mark.parametrize("name", module_names())
def test_all_that_a_module_exports_exists_and_is_listed_once(name):
    module = import_module(name)
    exported = getattr(module, "__all__", ())
    assert len(set(exported)) == len(exported)
    for attribute in exported:
        assert hasattr(module, attribute), attribute


@pytest.mark.parametrize("name", module_names())
def test_every_module_says_what_it_is(name):
    assert (import_module(name).__doc__ or "").strip()


def test_the_names_of_the_contract_are_public():
    assert torsor.Symmetry is import_module("torsor.symmetry").Symmetry
    for name in ("equivariance_error", "assert_equivariant", "EquivarianceReport"):
        assert getattr(torsor, name) is getattr(import_module("torsor.check"), name)


def test_every_error_is_a_torsor_error():
    errors = import_module("torsor.errors")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 5
    assert all(issubclass(kind, TorsorError) for kind in kinds)


# -- rooms -------------------------------------------------------------------------------------------------------------------------------


def imported_rooms(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and room of every import of torsor, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "torsor":
            names = [f"torsor.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        for name in names:
            if name.startswith("torsor."):
                yield node.lineno, name.split(".")[1]


def upward_imports(room: str, tree: ast.AST) -> list[str]:
    """Imports of a room that may not be imported from this one."""
    place = ROOMS.index(room)
    found = [(line, other) for line, other in imported_rooms(tree) if other in ROOMS]
    return [f"line {line} imports {other}" for line, other in found if ROOMS.index(other) > max(place, FREE - 1)]


def test_every_module_belongs_to_a_room():
    rooms = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in sources("src/torsor")} - {"__init__"}
    assert rooms <= set(ROOMS), "give the new room its place in ROOMS"


@pytest.mark.parametrize("path", sources("src/torsor"), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards_only(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if room == "__init__":
        pytest.skip("the front door opens every room, on first use")
    tree = ast.parse(path.read_text())
    assert upward_imports(room, tree) == []
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level], "imports are absolute"
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.alias) and node.name == "*"], "imports name what they take"


@pytest.mark.parametrize(
    ("room", "code", "upward"),
    [
        ("groups", "from torsor.errors import GroupError", False),
        ("groups", "from torsor.representations import Irreps", True),
        ("groups", "def f():\n    import torsor.models.egnn", True),
        ("models", "from torsor.nn.pooling import pool_points", False),
        ("models", "from torsor import tasks", True),
        ("errors", "from torsor.groups import SO", True),
        ("config", "from torsor.io import read_json", False),
    ],
)
def test_an_upward_import_is_noticed(room, code, upward):
    assert bool(upward_imports(room, ast.parse(code))) == upward


# -- no pickle ---------------------------------------------------------------------------------------------------------------------------

UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
LOADERS = {("torch", "load"), ("torch", "save"), ("pandas", "read_pickle"), ("pd", "read_pickle"), ("torch", "package")}


def picklers(tree: ast.AST) -> list[str]:
    """Everything that pickles or unpickles, with its line."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [f"line {node.lineno}: import {a.name}" for a in node.names if a.name.split(".")[0] in UNPICKLERS]
        elif isinstance(node, ast.ImportFrom) and node.module:
            bad = [a.name for a in node.names if (node.module, a.name) in LOADERS]
            found += [f"line {node.lineno}: from {node.module}"] if bad or node.module.split(".")[0] in UNPICKLERS else []
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in LOADERS:
            found.append(f"line {node.lineno}: {node.value.id}.{node.attr}")
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            allowed = not (isinstance(node.value, ast.Constant) and node.value.value is False)
            found += [f"line {node.lineno}: allow_pickle"] if allowed else []
    return found


@pytest.mark.parametrize("path", sources("src", "benchmarks", "docs"), ids=lambda path: str(path.relative_to(TREE)))
def test_nothing_pickles(path):
    assert picklers(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    ("code", "bad"),
    [
        ("import pickle", True),
        ("from joblib import load", True),
        ("import torch\ntorch.load('x', weights_only=True)", True),
        ("from torch import save", True),
        ("np.load('x', allow_pickle=True)", True),
        ("np.load('x', allow_pickle=flag)", True),
        ("np.load('x', allow_pickle=False)", False),
        ("from safetensors.torch import load", False),
    ],
)
def test_a_pickle_is_noticed(code, bad):
    assert bool(picklers(ast.parse(code))) == bad
