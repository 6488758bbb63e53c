"""Teachers: equivariant maps whose parameters are one flat vector, so that a network can be asked to imitate all of them at once.

Huang, Cheng, Chen, Aspuru-Guzik: Symmetry From Scratch: Group Equivariance as a Supervised Learning Task (2024): a network h(x, tau) is
trained to give Phi_tau(x) for random inputs x and random parameters tau. Phi_tau commutes with the group for every tau.

A teacher is called with both, `teacher(x, tau)`, on flat tensors. Its contract speaks of x alone, for the group leaves tau where it is.

Axes: b batch, n numbers in, m numbers out, k parameters, c channels, i places in, o channels out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import deepcopy
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.errors import RepresentationError, ShapeError
from torsor.groups import C, Group, S
from torsor.groups.numerics import deliver, normal
from torsor.models.equivariant_mlp import EquivariantLinear, Gated
from torsor.representations import Defining, Representation, Trivial, equivariant_basis
from torsor.representations.basis import common_group
from torsor.representations.commuting import for_each_factor
from torsor.symmetry import Symmetry

DRAWS = 4096
"""Draws on which the scale of a teacher that is not linear is estimated."""
AT_ONCE = 512
"""Draws that go through a teacher at once."""
LARGEST = 2 * 10**6
"""Most numbers in the tensor of a linear teacher whose norm is worked out and not estimated."""
HALVINGS = 14
"""Steps of the search for that scale; they settle it to a twentieth of a per cent."""


class Sizes(NamedTuple):
    """What a student has to know of its teacher.

    Args:
        inputs: the n.
        parameters: the k.
        outputs: the m.
        scale: standard deviation of the parameters.
    """

    inputs: int
    parameters: int
    outputs: int
    scale: float = 1.0


class Teacher(nn.Module, ABC):
    """An equivariant map Phi_tau for every vector tau of parameters.

    Args:
        symmetry: the contract, exact for every tau; its only input is "x".
        inputs: numbers in x.
        parameters: numbers in tau.
        outputs: numbers out.
        **settings: what tells this teacher from others of its class, as JSON can hold it.

    Raises:
        RepresentationError: there are no parameters, so that only the zero map commutes with the group.
    """

    linear: bool = True
    """Whether the map is linear in tau and affine in x."""

    def __init__(self, symmetry: Symmetry, inputs: int, parameters: int, outputs: int, **settings: Any) -> None:
        super().__init__()
        if parameters == 0:
            raise RepresentationError(
                f"only the zero map goes from {symmetry.inputs['x']} to {symmetry.output} under {symmetry.group}: "
                "there is nothing to imitate; give other representations"
            )
        self.symmetry, self.settings = symmetry, settings
        self.inputs, self.parameter_count, self.outputs = inputs, parameters, outputs

    @abstractmethod
    def forward(self, x: Float[Tensor, "*b n"], tau: Float[Tensor, "*t k"]) -> Float[Tensor, "*b m"]:
        """Phi_tau(x), with a tau for each item or one for all."""

    @cached_property
    def scale(self) -> float:
        """The standard deviation of the parameters at which standard normal inputs give outputs of variance one on average."""
        return _linear_scale(self) if self.linear else _searched_scale(self)

    @property
    def sizes(self) -> Sizes:
        """What a student has to know."""
        return Sizes(self.inputs, self.parameter_count, self.outputs, self.scale)

    @property
    def spec(self) -> dict[str, Any]:
        """What the teacher is, as JSON can hold it; teachers with equal ones have the same maps."""
        return {
            "teacher": type(self).__name__,
            "group": str(self.symmetry.group),
            "input": str(self.symmetry.inputs["x"]),
            "output": str(self.symmetry.output),
            "sizes": [self.inputs, self.parameter_count, self.outputs],
            **self.settings,
        }

    def sample_tau(
        self, *batch: int, generator: torch.Generator | None = None, dtype: torch.dtype | None = None
    ) -> Float[Tensor, "*batch k"]:
        """Random parameters, independent normal numbers with the standard deviation `scale`."""
        return deliver(self.scale * normal((*batch, self.parameter_count), generator), dtype, None)

    def at(self, tau: Float[Tensor, " k"]) -> FixedTeacher:
        """The one map that belongs to these parameters, as a module of x."""
        return FixedTeacher(self, tau)


class FixedTeacher(nn.Module):
    """Phi_tau for one tau.

    Args:
        teacher: the Phi.
        tau: its parameters.
    """

    tau: Tensor

    def __init__(self, teacher: Teacher, tau: Float[Tensor, " k"]) -> None:
        super().__init__()
        self.teacher, self.symmetry = teacher, teacher.symmetry
        self.register_buffer("tau", tau.detach().clone())

    def forward(self, x: Float[Tensor, "*b n"]) -> Float[Tensor, "*b m"]:
        """Phi_tau(x)."""
        y: Tensor = self.teacher(x, self.tau.to(x.dtype))
        return y


class BasisLayer(Teacher):
    """Phi_tau(x) = sum_q tau_q B_q x + sum_r tau_{k+r} beta_r with all maps and all vectors that commute with the group.

    The oracle of every linear teacher, and the form for groups of matrices, compact or not, on sums of scalars, vectors and tensors.

    Args:
        rep_in: how the input transforms; it or `rep_out` is bound to the group.
        rep_out: how the output transforms.
        bias: whether to add the invariant vectors beta.

    Raises:
        RepresentationError: only the zero map commutes with the group.
    """

    def __init__(self, rep_in: Representation, rep_out: Representation, bias: bool = True) -> None:
        group = common_group(*(rep for rep in (rep_in, rep_out) if rep.group is not None))
        rep_in, rep_out = rep_in.on(group), rep_out.on(group)
        basis = equivariant_basis(rep_in, rep_out)
        invariants = equivariant_basis(Trivial().on(group), rep_out)[: None if bias else 0].squeeze(-1)
        super().__init__(_contract(group, rep_in, rep_out), rep_in.dim, len(basis) + len(invariants), rep_out.dim, bias=bias)
        self.exact = basis, invariants

    def forward(self, x: Float[Tensor, "*b n"], tau: Float[Tensor, "*t k"]) -> Float[Tensor, "*b m"]:
        """The sum over the basis."""
        basis, invariants = (table.to(x) for table in self.exact)
        weights, shifts = torch.split(tau, [len(basis), len(invariants)], -1)
        return torch.einsum("...q,qmn,...n->...m", weights, basis, x) + shifts @ invariants


class DeepSets(Teacher):
    """x [n, c] -> x Gamma + mean_n(x) Lambda, with tau = (Gamma, Lambda) of c times c' numbers each.

    Zaheer et al., Deep Sets (2017).

    Args:
        items: the n.
        channels_in: the c.
        channels_out: the c'.
    """

    def __init__(self, items: int, channels_in: int, channels_out: int) -> None:
        rep_in, rep_out = Defining() @ Trivial(channels_in), Defining() @ Trivial(channels_out)
        group = S(items)
        contract = Symmetry(group, {"x": rep_in.on(group)}, rep_out.on(group), mask=None)
        super().__init__(contract, items * channels_in, 2 * channels_in * channels_out, items * channels_out)
        self.axes = (items, channels_in, channels_out)

    def forward(self, x: Float[Tensor, "*b n"], tau: Float[Tensor, "*t k"]) -> Float[Tensor, "*b m"]:
        """Each item by itself, and the mean of all."""
        items, channels_in, channels_out = self.axes
        x = torch.unflatten(x, -1, (items, channels_in))
        own, common = torch.unflatten(tau, -1, (2, channels_in, channels_out)).unbind(-3)
        return (x @ own + x.mean(-2, keepdim=True) @ common).flatten(-2)


class ExchangeableMatrix(Teacher):
    """x [rows, columns, c] -> four maps of channels: of the entry, of the mean of its row, of its column, and of all.

    Hartford et al., Deep Models of Interactions Across Sets (2018). tau holds the four matrices c times c' in this order.

    Args:
        rows: items of the first set.
        columns: items of the second set.
        channels_in: the c.
        channels_out: the c'.
    """

    def __init__(self, rows: int, columns: int, channels_in: int, channels_out: int) -> None:
        actions = [
            ((Defining() @ Trivial(columns * c)).on(S(rows)), (Trivial(rows) @ Defining() @ Trivial(c)).on(S(columns)))
            for c in (channels_in, channels_out)
        ]
        contract = Symmetry(S(rows) * S(columns), {"x": actions[0]}, actions[1], mask=None)
        entries = rows * columns
        super().__init__(contract, entries * channels_in, 4 * channels_in * channels_out, entries * channels_out)
        self.axes = (rows, columns, channels_in, channels_out)

    def forward(self, x: Float[Tensor, "*b n"], tau: Float[Tensor, "*t k"]) -> Float[Tensor, "*b m"]:
        """The four maps, added."""
        x = torch.unflatten(x, -1, self.axes[:3])
        entry, row, column, whole = torch.unflatten(tau, -1, (4, 1, *self.axes[2:])).unbind(-4)
        of_rows, of_columns = x.mean(-2, keepdim=True), x.mean(-3, keepdim=True)
        return (x @ entry + of_rows @ row + of_columns @ column + of_rows.mean(-3, keepdim=True) @ whole).flatten(-3)


class ModuleTeacher(Teacher):
    """Any equivariant module, its parameters as one vector in the order of `named_parameters`.

    One tau for all items is one call of the module; a tau for each item is one call under `vmap`.

    Args:
        module: called with one tensor, equivariant for all values of its parameters. A copy is kept.
        symmetry: the contract on flat tensors; the module's own if not given.
        inputs: numbers in x; the dimension of the contract's representation if not given.
        shape: of what the module takes, without the batch axis; `(inputs,)` if not given. Outputs are flattened.
        linear: whether the module is linear in its parameters and affine in x.

    Raises:
        RepresentationError: the module has no parameters, or no contract is given.
    """

    def __init__(
        self, module: nn.Module, symmetry: Symmetry | None = None, shape: tuple[int, ...] | None = None, linear: bool = False
    ) -> None:
        contract = symmetry or getattr(module, "symmetry", None)
        if not isinstance(contract, Symmetry) or tuple(contract.inputs) != ("x",):
            raise RepresentationError(
                f"{type(module).__name__} has no contract for one input x: pass symmetry=Symmetry(group, {{'x': ...}}, ...)"
            )
        shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
        shape = shape or (_dimension(contract),)
        with torch.no_grad():
            like = next(module.parameters(), torch.zeros(()))
            outputs = module(like.new_zeros(1, *shape)).numel()
        described = {"module": type(module).__name__, "shapes": {name: list(size) for name, size in shapes.items()}}
        super().__init__(contract, prod(shape), sum(map(prod, shapes.values())), outputs, **described)
        self.linear, self.shape, self.shapes = linear, shape, shapes
        self.module = without_parameters(module)

    def forward(self, x: Float[Tensor, "*b n"], tau: Float[Tensor, "*t k"]) -> Float[Tensor, "*b m"]:
        """The module with these parameters."""
        x = torch.unflatten(x, -1, self.shape)
        if tau.ndim == 1:
            return self._call(tau, x).flatten(x.ndim - len(self.shape))
        each: Tensor = torch.func.vmap(self._one)(tau, x)
        return each

    def _one(self, tau: Tensor, x: Tensor) -> Tensor:
        return self._call(tau, x.unsqueeze(0)).flatten()

    def _call(self, tau: Tensor, x: Tensor) -> Tensor:
        parts = torch.split(tau, [prod(shape) for shape in self.shapes.values()])
        named = {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}
        y: Tensor = torch.func.functional_call(self.module, named, (x,))
        return y


def linear_teacher(rep_in: Representation, rep_out: Representation) -> ModuleTeacher:
    """Every linear map that commutes with the group and every invariant vector, summand by summand.

    The same maps as `BasisLayer`, in the layout of `EquivariantLinear` and without the matrices of its whole basis.
    """
    group = common_group(*(rep for rep in (rep_in, rep_out) if rep.group is not None))
    rep_in, rep_out = rep_in.on(group), rep_out.on(group)
    return ModuleTeacher(EquivariantLinear(rep_in, rep_out), _contract(group, rep_in, rep_out), (rep_in.dim,), linear=True)


def gated_teacher(rep_in: Representation, rep_out: Representation) -> ModuleTeacher:
    """A linear map to `rep_out` and one scalar for each of its summands that is no scalar, and the gates: see `Gated`."""
    group = common_group(*(rep for rep in (rep_in, rep_out) if rep.group is not None))
    rep_in, rep_out = rep_in.on(group), rep_out.on(group)
    gated = Gated(rep_out)
    block = nn.Sequential(EquivariantLinear(rep_in, gated.rep_in.on(group)), gated)
    return ModuleTeacher(block, _contract(group, rep_in, rep_out), (rep_in.dim,))


def dense_teacher(inputs: int, outputs: int, group: Group | None = None) -> BasisLayer:
    """Every matrix, tau [m, n]: what is left of a teacher where the group does nothing."""
    return BasisLayer(Trivial(inputs).on(group or C(1)), Trivial(outputs), bias=False)


def without_parameters(module: nn.Module) -> nn.Module:
    """A copy of a module whose parameters have become plain numbers: none is trained, counted or saved."""
    copy = deepcopy(module)
    for part in copy.modules():
        for name in list(part._parameters):
            parameter = part._parameters.pop(name)
            if parameter is not None:
                part.register_buffer(name, parameter.detach(), persistent=False)
    return copy


@torch.no_grad()
def affine_tensor(teacher: Teacher) -> Float[Tensor, "k m n1"]:
    """The matrices T_q, in float64, of a linear teacher: Phi_tau(x) = sum_q tau_q T_q [x; 1]."""
    exact = deepcopy(teacher).double()
    probes = torch.cat((torch.eye(teacher.inputs, dtype=torch.float64), torch.zeros(1, teacher.inputs, dtype=torch.float64)))
    found = []
    for tau in torch.eye(teacher.parameter_count, dtype=torch.float64):
        y = exact(probes, tau)
        found.append(torch.cat((y[:-1] - y[-1:], y[-1:])).T)
    return torch.stack(found)


def _linear_scale(teacher: Teacher) -> float:
    """The square root of m / sum_q |T_q|^2; estimated on draws where the T_q are large."""
    if teacher.parameter_count * teacher.outputs * teacher.inputs <= LARGEST:
        return float((teacher.outputs / affine_tensor(teacher).square().sum()).sqrt())
    return float(_mean_square(deepcopy(teacher).double(), 1.0) ** -0.5)


def _searched_scale(teacher: Teacher) -> float:
    """The scale at which a fixed set of draws has mean square one, found by halving."""
    exact, low, high = deepcopy(teacher).double(), -6.0, 6.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _mean_square(exact, 2**middle) > 1 else (middle, high)
    return float(2 ** ((low + high) / 2))


@torch.no_grad()
def _mean_square(teacher: Teacher, scale: float) -> float:
    """Mean square of a number of the output, for standard normal inputs and parameters of this scale, both always the same."""
    generator, sizes = torch.Generator().manual_seed(0), (teacher.inputs, teacher.parameter_count)
    draws = (tuple(normal((AT_ONCE, size), generator) for size in sizes) for _ in range(DRAWS // AT_ONCE))
    return float(torch.stack([teacher(x, scale * tau).square().mean() for x, tau in draws]).mean())


def _contract(group: Group, rep_in: Representation, rep_out: Representation) -> Symmetry:
    """What a map of one vector promises."""
    return Symmetry(group, {"x": for_each_factor(rep_in, group)}, for_each_factor(rep_out, group), mask=None)


def _dimension(contract: Symmetry) -> int:
    """Numbers in x, as the contract's representation says."""
    action = contract.inputs["x"]
    if not isinstance(action, Representation):
        raise ShapeError(f"x transforms under {action}, which has no dimension of its own: give shape=")
    return action.on(contract.group).dim
