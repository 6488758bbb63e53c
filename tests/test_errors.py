"""Errors give the nearest name."""

import pytest

from torsor.errors import UnknownNameError, unknown_name
from torsor.registry import Entry, Registry


@pytest.mark.parametrize(
    ("given", "meant"), [("se3", "se3-transformer"), ("SE3-Transformer", "se3-transformer"), ("egn", "egnn"), ("enng", "egnn")]
)
def test_part_of_a_name_and_a_slip_of_the_pen_are_understood(given: str, meant: str) -> None:
    assert f"did you mean {meant!r}?" in str(unknown_name("model", given, ("egnn", "mlp", "se3-transformer")))


@pytest.mark.parametrize("given", ["", "quaternion"])
def test_nothing_is_suggested_where_nothing_is_near(given: str) -> None:
    assert str(unknown_name("model", given, ("mlp", "egnn"))) == f"unknown model {given!r}: known: egnn, mlp"


def test_a_registry_imports_on_load_and_refuses_unknown_names() -> None:
    registry = Registry("tool", Entry("root", "math:sqrt", "square root"), Entry("broken", "no.such.module:x", "never imported"))
    assert registry.load("root")(9) == 3
    assert list(registry) == ["root", "broken"]
    with pytest.raises(UnknownNameError, match="unknown tool 'rot': did you mean 'root'"):
        registry["rot"]
