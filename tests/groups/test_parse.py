"""Reading groups from strings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torsor import groups
from torsor.errors import GroupError, TorsorError, UnknownNameError
from torsor.groups import GL, REGISTRY, SE, SL2, SO, C, D, E, Lorentz, O, RestrictedLorentz, S, T, parse

sizes = st.integers(1, 12)
single = st.one_of(
    st.sampled_from([T, SO, O, SE, E, S, C, D, GL]).flatmap(lambda family: sizes.map(family)),
    st.sampled_from([SL2(), S(), Lorentz(), RestrictedLorentz()]),
)


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("SE(3) x S(5)", SE(3) * S(5)),
        ("SO(2)", SO(2)),
        ("S()", S()),
        ("SL2", SL2()),
        ("SL2()", SL2()),
        ("  D(4) x T(1)  x SL2 ", D(4) * T(1) * SL2()),
        ("GL(3)", GL(3)),
        ("RestrictedLorentz x S()", RestrictedLorentz() * S()),
        ("Lorentz()", Lorentz()),
    ],
)
def test_texts_are_read(text, group):
    assert parse(text) == group


@given(st.lists(single, min_size=1, max_size=4))
def test_every_group_is_read_back_from_its_string(factors):
    group = factors[0]
    for factor in factors[1:]:
        group = group * factor
    again = parse(str(group))
    assert again == group
    assert str(again) == str(group)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SX(3)", r"unknown group 'SX\(n\)': did you mean '(S|SO|SE)\(n\)'"),
        ("Q", r"unknown group 'Q\(n\)'"),
        ("SE(3) * S(5)", "cannot read the group"),
        ("SE(-3)", "cannot read the group"),
        ("SE(3.0)", "cannot read the group"),
        ("SE(3", "cannot read the group"),
        ("", "cannot read the group ''"),
        ("SE(3) x ", "cannot read the group"),
        ("SO(3)x S(2)", "cannot read the group"),
        ("SE(9999999)", "cannot read the group"),
        ("SE", r"the group 'SE' lacks its size: write SE\(3\)"),
        ("SE()", "lacks its size"),
        ("S", "lacks its size"),
        ("SL2(3)", "SL2 takes no size"),
        ("Lorentz(4)", "Lorentz takes no size"),
        ("SO(0)", "n >= 1, not 0"),
        ("SO(3) x " * 100 + "S()", "at most 200 characters"),
    ],
)
def test_what_is_no_group_is_refused_in_one_line(text, message):
    with pytest.raises((GroupError, UnknownNameError), match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
def test_no_text_raises_anything_but_our_errors(text):
    try:
        group = parse(text)
    except TorsorError:
        return
    assert parse(str(group)) == group


def test_every_registered_family_is_exported_and_described():
    for name, entry in REGISTRY.items():
        family = entry.load()
        assert getattr(groups, family.__name__) is family
        assert name.startswith(family.__name__)
        assert entry.summary
