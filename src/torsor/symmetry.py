"""The contract: which group acts on which named input and on which output, and what the model guarantees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from torsor.errors import GroupError, RepresentationError, ShapeError, unknown_name
from torsor.groups import Group, S
from torsor.groups.base import Element
from torsor.representations import Pairs, Permuted, Trivial
from torsor.representations.base import Action

Exactness = Literal["exact", "coupled", "in distribution", "in expectation", "relaxed", "approximate", "none"]
Actions = Action | tuple[Action, ...]


class Probe(NamedTuple):
    """Elements of one kind on which a module is tried.

    Args:
        factor: the factor that moves while the others stand still, or the whole group.
        kind: what the elements have in common: "identity", "generic", "half turn", "far translation", "transposition" ...
        elements: one element of the group for each sample; with one for each item of the batch where the contract is batched.
    """

    factor: str
    kind: str
    elements: tuple[Element, ...]


@dataclass(frozen=True)
class Symmetry:
    """Which group acts how on the inputs and outputs of a module.

    f(g . inputs) = g . f(inputs). For a product group each entry of `inputs` and `output` is a tuple with one action for each factor.

    Args:
        group: the group.
        inputs: action on each named argument of `forward`; what is left out is not acted on. Noise is an input like any other.
        output: action on the output; a mapping where the module returns a dict, or a tuple whose entries it names in order. Nothing is
            promised about outputs of a dict that it leaves out.
        exactness: the guarantee, one of the seven words of `Exactness`.
        batched: whether axis 0 of every tensor is a batch axis, so that each item may have an element of its own.
        mask: name of the boolean input that marks valid items; permutations leave the others in place. Unless `inputs` says how it is
            acted on, the group's one permutation moves its last axis.

    Raises:
        GroupError: a word of exactness that is not known.
        RepresentationError: an entry does not have one action for each factor; names the entry.
    """

    group: Group
    inputs: Mapping[str, Actions]
    output: Actions | Mapping[str, Actions]
    exactness: Exactness = "exact"
    batched: bool = True
    mask: str | None = "mask"

    def __post_init__(self) -> None:
        if not isinstance(self.group, Group):
            raise GroupError(f"group is {self.group!r}: give a group, for instance groups.SE(3) * groups.S()")
        if self.exactness not in get_args(Exactness):
            raise unknown_name("exactness", str(self.exactness), get_args(Exactness))
        for name, actions in self.inputs.items():
            self._validate(f"input {name!r}", actions)
        for name, actions in self._outputs().items():
            self._validate(f"output {name!r}" if isinstance(self.output, Mapping) else name, actions)
        # copies, so that the caller's dictionaries stay theirs
        object.__setattr__(self, "inputs", dict(self.inputs))
        if isinstance(self.output, Mapping):
            object.__setattr__(self, "output", dict(self.output))

    def _validate(self, where: str, actions: Any) -> None:
        """Refuse an entry that is not one action for each factor."""
        given = actions if isinstance(actions, tuple) else (actions,)
        for action in given:
            if not isinstance(action, Action):
                hint = f"write {action.__name__}()" if isinstance(action, type) else "give an action such as Vectors() or Trivial()"
                raise RepresentationError(f"{where} has {action!r} for an action: {hint}")
        if len(given) != len(self.factors):
            raise RepresentationError(
                f"{where} has {len(given)} action{'s' * (len(given) != 1)} but {self.group} has {len(self.factors)} "
                f"factor{'s' * (len(self.factors) != 1)}: give one for each, Trivial() where a factor does nothing"
            )

    @property
    def factors(self) -> tuple[Group, ...]:
        """The factors of the group: itself alone unless it is a product."""
        return tuple(getattr(self.group, "factors", (self.group,)))

    @property
    def acts_exactly(self) -> bool:
        """Whether no action interpolates."""
        return all(action.exact for actions in (*self.inputs.values(), *self._outputs().values()) for action in _each(actions))

    def __str__(self) -> str:
        rows = [*self.inputs.items(), *(("-> " + name, actions) for name, actions in self._outputs().items())]
        width = max(len(name) for name, _ in rows)
        lines = [f"  {name:<{width}}  {', '.join(map(str, _each(actions)))}" for name, actions in rows]
        return "\n".join([f"{self.group}, {self.exactness}", *lines])

    # -- moving ---------------------------------------------------------------------------------------------------------------------

    def transform(self, g: Element, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs moved by g; what the contract does not name, and what is None, stays as it is.

        Args:
            g: an element of the group, `[b, *element]` or `[*element]`; for a product a tuple.
            inputs: named arguments of `forward`.
        """
        actions = dict(self.inputs)
        if self.mask is not None and self.mask not in actions and inputs.get(self.mask) is not None:
            actions[self.mask] = self._mask_actions(inputs[self.mask])
        return {name: self._act(actions[name], g, x) if name in actions and x is not None else x for name, x in inputs.items()}

    def transform_output(self, g: Element, output: Any) -> Any:
        """The output moved by g: a tensor, a tuple or a dict, as the contract says.

        Raises:
            RepresentationError: the output has another structure than the contract; names both.
        """
        if isinstance(output, Mapping):
            named = self.output if isinstance(self.output, Mapping) else {}
            self._require_names(tuple(named), tuple(output))
            return {name: self._act(named[name], g, y) if name in named and y is not None else y for name, y in output.items()}
        if isinstance(output, tuple | list):
            entries = tuple(self._outputs().values())
            if not isinstance(self.output, Mapping) or len(entries) != len(output):
                raise RepresentationError(
                    f"the module returns {len(output)} tensors but the contract has {len(entries)} output: "
                    "give output={'first': ..., 'second': ...}, one entry for each in order"
                )
            moved: list[Any] = [self._act(actions, g, y) if y is not None else y for actions, y in zip(entries, output, strict=True)]
            return type(output)(*moved) if hasattr(output, "_fields") else type(output)(moved)
        if isinstance(self.output, Mapping):
            raise RepresentationError(f"the contract names the outputs {', '.join(self.output)} but the module returns one tensor")
        return self._act(self.output, g, output)

    def repad(self, inputs: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
        """The inputs with other numbers behind the mask, normal with standard deviation 10; a module must not notice."""
        scene = _Scene(self, inputs)
        moved = dict(inputs)
        for name, x in scene.acted.items():
            valid = scene.valid_places(self.inputs[name], x)
            if valid is not None and x.is_floating_point():
                noise = 10 * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=generator.device).to(x.device)
                moved[name] = torch.where(valid, x, noise)
        return moved

    def at_valid(self, inputs: Mapping[str, Any], output: Any) -> dict[str, Tensor]:
        """The named outputs with zeros behind the mask, where the contract promises nothing."""
        scene, actions = _Scene(self, inputs), self._outputs()
        named = self.named_outputs(output)
        return {name: _kept(y, scene.valid_places(actions[name], y)) for name, y in named.items()}

    def named_outputs(self, output: Any) -> dict[str, Tensor]:
        """The tensors of an output that the contract speaks of, by name: "output" where there is one."""
        if isinstance(output, Mapping):
            return {name: output[name] for name in self._outputs() if output[name] is not None}
        entries = output if isinstance(output, tuple | list) else (output,)
        return {name: y for name, y in zip(self._outputs(), entries, strict=True) if y is not None}

    def _outputs(self) -> Mapping[str, Actions]:
        return self.output if isinstance(self.output, Mapping) else {"output": self.output}

    def _require_names(self, promised: tuple[str, ...], given: tuple[str, ...]) -> None:
        missing = [name for name in promised if name not in given]
        if missing or not promised:
            raise RepresentationError(
                f"the module returns {', '.join(given) or 'nothing'} but the contract names "
                f"{', '.join(promised) or 'one output'}: give output={{name: action}} with the names it returns"
            )

    def _act(self, actions: Actions, g: Element, x: Tensor) -> Tensor:
        """Let every factor act."""
        for factor, action, element in zip(self.factors, _each(actions), self._elements(g), strict=True):
            x = action.apply(factor, element, x)
        return x

    def _elements(self, g: Element) -> tuple[Element, ...]:
        """The element of each factor."""
        elements = g if len(self.factors) > 1 else (g,)
        if not isinstance(elements, tuple) or len(elements) != len(self.factors):
            raise GroupError(f"an element of {self.group} is a tuple of {len(self.factors)} elements, one for each factor")
        return elements

    def _element(self, elements: tuple[Element, ...]) -> Element:
        """The element of the group with these of its factors."""
        return elements if len(self.factors) > 1 else elements[0]

    # -- drawing --------------------------------------------------------------------------------------------------------------------

    def identity(self, inputs: Mapping[str, Any]) -> Element:
        """The neutral element for these inputs, one for each item where the contract is batched."""
        scene = _Scene(self, inputs)
        sized = zip(self.factors, scene.sizes, strict=True)
        batch = () if scene.batch is None else (scene.batch,)
        return self._element(tuple(_sized(f, n).identity(*batch, dtype=scene.dtype, device=scene.device) for f, n in sized))

    def sample(self, inputs: Mapping[str, Any], generator: torch.Generator | None = None) -> Element:
        """A random element for these inputs, one for each item where the contract is batched.

        `S()` gets its size from the inputs that it permutes, and leaves masked places where they are.

        Args:
            inputs: named arguments of `forward`.
            generator: where the numbers come from; they are drawn on its device and moved to that of the inputs.
        """
        scene = _Scene(self, inputs)
        return self._element(tuple(scene.sample(i, generator) for i in range(len(self.factors))))

    def probes(self, inputs: Mapping[str, Any], samples: int = 8, generator: torch.Generator | None = None) -> tuple[Probe, ...]:
        """Elements of every kind the group has: each factor by itself with the others at rest, and all together.

        Args:
            inputs: named arguments of `forward`.
            samples: elements of each kind; the identity is there once.
            generator: where the numbers come from.
        """
        scene = _Scene(self, inputs)
        rest = self.identity(inputs)
        found = [Probe(str(self.group), "identity", (rest,))]
        for i, label in enumerate(self._labels()):
            for kind, elements in scene.probes(i, samples, generator).items():
                alone = (tuple(e if j == i else r for j, r in enumerate(self._elements(rest))) for e in elements)
                found.append(Probe(label, kind, tuple(map(self._element, alone))))
        if len(self.factors) > 1:
            found.append(Probe(str(self.group), "generic", tuple(self.sample(inputs, generator) for _ in range(samples))))
        return tuple(found)

    def valid_places(self, inputs: Mapping[str, Any], factor: int) -> Tensor | None:
        """The mask of the places that a factor permutes, by its number; None where it permutes none, or all are valid."""
        return _Scene(self, inputs).valid(factor)

    def _labels(self) -> tuple[str, ...]:
        """A name for each factor; numbered where two are equal."""
        names = [str(factor) for factor in self.factors]
        return tuple(name if names.count(name) == 1 else f"{name} [{i}]" for i, name in enumerate(names))

    def _mask_actions(self, mask: Tensor) -> Actions:
        """How the group moves a mask of which the contract says nothing: the one permutation takes its last axis along."""
        permuting = [isinstance(factor, S) for factor in self.factors]
        if sum(permuting) > 1:
            raise GroupError(f"{self.group} permutes several sets: say in inputs which of them moves {self.mask!r}")
        actions = tuple(Permuted(mask.ndim - 1) if permutes else Trivial() for permutes in permuting)
        return actions if len(actions) > 1 else actions[0]


