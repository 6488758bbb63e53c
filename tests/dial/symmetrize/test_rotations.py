"""Rotations of vectors: orthogonal for every input, moved with the vectors, with derivatives of every kind."""

import pytest
import torch
from scipy.linalg import polar as scipy_polar

from torsor.dial.symmetrize.rotations import orthogonal_factor
from torsor.groups import SO, O

METHODS = ("gram-schmidt", "polar")
DIMENSIONS = (1, 2, 3, 4)


def drawn(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def degenerate(kind, d, generator):
    vectors = drawn(generator, 5, d, d)
    return {
        "zero": torch.zeros_like(vectors),
        "collinear": vectors[..., :1] * drawn(generator, 5, 1, d),
        "one column": vectors * torch.eye(d, dtype=torch.float64)[0],
        "last column zero": vectors * (torch.arange(d) < d - 1),
        "equal singular values": O(d).sample(5, generator=generator, dtype=torch.float64),
        "tiny": 1e-150 * vectors,
        "huge": 1e150 * vectors,
    }[kind]


KINDS = ("zero", "collinear", "one column", "last column zero", "equal singular values", "tiny", "huge")


def require_orthogonal(factor, proper):
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype)
    assert (factor.mT @ factor - eye).abs().max() < 1e-12
    if proper:
        assert (torch.linalg.det(factor) - 1).abs().max() < 1e-12


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("proper", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_factor_turns_with_the_vectors(method, proper, d, generator):
    vectors = drawn(generator, 50, d, d)
    factor = orthogonal_factor(vectors, method, proper)
    require_orthogonal(factor, proper)
    h = (SO if proper else O)(d).sample(50, generator=generator, dtype=torch.float64)
    assert (orthogonal_factor(h @ vectors, method, proper) - h @ factor).abs().max() < 1e-10
    if not proper:
        assert (torch.linalg.det(factor) < 0).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [2, 3, 4])
@pytest.mark.parametrize("proper", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_degenerate_vectors_have_a_factor_that_turns_with_their_completion(method, proper, d, kind, generator):
    vectors, completion = degenerate(kind, d, generator), drawn(generator, 5, d + 1, d)
    factor = orthogonal_factor(vectors, method, proper, completion)
    require_orthogonal(factor, proper)
    without = orthogonal_factor(vectors, method, proper)
    require_orthogonal(without, proper)
    assert torch.equal(orthogonal_factor(vectors, method, proper, torch.zeros_like(completion)), without)
    h = (SO if proper else O)(d).sample(5, generator=generator, dtype=torch.float64)
    assert (orthogonal_factor(h @ vectors, method, proper, completion @ h.mT) - h @ factor).abs().max() < 1e-10


def test_gram_schmidt_is_the_sign_fixed_qr(generator):
    vectors = drawn(generator, 20, 3, 3)
    q, r = torch.linalg.qr(vectors)
    assert (orthogonal_factor(vectors) - q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)).abs().max() < 1e-12


def test_proper_gram_schmidt_turns_round_the_first_column(generator):
    vectors = drawn(generator, 20, 3, 3)
    free, proper = orthogonal_factor(vectors), orthogonal_factor(vectors, proper=True)
    assert torch.equal(proper[..., 1:], free[..., 1:])
    assert (proper[..., 0] - free[..., 0] * torch.linalg.det(free)[:, None]).abs().max() < 1e-12


@pytest.mark.parametrize("d", [2, 3, 5])
def test_polar_factor_is_that_of_scipy(d, generator):
    vectors = drawn(generator, 20, d, d)
    expected = torch.stack([torch.from_numpy(scipy_polar(v.numpy())[0]) for v in vectors])
    assert (orthogonal_factor(vectors, "polar") - expected).abs().max() < 1e-12


@pytest.mark.parametrize("d", [2, 3])
def test_proper_polar_factor_is_the_nearest_rotation(d, generator):
    """No rotation has a larger inner product with the vectors."""
    vectors = drawn(generator, 20, d, d)
    best = (orthogonal_factor(vectors, "polar", proper=True) * vectors).sum((-2, -1))
    others = (SO(d).sample(2000, generator=generator, dtype=torch.float64)[:, None] * vectors).sum((-2, -1))
    assert (others <= best + 1e-12).all()


@pytest.mark.parametrize("proper", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_derivatives_to_the_second_order_are_those_of_finite_differences(method, proper, generator):
    vectors = drawn(generator, 2, 3, 3)
    vectors[0] = O(3).sample(generator=generator, dtype=torch.float64)  # equal singular values
    if proper and method == "polar":  # where two singular values are opposite the factor jumps
        vectors[0] = SO(3).sample(generator=generator, dtype=torch.float64)
    vectors.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: orthogonal_factor(v, method, proper), vectors)
    assert torch.autograd.gradgradcheck(lambda v: orthogonal_factor(v, method, proper), vectors, fast_mode=True)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("tiny", "huge")])
@pytest.mark.parametrize("method", METHODS)
def test_derivatives_are_finite_on_degenerate_vectors(method, kind, generator):
    vectors = degenerate(kind, 3, generator).requires_grad_()
    factor = orthogonal_factor(vectors, method, proper=True, completion=drawn(generator, 5, 3, 3))
    (first,) = torch.autograd.grad((factor * drawn(generator, 5, 3, 3)).sum(), vectors, create_graph=True)
    assert first.isfinite().all()
    if first.requires_grad:
        (second,) = torch.autograd.grad(first.square().sum(), vectors)
        assert second.isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_is_computed_in_float32(method, generator):
    vectors = drawn(generator, 5, 3, 3).half()
    factor = orthogonal_factor(vectors, method)
    assert factor.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(orthogonal_factor(vectors, method), factor)
    assert (factor.mT @ factor - torch.eye(3)).abs().max() < 1e-5


@pytest.mark.compile
@pytest.mark.parametrize("method", METHODS)
def test_factor_compiles_whole(method, generator):
    vectors = drawn(generator, 5, 3, 3)
    compiled = torch.compile(lambda v: orthogonal_factor(v, method, True), fullgraph=True, backend="aot_eager")
    assert (compiled(vectors) - orthogonal_factor(vectors, method, proper=True)).abs().max() < 1e-12
