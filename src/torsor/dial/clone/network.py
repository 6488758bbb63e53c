"""A network whose equivariant linear layers are clones: how much of the symmetry it keeps is a choice of what is trained.

x -> h_theta1(x, tau_1) -> fixed gates and products -> h_theta2(., tau_2) -> ... Each layer has a tau of its own, an ordinary vector of
parameters that all items share. Layers between the same representations share one student theta.

Axes: b batch, n numbers in, m numbers out.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.dial.clone.anchors import Anchor, AnchorSettings, Held
from torsor.dial.clone.card import card_of
from torsor.dial.clone.laws import Gaussian, matched
from torsor.dial.clone.quality import evaluated
from torsor.dial.clone.teachers import Teacher, linear_teacher
from torsor.errors import ConfigError, RepresentationError, unknown_name
from torsor.models.equivariant_mlp import EquivariantLinear
from torsor.symmetry import Exactness, Symmetry

Regime = Literal["exact", "retain", "break", "anchored", "scratch", "augment"]
NETWORKS, INPUTS = 16, 256
"""Random networks, and random inputs of each, from which the law of a deeper layer's inputs is matched."""


@dataclass(frozen=True)
class Plan:
    """What a regime means.

    Args:
        start: what the layers compute at first: the teacher, a clone of it, or a student with random weights.
        trains: whether the students' weights are trained, and not the taus alone.
        holds: whether an anchor holds them.
        moves: whether the inputs of every training step are moved by random group elements.
        promise: the word for the contract.
    """

    start: Literal["teacher", "clone", "random"]
    trains: bool
    holds: bool
    moves: bool
    promise: Exactness


PLANS: dict[str, Plan] = {
    "exact": Plan("teacher", trains=False, holds=False, moves=False, promise="exact"),
    "retain": Plan("clone", trains=False, holds=False, moves=False, promise="approximate"),
    "break": Plan("clone", trains=True, holds=False, moves=False, promise="approximate"),
    "anchored": Plan("clone", trains=True, holds=True, moves=False, promise="approximate"),
    "scratch": Plan("random", trains=True, holds=False, moves=False, promise="none"),
    "augment": Plan("random", trains=True, holds=False, moves=True, promise="none"),
}
"""The regimes by name."""


class Students(nn.ModuleDict):
    """The students of a network, by the representations between which they map.

    Args:
        students: by slot.
        rate_factor: by which their learning rate is multiplied.
    """

    def __init__(self, students: Mapping[str, nn.Module], rate_factor: float) -> None:
        super().__init__(students)
        self.rate_factor = rate_factor


