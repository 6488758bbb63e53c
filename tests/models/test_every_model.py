"""Every registered model, through the suite that all models inherit. A new model adds a line to PARAMETERS, and to SMALL if it is large."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from torsor.check import assert_equivariant, contract_of
from torsor.dial.symmetrize.learned import LearnedConfig
from torsor.errors import SignatureError
from torsor.groups import O
from torsor.models import REGISTRY
from torsor.representations import Permuted, Trivial, Vectors
from torsor.signatures import FeatureVectors, Graphs, Particles, PointClouds, cannot_serve, check_family, serving
from torsor.testing import LENGTHS, ModelSuite

SIGNATURES = {
    "forces": PointClouds("1x0e + 1x1o", "1x1o", points=5),
    "energy": PointClouds("4x0e", "1x0e", edge_features=2, pool="sum", points=5),
    "moments": PointClouds("", "2x0e + 1x1o", pool="mean", points=5),
    "recoil": Particles(scalars_in=2, scalars_out=1, vectors_out=1),
    "tagging": Particles(scalars_out=1, pool="mean"),
    "motifs": Graphs(node_features=2, edge_features=1, outputs=2, nodes=5),
    "roles": Graphs(node_features=2, outputs=2, level="node", nodes=5),
    "links": Graphs(node_features=2, level="pair", nodes=5),
    "torque": FeatureVectors(O(3), 2 * Vectors() + Trivial(2), Vectors() + Trivial()),
}
"""What models are built for: those of the families that they serve."""

SMALL: dict[str, dict[str, Any]] = {
    "se3-transformer": {"degrees": 3, "channels": 4, "depth": 1, "heads": 2, "radial_width": 8},
    "lie-transformer": {"hidden": 16, "heads": 2, "layers": 2, "kernel_dim": 8},
    "egnn": {"hidden": 16, "layers": 2},
    "gatr": {"channels": 4, "scalars": 8, "blocks": 2, "heads": 2, "edge_width": 8},
    "gatr-slim": {"vectors": 4, "scalars": 8, "blocks": 2, "heads": 2, "edge_width": 8},
    "lgatr": {"channels": 4, "scalars": 8, "blocks": 2, "heads": 2, "mlp_factor": 2},
    "lgatr-slim": {"vectors": 4, "scalars": 8, "blocks": 2, "heads": 2},
    "transformer": {"width": 16, "heads": 2, "layers": 2, "edge_width": 8},
    "set-transformer": {"width": 16, "heads": 2},
    "deep-set": {"width": 16, "layers": 2},
    "message-passing": {"width": 16, "layers": 2},
    "pair-transformer": {"width": 16, "heads": 2, "layers": 2},
    "gin": {"width": 16, "layers": 2, "update": 16},
    "vision-transformer": {"width": 16, "heads": 2, "layers": 2, "grid": 3},
    "equivariant-mlp": {"channels": 4, "layers": 1},
    "mlp": {"hidden": 32, "layers": 2},
    "symmetrized": {"samples": 1, "evaluation_samples": 2, "law": LearnedConfig(hidden=8, layers=2)},
    "relaxed": {"inputs": 2, "hidden": 8, "box": float("inf")},
    "cloned": {"regime": "scratch"},
}

PARAMETERS: dict[str, dict[str, int]] = {
    "se3-transformer": {"forces": 2736, "energy": 1760, "moments": 3144},
    "lie-transformer": {"forces": 4263, "energy": 4293, "moments": 4249},
    "egnn": {"forces": 3634, "energy": 3665, "moments": 4130},
    "gatr": {"forces": 7993, "energy": 7995, "moments": 7963},
    "gatr-slim": {"forces": 2636, "energy": 2695, "moments": 2634},
    "lgatr": {"recoil": 6658, "tagging": 6634},
    "lgatr-slim": {"recoil": 2641, "tagging": 2621},
    "transformer": {"forces": 6771, "energy": 6797, "moments": 6741, "recoil": 6853, "tagging": 6753},
    "set-transformer": {"forces": 2899, "energy": 5885, "moments": 5877},
    "deep-set": {"forces": 867, "energy": 1217, "moments": 997},
    "message-passing": {"forces": 3683, "energy": 3713, "moments": 3653},
    "pair-transformer": {"forces": 4291, "energy": 4289, "moments": 4261},
    "gin": {"motifs": 918, "roles": 900},
    "vision-transformer": {"motifs": 7010, "roles": 6946, "links": 6977},
    "equivariant-mlp": {"torque": 113},
    "mlp": {"forces": 2863, "energy": 4001, "moments": 1893, "motifs": 3234, "roles": 2698, "links": 3193, "torque": 1476},
    "symmetrized": {"forces": 4076, "energy": 5310, "recoil": 6853, "motifs": 3561, "links": 3510, "torque": 1476},
    "relaxed": {
        **{"forces": 3788, "energy": 3819, "moments": 4284, "recoil": 2787, "tagging": 2767},
        **{"motifs": 962, "roles": 942, "links": 3523, "torque": 177},
    },
    "cloned": {"forces": 2863, "energy": 4001, "moments": 1893, "recoil": 6853, "tagging": 6753, "torque": 4537},
}

LONG: dict[str, dict[str, Any]] = {"gatr": {"blocks": 1}, "lgatr": {"blocks": 1}, "se3-transformer": {}}
"""Networks of thousands of operations, and what makes them shorter where they are traced. Tests of their own compile their blocks, or
their defaults, ahead of time."""

UNSERVED: dict[str, tuple[str, ...]] = {"gin": ("links",)}
"""What models do not serve though it is of a family of theirs."""

SERVED = {
    name: [
        kind
        for kind, signature in SIGNATURES.items()
        if type(signature) in REGISTRY.load(name).families and kind not in UNSERVED.get(name, ())
    ]
    for name in REGISTRY
}
CASES = [(name, kind) for name, kinds in SERVED.items() for kind in kinds]


INSIDE = {PointClouds: "egnn", Particles: "lgatr-slim", Graphs: "gin", FeatureVectors: "equivariant-mlp"}
"""What is relaxed or cloned; pairs of nodes are the perceptron's."""