class _Scene:
    """What the contract's group has to know of concrete inputs: how many items, where, of what type, and which places are valid."""

    def __init__(self, symmetry: Symmetry, inputs: Mapping[str, Any]) -> None:
        self.symmetry = symmetry
        acted = {name: inputs[name] for name in symmetry.inputs if isinstance(inputs.get(name), Tensor)}
        if not acted:
            raise ShapeError(
                f"inputs has {', '.join(inputs) or 'nothing'} but the contract acts on {', '.join(symmetry.inputs)}: give one of them"
            )
        self.acted = acted
        first = next(iter(acted.values()))
        self.device = first.device
        self.dtype = next((x.dtype for x in acted.values() if x.is_floating_point()), None)
        self.batch = len(first) if symmetry.batched else None
        mask = inputs.get(symmetry.mask) if symmetry.mask is not None else None
        self.mask: Tensor | None = mask
        self.sizes = tuple(self._size(i) for i in range(len(symmetry.factors)))

    def _size(self, i: int) -> int | None:
        """Length of the axis that factor i permutes; None where it does not permute."""
        factor = self.symmetry.factors[i]
        if not isinstance(factor, S):
            return None
        if factor.size is not None:
            return int(factor.size)
        axes = {name: permuted_axes(_each(self.symmetry.inputs[name])[i]) for name in self.acted}
        found = {name: x.shape[axis] for name, x in self.acted.items() for axis in axes[name]}
        if len(set(found.values())) != 1:
            lengths = ", ".join(f"{name} has {length} items" for name, length in found.items())
            remedy = "no input given has a Permuted or Pairs axis, so name its size, S(n)"
            raise ShapeError(f"S() needs one number of items: {lengths or remedy}")
        return int(min(found.values()))

    def valid(self, i: int) -> Tensor | None:
        """The mask of the places that factor i permutes, None where all are valid."""
        mask = self.mask
        return mask if mask is not None and self.sizes[i] is not None and mask.shape[-1] == self.sizes[i] else None

    def valid_places(self, actions: Actions, x: Tensor) -> Tensor | None:
        """Which entries of x lie at valid places of every axis that is permuted, broadcastable to x; None where no mask says."""
        found: Tensor | None = None
        for i, action in enumerate(_each(actions)):
            mask = self.valid(i)
            if mask is None:
                continue
            for axis in permuted_axes(action):
                shape = [1] * x.ndim
                shape[axis] = mask.shape[-1]
                if self.batch is not None:
                    shape[0] = self.batch
                found = mask.reshape(shape) if found is None else found & mask.reshape(shape)
        return found

    def sample(self, i: int, generator: torch.Generator | None) -> Element:
        """Random elements of factor i."""
        factor, batch = _sized(self.symmetry.factors[i], self.sizes[i]), () if self.batch is None else (self.batch,)
        source = self.device if generator is None else generator.device
        valid = self.valid(i)
        if valid is None:
            return factor.sample(*batch, generator=generator, dtype=self.dtype, device=source).to(self.device)
        assert isinstance(factor, S)
        return factor.sample(*batch, generator=generator, device=source, mask=valid.to(source)).to(self.device)

    def probes(self, i: int, samples: int, generator: torch.Generator | None) -> dict[str, tuple[Element, ...]]:
        """Elements of factor i by kind, but for the identity."""
        valid = self.valid(i)
        if valid is not None:
            return self._masked_probes(valid, samples, generator)
        source = self.device if generator is None else generator.device
        factor = _sized(self.symmetry.factors[i], self.sizes[i])
        kinds = factor.probes(samples * (self.batch or 1), generator, self.dtype, source)
        shape = (samples,) if self.batch is None else (samples, self.batch)
        return {kind: tuple(e.to(self.device).unflatten(0, shape)) for kind, e in kinds.items() if kind != "identity"}

    def _masked_probes(self, valid: Tensor, samples: int, generator: torch.Generator | None) -> dict[str, tuple[Tensor, ...]]:
        """Permutations of the valid places of each item; one that has too few of them for a kind stays as it is."""
        rows = valid.reshape(-1, valid.shape[-1])
        kinds: dict[str, Tensor] = {}
        for item, row in enumerate(rows):
            places = row.nonzero().squeeze(-1)
            source = self.device if generator is None else generator.device
            found = S(len(places)).probes(samples, generator, None, source) if len(places) > 1 else {}
            for kind, moves in found.items():
                start = torch.arange(len(row), device=self.device).expand(samples, len(rows), -1)
                kinds.setdefault(kind, start.clone())[:, item, places] = places[moves.to(self.device)]
        shape = valid.shape
        return {kind: tuple(p.reshape(samples, *shape)) for kind, p in kinds.items() if kind != "identity"}


def _each(actions: Actions) -> tuple[Action, ...]:
    """One action for each factor, as a tuple."""
    return actions if isinstance(actions, tuple) else (actions,)


def _kept(x: Tensor, valid: Tensor | None) -> Tensor:
    """The tensor with zeros where it is not valid."""
    return x if valid is None else torch.where(valid, x, torch.zeros_like(x))


def _sized(factor: Group, size: int | None) -> Group:
    """The factor; S(n) for an S() that got its size from the inputs."""
    return factor if size is None else S(size)


def permuted_axes(action: Action) -> tuple[int, ...]:
    """The axes of a tensor whose items the action permutes."""
    if isinstance(action, Permuted):
        return (action.axis,)
    return tuple(action.axes) if isinstance(action, Pairs) else ()
