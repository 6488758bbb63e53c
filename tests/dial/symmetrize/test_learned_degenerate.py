"""Learned laws on input that leaves them little to go by: one point, all points in one place, no edges, few digits."""

import pytest
import torch

from tests.dial.symmetrize.laws import (
    CLOUDS,
    GRAPHS,
    elements_of,
    example,
    law,
    require_moved,
    require_valid,
    signature_of,
    symmetrized,
)
from torsor.nn.noise_sources import DrawnNoise


def degenerate_cloud(kind, dtype, generator):
    n = 1 if kind == "one point" else 5
    inputs = CLOUDS.example(2, n, generator, dtype)
    if kind == "coincident":
        inputs["positions"] = torch.ones_like(inputs["positions"])
    if kind == "collinear":
        inputs["positions"] = inputs["positions"] * torch.tensor([0.0, 1.0, 0.0], dtype=dtype)
        inputs["features"] = inputs["features"] * torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=dtype)
    if kind == "no velocities":
        inputs["features"] = torch.zeros_like(inputs["features"])
    if kind == "nothing valid":
        inputs["mask"] = torch.zeros(2, n, dtype=torch.bool)
    return inputs


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("rotation", ["gram-schmidt", "polar"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["one point", "coincident", "collinear", "no velocities", "nothing valid"])
def test_degenerate_clouds_have_elements_and_finite_gradients(kind, eta, rotation, dtype, generator):
    sampler = law("S() x SE(3)", eta=eta, rotation=rotation).to(dtype)
    module = symmetrized(sampler, CLOUDS, samples=1).to(dtype).train()
    inputs = degenerate_cloud(kind, dtype, generator)
    noise = module.draw(inputs, generator)
    require_valid(sampler, elements_of(sampler, inputs, noise), 1e-12 if dtype == torch.float64 else 1e-5)
    leaves = {name: x.clone().requires_grad_() for name, x in inputs.items() if x.is_floating_point()}
    output = module(**{**inputs, **leaves}, **noise)
    (output.square().sum() + module.penalty()).backward()
    assert output.isfinite().all()
    assert all(x.grad.isfinite().all() for x in (*leaves.values(), *module.parameters()) if x.grad is not None)


@pytest.mark.parametrize("kind", ["one point", "coincident", "collinear", "no velocities", "nothing valid"])
def test_elements_of_degenerate_clouds_move_with_the_noise(kind, generator):
    """Also where the cloud itself leaves a direction open, or all of them; a cloud without points has no place to be centred at."""
    sampler = law("S() x SO(3)" if kind == "nothing valid" else "S() x SE(3)")
    inputs = degenerate_cloud(kind, torch.float64, generator)
    require_moved(sampler, inputs, sampler.draw(inputs, 3, DrawnNoise(generator)), generator)


@pytest.mark.parametrize("kind", ["one node", "no edges", "complete"])
def test_degenerate_graphs_have_permutations_that_move_with_the_noise(kind, generator):
    sampler = law(None)
    inputs = GRAPHS.example(2, 1 if kind == "one node" else 5, generator, torch.float64)
    inputs = {name: torch.full_like(x, float(kind == "complete")) for name, x in inputs.items()}
    noise = sampler.draw(inputs, 3, DrawnNoise(generator))
    require_valid(sampler, elements_of(sampler, inputs, noise))
    require_moved(sampler, inputs, noise, generator)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("group", [None, "S() x SE(3)"])
def test_half_precision_keeps_noise_and_elements_in_float32(group, dtype, generator):
    sampler = law(group).to(dtype)
    module = symmetrized(sampler, signature_of(group)).to(dtype).train()
    inputs = {name: x.to(dtype) if x.is_floating_point() else x for name, x in example(group, generator).items()}
    noise = module.draw(inputs, generator)
    assert all(x.dtype == torch.float32 for x in noise.values())
    require_valid(sampler, elements_of(sampler, inputs, noise), 1e-5)
    output = module(**inputs, **noise)
    output.float().square().sum().backward()
    assert output.isfinite().all()
    assert all(p.grad.isfinite().all() for p in module.parameters() if p.grad is not None)


@pytest.mark.parametrize("group", [None, "S() x SE(3)"])
def test_autocast_changes_no_element(group, generator):
    sampler = law(group).float()
    inputs = {name: x.float() if x.is_floating_point() else x for name, x in example(group, generator).items()}
    noise = sampler.draw(inputs, 3, DrawnNoise(generator))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = elements_of(sampler, inputs, noise)
    assert all(torch.equal(a, b) for a, b in zip(found, elements_of(sampler, inputs, noise), strict=True))