PLAIN = {PointClouds: "mlp", Particles: "transformer", FeatureVectors: "mlp"}
"""What a clone is made of."""


def build(name: str, signature: Any, **changes: Any) -> torch.nn.Module:
    settings = SMALL.get(name, {}) | changes
    if name == "relaxed":
        inside = "mlp" if getattr(signature, "level", "") == "pair" else INSIDE[type(signature)]
        # smooth, for finite differences: a rectifier has kinks
        settings["model"] = {"name": inside, **SMALL[inside], **({"activation": "gelu"} if inside == "gin" else {})}
    if name == "cloned":  # with random weights: what imitates is tested beside it
        plain = PLAIN[type(signature)]
        settings["model"] = {"name": INSIDE[type(signature)], **SMALL[INSIDE[type(signature)]]}
        settings["student"] = {"name": plain, **({"hidden": 16} if isinstance(signature, FeatureVectors) else SMALL[plain])}
    if name == "symmetrized":
        settings["model"] = SMALL["transformer" if isinstance(signature, Particles) else "mlp"]
    if name == "symmetrized":
        settings["model"] = SMALL["transformer" if isinstance(signature, Particles) else "mlp"]
    return replace(REGISTRY.load(name)(), **settings).build(signature)


def width(signature: Any) -> int:
    if isinstance(signature, Graphs):
        return signature.outputs
    return signature.dim if isinstance(signature, Particles) else signature.rep_out.dim


def places(signature: Any) -> int:
    """How many axes of the output count points or nodes."""
    if isinstance(signature, Graphs):
        return {"graph": 0, "node": 1, "pair": 2}[signature.level]
    return 0 if isinstance(signature, FeatureVectors) or signature.pool else 1


