"""The written-out formula and the fused kernel are one function; the former is taken where derivatives of it are wanted."""

import pytest
import torch

from torsor.nn.attention import attend, needs_plain_attention


@pytest.fixture
def triple(generator: torch.Generator) -> list[torch.Tensor]:
    return [torch.randn(2, 3, n, 4, generator=generator, dtype=torch.float64) for n in (5, 6, 6)]


@pytest.mark.parametrize("biased", [False, True])
def test_plain_equals_fused(triple: list[torch.Tensor], biased: bool, generator: torch.Generator) -> None:
    bias = torch.randn(2, 3, 5, 6, generator=generator, dtype=torch.float64) if biased else None
    if bias is not None:
        bias[..., 2:] = float("-inf")
    torch.testing.assert_close(attend(*triple, bias, plain=True), attend(*triple, bias), rtol=1e-12, atol=1e-12)


def test_plain_passes_second_derivatives_and_forward_mode(triple: list[torch.Tensor]) -> None:
    query, key, value = triple
    gradient = torch.func.grad(lambda q: attend(q, key, value, plain=True).square().sum())
    _, along = torch.func.jvp(gradient, (query,), (torch.ones_like(query),))
    step = 1e-6
    torch.testing.assert_close(along, (gradient(query + step) - gradient(query - step)) / (2 * step), rtol=1e-6, atol=1e-7)


def test_plain_is_chosen_where_an_input_is_differentiated() -> None:
    x = torch.ones(3)
    seen = []
    torch.func.vmap(lambda x: (seen.append(needs_plain_attention(x)), x)[1])(x)
    torch.func.grad(lambda x: (seen.append(needs_plain_attention(None, x)), x.sum())[1])(x)
    assert seen == [True, True]
    assert not needs_plain_attention(x, None)
    assert needs_plain_attention(x.clone().requires_grad_())
    with torch.no_grad():
        assert not needs_plain_attention(x.clone().requires_grad_())
