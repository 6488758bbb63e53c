"""Small numerical tools of this room: norms and quotients that stay differentiable at zero, and draws from a generator.

`torch.where` passes gradients to both branches, so a branch that is not taken must still be finite: every function here feeds the untaken
branch a harmless argument instead of masking its result.
"""

import math
from collections.abc import Callable, Sequence
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

SINC_SERIES = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(11))
SINC_REMAINDER_SERIES = tuple((-1) ** k / math.factorial(2 * k + 3) for k in range(11))
BERNOULLI = (1 / 6, 1 / 30, 1 / 42, 1 / 30, 5 / 66, 691 / 2730, 7 / 6, 3617 / 510, 43867 / 798, 174611 / 330, 854513 / 138)
COTANGENT_SERIES = tuple(number / math.factorial(2 * k + 2) for k, number in enumerate(BERNOULLI))


def horner(x: Float[Tensor, "*shape"], coefficients: Sequence[float]) -> Float[Tensor, "*shape"]:
    """The polynomial sum_k coefficients[k] x^k."""
    value = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value


def even_quotient(
    squared: Float[Tensor, "*shape"],
    series: Sequence[float],
    closed: Callable[[Tensor], Tensor],
    radius: float = 1.0,
) -> Float[Tensor, "*shape"]:
    """A function of t^2 that is smooth at 0: its power series in t^2 below `radius`, its closed form in t above.

    Args:
        squared: t^2, not negative.
        series: coefficients of the powers of t^2.
        closed: the function of t, used for t^2 >= radius.
        radius: where the series hands over; large enough that the closed form has lost no digits, nor have its second derivatives.
    """
    small = squared < radius
    near = horner(torch.where(small, squared, torch.zeros_like(squared)), series)
    far = closed(torch.where(small, torch.ones_like(squared), squared).sqrt())
    return torch.where(small, near, far)


def sinc(squared: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The quotient sin(t) / t as a function of t^2."""
    return even_quotient(squared, SINC_SERIES, lambda t: torch.sin(t) / t)


def cosc(squared: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The quotient (1 - cos t) / t^2 as a function of t^2, by half angles so that nothing cancels."""
    return sinc(squared / 4).square() / 2


def sinc_remainder(squared: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The quotient (t - sin t) / t^3 as a function of t^2."""
    return even_quotient(squared, SINC_REMAINDER_SERIES, lambda t: (t - torch.sin(t)) / t**3)


def cotangent_remainder(squared: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The quotient (1 - (t/2) cot(t/2)) / t^2 as a function of t^2, for t < 2 pi; 1/12 + t^2/720 + t^4/30240 + ..."""
    return even_quotient(squared, COTANGENT_SERIES, lambda t: (1 - t / 2 / torch.tan(t / 2)) / t.square())


def safe_norm(x: Float[Tensor, "*shape n"]) -> Float[Tensor, "*shape"]:
    """Euclidean norm over the last axis, with derivatives zero (not NaN) at 0, to every order."""
    squared = x.square().sum(-1)
    zero = squared == 0
    return torch.where(zero, torch.ones_like(squared), squared).sqrt() * (~zero).to(x.dtype)


def unit(x: Float[Tensor, "*shape n"]) -> Float[Tensor, "*shape n"]:
    """The direction x / |x|; the first basis vector, with zero derivative, where x = 0."""
    squared = x.square().sum(-1, keepdim=True)
    zero = squared == 0
    first = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)[0]
    return torch.where(zero, first, x) / torch.where(zero, torch.ones_like(squared), squared).sqrt()


def block_diagonal(blocks: Sequence[Float[Tensor, "..."]]) -> Float[Tensor, "*batch n n"]:
    """Square matrices `[*batch, d, d]` along the diagonal of one; batch axes broadcast, dtypes are promoted."""
    batch = torch.broadcast_shapes(*(block.shape[:-2] for block in blocks))  # type: ignore[no-untyped-call]
    dtype = reduce(torch.promote_types, (block.dtype for block in blocks))
    size, start, rows = sum(block.shape[-1] for block in blocks), 0, []
    for block in blocks:
        wide = block.to(dtype).expand(*batch, *block.shape[-2:])
        rows.append(pad(wide, (start, size - start - block.shape[-1])))
        start += block.shape[-1]
    return torch.cat(rows, dim=-2)


def normal(shape: Sequence[int], generator: torch.Generator | None, device: torch.device | str | None = None) -> Tensor:
    """Standard normal numbers in float64, drawn where the generator lives, so that a seed gives the same numbers in every dtype."""
    source = device if generator is None else generator.device
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float64, device=source)


def uniform(shape: Sequence[int], generator: torch.Generator | None, device: torch.device | str | None = None) -> Tensor:
    """Uniform numbers of [0, 1) in float64, drawn where the generator lives."""
    source = device if generator is None else generator.device
    return torch.rand(tuple(shape), generator=generator, dtype=torch.float64, device=source)


def signs(shape: Sequence[int], generator: torch.Generator | None, device: torch.device | str | None = None) -> Tensor:
    """Fair signs -1 and 1 in float64."""
    return 1 - 2 * (uniform(shape, generator, device) < 0.5).double()


def deliver(x: Tensor, dtype: torch.dtype | None, device: torch.device | str | None) -> Tensor:
    """Bring a float64 draw to the dtype (default: torch's) and device (default: where it is) that the caller asked for."""
    return x.to(dtype=dtype or torch.get_default_dtype(), device=device)
