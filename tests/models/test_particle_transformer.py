"""The plain transformer over particles: what it is fed, what it does not know, and refusals."""

import pytest
import torch

from torsor.check import assert_equivariant, equivariance_error
from torsor.errors import ShapeError, SignatureError
from torsor.models import TransformerConfig
from torsor.models.particle_transformer import ParticleTransformer
from torsor.models.particles import jet
from torsor.signatures import Particles

SIGNATURE = Particles(2, 1, 1)
CONFIG = TransformerConfig(width=16, heads=2, layers=1)


def test_the_transformer_of_particles_is_built_from_the_settings_of_points(generator):
    module = CONFIG.build(SIGNATURE).double()
    assert isinstance(module, ParticleTransformer)
    inputs = SIGNATURE.example(2, 6, generator, torch.float64)
    assert_equivariant(module, inputs)
    assert equivariance_error(module, inputs, SIGNATURE.symmetry()).max_relative > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"momenta": torch.zeros(2, 3, 3)}, r"momenta is \[2, 3, 3\], but this model was built for \[2, 3, 4\]"),
        ({"scalars": None}, "scalars is missing"),
        ({"scalars": torch.zeros(2, 3, 5)}, r"scalars is \[2, 3, 5\]"),
    ],
)
def test_inputs_of_another_shape_are_named(changes, message):
    with pytest.raises(ShapeError, match=message):
        CONFIG.build(SIGNATURE)(**(SIGNATURE.example(2, 3) | changes))


def test_a_mask_of_another_shape_is_named():
    with pytest.raises(ShapeError, match=r"mask is \[2, 2\], but this model was built for \[2, 3\]"):
        jet(torch.zeros(2, 3, 4), None, torch.ones(2, 2, dtype=torch.bool), 0)


def test_scalars_that_were_not_announced_are_refused():
    with pytest.raises(ShapeError, match="was built without scalars: leave it out"):
        CONFIG.build(Particles())(momenta=torch.zeros(1, 2, 4), scalars=torch.zeros(1, 2, 1))


def test_a_width_that_does_not_divide_is_refused():
    with pytest.raises(SignatureError, match="width 15 does not divide by 2 heads"):
        TransformerConfig(width=15, heads=2).build(SIGNATURE)


def test_what_stands_behind_the_mask_has_no_influence(generator):
    module = CONFIG.build(SIGNATURE)
    inputs = SIGNATURE.example(2, 4, generator, lengths=(4, 2))
    spoiled = inputs | {"momenta": inputs["momenta"].masked_fill(~inputs["mask"][..., None], float("nan"))}
    assert torch.equal(module(**inputs), module(**spoiled))
