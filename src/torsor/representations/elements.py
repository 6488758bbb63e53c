"""The action of a group on its own elements, for what is drawn from it: noise that moves along with the data."""

from __future__ import annotations

from torch import Tensor

from torsor.errors import ShapeError
from torsor.groups import Group, S
from torsor.groups.base import Element
from torsor.representations.base import Action
from torsor.representations.precision import precise


class LeftMultiplied(Action):
    """Elements of the group itself, x -> g x: the batch axes of g lead, and x may have further axes after them.

    Under a product each factor acts on tensors of its own elements; the other factors leave these alone, `Trivial()`.
    """

    def apply(self, group: Group, g: Element, x: Tensor) -> Tensor:
        """The products g x.

        Raises:
            ShapeError: x does not hold elements of the group behind the batch axes of g.
        """
        rank = 1 if isinstance(group, S) else group.identity().ndim
        batch, element = g.shape[: g.ndim - rank], g.shape[g.ndim - rank :]
        inner = x.ndim - rank - len(batch)
        if inner < 0 or x.shape[x.ndim - rank :] != element:
            raise ShapeError(f"{group} cannot multiply {list(x.shape)} by elements {list(g.shape)}: give [*batch, ..., *{list(element)}]")
        moving = g.reshape(*batch, *(1,) * inner, *element)
        with precise(x):
            product: Tensor = group.compose(moving.to(x.dtype), x)
        return product
