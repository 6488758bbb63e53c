"""Students: plain networks h(x, tau) that know of no group, and are asked to imitate a teacher for all of its parameters.

All take flat x and one tau for each item or one for all; a shared tau is worked on once. Parameters are measured in units of the standard
deviation that the teacher draws them with.

Axes: b batch, n numbers in, m numbers out, k parameters, r rank.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from torsor.config import Settings
from torsor.dial.clone.teachers import Sizes
from torsor.errors import ConfigError, ShapeError
from torsor.groups.numerics import safe_norm, unit
from torsor.models.transformer import Block, TransformerConfig
from torsor.nn.perceptron import ACTIVATIONS, Activation, hidden_layers
from torsor.registry import Entry, Registry

Argument = Literal["x", "tau"]

STUDENTS = Registry(
    "student",
    Entry("mlp", "torsor.dial.clone.students:MLPStudentConfig", "a perceptron on x and tau, side by side: the published form"),
    Entry("bilinear", "torsor.dial.clone.students:BilinearConfig", "every product of an x and a tau; contains every linear teacher"),
    Entry("low-rank", "torsor.dial.clone.students:LowRankConfig", "a sum of products of maps of x and maps of tau"),
    Entry("hypernetwork", "torsor.dial.clone.students:HypernetworkConfig", "a perceptron on tau makes the matrix that x is multiplied by"),
    Entry("transformer", "torsor.dial.clone.students:EntryTransformerConfig", "attention among the numbers of x and tau"),
)
"""Settings of the students by name; `config.build(sizes)` makes one."""


@dataclass(frozen=True)
class StudentConfig(Settings, ABC):
    """What the settings of all students share.

    Args:
        homogeneous: arguments in which the student is made homogeneous, see `Homogeneous`. A linear teacher is so in tau, and in x as well
            where it adds no bias.
    """

    homogeneous: tuple[Argument, ...] = ()

    def build(self, sizes: Sizes) -> nn.Module:
        """The student of a teacher with these sizes."""
        if not self.homogeneous:
            return self.make(sizes)
        return Homogeneous(self.make(sizes._replace(scale=1.0) if "tau" in self.homogeneous else sizes), sizes, self.homogeneous)

    @abstractmethod
    def make(self, sizes: Sizes) -> nn.Module:
        """The student as it is, before it is made homogeneous."""


@dataclass(frozen=True)
class MLPStudentConfig(StudentConfig):
    """Settings of `MLPStudent`.

    Args:
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        activation: after each of them.
    """

    hidden: int = 256
    layers: int = 2
    activation: Activation = "gelu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden < 1 or self.layers < 1:
            raise ConfigError(f"a student has {self.layers} hidden layers of {self.hidden}: give 1 or more of both")

    def make(self, sizes: Sizes) -> nn.Module:
        """The perceptron."""
        return MLPStudent(sizes, self.hidden, self.layers, self.activation)


@dataclass(frozen=True)
class BilinearConfig(StudentConfig):
    """Settings of `Bilinear`: none of its own."""

    def make(self, sizes: Sizes) -> nn.Module:
        """The bilinear map."""
        return Bilinear(sizes)


@dataclass(frozen=True)
class LowRankConfig(StudentConfig):
    """Settings of `LowRank`.

    Args:
        rank: number of products.
    """

    rank: int = 64

    def make(self, sizes: Sizes) -> nn.Module:
        """The bilinear map of low rank."""
        return LowRank(sizes, self.rank)


@dataclass(frozen=True)
class HypernetworkConfig(StudentConfig):
    """Settings of `Hypernetwork`.

    Args:
        hidden: width of the hidden layers of the perceptron on tau.
        layers: their number; 0 makes the matrix linear in tau.
        activation: after each of them.
    """

    hidden: int = 128
    layers: int = 1
    activation: Activation = "gelu"

    def make(self, sizes: Sizes) -> nn.Module:
        """The hypernetwork."""
        return Hypernetwork(sizes, self.hidden, self.layers, self.activation)


@dataclass(frozen=True)
class EntryTransformerConfig(StudentConfig):
    """Settings of `EntryTransformer`.

    Args:
        width: channels of a token.
        heads: attention heads; `width` must divide by it.
        layers: number of blocks.
    """

    width: int = 64
    heads: int = 4
    layers: int = 2

    def make(self, sizes: Sizes) -> nn.Module:
        """The transformer."""
        return EntryTransformer(sizes, self.width, self.heads, self.layers)


class MLPStudent(nn.Module):
    """h(x, tau) = perceptron([x; tau / s]), its first layer split into W_x x + W_tau tau.

    Args:
        sizes: of the teacher.
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        activation: after each of them.
    """

    def __init__(self, sizes: Sizes, hidden: int, layers: int, activation: Activation) -> None:
        super().__init__()
        self.sizes = sizes
        self.first = nn.Linear(sizes.inputs + sizes.parameters, hidden)
        self.rest = nn.Sequential(
            ACTIVATIONS[activation](), *hidden_layers((hidden,) * layers, activation), nn.Linear(hidden, sizes.outputs)
        )

    def forward(self, x: Float[Tensor, "b n"], tau: Float[Tensor, "*t k"]) -> Float[Tensor, "b m"]:
        """The perceptron; the part of tau is worked out once where all items share it."""
        of_x, of_tau = torch.split(self.first.weight, [self.sizes.inputs, self.sizes.parameters], 1)
        y: Tensor = self.rest(linear(x, of_x, self.first.bias) + linear(tau / self.sizes.scale, of_tau))
        return y


class Bilinear(nn.Module):
    """h(x, tau) = T (tau / s) [x; 1]: the sum of all products of a number of x, or 1, and one of tau, so that biases are in it too.

    Args:
        sizes: of the teacher.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        terms = sizes.parameters * (sizes.inputs + 1)
        self.tensor = nn.Parameter(torch.randn(sizes.outputs, sizes.inputs + 1, sizes.parameters) * terms**-0.5)

    def forward(self, x: Float[Tensor, "b n"], tau: Float[Tensor, "*t k"]) -> Float[Tensor, "b m"]:
        """All products, mixed."""
        return torch.einsum("mnk,...k,...n->...m", self.tensor, tau / self.sizes.scale, with_one(x))

    @torch.no_grad()
    def fit(self, x: Float[Tensor, "b n"], tau: Float[Tensor, "b k"], y: Float[Tensor, "b m"]) -> None:
        """Set the tensor to the least-squares solution on samples of a teacher, which is the teacher where it is linear.

        Args:
            x: inputs; at least (n + 1) k samples make the solution unique.
            tau: parameters.
            y: what the teacher gives.

        Raises:
            ShapeError: there are fewer samples than unknowns.
        """
        design = (with_one(x).unsqueeze(-1) * (tau / self.sizes.scale).unsqueeze(-2)).flatten(1).double()
        if len(design) < design.shape[1]:
            raise ShapeError(f"{len(design)} samples do not settle {design.shape[1]} unknowns: give at least as many")
        solution = torch.linalg.lstsq(design, y.double()).solution
        self.tensor.copy_(solution.T.reshape(self.tensor.shape))


