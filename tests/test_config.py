import json
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torsor.config import config_class, from_mapping, merge, name_of, named_from_mapping, named_to_mapping, read_toml, to_mapping
from torsor.errors import ConfigError, UnknownNameError
from torsor.models import REGISTRY as MODELS
from torsor.registry import Entry, Registry
from torsor.study.config import StudyConfig
from torsor.tasks import REGISTRY as TASKS
from torsor.training import RunConfig, TrainConfig


@dataclass(frozen=True)
class Inner:
    depth: int = 2
    names: tuple[str, ...] = ("a",)


@dataclass(frozen=True)
class Outer:
    size: int
    rate: float = 0.5
    kind: Literal["cosine", "constant", 3] = "cosine"
    clip: float | None = None
    pair: tuple[int, float] = (1, 2.0)
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None
    flag: bool = False
    folder: Path | None = None
    table: dict[str, float] = field(default_factory=dict)
    anything: Any = None

    def build(self) -> int:
        return self.size


REGISTRY = Registry("thing", Entry("outer", f"{__name__}:Outer", "a thing"), Entry("path", "pathlib:Path", "no settings"))

outers = st.builds(
    Outer,
    size=st.integers(-5, 5),
    rate=st.floats(allow_nan=False),
    kind=st.sampled_from(["cosine", "constant", 3]),
    clip=st.none() | st.floats(0, 1),
    pair=st.tuples(st.integers(0, 9), st.floats(0, 1)),
    inner=st.builds(Inner, st.integers(0, 9), st.lists(st.text(max_size=3), max_size=3).map(tuple)),
    maybe=st.none() | st.builds(Inner),
    flag=st.booleans(),
    folder=st.none() | st.just(Path("a/b")),
    table=st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=2),
)


@given(outers)
def test_a_config_comes_back_from_json(config: Outer) -> None:
    assert from_mapping(Outer, json.loads(json.dumps(to_mapping(config), allow_nan=False))) == config


