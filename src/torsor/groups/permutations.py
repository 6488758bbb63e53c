"""Permutations S(n), as int64 vectors p `[..., n]`: item i goes to place p[i], so that moved[p[i]] = items[i]."""

from itertools import permutations
from math import factorial

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from torsor.errors import GroupError, ShapeError
from torsor.groups.base import FiniteGroup, check_size
from torsor.groups.numerics import uniform

LARGEST_LISTED = 8


class S(FiniteGroup):
    """The permutations of n items. Elements are int64 whatever dtype is asked for.

    Without a size it stands for "as many items as there are": contracts size it to their input. It can then compose, invert and make
    matrices, but not draw or list.

    Args:
        n: number of items, or None.
    """

    def __init__(self, n: int | None = None) -> None:
        self.size = None if n is None else check_size("S", n)

    @property
    def name(self) -> str:
        """The string that `parse` reads back."""
        return "S()" if self.size is None else f"S({self.size})"

    compact = True

    @property
    def order(self) -> int:
        """The factorial of n."""
        return factorial(self._n)

    @property
    def _n(self) -> int:
        if self.size is None:
            raise GroupError("S() does not know how many items there are: give their number, S(n)")
        return self.size

    def identity(
        self,
        *batch: int,
        dtype: torch.dtype | None = None,  # noqa: ARG002
        device: torch.device | str | None = None,
    ) -> Int64[Tensor, "*batch n"]:
        """Every item stays: 0, 1, ..., n - 1."""
        return torch.arange(self._n, device=device).repeat(*batch, 1)

    def compose(self, a: Int64[Tensor, "*a n"], b: Int64[Tensor, "*b n"]) -> Int64[Tensor, "*c n"]:
        """(ab)[i] = a[b[i]]."""
        places, items = torch.broadcast_tensors(a, b)  # type: ignore[no-untyped-call]
        return torch.gather(places, -1, items)

    def inverse(self, a: Int64[Tensor, "*batch n"]) -> Int64[Tensor, "*batch n"]:
        """The places exchanged with the items."""
        return a.argsort(-1)

    def sample(
        self,
        *batch: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,  # noqa: ARG002
        device: torch.device | str | None = None,
        mask: Bool[Tensor, "*batch n"] | None = None,
    ) -> Int64[Tensor, "*batch n"]:
        """Uniform permutations, by sorting random keys.

        Args:
            batch: how many.
            generator: where the random numbers come from.
            dtype: ignored.
            device: where the permutations go.
            mask: only the True places are permuted among themselves; the others stay.
        """
        keys = uniform((*batch, self._n), generator, device)
        if mask is not None and mask.shape != keys.shape:
            raise ShapeError(f"mask is {list(mask.shape)} but the permutations are {list(keys.shape)}: give one flag for each place")
        return self.by_keys(keys, mask).to(device)

    def by_keys(self, keys: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None = None) -> Int64[Tensor, "*batch n"]:
        """The permutations that send place 0, 1, ... to the item with the smallest key, the next, ...; equal keys stay in turn.

        Args:
            keys: finite numbers.
            mask: only the True places are permuted among themselves; the others stay.
        """
        if mask is None:
            return keys.argsort(dim=-1, stable=True)
        absent = ~mask.to(keys.device)
        # both orders list the True places first (in turn, and by keys) and then the others in turn, so that these meet themselves
        in_turn = absent.to(torch.uint8).argsort(dim=-1, stable=True)
        by_keys = keys.masked_fill(absent, torch.inf).argsort(dim=-1, stable=True)
        return torch.empty_like(in_turn).scatter(-1, in_turn, by_keys)

    def matrix(self, a: Int64[Tensor, "*batch n"], dtype: torch.dtype = torch.float64) -> Float[Tensor, "*batch n n"]:
        """Permutation matrices P with P[p[i], i] = 1."""
        places = torch.arange(a.shape[-1], device=a.device)
        return (places.unsqueeze(-1) == a.unsqueeze(-2)).to(dtype)

    def algebra(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "0 n n"]:
        """Empty: the group is finite."""
        return torch.zeros(0, self._n, self._n, dtype=dtype)

    def discrete_generators(self, dtype: torch.dtype = torch.float64) -> Int64[Tensor, "k n"]:  # noqa: ARG002
        """The exchange of the first two items and the cycle of all."""
        swap = torch.arange(self._n)
        swap[:2] = swap[:2].flip(0)
        cycle = torch.arange(self._n).roll(-1)
        return torch.stack((swap, cycle))[: min(self._n - 1, 2)]

    def elements(self, device: torch.device | str | None = None) -> Int64[Tensor, "order n"]:
        """All permutations in lexicographic order.

        Raises:
            GroupError: n is more than 8.
        """
        if self._n > LARGEST_LISTED:
            raise GroupError(f"{self} has {self.order} elements, too many to list: use `sample`, or at most S({LARGEST_LISTED})")
        return torch.tensor(list(permutations(range(self._n))), device=device)

    def probes(
        self,
        samples: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Identity, generic, and exchanges of two random items."""
        kinds: dict[str, Tensor] = super().probes(samples, generator, dtype, device)
        if self._n > 1:
            pairs = self.sample(samples, generator=generator, device=device)[:, :2]
            kinds["transposition"] = kinds["identity"].scatter(-1, pairs, pairs.flip(-1))
        return kinds