class ClonedLayer(nn.Module):
    """x -> h(x, tau) for a tau of its own.

    Args:
        teacher: whose parameters tau are.
        function: the h: a student, or the teacher itself.
    """

    def __init__(self, teacher: Teacher, function: nn.Module) -> None:
        super().__init__()
        self.outputs = teacher.outputs
        self.tau = nn.Parameter(teacher.sample_tau(dtype=torch.get_default_dtype()))
        # not registered: layers share it, and the network holds its weights once
        self._function = (function,)

    def forward(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch m"]:
        """The layer with its present parameters."""
        y: Tensor = self._function[0](x.reshape(-1, x.shape[-1]), self.tau)
        return y.reshape(*x.shape[:-1], self.outputs)


class ClonedNetwork(nn.Module):
    """A network with clones in the place of its equivariant linear layers.

    Args:
        network: takes one x and has a contract; it holds `EquivariantLinear` layers. It, teachers and students are copied.
        teachers: the teacher of each slot, see `layer_teachers`.
        students: the student of each slot; cloned, or random for the regimes that start there. May be empty for "exact".
        laws: the law of each slot's inputs, for the anchor's draws.
        regime: a key of `PLANS`.
        rate_factor: by which the students' learning rate is multiplied.
        anchor: how "anchored" holds.
        prior: weight of the mean of tau^2 / (2 s^2) over all taus, which keeps them where the clones were trained.

    Raises:
        ConfigError: a student is missing.
        UnknownNameError: there is no such regime.
    """

    def __init__(
        self,
        network: nn.Module,
        teachers: Mapping[str, Teacher],
        students: Mapping[str, nn.Module],
        laws: Mapping[str, Gaussian],
        regime: str = "break",
        *,
        rate_factor: float = 0.1,
        anchor: AnchorSettings | None = None,
        prior: float = 0.0,
    ) -> None:
        super().__init__()
        if regime not in PLANS:
            raise unknown_name("regime", regime, PLANS)
        plan, anchor = PLANS[regime], anchor or AnchorSettings()
        if plan.start != "teacher" and set(teachers) - set(students):
            raise ConfigError(f"there is no student for the layers {', '.join(sorted(set(teachers) - set(students)))}: give one for each")
        self.plan, self.prior = plan, prior
        teachers = {slot: deepcopy(teacher) for slot, teacher in teachers.items()}
        used = {} if plan.start == "teacher" else {slot: deepcopy(students[slot]) for slot in teachers}
        self.teachers = nn.ModuleDict(teachers)
        self.students = Students(used, rate_factor / anchor.slowdown if plan.holds else rate_factor)
        self.students.requires_grad_(plan.trains)
        self.network, self.slots = with_clones(network, teachers, used)
        held = {slot: Held(used[slot], teachers[slot], laws[slot]) for slot in used if plan.holds}
        self.anchor = Anchor(held, anchor) if plan.holds else None
        contract: Symmetry = vars(network)["symmetry"]
        self.symmetry = replace(contract, exactness=plan.promise)
        self.guarantee = _guarantee(self.students) if plan.start == "clone" else ""

    def forward(self, x: Float[Tensor, "b n"], moves: Any = None) -> Float[Tensor, "b m"]:
        """The network; g^-1 f(g x) where group elements are given.

        Args:
            x: inputs.
            moves: a group element for each item, as `draw` gives them in training.
        """
        if moves is None:
            y: Tensor = self.network(x)
            return y
        moved: Tensor = self.symmetry.transform_output(
            self.symmetry.group.inverse(moves), self.network(self.symmetry.transform(moves, {"x": x})["x"])
        )
        return moved

    def draw(self, inputs: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
        """Random group elements in training, for the regime that augments; nothing else.

        To compare g^-1 f(g x) with y is to compare f(g x) with g y, the loss of an augmented sample, for every loss that the group leaves
        alone.
        """
        return {"moves": self.symmetry.sample(inputs, generator)} if self.plan.moves and self.training else {}

    def penalty(self) -> Tensor | None:
        """What the anchor and the prior of tau add to the loss."""
        terms = [] if self.anchor is None else [self.anchor.value(self.taus())]
        if self.prior:
            squares = [(tau / self._teacher(slot).scale).square().mean() / 2 for slot, taus in self.taus().items() for tau in taus]
            terms.append(self.prior * torch.stack(squares).mean())
        kept = [term for term in terms if term is not None]
        return torch.stack(kept).sum() if kept else None

    def taus(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that each slot's layers have."""
        found: dict[str, list[nn.Parameter]] = {}
        for name, slot in self.slots.items():
            layer = self.network.get_submodule(name)
            assert isinstance(layer, ClonedLayer)
            found.setdefault(slot, []).append(layer.tau)
        return found

    def drift(self) -> Float[Tensor, ""]:
        """The distance |theta - theta_0| of an anchored network's students from where they began.

        Raises:
            ConfigError: the regime has no anchor, and so does not remember it.
        """
        if self.anchor is None:
            raise ConfigError("only the regime 'anchored' remembers the weights it began with: compare state dicts instead")
        return torch.stack([held.drift() for held in self.anchor.held.children() if isinstance(held, Held)]).sum().sqrt()

    @torch.no_grad()
    def diagnose(self, x: Float[Tensor, "b n"]) -> dict[str, dict[str, float]]:
        """How far the clones are from their teachers on the activations that they really see.

        A clone knows its teacher where it was trained. Where `nmse` here is much larger than on the card, clone anew on `matched` inputs.

        Args:
            x: inputs of the network.

        Returns:
            For each layer its NMSE to the teacher with the present tau, and the size of tau in standard deviations of the law it was cloned
            on.
        """
        found = {}
        for name, seen in _activations(self.network, list(self.slots), x).items():
            layer, teacher = self.network.get_submodule(name), self._teacher(self.slots[name])
            assert isinstance(layer, ClonedLayer)
            target = teacher(seen, layer.tau)
            error = (layer(seen) - target).square().mean() / target.square().mean()
            found[name] = {"nmse": float(error), "tau": float(layer.tau.square().mean().sqrt()) / teacher.scale}
        return found

    def _teacher(self, slot: str) -> Teacher:
        teacher = self.teachers[slot]
        assert isinstance(teacher, Teacher)
        return teacher


def layer_slots(network: nn.Module) -> dict[str, str]:
    """The equivariant linear layers of a network that have parameters, by name, and which of them are of one type: their slot.

    Raises:
        RepresentationError: there are none.
    """
    layers = {
        name: part for name, part in network.named_modules() if isinstance(part, EquivariantLinear) and any(True for _ in part.parameters())
    }
    if not layers:
        raise RepresentationError(
            f"{type(network).__name__} has no EquivariantLinear layer: clone the whole network into another, clone(network, student)"
        )
    reps = {name: (layer.rep_in, layer.rep_out) for name, layer in layers.items()}
    kinds = list(dict.fromkeys(reps.values()))
    return {name: f"slot{kinds.index(pair)}" for name, pair in reps.items()}


def layer_teachers(network: nn.Module) -> dict[str, Teacher]:
    """The teacher of every slot of a network."""
    found: dict[str, Teacher] = {}
    for name, slot in layer_slots(network).items():
        layer = network.get_submodule(name)
        assert isinstance(layer, EquivariantLinear)
        if slot not in found:
            found[slot] = linear_teacher(layer.rep_in, layer.rep_out)
    return found


def with_clones(network: nn.Module, teachers: Mapping[str, Teacher], students: Mapping[str, nn.Module]) -> tuple[nn.Module, dict[str, str]]:
    """A copy of a network with cloned layers, and the slot of each of them by name.

    Args:
        network: holds `EquivariantLinear` layers.
        teachers: of each slot.
        students: of each slot; the teacher itself where there is none.
    """
    copy, slots = deepcopy(network), layer_slots(network)
    for name, slot in slots.items():
        owner, _, attribute = name.rpartition(".")
        setattr(copy.get_submodule(owner), attribute, ClonedLayer(teachers[slot], students.get(slot, teachers[slot])))
    return copy, slots


@torch.no_grad()
def layer_laws(
    network: nn.Module, teachers: Mapping[str, Teacher], data: Float[Tensor, "b n"] | None = None, seed: int = 0
) -> dict[str, Gaussian]:
    """The law of the inputs of each slot: normal, with the moments of what the layer sees in networks with random parameters.

    Args:
        network: the equivariant network.
        teachers: of each slot.
        data: inputs of the network; standard normal ones if not given.
        seed: of inputs and parameters.
    """
    generator = torch.Generator().manual_seed(seed)
    exact = {slot: deepcopy(teacher).double() for slot, teacher in teachers.items()}
    with torch.random.fork_rng(devices=[]):  # the parameters that a layer starts with are not used here
        copy, slots = with_clones(network, exact, {})
    copy = copy.double()
    whole = (NETWORKS * INPUTS, next(iter(exact.values())).inputs if data is None else data.shape[1])
    x = torch.randn(whole, generator=generator, dtype=torch.float64) if data is None else data.double()
    seen: dict[str, list[Tensor]] = {slot: [] for slot in teachers}
    plain: dict[str, bool] = dict.fromkeys(teachers, data is None)
    for part in x.chunk(NETWORKS):
        for name, slot in slots.items():
            layer = copy.get_submodule(name)
            assert isinstance(layer, ClonedLayer)
            layer.tau.copy_(teachers[slot].sample_tau(generator=generator, dtype=torch.float64))
        for name, inputs in _activations(copy, list(slots), part).items():
            seen[slots[name]].append(inputs)
            plain[slots[name]] &= inputs.shape == part.shape and torch.equal(inputs, part)
    reps = {slots[name]: vars(network.get_submodule(name))["rep_in"] for name in slots}
    return {slot: Gaussian(teachers[slot].inputs) if plain[slot] else matched(torch.cat(parts), reps[slot]) for slot, parts in seen.items()}


def _activations(network: nn.Module, names: list[str], x: Tensor) -> dict[str, Tensor]:
    """What the named layers are fed when the network is fed x."""
    seen: dict[str, Tensor] = {}
    hooks = [
        network.get_submodule(name).register_forward_pre_hook(lambda _, inputs, name=name: seen.__setitem__(name, inputs[0]))
        for name in names
    ]
    try:
        evaluated(network, {"x": x})
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _guarantee(students: nn.ModuleDict) -> str:
    """What the cards of all students say, in one line."""
    cards = [card_of(student) for student in students.values() if "card" in vars(student)]
    if not cards:
        return ""
    worst = max(card.quality.equivariance_error for card in cards)
    nmse = max(card.quality.nmse for card in cards)
    return (
        f"approximate at the start, on the laws that its {len(cards)} kinds of layers were cloned on: equivariance error of a layer at "
        f"most {worst:.1e}, NMSE to its teacher at most {nmse:.1e}; errors add up over layers, and off the laws nothing is promised"
    )
