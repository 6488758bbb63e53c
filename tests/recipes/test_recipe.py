from dataclasses import replace
from pathlib import Path

import pytest

from torsor import training
from torsor.data.qm9 import PROPERTIES
from torsor.dial.clone.network import PLANS
from torsor.errors import ConfigError, UnknownNameError
from torsor.recipes import Recipe, load_recipe, recipe_files, recipe_names
from torsor.signatures import PointClouds
from torsor.training import TrainConfig

SIZES = ("quick", "cpu", "full")
LATE = ("G", "H", "r2", "U", "U0", "zpve")
"""Targets for which three methods of the LieTransformer's table have no figure."""
MOLECULES = ("aspirin", "azobenzene", "benzene", "ethanol", "malonaldehyde", "naphthalene", "paracetamol", "salicylic", "toluene", "uracil")


MEASURED = [name for name in recipe_names() if load_recipe(name).protocol]
"""Recipes of untrained networks."""
TRAINED = [name for name in recipe_names() if name not in MEASURED]


@pytest.mark.parametrize("name", TRAINED)
def test_every_recipe_is_whole_in_every_size(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.paper
    assert recipe.summary
    assert set(recipe.sizes) == set(SIZES)
    for size in SIZES:
        config = recipe.config(size)
        assert recipe.sizes[size].note
        assert config.train.steps <= recipe.config("full").train.steps
        assert all(figure.source and figure.value >= 0 for figure in recipe.figures(size))
        assert recipe.figures(size) or any("No published figures" in note for note in recipe.notes)


def offline(name: str) -> bool:
    """Whether the data of a recipe are simulated or ship with torsor."""
    return not any(word in name for word in ("qm9", "scanobjectnn", "peptides", "pcqm")) and ("rmd17" not in name or "ethanol" in name)


CLONING = {"regression": "invariant-regression", "inertia": "inertia", "digits": "digits"}
"""Files of recipes of learned symmetry, and their tasks; to build one of their models is to train its clones."""


@pytest.mark.parametrize("name", [name for name in TRAINED if offline(name) and not name.startswith("cloning/")])
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


def test_the_models_of_lie_transformers_recipes_have_the_published_numbers_of_parameters() -> None:
    for name, published in (("springs-10000", 841_641), ("constellation-se2-d", 10_033_724)):
        config = load_recipe(f"lie-transformer/{name}").config("full")
        model = config.model.build(config.task.build().signature)
        assert sum(parameter.numel() for parameter in model.parameters()) == published


def test_the_six_columns_of_the_constellation_table_stand_beside_their_training_sets() -> None:
    table = {(train, metric) for train in ("D", "T2", "SE2") for metric in ("error", "error (T2)", "error (SE2)")}
    columns = table - {("T2", "error"), ("SE2", "error"), ("SE2", "error (T2)")}
    for model, method in (("set-transformer", "SetTransformer"), ("t2", "LieTransformer-T2"), ("se2", "LieTransformer-SE2")):
        found = set()
        for train in ("d", "t2", "se2"):
            recipe = load_recipe(f"lie-transformer/constellation-{model}-{train}")
            assert recipe.config("full").task.train == train.upper()
            assert {figure.by for figure in recipe.figures()} == {method}
            found |= {(train.upper(), figure.metric) for figure in recipe.figures()}
        assert found == columns


def test_errors_of_springs_fall_with_the_number_of_systems() -> None:
    sizes = (10, 25, 50, 100, 400, 1000, 3000, 10000, 30000, 96000)
    recipes = [load_recipe(f"lie-transformer/springs-{size}") for size in sizes]
    assert [recipe.config("full").task.train_size for recipe in recipes] == list(sizes)
    errors = [next(figure.value for figure in recipe.figures() if figure.by == "LieTransformer-T2") for recipe in recipes]
    assert errors == sorted(errors, reverse=True)
    assert recipes[7].config("cpu").task.rollout == 100


def test_every_target_of_qm9_has_its_recipes_and_its_published_figures() -> None:
    names = [name for name in recipe_names() if "qm9" in name]
    arms = ("t3", "t3-augmented", "se3", "se3-augmented")
    assert set(names) == {f"lie-transformer/qm9-{target}-{arm}" for target in PROPERTIES for arm in arms} | {
        f"se3-transformer/qm9-{target}" for target in ("alpha", "gap", "homo", "lumo", "mu", "Cv")
    }
    for name in (name for name in names if name.endswith("se3-augmented") or "se3-transformer" in name):
        recipe = load_recipe(name)
        target = name.split("/qm9-")[1].split("-")[0]
        assert recipe.config("full").task.target == target
        assert recipe.config("full").task.dataset == "qm9"
        assert recipe.augment
        assert {figure.metric for figure in recipe.figures("full")} == {"mae"}
        # every method of the table that has a figure for the target
        assert len(recipe.figures("full")) == {"lie": 16, "se3": 7}[name[:3]] - 3 * (name[:3] == "lie" and target in LATE) + (
            name == "se3-transformer/qm9-homo"  # NVIDIA's own
        )
        for size in ("cpu", "quick"):
            assert recipe.config(size).task.dataset in ("qm9-under14", "qm9-all-targets")
            assert "not comparable" in recipe.sizes["cpu"].note


def test_figures_of_the_published_tables_stand_where_they_belong() -> None:
    homo = {figure.by: figure.value for figure in load_recipe("lie-transformer/qm9-homo-se3").figures("full")}
    assert homo["LieTransformer-T3 augmented"] == homo["LieTransformer-SE3"] == 33
    assert homo["LieConv-SE3"] == 27
    zpve = {figure.by: figure.value for figure in load_recipe("lie-transformer/qm9-zpve-t3").figures("full")}
    assert zpve["LieTransformer-SE3 augmented"] == 3.67
    alpha = {figure.by: (figure.value, figure.std) for figure in load_recipe("se3-transformer/qm9-alpha").figures("full")}
    assert alpha["SE(3)-Transformer"] == (0.142, 0.002)
    scans = {(figure.by, figure.setting): figure.value for figure in load_recipe("se3-transformer/scanobjectnn-heights").figures("full")}
    assert scans["SE(3)-Transformer with heights", ""] == 15.0
    assert scans["SE(3)-Transformer", ""] == 27.2
    arms = {arm: load_recipe(f"lie-transformer/qm9-mu-{arm}") for arm in ("t3", "t3-augmented", "se3")}
    assert [(arm.augment, arm.config().model.group) for arm in arms.values()] == [(False, "T(3)"), (True, "T(3)"), (False, "SE(3)")]
    planets = {figure.by: figure.value for figure in load_recipe("gatr/nbody-gatr").figures("full")}
    assert planets == {"GATr": 0.0005, "SEGNN": 0.0006, "SE(3)-Transformer": 0.0025, "Transformer": 0.005, "GCA-GNN": 0.0526, "MLP": 0.0776}


@pytest.mark.parametrize(
    "name",
    ["lie-transformer/qm9-homo-t3", "lie-transformer/qm9-U0-se3", "lie-transformer/qm9-r2-se3-augmented", "se3-transformer/qm9-gap"],
)
def test_recipes_of_qm9_run_on_what_is_at_hand(name: str, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORSOR_DATA", str(shared_data))
    recipe = load_recipe(name)
    for size in ("quick", "cpu"):
        config = recipe.config(size)
        task = config.task.build()
        assert {figure.metric for figure in recipe.figures(size)} <= set(task.units)
        batch = task.splits.train.take(slice(3))
        model = task.wrap(config.model.build(task.signature)).eval()
        assert task.loss(model(**task.inputs(batch)), batch).isfinite()


@pytest.mark.parametrize("variant", ["blind", "heights"])
def test_recipes_of_scans_run_on_synthetic_objects(variant: str) -> None:
    recipe = load_recipe(f"se3-transformer/scanobjectnn-{variant}")
    assert recipe.config("full").task.source == "scanobjectnn"
    config = recipe.config("quick")
    task = replace(config.task, train_size=30, valid_size=15, test_size=15).build()
    assert task.config.heights == (variant == "heights")
    assert {figure.metric for figure in recipe.figures("quick")} <= set(task.units)
    batch = task.splits.train.take(slice(3))
    model = config.model.build(task.signature).eval()
    assert task.loss(model(**task.inputs(batch)), batch).isfinite()


@pytest.mark.parametrize("variant", ["lgatr", "slim", "transformer", "transformer-augmented"])
def test_recipes_of_jets_run_on_generated_jets_and_say_so(variant: str, tmp_path: Path) -> None:
    recipe = load_recipe(f"lgatr/toptagging-{variant}")
    assert recipe.config("full").task.source == "published"
    config = recipe.config("quick")
    assert (config.task.source, config.task.also_test) == ("generate", ("boosted",))
    assert "not comparable" in recipe.sizes["cpu"].note
    assert all(recipe.sizes[size].note.startswith("generated jets") for size in ("quick", "cpu"))
    task = replace(config.task, train_size=40, valid_size=10, test_size=10).build()
    result = training.train(task, config.model, replace(config.train, steps=2, batch_size=8), tmp_path, augment=config.augment, quiet=True)
    assert {figure.metric for figure in recipe.figures("quick")} < set(result.test)
    boosted = abs(result.test["cross_entropy (boosted)"] - result.test["cross_entropy"])
    assert boosted > 1e-4 if "transformer" in variant else boosted < 2e-5


def test_the_model_of_the_qm9_recipe_has_the_published_number_of_parameters() -> None:
    model = load_recipe("se3-transformer/qm9-homo").config("full").model
    assert sum(parameter.numel() for parameter in model.build(PointClouds("6x0e", "1x0e", 4, "max")).parameters()) == 9_828_193


@pytest.mark.slow
def test_gatr_learns_the_motion_of_planets_from_one_per_cent_of_the_data_and_as_well_far_away(tmp_path: Path) -> None:
    config = load_recipe("gatr/nbody-gatr").config("quick")
    task = replace(config.task, valid_size=50, test_size=300).build()
    assert len(task.splits.train) == 1000
    short = replace(config.train, steps=240, batch_size=24, learning_rate=4e-3, evaluate_every=240, test_on="last")
    result = training.train(task, config.model, short, tmp_path, quiet=True)
    straight_on = task.baselines()["constant velocity"]
    assert result.test["mse_position"] < 0.002 < 0.5 * straight_on["mse_position"]
    assert result.test["mse_position (shifted)"] == pytest.approx(result.test["mse_position"], rel=0.1)
    assert result.test["mse_position (more bodies)"] < straight_on["mse_position (more bodies)"]


@pytest.mark.slow
@pytest.mark.parametrize(("arm", "steps", "least", "most"), [("mlp-ps", 200, 0.0, 0.25), ("mlp-canonical", 40, 0.4, 0.6)])
def test_perceptrons_tell_satisfiable_formulas_with_drawn_orders_and_not_with_one(tmp_path, arm, steps, least, most):
    config = load_recipe(f"lps/exp-classify-{arm}").config("cpu")
    short = replace(config.train, steps=steps, evaluate_every=steps, test_on="last")
    result = training.train(config.task.build(), config.model, short, tmp_path, quiet=True)
    assert least <= result.test["error"] <= most


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


def test_a_method_without_a_published_figure_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('method = "Mine"\n[task]\nname = "nbody"\n[model]\nname = "egnn"\n')
    with pytest.raises(ConfigError, match="runs 'Mine', of which it gives no published figure"):
        load_recipe(path)


def test_every_recipe_is_in_one_file_and_those_of_a_file_share_its_name() -> None:
    files = recipe_files()
    assert sorted(name for names in files.values() for name in names) == sorted(recipe_names())
    assert len(files["gatr/nbody"]) == len(files["gatr/nbody-all-data"]) == 5
    assert files["se3-transformer/nbody"] == ("se3-transformer/nbody",)
    assert all(name.startswith(title) for title, names in files.items() for name in names)


@pytest.mark.parametrize("name", ["peptides-func", "peptides-struct", "pcqm-contact"])
def test_recipes_of_long_range_graphs_run_on_generated_peptides(name: str) -> None:
    recipe = load_recipe(f"lps/{name}")
    assert recipe.config("full").task.source == "published"
    config = recipe.config("quick")
    task = replace(config.task, train_size=4, valid_size=2, test_size=2).build()
    assert {figure.metric for figure in recipe.figures("quick")} <= set(task.units)
    batch = task.splits.train.take(slice(2))
    model = config.model.build(task.signature).eval()
    assert task.loss(model(**task.inputs(batch)), batch).isfinite()


def test_published_errors_of_symmetrised_networks_are_one_minus_their_accuracies() -> None:
    errors = {figure.by: figure.value for figure in load_recipe("lps/exp-classify-mlp-ps").figures("full")}
    assert (errors["MLP-PS"], errors["MLP-GA"], errors["MLP-canonical"], errors["MLP-PS soft"]) == (0, 0.5, 0.5, 0.5)
    assert errors["ChebNet"] == errors["MLP-PS fixed noise"] == pytest.approx(1 - 0.82)
    assert [figure.value for figure in load_recipe("lps/pattern-ps").figures("full")] == [pytest.approx(1 - 0.8665)]
    assert [figure.value for figure in load_recipe("lps/peptides-func").figures("full")] == [pytest.approx(1 - 0.6575)]
    hits = {figure.metric: 1 - figure.value for figure in load_recipe("lps/pcqm-contact").figures("full")}
    published = {"one_minus_hits_1": 0.3287, "one_minus_hits_3": 0.6694, "one_minus_hits_10": 0.9526, "one_minus_mrr": 0.5341}
    assert hits == pytest.approx(published)
    for name, count in (("graph8c", 386), ("exp", 600)):
        assert {figure.by: figure.value for figure in load_recipe(f"lps/{name}-gin").figures("full")}["GIN"] == count


def test_symmetrised_networks_have_their_frames_and_the_ablations_of_the_paper() -> None:
    for name in ("exp-classify", "graph8c", "exp"):
        for arm in ("mlp-fa", "gin-id-fa"):
            recipe = load_recipe(f"lps/{name}-{arm}")
            assert recipe.method == arm.upper()
            assert (recipe.model["method"], recipe.model["evaluation_samples"]) == ("sampled-frame", 10)
    errors = {figure.by: figure.value for figure in load_recipe("lps/exp-classify-mlp-ps").figures("full")}
    for k, error in ((1, 0.015), (2, 0.0), (5, 0.0), (20, 0.04), (50, 0.04)):
        recipe = load_recipe(f"lps/exp-classify-mlp-ps-k{k}")
        assert recipe.config("full").model.samples == recipe.config("quick").model.samples == k
        assert errors[recipe.method] == error
    for base in ("lps/exp-classify-mlp-ps", "lps/nbody-probabilistic"):
        plain, *changed = (load_recipe(base + end).config("full").model for end in ("", "-soft", "-fixed-noise", "-frozen"))
        assert [model.relaxation == "soft" for model in changed] == [True, False, False]
        assert [model.fixed_noise for model in changed] == [False, True, False]
        assert [model.law.frozen for model in changed] == [False, False, True]
        assert len({str(model) for model in (plain, *changed)}) == 4
    assert [load_recipe(f"lps/nbody-probabilistic-k{k}").config(size).model.samples for k in (1, 5, 10) for size in ("full", "quick")] == [
        1, 1, 5, 5, 10, 10,
    ]  # fmt: skip


# -- learned symmetry ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", CLONING)
def test_recipes_of_cloning_have_every_regime_with_few_samples_and_with_many_that_break_the_symmetry(file: str) -> None:
    assert set(recipe_files()[f"cloning/{file}"]) == {f"cloning/{file}-{data}-{regime}" for data in ("kept", "broken") for regime in PLANS}
    for regime in PLANS:
        kept, broken = (load_recipe(f"cloning/{file}-{data}-{regime}").config("cpu") for data in ("kept", "broken"))
        assert kept.model == broken.model
        assert kept.train == broken.train
        assert kept.model.regime == regime
        assert (kept.task.strength, broken.task.strength, broken.task.train_size) == (0.0, 3.0, 10000)
        assert kept.task.train_size <= 300
        assert load_recipe(f"cloning/{file}-kept-{regime}").config("full").model.student["name"] == "mlp"  # the published form


@pytest.mark.parametrize("regime", ["exact", "retain"])
@pytest.mark.parametrize("file", CLONING)
def test_recipes_of_cloning_run_and_are_tested_on_moved_samples(file: str, regime: str, tmp_path: Path) -> None:
    config = load_recipe(f"cloning/{file}-broken-{regime}").config("quick")
    short = replace(config.model.cloning, steps=1, probe_size=16)
    small = {**config.model.model, "channels": 1}
    model = replace(config.model, model=small, cloning=short, directory="", student={"name": "low-rank", "rank": 4})
    task = replace(config.task, train_size=16, valid_size=8, test_size=8).build()
    result = training.train(task, model, replace(config.train, steps=2, batch_size=8), tmp_path, quiet=True)
    moved, still = (result.test[f"{task.headline}{where}"] for where in (" (moved)", ""))
    assert task.name == CLONING[file]
    assert moved >= 0
    assert (moved == pytest.approx(still, rel=1e-3)) or regime != "exact" or file != "digits"
