"""Kernels against e3nn and the definition, and the paths against each other."""

import pytest
import torch
from e3nn import o3
from torch import Tensor

from torsor.groups import SO
from torsor.nn.depthwise import DepthwiseKernel
from torsor.nn.edges import DenseEdges, dense_edges
from torsor.nn.fiber import Fiber
from torsor.nn.frames import EdgeFrames, Frames, SenderFrames, SpaceFrames
from torsor.nn.radial import RadialSettings
from torsor.nn.tensor_field import TensorFieldKernel, terms
from torsor.representations import wigner_blocks

RADIAL = RadialSettings(width=3)
CASES = {
    "equal channels": ((4, 4, 4), ((4, 4, 4), (4, 4, 4)), {}),
    "scalars in": ((3,), ((4,), (4, 4, 4)), {}),
    "absent degrees": ((0, 1), ((0, 2), (2, 2, 0, 2)), {}),
    "unequal channels": ((4, 2, 6, 4), ((4, 8), (4, 2, 6, 2)), {}),
    "a trunk for each pair": ((4, 2, 6, 0), ((4, 8), (4, 0, 6, 2)), {"trunk": "per_pair"}),
    "parity": ((4, 2, 6), ((4, 8), (4, 2, 6)), {"parity": True}),
    "low orders": ((4, 2, 6, 4), ((4, 8), (4, 2, 6, 2)), {"orders": 1}),
}


def cloud(generator: torch.Generator, coincident: bool = False) -> Tensor:
    """Points with edges along and close to the poles of the frames."""
    x = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    x[0, 1] = x[0, 0] + torch.tensor([0.0, 1.0, 0.0])
    x[0, 2] = x[0, 0] - torch.tensor([1e-9, 0.7, 0.0])
    if coincident:
        x[1, 1] = x[1, 0]
    return x


def features(fiber: Fiber, edges: DenseEdges, generator: torch.Generator) -> Tensor:
    x = torch.randn(edges.nodes, fiber.components, fiber.width, generator=generator, dtype=torch.float64)
    degrees = [l for l in range(fiber.l_max + 1) for _ in range(2 * l + 1)]
    return x * fiber.mask()[degrees]


def frames(edges: DenseEdges, l_max: int) -> tuple[Frames, Frames]:
    return SpaceFrames(edges, l_max), EdgeFrames(edges, l_max)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("coincident", [False, True], ids=["", "coincident points"])
def test_messages_of_both_paths_agree(case: str, coincident: bool, generator: torch.Generator) -> None:
    fiber_in, outputs, settings = Fiber(CASES[case][0]), CASES[case][1], CASES[case][2]
    edges = dense_edges(cloud(generator, coincident))
    kernel = TensorFieldKernel(fiber_in, tuple(Fiber(o, 2) for o in outputs), RADIAL, **settings).double()
    space, along = frames(edges, max(kernel.l_max, fiber_in.l_max))
    sent = edges.send(features(fiber_in, edges, generator))
    for a, b in zip(kernel(sent, space), kernel(sent, along), strict=True):
        assert a.abs().max() > 0.1
        torch.testing.assert_close(along.total(b), space.total(a), atol=1e-12, rtol=0)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("neighbours", [None, 2])
def test_messages_contracted_at_the_sender_are_those_of_each_edge(case: str, neighbours: int | None, generator: torch.Generator) -> None:
    fiber_in, outputs, settings = Fiber(CASES[case][0]), CASES[case][1], CASES[case][2]
    edges = dense_edges(cloud(generator, coincident=True), neighbours=neighbours)
    kernel = TensorFieldKernel(fiber_in, tuple(Fiber(o, 2) for o in outputs), RADIAL, **settings).double()
    l_max = max(kernel.l_max, fiber_in.l_max)
    x = features(fiber_in, edges, generator)
    found = kernel.by_sender(x, SenderFrames(edges, l_max))
    for a, b in zip(kernel(edges.send(x), SpaceFrames(edges, l_max)), found, strict=True):
        assert a.abs().max() > 0.1
        torch.testing.assert_close(b, a, atol=1e-12, rtol=0)


