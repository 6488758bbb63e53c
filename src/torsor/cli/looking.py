"""The verbs that look: list and check."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from inspect import signature as parameters_of
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor, nn

from torsor.check import equivariance_error
from torsor.check.assertion import default_tolerance
from torsor.cli.flags import parse
from torsor.config import config_class
from torsor.errors import ConfigError, GroupError
from torsor.groups import ActsOnSpace, Group, O, S, T
from torsor.groups import parse as parse_group
from torsor.models import REGISTRY as MODELS
from torsor.registry import Registry
from torsor.report.tables import Table
from torsor.representations import Action, Irreps, Points, Trivial, Vectors
from torsor.signatures import FeatureVectors, Graphs, Particles, PointClouds
from torsor.symmetry import Symmetry

Kind = Literal["models", "tasks", "groups", "recipes"]


def list_names(arguments: Sequence[str]) -> int:
    """`torsor list [models|tasks|groups|recipes]`."""

    def chosen(kind: Annotated[Kind | None, tyro.conf.Positional] = None) -> tuple[Kind, ...]:
        """Show what there is.

        Args:
            kind: what to show; everything if not given.
        """
        return ("models", "tasks", "groups", "recipes") if kind is None else (kind,)

    for kind in parse(chosen, arguments, "list"):
        print(Table((kind, "what", "source"), _rows(kind), prose=True).text() + "\n")
    return 0


def _rows(kind: Kind) -> tuple[tuple[str, ...], ...]:
    if kind == "recipes":
        from torsor.recipes import load_recipe, recipe_names

        recipes = {name: load_recipe(name) for name in recipe_names()}
        return tuple((name, recipe.summary, recipe.paper) for name, recipe in recipes.items())
    registry: Registry = {
        "models": MODELS,
        "tasks": import_module("torsor.tasks").REGISTRY,
        "groups": import_module("torsor.groups").REGISTRY,
    }[kind]
    return tuple((entry.name, entry.summary, entry.paper) for entry in registry.values())


def check(arguments: Sequence[str]) -> int:
    """`torsor check MODEL`, `torsor check --checkpoint RUN`, `torsor check --module package:Class`."""

    def run(
        model: Annotated[str | None, tyro.conf.Positional] = None,
        group: str | None = None,
        checkpoint: Path | None = None,
        module: str | None = None,
        dtype: Literal["float32", "float64"] = "float64",
        tolerance: float | None = None,
        samples: int = 8,
        seed: int = 0,
    ) -> int:
        """Measure how equivariant a model is; the exit status is 1 where it is less so than it may be.

        Args:
            model: name of a registered model, built with its defaults for a small input of its family.
            group: hold it to this group, "E(3) x S()", instead of the one of its own contract.
            checkpoint: directory of a run, whose trained network is measured on test samples, instead of a model.
            module: `package.module:name` of a module of your own, of its class or of a function that makes it, instead of a model.
            dtype: what to compute in.
            tolerance: largest relative error; 1e-10 in float64 and 1e-5 in float32 if not given.
            samples: elements of each kind.
            seed: of the weights, inputs and elements.
        """
        chosen = [given for given in (model, checkpoint, module) if given is not None]
        if len(chosen) != 1:
            raise ConfigError("give one thing to check: MODEL, --checkpoint RUN or --module package:Class")
        real = torch.float64 if dtype == "float64" else torch.float32
        torch.manual_seed(seed)
        network, inputs = _trained(checkpoint, real) if checkpoint else _built(model, real) if model else _imported(module or "", real)
        contract = getattr(network, "symmetry", None)
        if group is not None:
            contract = regrouped(contract or SIGNATURE.symmetry(), parse_group(group))
        report = equivariance_error(network, inputs, contract, samples, torch.Generator().manual_seed(seed))
        print(report)
        limit = default_tolerance(report.dtype) if tolerance is None else tolerance
        failures = report.failures(limit)
        print(f"\nbeyond the tolerance of {limit:g}: {failures[0].name}" if failures else f"\nwithin the tolerance of {limit:g}")
        return 1 if failures else 0

    return parse(run, arguments, "check")


SIGNATURE = PointClouds(Irreps("2x0e + 1x1o"), Irreps("1x0e + 1x1o"), edge_features=1, points=5)
"""What a module is fed where nothing says otherwise: scalars, vectors and edge features."""

SIGNATURES: dict[type, Any] = {
    PointClouds: SIGNATURE,
    Particles: Particles(scalars_in=2, scalars_out=1, vectors_out=1),
    Graphs: Graphs(node_features=2, outputs=2, nodes=5),
    FeatureVectors: FeatureVectors(O(3), 2 * Vectors(), Vectors() + Trivial()),
}
"""What a registered model is built for, by the family that it serves."""


def _built(name: str, dtype: torch.dtype) -> tuple[nn.Module, dict[str, Tensor]]:
    config = config_class(MODELS, name)()
    signature = next(SIGNATURES[family] for family in config.families if family in SIGNATURES)
    return config.build(signature).to(dtype).eval(), _example(signature, dtype)


def _trained(directory: Path, dtype: torch.dtype) -> tuple[nn.Module, dict[str, Tensor]]:
    from torsor.training import load_run

    task, network, _ = load_run(directory)
    return network.to(dtype), task.inputs(task.splits.test.to(dtype).take(slice(4)))


def _imported(target: str, dtype: torch.dtype) -> tuple[nn.Module, dict[str, Tensor]]:
    """A module of the user's own; it may say with `signature` what it is fed."""
    if "" not in sys.path:
        sys.path.insert(0, "")  # the user's own package lies where the user is
    name, _, attribute = target.partition(":")
    try:
        found = getattr(import_module(name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"cannot import {target!r}: {error}; write --module package.module:Class") from error
    made: Any = found if isinstance(found, nn.Module) else _called(target, found)
    if not isinstance(made, nn.Module):
        raise ConfigError(
            f"{target} gives {type(made).__name__}: give a torch module, or a class or function that makes one without arguments"
        )
    inputs = _example(getattr(made, "signature", SIGNATURE), dtype)
    taken = parameters_of(made.forward).parameters
    return made.to(dtype).eval(), {key: value for key, value in inputs.items() if key in taken}


def _called(target: str, make: Any) -> Any:
    try:
        return make()
    except TypeError as error:
        raise ConfigError(f"{target} cannot be made without arguments ({error}): give a function that makes it") from error


def _example(signature: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    if isinstance(signature, FeatureVectors):
        return signature.example(3, dtype=dtype)
    places = getattr(signature, "points", None) or 5
    inputs: dict[str, Tensor] = signature.example(3, places, dtype=dtype, lengths=(places, places - 1, places - 2))
    return inputs


def _under(factor: Group, action: Action) -> Action:
    """Translations move points and leave vectors and irreps as they are."""
    return action if not isinstance(factor, T) or isinstance(action, Points) else Trivial()


def regrouped(symmetry: Symmetry, group: Group) -> Symmetry:
    """The contract for another group: what moved points moves them under each factor that acts on space, what permuted them permutes them.

    Raises:
        GroupError: the contract has no such action for a factor of the group.
    """
    kinds = [S if isinstance(factor, S) else ActsOnSpace for factor in symmetry.factors]
    factors = tuple(getattr(group, "factors", (group,)))
    wanted = [S if isinstance(factor, S) else ActsOnSpace for factor in factors]
    for factor, kind in zip(factors, wanted, strict=True):
        if kind not in kinds or not isinstance(factor, kind):
            raise GroupError(f"the contract is about {symmetry.group} and does not say how {factor} acts: give a group of the same kinds")

        own = symmetry.factors[kinds.index(kind)]
        if isinstance(factor, ActsOnSpace) and isinstance(own, ActsOnSpace) and factor.space_dim != own.space_dim:
            raise GroupError(f"{factor} acts on R^{factor.space_dim} but the contract is about {own}, which acts on R^{own.space_dim}")

    def chosen(actions: Any) -> Any:
        each = actions if isinstance(actions, tuple) else (actions,)
        taken = tuple(_under(factor, each[kinds.index(kind)]) for factor, kind in zip(factors, wanted, strict=True))
        return taken if len(taken) > 1 else taken[0]

    output = symmetry.output
    outputs = {key: chosen(value) for key, value in output.items()} if isinstance(output, dict) else chosen(output)
    return replace(symmetry, group=group, inputs={key: chosen(value) for key, value in symmetry.inputs.items()}, output=outputs)
