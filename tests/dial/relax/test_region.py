import json

import pytest
import torch

from tests.dial.relax.common import example, relaxed
from torsor.dial.relax import deviation, region_report
from torsor.errors import ShapeError
from torsor.testing import optimise


def trained(**settings):
    model, inputs = relaxed("points", **settings), example("points")
    optimise(model, inputs, steps=3, rate=1e-2)
    return model, inputs


def test_a_model_is_approximate_where_it_was_trained_and_exact_elsewhere():
    model, inputs = trained(box="seen")
    report = region_report(model, inputs, samples=2)
    assert report.inside.max_relative > 1e-4
    assert report.outside.max_relative < 1e-10
    assert report.strict.max_relative < 1e-10
    assert (report.inside.exactness, report.strict.exactness) == ("approximate", "exact")
    assert report.deviation == deviation(model, inputs) > 1e-4
    assert f"{report.deviation:.1%}" in str(report)
    lines = str(report).splitlines()
    assert [line.strip().split("  ")[0] for line in lines[1:4]] == ["in the training region", "outside of it", "strict branch"]
    assert json.loads(json.dumps(report.to_dict()))["outside"]["max_relative"] == report.outside.max_relative


def test_without_a_box_there_is_no_outside():
    model, inputs = trained()
    report = region_report(model, inputs, samples=1)
    assert report.outside.max_relative > 1e-6


def test_a_displacement_of_the_users_own_is_taken():
    model, inputs = trained(box=3.0)
    assert region_report(model, inputs, samples=1, displacement=0.1).outside.max_relative > 1e-4


def test_inputs_without_positions_have_an_inside_alone():
    model, inputs = relaxed("vectors"), example("vectors")
    report = region_report(model, inputs, samples=1)
    assert report.outside is report.to_dict()["outside"] is None
    assert "outside" not in str(report)
    with pytest.raises(ShapeError, match="no 'positions' to displace"):
        region_report(model, inputs, samples=1, displacement=1.0)


def test_the_deviation_is_the_mean_change_when_the_symmetry_is_enforced():
    model, inputs = relaxed("points"), example("points")
    with torch.no_grad():
        free = model(**inputs)
        with model.strict():
            strict = model(**inputs)
    expected = ((free - strict).abs().mean() / strict.abs().mean()).item()
    assert abs(deviation(model, inputs) - expected) < 1e-12
    with model.strict():
        assert deviation(model, inputs) == 0


def test_the_report_leaves_the_model_as_it_was():
    model, inputs = trained(box="seen")
    before = {name: x.clone() for name, x in model.state_dict().items()}
    region_report(model.train(), inputs, samples=1)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert model.training
    assert not model.is_strict