@pytest.mark.parametrize("settings", [{}, {"parity": True}, {"orders": 1}], ids=str)
@pytest.mark.parametrize(("l_in", "l_out"), [(2, 3), (3, 1), (0, 2), (2, 0)])
def test_depthwise_messages_of_both_paths_agree(l_in: int, l_out: int, settings: dict, generator: torch.Generator) -> None:
    edges = dense_edges(cloud(generator, coincident=True))
    kernel = DepthwiseKernel(3, l_in, l_out, 2, RADIAL, **settings).double()
    space, along = frames(edges, max(l_in, l_out))
    sent = edges.send(features(Fiber((3,) * (l_in + 1)), edges, generator))
    for a, b in zip(kernel(sent, space), kernel(sent, along), strict=True):
        assert a.abs().max() > 0.1
        torch.testing.assert_close(along.total(b), space.total(a), atol=1e-12, rtol=0)


@pytest.mark.parametrize("l", range(7))
def test_kernels_are_equal_in_both_forms_up_to_degree_6(l: int, generator: torch.Generator) -> None:
    for k in range(7):
        edges = dense_edges(cloud(generator))
        fiber_in, fiber_out = (Fiber((0,) * d + (1,)) for d in (k, l))
        kernel = TensorFieldKernel(fiber_in, (fiber_out,), RADIAL).double()
        space, along = frames(edges, max(l, k))
        sent = edges.send(features(fiber_in, edges, generator))
        (a,), (b,) = kernel(sent, space), kernel(sent, along)
        torch.testing.assert_close(along.total(b), space.total(a), atol=1e-12, rtol=0)


def kernel_matrices(l: int, k: int, vectors: Tensor, kernel: TensorFieldKernel) -> Tensor:
    """W^{lk}(x) of single edges, one column at a time."""
    points = torch.stack([vectors, torch.zeros_like(vectors)], 1)
    edges = dense_edges(points)
    columns = []
    for place in range(2 * k + 1):
        x = torch.zeros(edges.nodes, (k + 1) ** 2, 1, dtype=vectors.dtype)
        x[:, k * k + place] = 1
        (message,) = kernel(edges.send(x), SpaceFrames(edges, max(l, k)))
        columns.append(message[::2, l * l :, 0])
    return torch.stack(columns, -1)


@pytest.mark.parametrize(("l", "k"), [(0, 0), (1, 0), (0, 2), (1, 1), (2, 1), (2, 3), (4, 4)])
def test_kernel_turns_with_the_edge(l: int, k: int, generator: torch.Generator) -> None:
    kernel = TensorFieldKernel(Fiber((0,) * k + (1,)), (Fiber((0,) * l + (1,)),), RADIAL).double()
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    rotation = SO(3).sample(generator=generator, dtype=torch.float64)
    blocks = wigner_blocks(max(l, k), rotation)
    turned = kernel_matrices(l, k, x @ rotation.T, kernel)
    torch.testing.assert_close(turned, blocks[l] @ kernel_matrices(l, k, x, kernel) @ blocks[k].T, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("l", "k"), [(0, 0), (1, 1), (2, 1), (1, 2), (2, 2), (3, 2)])
def test_each_term_of_the_kernel_is_a_multiple_of_e3nns(l: int, k: int, generator: torch.Generator) -> None:
    kernel = TensorFieldKernel(Fiber((0,) * k + (1,)), (Fiber((0,) * l + (1,)),), RADIAL).double()
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    for index, j in enumerate(terms(l, k, parity=False)):
        with torch.no_grad():
            for weight in kernel.weights.values():
                weight.zero_()
                weight[index] = 1.0
        found = kernel_matrices(l, k, x, kernel)
        harmonics = o3.spherical_harmonics(j, x, normalize=True, normalization="integral")
        expected = torch.einsum("abc,ec->eab", o3.wigner_3j(l, k, j, dtype=torch.float64), harmonics)
        for a, b in zip(found, expected, strict=True):
            ratio = (a * b).sum() / b.square().sum()
            assert ratio.abs() > 1e-3
            torch.testing.assert_close(a, ratio * b, atol=1e-12, rtol=0)


def test_parity_keeps_only_terms_that_reflections_do_not_change() -> None:
    assert terms(2, 1, parity=False) == [1, 2, 3]
    assert terms(2, 1, parity=True) == [1, 3]


def test_fresh_messages_have_about_unit_variance(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    edges = dense_edges(torch.randn(8, 16, 3, generator=generator))
    fiber = Fiber((16, 16, 16))
    kernel = TensorFieldKernel(fiber, (fiber,), RadialSettings())
    (message,) = kernel(edges.send(torch.randn(edges.nodes, 9, 16, generator=generator)), EdgeFrames(edges, 2))
    assert 0.5 < message.std() < 2
