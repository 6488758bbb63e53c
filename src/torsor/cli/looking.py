"""The verbs that look: list and check."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from inspect import signature as parameters_of
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
import tyro
from torch import Tensor, nn

from torsor.check import EquivarianceReport, equivariance_error
from torsor.check.assertion import default_tolerance
from torsor.cli.flags import flags_of, leading_names, parse
from torsor.config import config_class
from torsor.dial.relax import Dial, region_report
from torsor.errors import ConfigError, GroupError
from torsor.groups import ActsOnSpace, Group, O, S, T
from torsor.groups import parse as parse_group
from torsor.models import REGISTRY as MODELS
from torsor.registry import Registry
from torsor.report.tables import Table
from torsor.representations import Action, Irreps, Points, Trivial, Vectors
from torsor.signatures import FeatureVectors, Graphs, Particles, PointClouds
from torsor.symmetry import Symmetry

Kind = Literal["models", "tasks", "groups", "recipes", "studies"]


def list_names(arguments: Sequence[str]) -> int:
    """`torsor list [models|tasks|groups|recipes|studies]`."""

    def chosen(kind: Annotated[Kind | None, tyro.conf.Positional] = None) -> tuple[Kind, ...]:
        """Show what there is.

        Args:
            kind: what to show; everything if not given.
        """
        return get_args(Kind) if kind is None else (kind,)

    for kind in parse(chosen, arguments, "list"):
        print(Table((kind, "what", "source"), _rows(kind), prose=True).text() + "\n")
    return 0


def _rows(kind: Kind) -> tuple[tuple[str, ...], ...]:
    if kind == "recipes":
        from torsor.recipes import load_recipe, recipe_names

        recipes = {name: load_recipe(name) for name in recipe_names()}
        return tuple((name, recipe.summary, recipe.paper) for name, recipe in recipes.items())
    if kind == "studies":
        from torsor.study import SweepConfig, read_study, read_sweep, shipped_studies

        read = {name: read_sweep(path) or read_study(path) for name, path in shipped_studies().items()}
        studies = {name: found.study if isinstance(found, SweepConfig) else found for name, found in read.items()}
        return tuple((name, study.summary, f"task {study.task['name']}") for name, study in studies.items())
    registry: Registry = {
        "models": MODELS,
        "tasks": import_module("torsor.tasks").REGISTRY,
        "groups": import_module("torsor.groups").REGISTRY,
    }[kind]
    return tuple((entry.name, entry.summary, entry.paper) for entry in registry.values())


def check(arguments: Sequence[str]) -> int:
    """`torsor check MODEL [flags]`, `torsor check --checkpoint RUN`, `torsor check --module package:Class`."""
    names, flags = leading_names(arguments, 1)
    config = config_class(MODELS, names[0])() if names else None
    given = _check_flags(config, names, flags)
    if [config, given.checkpoint, given.module].count(None) != 2:
        raise ConfigError("give one thing to check: MODEL, --checkpoint RUN or --module package:Class")
    dtype = torch.float64 if given.dtype == "float64" else torch.float32
    torch.manual_seed(given.seed)
    if config is not None:
        network, inputs = _built(given.model, dtype)
    else:
        network, inputs = _trained(given.checkpoint, dtype) if given.checkpoint else _imported(given.module, dtype)
    contract = getattr(network, "symmetry", None)
    if given.group is not None:
        contract = regrouped(contract or SIGNATURE.symmetry(), parse_group(given.group))
    report = equivariance_error(network, inputs, contract, given.samples, torch.Generator().manual_seed(given.seed))
    print(report)
    if isinstance(network, nn.Module) and any(isinstance(part, Dial) for part in network.modules()):
        print(f"\n{region_report(network, inputs, contract, samples=given.samples, seed=given.seed)}")
    if report.exactness == "approximate" and given.group is None and given.tolerance is None:
        print(f"\napproximate is what it promises, and the size is measured: {report.max_relative:.2g} of the output at most")
        return 0
    verdicts = _verdicts(report, default_tolerance(report.dtype) if given.tolerance is None else given.tolerance)
    print("\n" + "\n".join(said for said, _ in verdicts))
    return 0 if all(kept for _, kept in verdicts) else 1


def _check_flags(config: Any, names: Sequence[str], flags: Sequence[str]) -> Any:
    """What to check and how; with the settings of a model where one is named."""

    def flag(kind: Any, help_: str) -> Any:
        return Annotated[kind, tyro.conf.arg(help=help_)]

    ways: dict[str, tuple[Any, Any]] = {
        "group": (flag(str | None, 'Hold it to this group, "E(3) x S()", instead of the one of its own contract.'), None),
        "checkpoint": (
            flag(Path | None, "Directory of a run, whose trained network is measured on test samples, instead of a model."),
            None,
        ),
        "module": (
            flag(str | None, "package.module:name of a module of your own, its class or a function that makes it, instead of a model."),
            None,
        ),
        "dtype": (flag(Literal["float32", "float64"], "What to compute in."), "float64"),
        "tolerance": (flag(float | None, "Largest relative error; 1e-10 in float64 and 1e-5 in float32 if not given."), None),
        "samples": (flag(int, "Elements of each kind."), 8),
        "seed": (flag(int, "Of the weights, inputs and elements."), 0),
    }
    said = "Measure how equivariant a model is, on a small input of its family; the exit status is 1 where it is less so than it promises."
    made = flags_of("Check", said, **({"model": (type(config), config)} if names else {}), **ways)
    return parse(made, flags, " ".join(("check", *names)), made())


def _verdicts(report: EquivarianceReport, limit: float) -> list[tuple[str, bool]]:
    """What is said of each guarantee that was measured, and whether it is kept or not promised.

    A network that draws noise has two: its outputs with noise that moves along, and the means of outputs over independent draws.
    """
    failures = report.failures(limit)
    said = f"beyond the tolerance of {limit:g}: {failures[0].name}" if failures else f"within the tolerance of {limit:g}"
    if not report.means:
        return [(said, not failures)]
    worst = max(report.means, key=lambda mean: mean.error - 5 * mean.standard_error)
    agree = worst.agrees(default_tolerance(report.dtype))
    means = f"means of {worst.output} over {worst.draws} draws {'agree within' if agree else 'differ by more than'} five standard errors"
    coupled = report.exactness not in ("in distribution", "in expectation")
    return [(f"with noise that moves along: {said}", not failures or not coupled), (f"with independent noise: {means}", agree)]


SIGNATURE = PointClouds(Irreps("2x0e + 1x1o"), Irreps("1x0e + 1x1o"), edge_features=1, points=5)
"""What a module is fed where nothing says otherwise: scalars, vectors and edge features."""

SIGNATURES: dict[type, Any] = {
    PointClouds: SIGNATURE,
    Particles: Particles(scalars_in=2, scalars_out=1, vectors_out=1),
    Graphs: Graphs(node_features=2, outputs=2, nodes=5),
    FeatureVectors: FeatureVectors(O(3), 2 * Vectors(), Vectors() + Trivial()),
}
"""What a registered model is built for, by the family that it serves."""


def _built(config: Any, dtype: torch.dtype) -> tuple[nn.Module, dict[str, Tensor]]:
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