def test_integers_are_taken_for_floats_and_lists_for_tuples() -> None:
    config = from_mapping(Outer, {"size": 1, "rate": 2, "pair": [3, 4]})
    assert isinstance(config.rate, float)
    assert config.pair == (3, 4.0)
    assert isinstance(config.pair[1], float)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"size": 1, "rat": 2}, "[outer] has no 'rat': did you mean 'rate'? known: "),
        ({}, "[outer] lacks 'size': give it a value of type an integer"),
        ({"size": "4"}, "[outer] size is '4' (str): give an integer"),
        ({"size": 4.0}, "[outer] size is 4.0 (float): give an integer"),
        ({"size": True}, "[outer] size is True (bool): give an integer"),
        ({"size": 1, "rate": True}, "[outer] rate is True (bool): give a number"),
        ({"size": 1, "flag": 1}, "[outer] flag is 1 (int): give true or false"),
        ({"size": 1, "clip": "no"}, "[outer] clip is 'no' (str): give a number or nothing"),
        ({"size": 1, "kind": "cosin"}, "[outer] kind is 'cosin' (str): did you mean 'cosine'? give one of 'cosine', 'constant', 3"),
        ({"size": 1, "kind": 3.0}, "[outer] kind is 3.0 (float): "),
        ({"size": 1, "pair": [1]}, "[outer] pair has 1 entries: give 2"),
        ({"size": 1, "pair": [1, "x"]}, "[outer] pair[1] is 'x' (str): give a number"),
        ({"size": 1, "pair": "12"}, "[outer] pair is '12' (str): give a list of 2"),
        ({"size": 1, "inner": {"dept": 1}}, "[outer] inner has no 'dept': did you mean 'depth'? known: depth, names"),
        ({"size": 1, "maybe": {"dept": 1}}, "[outer] maybe has no 'dept': did you mean 'depth'? known: depth, names"),
        ({"size": 1, "inner": {"names": ["a", 2]}}, "[outer] inner names[1] is 2 (int): give a string"),
        ({"size": 1, "inner": 3}, "[outer] inner is 3 (int): give a table of settings"),
        ({"size": 1, "table": {"a": "b"}}, "[outer] table.a is 'b' (str): give a number"),
        ({"size": 1, "folder": 3}, "[outer] folder is 3 (int): give a path or nothing"),
    ],
)
def test_an_error_names_the_key_the_value_and_the_remedy_in_one_line(mapping: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(Outer, mapping, "[outer]")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_table_is_asked_for_where_there_is_none() -> None:
    with pytest.raises(ConfigError, match="give a table of settings"):
        from_mapping(Outer, [1], "[outer]")


def test_merge_lays_one_over_the_other_and_alters_neither() -> None:
    base, changes = {"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 5}, "c": {"z": 1}}
    assert merge(base, changes) == {"a": {"x": 1, "y": 5}, "b": 3, "c": {"z": 1}}
    assert base == {"a": {"x": 1, "y": 2}, "b": 3}


def test_a_named_config_comes_back_from_its_mapping() -> None:
    config = Outer(4, inner=Inner(7))
    mapping = named_to_mapping(REGISTRY, config)
    assert mapping["name"] == "outer"
    assert named_from_mapping(REGISTRY, mapping, "[thing]") == config


def test_a_class_that_is_not_registered_goes_by_its_module() -> None:
    empty = Registry("thing")
    assert name_of(empty, Outer(1)) == f"{__name__}:Outer"
    assert named_from_mapping(empty, named_to_mapping(empty, Outer(1)), "[thing]") == Outer(1)


def test_names_that_do_not_stand_for_settings_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'outer'"):
        named_from_mapping(REGISTRY, {"name": "outr"}, "[thing]")
    with pytest.raises(ConfigError, match="lacks a name"):
        named_from_mapping(REGISTRY, {"size": 3}, "[thing]")
    for name in ("path", "os:system", "builtins:eval", f"{__name__}:Inner"):
        with pytest.raises(ConfigError, match="is not a settings class"):
            config_class(REGISTRY, name)
    with pytest.raises(ConfigError, match="cannot import 'no_such_module:X'"):
        config_class(REGISTRY, "no_such_module:X")


def test_toml_that_cannot_be_read_is_an_error_of_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("a = \nb")
    with pytest.raises(ConfigError, match=r"is not readable as TOML: .*line 1"):
        read_toml(bad)
    bad.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not readable as TOML"):
        read_toml(bad)
    with pytest.raises(ConfigError, match="there is no file"):
        read_toml(tmp_path / "none.toml")
    bad.write_text('[train]\nsteps = 3\nbetas = [0.9, 1]\nname = "x"')
    assert read_toml(bad) == {"train": {"steps": 3, "betas": [0.9, 1], "name": "x"}}


EVERY_SETTINGS = [registry.load(name) for registry in (TASKS, MODELS) for name in registry] + [TrainConfig]


def made(cls: type, **settings: Any) -> Any:
    """What a class makes of settings, behind the type checks that the suite itself puts before every constructor of torsor."""
    config = object.__new__(cls)
    for field_ in fields(cls):
        value = settings.get(field_.name, field_.default)
        object.__setattr__(config, field_.name, field_.default_factory() if value is MISSING else value)
    config.__post_init__()
    return config


@pytest.mark.parametrize("cls", EVERY_SETTINGS, ids=lambda cls: cls.__name__)
def test_every_setting_made_in_python_is_checked(cls: type) -> None:
    for setting in fields(cls):
        with pytest.raises(ConfigError, match=f"{cls.__name__} {setting.name} is <object .*: (did you mean|give)"):
            made(cls, **{setting.name: object()})


def test_a_study_made_in_python_is_checked() -> None:
    for wrong in ({"sizes": (10, "100")}, {"seeds": 3}, {"train": TASKS.load("nbody")()}, {"margin": "5%"}):
        with pytest.raises(ConfigError, match=f"StudyConfig {next(iter(wrong))}"):
            made(StudyConfig, task={"name": "nbody"}, **wrong)


def test_what_is_made_in_python_is_converted_as_in_a_file() -> None:
    study = made(StudyConfig, task={"name": "nbody"}, sizes=[10, 100], learning_rates=[1, 0.5])
    assert study.sizes == (10, 100)
    assert [type(rate) for rate in study.learning_rates] == [float, float]


def test_a_run_checks_the_settings_of_the_users_own_classes() -> None:
    model = Outer(size=1, pair=[1, 2])
    assert made(RunConfig, task=Outer(size=2), model=model, train=TrainConfig()).model.pair == (1, 2.0)
    assert model.pair == [1, 2]
    with pytest.raises(ConfigError, match=r"Outer size is '2' \(str\): give an integer"):
        made(RunConfig, task=Outer(size="2"), model=model, train=TrainConfig())
    with pytest.raises(ConfigError, match=r"settings are 3 \(int\): give an instance of a dataclass"):
        made(RunConfig, task=Outer(size=2), model=3, train=TrainConfig())
    with pytest.raises(ConfigError, match=r"RunConfig augment is 1 \(int\): give true or false"):
        made(RunConfig, task=Outer(size=2), model=model, train=TrainConfig(), augment=1)