class TestEveryModel(ModelSuite):
    name: str
    kind: str
    # the vectors of "moments" are a millionth of its scalars before training; in float64 that is still a million roundings
    broken = 1e-6

    @pytest.fixture(autouse=True, params=CASES, ids="-".join)
    def _case(self, request):
        self.name, self.kind = request.param
        self.traced = request.node.get_closest_marker("compile") is not None
        if self.kind in ("moments", "links") and self.traced:
            pytest.skip("traces as the others of the family do")
        if self.name == "relaxed" and self.kind != "forces" and self.traced:
            pytest.skip("traces as what it relaxes does")
        if self.name == "symmetrized":
            if self.kind in ("moments", "tagging", "roles") or (self.traced and self.kind not in ("motifs", "torque")):
                pytest.skip("averages as the others of the family do")
            self.samples = 1
        if self.name == "symmetrized":
            if self.kind in ("moments", "tagging", "roles") or (self.traced and self.kind not in ("motifs", "torque")):
                pytest.skip("averages as the others of the family do")
            self.samples = 1
        self.backend = "eager" if self.name in LONG else "aot_eager"
        family = type(SIGNATURES[self.kind])
        self.positions = {PointClouds: "positions", Particles: "momenta", Graphs: "features", FeatureVectors: ""}[family]
        self.masked = family is not FeatureVectors
        self.parameters = PARAMETERS.get(self.name, {}).get(self.kind, -1)  # not pinned is a failure

    def make(self, dtype):
        return build(self.name, SIGNATURES[self.kind], **(LONG.get(self.name, {}) if self.traced else {})).to(dtype)

    def inputs(self, dtype, lengths):
        signature, generator = SIGNATURES[self.kind], torch.Generator().manual_seed(3)
        if isinstance(signature, FeatureVectors):
            return signature.example(len(lengths), generator, dtype)
        return signature.example(len(lengths), max(lengths), generator, dtype, lengths=lengths)

    def beyond(self, module):
        contract, signature = contract_of(module), SIGNATURES[self.kind]
        if isinstance(signature, Graphs):  # features that stay behind when the nodes move
            return replace(contract, inputs={"adjacency": contract.inputs["adjacency"]})
        if isinstance(signature, FeatureVectors):
            return replace(contract, output=Trivial(width(signature)))
        if not {"SE(3)", "E(3)", "Lorentz", "RestrictedLorentz"} & {str(factor) for factor in contract.factors}:
            return signature.symmetry()
        vectors = signature.vectors_out if isinstance(signature, Particles) else any(irrep.l for _, irrep in signature.rep_out)
        # a vector that is said to be as many scalars
        return replace(contract, output=(Trivial(), Trivial() if signature.pool else Permuted(1))) if vectors else None

    def padded(self, module):
        return SIGNATURES[self.kind].symmetry()

    def test_outputs_have_the_shape_of_the_signature(self):
        signature = SIGNATURES[self.kind]
        y = self.make(torch.float32)(**self.inputs(torch.float32, LENGTHS))
        assert y.shape == (len(LENGTHS), *(max(LENGTHS),) * places(signature), width(signature))

    def test_outputs_behind_the_mask_are_zero(self):
        if not places(SIGNATURES[self.kind]):
            pytest.skip("pooled")
        inputs = self.inputs(torch.float32, LENGTHS)
        output, mask = self.make(torch.float32)(**inputs), inputs["mask"]
        assert not output[~mask].any()
        if places(SIGNATURES[self.kind]) == 2:
            assert not output.transpose(1, 2)[~mask].any()


@pytest.mark.parametrize("name", REGISTRY)
def test_every_model_declares_what_it_serves(name):
    config = REGISTRY.load(name)
    assert SERVED[name]
    for kind in SERVED[name]:
        assert name in serving(SIGNATURES[kind], REGISTRY)
        check_family(name, config(), SIGNATURES[kind], REGISTRY)


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kinds in UNSERVED.items() for kind in kinds])
def test_models_refuse_what_they_do_not_serve_of_their_family(name, kind):
    with pytest.raises(SignatureError, match=f"{name} cannot serve"):
        build(name, SIGNATURES[kind])


SPATIAL = ("se3-transformer", "gatr")
PLANE = PointClouds("2x0e", "1x0e", edge_features=1, pool="sum", points=5, dimension=2)


@pytest.mark.parametrize("name", [name for name, kind in CASES if kind == "energy" and name not in SPATIAL])
def test_models_of_any_space_keep_their_contract_in_the_plane(name):
    inputs = PLANE.example(2, 5, torch.Generator().manual_seed(5), torch.float64, lengths=(5, 3))
    module = build(name, PLANE).double()
    assert module(**inputs).shape == (2, 1)
    if contract_of(module).exactness not in ("none", "approximate"):
        assert_equivariant(module, inputs, samples=2)


@pytest.mark.parametrize("name", SPATIAL)
def test_models_of_space_refuse_the_plane(name):
    with pytest.raises(SignatureError, match=rf"{name} cannot serve point clouds in R\^2.* R\^3"):
        build(name, PLANE)


def test_a_refusal_names_the_models_that_serve():
    with pytest.raises(
        SignatureError, match="mlp cannot serve 3: it serves PointClouds, Graphs, FeatureVectors, not int; no other registered model"
    ):
        check_family("mlp", REGISTRY.load("mlp")(), 3, REGISTRY)
    message = str(cannot_serve("mlp", SIGNATURES["forces"], "it is too plain", REGISTRY))
    assert "it is too plain; models of this family: " in message
    assert "egnn" in message.split("family: ")[1].split(", ")
    assert "mlp" not in message.split("family: ")[1]
