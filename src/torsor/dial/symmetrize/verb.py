"""`torsor.symmetrize`: any network in, an equivariant network out."""

from __future__ import annotations

from torch import nn

from torsor.dial.symmetrize.base import Sampler
from torsor.dial.symmetrize.choice import Choice
from torsor.dial.symmetrize.controls import SameNoise
from torsor.dial.symmetrize.learned import LearnedConfig
from torsor.dial.symmetrize.module import Symmetrized
from torsor.dial.symmetrize.straight_through import Relaxation
from torsor.errors import GroupError
from torsor.symmetry import Symmetry


def symmetrize(
    module: nn.Module,
    symmetry: Symmetry | None = None,
    method: str | Sampler = "auto",
    *,
    samples: int = 1,
    evaluation_samples: int | None = None,
    max_batch: int | None = None,
    antithetic: bool = False,
    stratified: bool = False,
    signature: object | None = None,
    law: LearnedConfig | None = None,
    network: nn.Module | None = None,
    prior: float = 0.0,
    relaxation: Relaxation = "straight-through",
    fixed_noise: bool = False,
    seed: int = 0,
) -> Symmetrized:
    """Make a network equivariant from outside, whatever is inside: sum_k g_k f(g_k^-1 x) / K with elements g_k that move with the input.

    Factors of the group to which the network's own contract promises exact equivariance are left to the network.

    Args:
        module: any module with named arguments and a batch axis first.
        symmetry: the contract that is wanted: the group, and how it acts on inputs and outputs; that of the module if not given.
        method: where elements come from. "probabilistic": a learned law (point clouds and graphs); "average": uniform draws; "enumerate":
            every element of a finite group; "frame": principal axes and sorted orders, all that agree; "sampled-frame": draws of these;
            "weighted-frame": elements made of the points, weighted so that nothing jumps; "canonical": one element, learned where there is
            an interface; "symdiff": uniform draws that `network` corrects; "augment": uniform draws in training mode, none in evaluation;
            "tta": the other way round; "none": none; "auto": "probabilistic" or else "average". Or a `Sampler` of your own.
        samples: elements in training mode; methods that list their elements, "frame" for instance, do not ask.
        evaluation_samples: elements in evaluation mode; `samples` if not given. More always help.
        max_batch: items that go through the network at once; all if not given.
        antithetic: draw pairs g and -g ("average", "augment", "tta").
        stratified: draw turned copies of a finite subgroup (the same).
        signature: what the network is fed, `PointClouds` or `Graphs`, for the interface of a learned law; `module.signature` if not given.
        law: settings of a learned law.
        network: corrects uniform draws for "symdiff", see `Symdiff`.
        prior: weight of a penalty that keeps elements near the identity, for pretrained networks; only where elements are learned.
        relaxation: how learned permutations get their gradient; "soft" is a control, see `Softened`.
        fixed_noise: hold the noise the same in every call, as a control.
        seed: of the noise of a call that brings none.

    Raises:
        GroupError: there is no contract, or no sampler of this kind for the group; says which would do.
        UnknownNameError: there is no such method.
    """
    wanted = _contract(module, symmetry)
    if not isinstance(method, Sampler):
        own, fed = getattr(module, "symmetry", None), getattr(module, "signature", None) if signature is None else signature
        method = Choice(wanted, own, fed, law or LearnedConfig(), network, antithetic, stratified).sampler(method)
    return Symmetrized(
        module,
        SameNoise(method, seed) if fixed_noise else method,
        samples=samples,
        evaluation_samples=evaluation_samples,
        max_batch=max_batch,
        prior=prior,
        relaxation=relaxation,
        seed=seed,
    )


def _contract(module: nn.Module, symmetry: Symmetry | None) -> Symmetry:
    """The contract that is wanted, or else that of the module, whatever the module itself makes of it."""
    wanted = getattr(module, "symmetry", None) if symmetry is None else symmetry
    if not isinstance(wanted, Symmetry):
        raise GroupError(f"{type(module).__name__} has no contract: give symmetry=Symmetry(...)")
    return wanted