class LowRank(nn.Module):
    """h(x, tau) = U ((A [x; 1]) * (C tau / s)): a sum of `rank` products.

    Args:
        sizes: of the teacher.
        rank: the r.
    """

    def __init__(self, sizes: Sizes, rank: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.of_x = nn.Parameter(torch.randn(rank, sizes.inputs + 1) * (sizes.inputs + 1) ** -0.5)
        self.of_tau = nn.Parameter(torch.randn(rank, sizes.parameters) * sizes.parameters**-0.5)
        self.out = nn.Parameter(torch.randn(sizes.outputs, rank) * rank**-0.5)

    def forward(self, x: Float[Tensor, "b n"], tau: Float[Tensor, "*t k"]) -> Float[Tensor, "b m"]:
        """The products, mixed."""
        return linear(linear(with_one(x), self.of_x) * linear(tau / self.sizes.scale, self.of_tau), self.out)


class Hypernetwork(nn.Module):
    """h(x, tau) = W(tau) [x; 1], with a perceptron W: exactly affine in x, however far out x is.

    Args:
        sizes: of the teacher.
        hidden: width of the hidden layers of W.
        layers: their number.
        activation: after each of them.
    """

    def __init__(self, sizes: Sizes, hidden: int, layers: int, activation: Activation) -> None:
        super().__init__()
        self.sizes = sizes
        widths = (sizes.parameters, *(hidden,) * layers)
        self.matrix = nn.Sequential(*hidden_layers(widths, activation), nn.Linear(widths[-1], sizes.outputs * (sizes.inputs + 1)))

    def forward(self, x: Float[Tensor, "b n"], tau: Float[Tensor, "*t k"]) -> Float[Tensor, "b m"]:
        """The matrix of tau times x."""
        matrix = self.matrix(tau / self.sizes.scale).unflatten(-1, (self.sizes.outputs, -1))
        return torch.einsum("...mn,...n->...m", matrix, with_one(x))


class EntryTransformer(nn.Module):
    """Attention among n + k + m tokens: one for each number of x and tau, its value times a vector plus another, and one for each output.

    Args:
        sizes: of the teacher.
        width: channels of a token.
        heads: attention heads.
        layers: number of blocks.

    Raises:
        SignatureError: `width` does not divide by `heads`.
    """

    def __init__(self, sizes: Sizes, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.sizes = sizes
        known = sizes.inputs + sizes.parameters
        self.values = nn.Parameter(torch.randn(known, width) * 0.5)
        self.places = nn.Parameter(torch.randn(known + sizes.outputs, width) * 0.5)
        config = TransformerConfig(width=width, heads=heads, layers=layers)
        self.blocks = nn.ModuleList(Block(config, 0) for _ in range(layers))
        self.norm, self.output = nn.LayerNorm(width), nn.Linear(width, 1)

    def forward(self, x: Float[Tensor, "b n"], tau: Float[Tensor, "*t k"]) -> Float[Tensor, "b m"]:
        """What the tokens of the outputs hold in the end."""
        numbers = torch.cat((x, (tau / self.sizes.scale).expand(*x.shape[:-1], -1)), -1)
        known, asked = torch.split(self.places, [numbers.shape[-1], self.sizes.outputs])
        tokens = torch.cat((numbers.unsqueeze(-1) * self.values + known, asked.expand(*x.shape[:-1], -1, -1)), -2)
        for block in self.blocks:
            tokens = block(tokens, None, None, False)
        y: Tensor = self.output(self.norm(tokens[..., -self.sizes.outputs :, :])).squeeze(-1)
        return y


class Homogeneous(nn.Module):
    """h(x, tau) = |x| |tau| / (s sqrt(n k)) g(sqrt(n) x / |x|, sqrt(k) tau / |tau|), or with one of the two arguments alone.

    What a student has learned at one size of its arguments then holds at every size. Zero goes to zero.

    Args:
        student: the g.
        sizes: of the teacher.
        arguments: in which it is made homogeneous; the teacher has to be so too.
    """

    def __init__(self, student: nn.Module, sizes: Sizes, arguments: Sequence[Argument] = ("x", "tau")) -> None:
        super().__init__()
        self.student, self.sizes, self.arguments = student, sizes, tuple(arguments)

    def forward(self, x: Float[Tensor, "b n"], tau: Float[Tensor, "*t k"]) -> Float[Tensor, "b m"]:
        """The student on arguments of a standard size, and their sizes."""
        size = x.new_ones(())
        if "x" in self.arguments:
            size, x = size * safe_norm(x) * self.sizes.inputs**-0.5, unit(x) * self.sizes.inputs**0.5
        if "tau" in self.arguments:
            scale = self.sizes.scale * self.sizes.parameters**0.5
            size, tau = size * safe_norm(tau) / scale, unit(tau) * self.sizes.parameters**0.5
        y: Tensor = self.student(x, tau)
        return size.unsqueeze(-1) * y


def with_one(x: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n1"]:
    """The numbers and a 1 behind them."""
    return torch.cat((x, torch.ones_like(x[..., :1])), -1)
