"""Self-interactions, norms and gates: they commute with rotations, and do what their formulas say."""

import pytest
import torch
from torch import Tensor, nn

from torsor.groups import SO
from torsor.nn.fiber import Fiber, FiberLayout
from torsor.nn.irreps_linear import AttentiveLinear, IrrepsLinear
from torsor.nn.irreps_norm import PUBLISHED_EPS, Gate, IrrepsLayerNorm, NormBias, NormNetwork
from torsor.representations import Irreps, wigner_blocks

FIBERS = [Fiber((4, 4, 4)), Fiber((4, 2, 6), 2), Fiber((3, 0, 2)), Fiber((5,))]
LAYERS = {
    "linear": lambda f: IrrepsLinear((f,), f),
    "attentive": lambda f: AttentiveLinear((f,), f),
    "attentive, free scale": lambda f: AttentiveLinear((f,), f, "none"),
    "layer norm": IrrepsLayerNorm,
    "gate": Gate,
    "norm": NormNetwork,
    "norm with layers": lambda f: NormNetwork(f, layers=2),
    "norm, published": lambda f: NormNetwork(f, PUBLISHED_EPS),
    "bias": NormBias,
}


def random(fiber: Fiber, generator: torch.Generator, nodes: int = 3) -> Tensor:
    x = torch.randn(nodes, fiber.components, fiber.width, generator=generator, dtype=torch.float64)
    return x * fiber.mask()[[l for l in range(fiber.l_max + 1) for _ in range(2 * l + 1)]]


def turn(x: Tensor, rotation: Tensor, l_max: int) -> Tensor:
    return torch.block_diag(*wigner_blocks(l_max, rotation)) @ x


@pytest.mark.parametrize("fiber", FIBERS, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_commute_with_rotations_and_keep_padding_empty(name: str, fiber: Fiber, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name](fiber).double()
    x = random(fiber, generator)
    rotation = SO(3).sample(generator=generator, dtype=torch.float64)
    y = layer(x)
    assert y.abs().max() > 0
    torch.testing.assert_close(layer(turn(x, rotation, fiber.l_max)), turn(y, rotation, fiber.l_max), atol=1e-12, rtol=0)
    assert not (y * ~fiber.mask()[[l for l in range(fiber.l_max + 1) for _ in range(2 * l + 1)]]).any()


def test_linear_mixes_the_channels_of_each_degree_of_all_inputs(generator: torch.Generator) -> None:
    a, b, out = Fiber((2, 4), 2), Fiber((3, 0, 1)), Fiber((2, 5, 2))
    layer = IrrepsLinear((a, b), out).double()
    x, y = random(a, generator), random(b, generator)
    found = layer(x, y)
    scalars = torch.cat([a.take(x, 0), b.take(y, 0)], -1) @ layer.weights["0"]
    torch.testing.assert_close(out.take(found, 0), scalars)
    torch.testing.assert_close(out.take(found, 1), a.take(x, 1) @ layer.weights["1"])
    torch.testing.assert_close(out.take(found, 2), b.take(y, 2) @ layer.weights["2"])


def test_attentive_outputs_are_convex_combinations(generator: torch.Generator) -> None:
    fiber = Fiber((6,))
    layer = AttentiveLinear((fiber,), Fiber((9,))).double()
    x = random(fiber, generator, nodes=20)
    y = layer(x)
    assert (y.amax(-1) <= x.amax(-1) + 1e-12).all()
    assert (y.amin(-1) >= x.amin(-1) - 1e-12).all()


def test_norm_bias_is_the_published_formula_where_features_are_not_small(generator: torch.Generator) -> None:
    fiber = Fiber((3, 3))
    layer = NormBias(fiber, PUBLISHED_EPS).double()
    x = random(fiber, generator)
    for l in (0, 1):
        part = fiber.take(x, l)
        norm = part.norm(dim=-2, keepdim=True)
        torch.testing.assert_close(fiber.take(layer(x), l), (norm + layer.biases[str(l)]).relu() * part / norm)


def test_norm_network_is_the_published_formula_where_features_are_not_small(generator: torch.Generator) -> None:
    fiber = Fiber((4, 4))
    layer = NormNetwork(fiber, PUBLISHED_EPS).double()
    x = random(fiber, generator)
    part = fiber.take(x, 1)
    norm = part.norm(dim=-2, keepdim=True)
    torch.testing.assert_close(fiber.take(layer(x), 1), nn.functional.layer_norm(norm, (4,)).relu() * part / norm)


def test_smooth_norms_keep_what_vanishes_by_symmetry_small_and_the_published_one_does_not() -> None:
    fiber = Fiber((2, 2))
    noise = torch.full((1, 4, 2), 1e-9, dtype=torch.float64)
    for layer, bound in (
        (NormBias(fiber), 1e-7),
        (IrrepsLayerNorm(fiber), 1e-7),
        (Gate(fiber), 1e-7),
        (NormBias(fiber, PUBLISHED_EPS), None),
    ):
        with torch.no_grad():
            for p in layer.parameters():
                p.fill_(1.0)
        vectors = layer.double()(noise)[:, 1:]
        assert vectors.abs().max() < bound if bound else vectors.norm(dim=1).min() > 0.9


def test_second_derivatives_at_zero_are_finite() -> None:
    fiber = Fiber((3, 3))
    for layer in (NormBias(fiber), NormNetwork(fiber), Gate(fiber), IrrepsLayerNorm(fiber)):
        x = torch.zeros(1, 4, 3, requires_grad=True)
        (first,) = torch.autograd.grad(layer(x).square().sum() + layer(x).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
        assert first.isfinite().all()
        assert second.isfinite().all()


def test_layer_norm_makes_scalars_standard_and_higher_degrees_of_unit_mean_square(generator: torch.Generator) -> None:
    fiber = Fiber((8, 4, 2))
    y = IrrepsLayerNorm(fiber, eps=0.0).double()(7 * random(fiber, generator))
    scalars = fiber.take(y, 0)
    torch.testing.assert_close(scalars.mean(-1), torch.zeros(3, 1, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(scalars.var(-1, unbiased=False), torch.ones(3, 1, dtype=torch.float64))
    per_degree = torch.stack([fiber.take(y, l).square().mean((1, 2)) for l in (1, 2)])
    torch.testing.assert_close(per_degree.mean(0), torch.ones(3, dtype=torch.float64))


def test_layout_puts_flat_irreps_into_the_dense_tensor_and_back(generator: torch.Generator) -> None:
    irreps = Irreps("2x1o + 3x0e + 1x2e + 1x1o")
    layout = FiberLayout(irreps)
    flat = torch.randn(4, irreps.dim, generator=generator)
    dense = layout.dense(flat)
    assert torch.equal(layout.flat(dense), flat)
    assert torch.equal(dense[:, 1:4, 1], flat[:, 3:6])
    assert torch.equal(dense[:, 1:4, 2], flat[:, 14:17])
    assert torch.equal(dense[:, 0], flat[:, 6:9])
