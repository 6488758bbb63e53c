"""The measurement: move the inputs, call, move the output, compare.

Everything but the module's own calls is done in float64, so that what a report shows is the module's error and the rounding of its inputs,
which the noise floor shows beside it.

Axes: s samples of one kind of element, b batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.check.calls import Caller, Module, global_generators_kept, in_double, module_name, rounded_like
from torsor.check.report import EquivarianceReport, MeanRow, Row
from torsor.errors import GroupError, NonFiniteError, ShapeError
from torsor.groups.base import ActsOnSpace, Element
from torsor.symmetry import Probe, Symmetry

Outputs = dict[str, Tensor]
INTERPOLATES = 1e-6
"""Relative error of a round trip in float64 above which an action that may interpolate has done so."""


def equivariance_error(
    module: Module,
    inputs: Mapping[str, Any],
    symmetry: Symmetry | None = None,
    samples: int = 8,
    generator: torch.Generator | None = None,
) -> EquivarianceReport:
    """Measure ||f(g x) - g f(x)|| / ||f(x)|| for elements g of every kind that the group has.

    The module runs as it stands, in train or eval mode, without gradients, and is left as it was: its running statistics are put back after
    every call, and the global random generators at the end. A module with a `draw` (see `torsor.nn.noise`) gets noise that moves along with
    the inputs, one that takes a `generator` the same seed on both sides (the coupled error); the means over independent draws are compared
    too. If the inputs have a mask, what is behind it is replaced as well.

    Args:
        module: a module, or a function of named tensors.
        inputs: its arguments by name.
        symmetry: the contract to hold it to; the module's own attribute `symmetry` if not given.
        samples: elements of each kind, in a batch one for each item.
        generator: where the elements come from; seed 0 if not given.

    Raises:
        GroupError: neither the module nor the call has a contract.
        NonFiniteError: the output on the inputs as given is not finite.
        ShapeError: the output changes shape when the inputs move.
    """
    contract = contract_of(module, symmetry)
    if samples < 1:
        raise GroupError(f"samples is {samples}: give at least 1")
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    run = _Run(module, contract, inputs, generator)
    with global_generators_kept(run.device):
        run.require_finite()
        rows = [row for probe in contract.probes(run.inputs, samples, generator) for row in run.measure(probe)]
        rows += run.measure_padding(samples)
        means = run.measure_means(samples) if run.stochastic() else ()
    return EquivarianceReport(
        module=module_name(module),
        group=str(contract.group),
        exactness=contract.exactness,
        dtype=run.dtype,
        device=run.device,
        rows=tuple(rows),
        means=means,
        unchecked=run.unchecked,
        guarantee=getattr(module, "guarantee", ""),
    )


def contract_of(module: Module, symmetry: Symmetry | None = None) -> Symmetry:
    """The contract that is given, else the module's own.

    Raises:
        GroupError: there is neither.
    """
    found = getattr(module, "symmetry", None) if symmetry is None else symmetry
    if not isinstance(found, Symmetry):
        raise GroupError(f"{module_name(module)} has no contract: give symmetry=Symmetry(...)")
    return found


class _Compared(NamedTuple):
    """Norms of the differences and of the outputs themselves, `[s, b]`."""

    difference: Tensor
    size: Tensor


class _Run:
    """One module, one contract, one set of inputs."""

    def __init__(self, module: Module, symmetry: Symmetry, inputs: Mapping[str, Any], generator: torch.Generator) -> None:
        self.symmetry = symmetry
        acted = [x for name, x in inputs.items() if name in symmetry.inputs and isinstance(x, Tensor)]
        if not acted:
            raise ShapeError(f"the contract acts on {', '.join(symmetry.inputs)} but inputs has {', '.join(inputs) or 'nothing'}")
        self.device = acted[0].device
        self.items = len(acted[0]) if symmetry.batched else None
        self.seed = generator.initial_seed() % 2**31
        self.caller = Caller(module, self.device)
        self.noise = tuple(drawn := self.caller.noise(inputs, self.seed))
        self.given = {**inputs, **drawn}
        self.inputs = in_double(self.given, symmetry.inputs)  # what the group acts on
        self.reference = lru_cache(maxsize=None)(self._reference)
        self._raw_dtypes = [x.dtype for x in acted]
        self.unchecked: tuple[str, ...] = ()

    # -- calls ------------------------------------------------------------------------------------------------------------------------

    def call(self, inputs: Mapping[str, Any], seed: int) -> Any:
        """The output on inputs rounded to the types the module was given."""
        return self.caller(rounded_like(self.given, inputs), seed)

    def _reference(self, seed: int) -> Any:
        """The output on the inputs as given, in double precision."""
        return _double(self.call(self.inputs, seed))

    def named(self, output: Any) -> Outputs:
        """The outputs that the contract speaks of, where it speaks of them."""
        return {name: _double(y) for name, y in self.symmetry.at_valid(self.given, output).items()}

    def require_finite(self) -> None:
        """Refuse inputs on which the module is not finite; notes on the way what types and outputs there are."""
        raw = self.call(self.inputs, self.seed)
        named = self.symmetry.named_outputs(raw)
        for name, y in named.items():
            if not torch.isfinite(y).all():
                raise NonFiniteError(f"output {name!r} is not finite on the inputs as given: there is nothing to compare")
        self._raw_dtypes += [y.dtype for y in named.values()]
        self.unchecked = tuple(name for name in raw if name not in named) if isinstance(raw, Mapping) else ()

    @property
    def dtype(self) -> torch.dtype:
        """The coarsest floating type among inputs and outputs."""
        kinds = [torch.empty(0, dtype=d).abs().dtype for d in self._raw_dtypes if d.is_floating_point or d.is_complex]
        return max(kinds, key=lambda d: torch.finfo(d).eps, default=torch.float64)

    def stochastic(self) -> bool:
        """Whether the module draws noise, or its outputs depend on the seed of the generator that it takes."""
        if self.noise:
            return True
        if not self.caller.draws:
            return False
        first, second = self.named(self.reference(self.seed)), self.named(self.call(self.inputs, self.seed + 1))
        return any(not torch.equal(first[name], second[name]) for name in first)

    def _redrawn(self, inputs: Mapping[str, Any], seed: int) -> Any:
        """The output with noise of its own."""
        bare = rounded_like(self.given, {name: x for name, x in inputs.items() if name not in self.noise})
        return self.call({**bare, **self.caller.noise(bare, seed)}, seed)

    # -- rows -------------------------------------------------------------------------------------------------------------------------

    def measure(self, probe: Probe) -> Iterator[Row]:
        """The rows of one kind of element, one for each output."""
        sides: list[tuple[Outputs, Outputs]] = []
        floors: list[tuple[Outputs, Outputs]] = []
        growth, exact = 1.0, True
        for i, g in enumerate(probe.elements):
            seed = self.seed + i
            moved = self.symmetry.transform(g, self.inputs)
            sides.append((self.named(self.call(moved, seed)), self.named(self.symmetry.transform_output(g, self.reference(seed)))))
            growth = max(growth, _growth(self.inputs, moved, self.symmetry.inputs), self._stretch(g))
            if i == 0:  # one is enough for a floor, and it costs as much as a sample
                back = self.symmetry.transform(
                    self.symmetry.group.inverse(g), in_double(rounded_like(self.given, moved), self.symmetry.inputs)
                )
                floors = [(self.named(self.call(x, seed)), self.named(self.reference(seed))) for x in (self.inputs, back)]
            exact = exact and self._exact(g)
        for name in sides[0][0]:
            compared = self._compare(sides, name)
            relative, worst, item = _relative(compared)
            yield Row(
                output=name,
                factor=probe.factor,
                kind=probe.kind,
                samples=len(probe.elements),
                max_relative=relative.max().item(),
                rms_relative=relative.square().mean().sqrt().item(),
                noise_floor=_relative(self._compare(floors, name))[0].max().item(),
                growth=growth,
                exact=exact,
                element=probe.elements[worst],
                item=item,
                seed=self.seed + worst,
            )

    def measure_padding(self, samples: int) -> list[Row]:
        """The rows of what is behind the mask: the output must not depend on it."""
        mask = self.given.get(self.symmetry.mask) if self.symmetry.mask is not None else None
        if mask is None or bool(mask.all()):
            return []
        rest = self.symmetry.identity(self.inputs)
        sides = []
        for i in range(samples):
            filled = self.symmetry.repad(self.inputs, torch.Generator(self.device).manual_seed(self.seed + i))
            sides.append((self.named(self.call(filled, self.seed)), self.named(self.reference(self.seed))))
        rows = []
        for name in sides[0][0]:
            relative, worst, item = _relative(self._compare(sides, name))
            largest, rms = relative.max().item(), relative.square().mean().sqrt().item()
            rows.append(
                Row(name, str(self.symmetry.mask), "padding", samples, largest, rms, 0.0, 1.0, True, rest, item, seed=self.seed + worst)
            )
        return rows

    def _stretch(self, g: Element) -> float:
        """The condition number of the linear part of g: 1 for motions, e^(2 r) for a boost of rapidity r.

        What is stretched one way is shrunk another, and an invariant is a difference of such.
        """
        pairs = zip(self.symmetry.factors, g if len(self.symmetry.factors) > 1 else (g,), strict=True)
        linear = [factor.linear(element, torch.float64) for factor, element in pairs if isinstance(factor, ActsOnSpace)]
        return max((float(torch.linalg.cond(matrix).max()) for matrix in linear if matrix.numel()), default=1.0)

    def _exact(self, g: Element) -> bool:
        """Whether g acts without interpolation: by what the actions say, else by its round trip."""
        if self.symmetry.acts_exactly:
            return True
        back = self.symmetry.group.inverse(g)
        there = self.symmetry.transform(back, self.symmetry.transform(g, self.inputs))
        pairs = [(there[n], x) for n, x in self.inputs.items() if n in self.symmetry.inputs and isinstance(x, Tensor)]
        reference = self.reference(self.seed)
        returned = self.symmetry.transform_output(back, self.symmetry.transform_output(g, reference))
        outputs = self.symmetry.named_outputs(reference)
        pairs += [(y, outputs[n]) for n, y in self.symmetry.named_outputs(returned).items()]
        return all(float((a - b).norm()) <= INTERPOLATES * float(b.norm()) for a, b in pairs if b.is_floating_point())

    def _compare(self, sides: list[tuple[Outputs, Outputs]], name: str) -> _Compared:
        """Norms over everything but samples and items."""
        differences, sizes = [], []
        for left, right in ((a[name], b[name]) for a, b in sides):
            if left.shape != right.shape:
                raise ShapeError(f"output {name!r} is {list(left.shape)} on the moved inputs but {list(right.shape)} on those given")
            batched = self.items is not None and left.ndim > 0 and len(left) == self.items
            a, b = (y.reshape(len(y) if batched else 1, -1) for y in (left, right))
            if a.is_floating_point() or a.is_complex():
                differences.append(_norm(a - b))
                sizes.append(torch.maximum(_norm(a), _norm(b)))
            else:
                differences.append((a != b).double().mean(-1))
                sizes.append(torch.ones_like(differences[-1]))
        return _Compared(torch.stack(differences), torch.stack(sizes))

    # -- means ------------------------------------------------------------------------------------------------------------------------

    def measure_means(self, samples: int) -> tuple[MeanRow, ...]:
        """Errors of the mean under one generic element for growing numbers of independent draws."""
        g = self.symmetry.sample(self.inputs, torch.Generator().manual_seed(self.seed))
        moved = self.symmetry.transform(g, self.inputs)
        counts = (4 * samples, 16 * samples, 64 * samples)
        first = self.seed + 1_000_003  # far from the seeds of the coupled rows
        lefts = [self.named(self._redrawn(moved, first + 2 * i)) for i in range(counts[-1])]
        still = (_double(self._redrawn(self.inputs, first + 2 * i + 1)) for i in range(counts[-1]))
        rights = [self.named(self.symmetry.transform_output(g, y)) for y in still]
        rows = []
        for name in lefts[0]:
            left, right = (torch.stack([y[name].flatten() for y in side]) for side in (lefts, rights))
            rows += [_mean_row(name, left[:count], right[:count]) for count in counts]
        return tuple(rows)


def _mean_row(name: str, left: Float[Tensor, "s d"], right: Float[Tensor, "s d"]) -> MeanRow:
    """Compare the means of two sets of draws; the variances of both make the standard error."""
    size = torch.maximum(left.mean(0).norm(), right.mean(0).norm())
    scale = size if size > 0 else torch.ones_like(size)
    spread = ((left.var(0) + right.var(0)).sum() / len(left)).sqrt()
    return MeanRow(name, len(left), ((left.mean(0) - right.mean(0)).norm() / scale).item(), (spread / scale).item())


def _relative(compared: _Compared) -> tuple[Tensor, int, int]:
    """Relative errors `[s, b]`, and the sample and item of the worst."""
    difference, size = compared
    finite = size.isfinite()
    usual = torch.where(finite, size, 0).square().sum().div(finite.sum().clamp(min=1)).sqrt()
    scale = torch.maximum(size, usual)
    relative = torch.where(scale > 0, difference / torch.where(scale > 0, scale, 1), 0)
    relative = torch.where(difference.isfinite(), relative, torch.inf)
    worst = int(relative.argmax())
    return relative, worst // relative.shape[1], worst % relative.shape[1]


def _growth(inputs: Mapping[str, Any], moved: Mapping[str, Any], names: Mapping[str, Any]) -> float:
    """How many times larger the largest coordinate of an input became."""
    pairs = ((x.abs().max(), moved[n].abs().max()) for n, x in inputs.items() if n in names and _floats(x) and x.numel())
    return max((float(after / before) for before, after in pairs if before > 0), default=1.0)


def _floats(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


def _norm(x: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1)
    return norm


def _double(output: Any) -> Any:
    """The output with its floating tensors in double precision."""
    return _map(
        lambda y: y.to(torch.complex128 if y.is_complex() else torch.float64) if y.is_floating_point() or y.is_complex() else y, output
    )


def _map(function: Callable[[Tensor], Tensor], output: Any) -> Any:
    """Apply a function to every tensor of an output."""
    if isinstance(output, Tensor):
        return function(output)
    if isinstance(output, Mapping):
        return {name: _map(function, y) for name, y in output.items()}
    if isinstance(output, tuple | list):
        mapped = [_map(function, y) for y in output]
        return type(output)(*mapped) if hasattr(output, "_fields") else type(output)(mapped)
    return output
