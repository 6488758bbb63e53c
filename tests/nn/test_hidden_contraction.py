"""The chunked contraction against the formula at once, and its derivatives of first and second order."""

import pytest
import torch
from torch import Tensor

from torsor.nn import hidden_contraction
from torsor.nn.hidden_contraction import contract, contract_naive


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden_contraction, "_chunk", lambda *_: 3)


def arguments(generator: torch.Generator, q: int) -> tuple[Tensor, Tensor, Tensor]:
    shapes = ((8, 4, q), (2, 8, q, 5), (2, 4 * q * 5, 3))
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]
    return drawn[0], drawn[1], drawn[2]


@pytest.mark.parametrize("q", [1, 2])
@pytest.mark.usefixtures("small_chunks")
def test_chunks_give_the_sum_of_the_formula(q: int, generator: torch.Generator) -> None:
    z, g, w = arguments(generator, q)
    expected = torch.einsum("ehq,reqi,rhqio->reo", z, g, torch.unflatten(w, 1, (4, q, 5)))
    torch.testing.assert_close(contract(z, g, w), expected, atol=1e-13, rtol=1e-13)
    torch.testing.assert_close(contract_naive(z, g, w), expected, atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("q", [1, 2])
@pytest.mark.usefixtures("small_chunks")
def test_first_second_and_forward_derivatives_are_right(q: int, generator: torch.Generator) -> None:
    assert torch.autograd.gradcheck(contract, arguments(generator, q), check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(contract, arguments(generator, q), fast_mode=True)


@pytest.mark.usefixtures("small_chunks")
def test_only_the_gradients_that_are_asked_for_are_computed(generator: torch.Generator) -> None:
    z, g, w = arguments(generator, 1)
    (alone,) = torch.autograd.grad(contract(z.detach(), g.detach(), w).sum(), w)
    torch.testing.assert_close(alone, torch.autograd.grad(contract(z, g, w).sum(), w)[0])


def test_no_edges_give_no_messages() -> None:
    assert contract(torch.zeros(0, 4, 1), torch.zeros(2, 0, 1, 5), torch.zeros(2, 20, 3)).shape == (2, 0, 3)
