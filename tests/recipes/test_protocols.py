"""Recipes that measure untrained networks: whole, run with their controls, recorded, and their mistakes named."""

from pathlib import Path

import pytest

from torsor.cli import main
from torsor.errors import ConfigError, UnknownNameError
from torsor.recipes import load_recipe, read_records, recipe_names

SIZES = ("quick", "cpu", "full")
MEASURED = [name for name in recipe_names() if load_recipe(name).protocol]

SEPARATION = """paper = "a paper"
[protocol]
name = "graph-separation"
features = "none"
networks = 3
copies = 4
[model]
name = "gin"
output_scale = 1.0
[[published]]
by = "Other"
metric = "unseparated"
value = 12
source = "table 1"
setting = "other graphs"
[sizes.quick]
note = "few graphs"
protocol = { size = 6 }
"""


@pytest.mark.parametrize("name", MEASURED)
def test_every_protocol_is_whole_in_every_size_and_its_model_serves_it(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.paper
    assert recipe.summary
    assert set(recipe.sizes) == set(SIZES)
    for size in SIZES:
        config, model = recipe.protocol_config(size)
        assert recipe.sizes[size].note
        assert config.networks <= recipe.protocol_config("full")[0].networks == 100
        assert all(figure.source and figure.value >= 0 for figure in recipe.figures(size))
    protocol = recipe.protocol_config("quick")[0].build()
    assert {figure.metric for figure in recipe.figures()} <= set(protocol.units)
    assert sum(parameter.numel() for parameter in model.build(protocol.signature).parameters()) > 0
    with pytest.raises(ConfigError, match="measures untrained networks: run it with torsor reproduce"):
        recipe.config()


def test_a_protocol_prints_its_controls_and_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(SEPARATION)
    assert main(["reproduce", "mine.toml", "--quiet", "--seed", "2", "--record", "kept"]) == 0
    said = capsys.readouterr().out
    assert "few graphs" in said
    for control in ("false_moved", "false_anew", "unseparated_z", "false_z", "copy_distance"):
        assert "\nours " in said
        assert control in said
    assert "table 1; other graphs" in said
    assert "the first 6 of 11,117 graphs only" in said
    (found,) = read_records("kept")
    assert (found.recipe, found.size, found.seed, found.steps) == ("mine", "quick", 2, 0)
    config, model = load_recipe("mine.toml").protocol_config("quick")
    assert found.ours == config.build().measure(model, 2).figures
    assert found.units["unseparated"] == "pairs"
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SEPARATION + '[task]\nname = "nbody"\n', "both a task and a protocol"),
        ('[model]\nname = "gin"\n', "no task: give"),
        (SEPARATION.replace("copies = 4", "copy = 4"), "has no 'copy': did you mean 'copies'"),
        (SEPARATION.replace("graph-separation", "separation"), "unknown protocol 'separation': did you mean 'graph-separation'"),
    ],
)
def test_a_mistake_in_a_protocol_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        load_recipe(path)
