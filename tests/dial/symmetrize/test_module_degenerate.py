"""Symmetrised networks on input that leaves little to go by: one point, all in one place, few digits."""

import pytest
import torch

from tests.dial.symmetrize.networks import ARMS, cloud, cloud_contract, coupled_error, dense
from torsor.dial.symmetrize.averages import Haar
from torsor.dial.symmetrize.module import Symmetrized
from torsor.groups import E, S


@pytest.mark.parametrize("kind", ["one point", "coincident", "collinear", "nothing valid", "zero edges"])
@pytest.mark.parametrize("arm", ARMS)
def test_degenerate_inputs_are_finite(kind, arm, generator):
    inputs = cloud(generator, masked=True)
    if kind == "one point":
        inputs["mask"][:, 1:] = False
    if kind == "nothing valid":
        inputs["mask"][:] = False
    if kind == "coincident":
        inputs["positions"][:] = 1.0
    if kind == "collinear":
        inputs["positions"][..., 1:] = 0.0
    if kind == "zero edges":
        inputs["edges"][:] = 0.0
    inputs["positions"].requires_grad_()
    module = Symmetrized(dense(), ARMS[arm](cloud_contract(E(3) * S())), samples=1)
    y = module(**inputs, **module.draw(inputs, generator))
    y.square().sum().backward()
    assert y.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
    assert inputs["positions"].grad.isfinite().all()
    with torch.no_grad():
        inputs["positions"].requires_grad_(False)
        assert coupled_error(module.eval(), inputs, generator) < 1e-10


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_noise_and_elements_of_half_precision_inputs_are_kept_in_single(dtype, generator):
    inputs = {name: x.to(dtype) if x.is_floating_point() else x for name, x in cloud(generator, masked=True).items()}
    module = Symmetrized(dense().to(dtype), Haar(cloud_contract(E(3) * S())), samples=2)
    noise = module.draw(inputs, generator)
    assert noise["haar_0"].dtype == torch.float32
    y = module(**inputs, **noise)
    assert y.dtype == dtype
    assert y.isfinite().all()
    elements = module.sampler(inputs, noise, 2).elements
    q = E(3).linear(elements[0])
    assert (q.mT @ q - torch.eye(3)).abs().max() < 1e-5
    assert torch.equal(elements[1].sort(-1).values, torch.arange(4).expand(2, 2, 4))


def test_a_single_place_is_permuted_by_nothing(generator):
    module = Symmetrized(dense(3, 1), Haar(cloud_contract(S())), samples=2)
    inputs = cloud(generator, points=1)
    torch.testing.assert_close(module(**inputs), dense(3, 1)(**inputs), rtol=0, atol=1e-12)
