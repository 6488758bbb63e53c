from pathlib import Path

import pytest

from torsor.errors import ConfigError, UnknownNameError
from torsor.recipes import Recipe, load_recipe, recipe_names
from torsor.signatures import PointClouds
from torsor.training import TrainConfig

SIZES = ("quick", "cpu", "full")
MOLECULES = ("aspirin", "azobenzene", "benzene", "ethanol", "malonaldehyde", "naphthalene", "paracetamol", "salicylic", "toluene", "uracil")


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_whole_in_every_size(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.paper
    assert recipe.summary
    assert set(recipe.sizes) == set(SIZES)
    for size in SIZES:
        config = recipe.config(size)
        assert recipe.sizes[size].note
        assert config.train.steps <= recipe.config("full").train.steps
        assert all(figure.source and figure.value > 0 for figure in recipe.figures(size))
        assert recipe.figures(size)


@pytest.mark.parametrize("name", [name for name in recipe_names() if "rmd17" not in name or "ethanol" in name])
def test_published_metrics_are_metrics_of_the_task_and_its_model_serves_it(name: str) -> None:
    recipe = load_recipe(name)
    config = recipe.config("full")
    task = config.task.build()
    assert {figure.metric for figure in recipe.figures("full")} <= set(task.units)
    for size in SIZES:
        model = recipe.config(size).model.build(task.signature)
        assert sum(parameter.numel() for parameter in model.parameters()) > 0


def test_the_model_of_the_n_body_recipe_has_the_published_number_of_parameters() -> None:
    config = load_recipe("se3-transformer/nbody").config("full")
    signature = config.task.build().signature
    assert isinstance(signature, PointClouds)
    assert sum(parameter.numel() for parameter in config.model.build(signature).parameters()) == 293_920


def test_every_molecule_of_rmd17_has_its_recipe() -> None:
    assert [name for name in recipe_names() if "rmd17" in name] == [f"molecules/rmd17-{molecule}" for molecule in MOLECULES]
    for molecule in MOLECULES:
        recipe = load_recipe(f"molecules/rmd17-{molecule}")
        assert recipe.config("cpu").task.molecule == molecule
        assert {figure.by for figure in recipe.figures("full")} == {"NequIP", "MACE"}


def test_figures_for_fifty_configurations_stand_beside_runs_on_fifty() -> None:
    recipe = load_recipe("molecules/rmd17-aspirin")
    assert recipe.config("cpu").task.train_size == 50
    forces = {size: {figure.by: figure.value for figure in recipe.figures(size) if figure.metric == "force_mae_mev"} for size in SIZES}
    assert forces == {"full": {"NequIP": 8.2, "MACE": 6.6}, "cpu": {"NequIP": 52.0, "MACE": 43.9}, "quick": {"NequIP": 52.0, "MACE": 43.9}}


def write(path: Path, extra: str = "") -> Path:
    path.write_text('[task]\nname = "nbody"\n[model]\nname = "egnn"\n[train]\nsteps = 7\n' + extra)
    return path


def test_a_recipe_of_ones_own_needs_a_task_and_a_model_alone(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path / "mine.toml", '[sizes.small]\nnote = "short"\ntrain = { steps = 3 }\n'))
    assert isinstance(recipe, Recipe)
    assert recipe.config().train == TrainConfig(steps=7)
    assert recipe.config("small").train == TrainConfig(steps=3)
    assert not recipe.config().augment
    with pytest.raises(UnknownNameError, match=r"unknown size 'smal': did you mean 'small'\?"):
        recipe.config("smal")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("stps = 3", r"has no 'stps': did you mean 'steps'\?"),
        ("[sizes.small]\ntrain = { steps = 3 }", "lacks 'note'"),
        ('[sizes.small]\nnote = "x"\ntrain = { stps = 3 }', r"has no 'stps': did you mean 'steps'\?"),
        ('[[published]]\nmetric = "mse_position"\nvalue = "low"\nby = "X"', r"published\[0\] value is 'low' \(str\): give a number"),
        ('[[published]]\nmetric = "mse_position"\nvalue = 0.1\nby = "X"', "gives no source for the published mse_position of X"),
        ("[sizes]\nsmall = 3", "sizes.small is 3"),
        ("[tsk]\nx = 1", r"has no 'tsk': did you mean 'task'\?"),
    ],
)
def test_a_mistake_in_a_recipe_is_named_when_it_is_read(tmp_path: Path, extra: str, message: str) -> None:
    path = write(tmp_path / "mine.toml", extra)
    with pytest.raises(ConfigError, match=message) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_gives_the_nearest_and_a_missing_file_its_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown recipe 'se3-transformer/nbdy': did you mean 'se3-transformer/nbody'\?"):
        load_recipe("se3-transformer/nbdy")
    with pytest.raises(ConfigError, match=r"there is no file .*none.toml"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="has variants"):
        load_recipe(write(tmp_path / "mine.toml", "[variants.a]\naugment = true"))
