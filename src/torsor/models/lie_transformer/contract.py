"""What a LieTransformer promises: which inputs its group moves, its noise among them, and how exactly."""

from __future__ import annotations

from torsor.groups import Group, S
from torsor.models.lie_transformer.config import LieTransformerConfig
from torsor.models.lie_transformer.lifts import FramedLift, Lift
from torsor.representations import Action, Permuted, Points, Trivial, Vectors
from torsor.signatures import PointClouds
from torsor.symmetry import Exactness, Symmetry


def contract_of_lift(signature: PointClouds, lift: Lift, config: LieTransformerConfig) -> Symmetry:
    """The contract of a model.

    Frames turn with the cloud, and the random numbers that thin out neighbourhoods stay as they are, whether they are given or not. What is
    drawn makes the contract "coupled": equal when the noise moves along.

    Args:
        signature: of the model.
        lift: where its elements come from.
        config: whether neighbours are drawn.
    """
    group: Group = lift.group * S()
    turned = isinstance(lift, FramedLift)
    exactness: Exactness = "coupled" if lift.draws or (config.neighbours is not None and config.fill < 1) else "exact"
    if turned:
        standard = signature.symmetry(group)
        inputs, output = dict(standard.inputs), standard.output
        inputs["lifts"] = (Vectors(), Permuted(1))
    else:
        # features are numbers: whatever their irreps are called, these groups do not turn them
        permuted = signature.symmetry(S())
        inputs = {name: (_in_space(name), action) for name, action in permuted.inputs.items() if isinstance(action, Action)}
        output = (Trivial(), permuted.output)  # type: ignore[assignment]
    if config.neighbours is not None and config.fill < 1:
        inputs["thinning"] = (Trivial(), Permuted(1))
    return Symmetry(group, inputs, output, exactness)


def _in_space(name: str) -> Action:
    return Points() if name == "positions" else Trivial()
