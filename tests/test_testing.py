"""The suite that models inherit accepts a correct model and fails each kind of faulty one in the test that is meant for it."""

import pytest
import torch
from torch import Tensor, nn

from torsor.check import contract_of
from torsor.errors import GroupError
from torsor.groups import SE, S
from torsor.representations import Irreps, Permuted, Points, Trivial
from torsor.symmetry import Symmetry
from torsor.testing import LENGTHS, ModelSuite, gradients, optimise, outputs, total

FEATURES = Irreps("2x0e")
CONTRACT = Symmetry(
    SE(3) * S(),
    {"positions": (Points(), Permuted(1)), "features": (FEATURES, Permuted(1))},
    (Irreps("1x1o"), Permuted(1)),
)


class Spring(nn.Module):
    """Each point is pulled to the others with a learned strength, softened at short distance."""

    symmetry = CONTRACT

    def __init__(self) -> None:
        super().__init__()
        self.strength = nn.Sequential(nn.Linear(5, 8), nn.SiLU(), nn.Linear(8, 1))

    def forward(self, positions: Tensor, features: Tensor, mask: Tensor | None = None) -> Tensor:
        d = positions.unsqueeze(1) - positions.unsqueeze(2)
        n = positions.shape[1]
        pair = (features.unsqueeze(2).expand(-1, -1, n, -1), features.unsqueeze(1).expand(-1, n, -1, -1))
        weight = self.strength(torch.cat((*pair, self.distance(d)), -1))
        if mask is not None:
            weight = weight * (mask.unsqueeze(1) & mask.unsqueeze(2)).unsqueeze(-1)
        return (weight * d).sum(2)

    def distance(self, d: Tensor) -> Tensor:
        return (d.square().sum(-1, keepdim=True) + 1).sqrt()


class SpringSuite(ModelSuite):
    kind = Spring

    def make(self, dtype):
        return self.kind().to(dtype)

    def inputs(self, dtype, lengths):
        generator = torch.Generator().manual_seed(4)
        mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
        draw = torch.randn(len(lengths), max(lengths), 5, generator=generator, dtype=dtype) * mask.unsqueeze(-1)
        return {"positions": draw[..., :3], "features": draw[..., 3:], "mask": mask}


class TestSpring(SpringSuite):
    parameters = 57

    def beyond(self, module):
        return Symmetry(CONTRACT.group, CONTRACT.inputs, (Trivial(), Permuted(1)))


class TestSpringWithoutAMask(ModelSuite):
    """The other half of the suite's settings: an unmasked module whose dict of outputs has a contract by name."""

    masked = False

    def make(self, dtype):
        class Named(Spring):
            symmetry = Symmetry(CONTRACT.group, CONTRACT.inputs, {"pull": CONTRACT.output})

            def forward(self, positions, features):
                return {"pull": super().forward(positions, features), "log": features}

        return Named().to(dtype)

    def inputs(self, dtype, lengths):
        draw = torch.randn(len(lengths), max(lengths), 5, generator=torch.Generator().manual_seed(4), dtype=dtype)
        return {"positions": draw[..., :3], "features": draw[..., 3:]}


# -- faulty models -----------------------------------------------------------------------------------------------------------------------


class SeesPadding(Spring):
    def forward(self, positions, features, mask=None):
        return super().forward(positions, features) * (1 if mask is None else mask.unsqueeze(-1))


class SeesTheBatch(Spring):
    def forward(self, positions, features, mask=None):
        return super().forward(positions, features, mask) * (positions - positions.mean(0)).square().mean().exp()


class Constant(Spring):
    def forward(self, positions, features, mask=None):
        return torch.zeros_like(positions) * self.strength[0].weight.sum()


class Singular(Spring):
    def distance(self, d):
        return d.norm(dim=-1, keepdim=True).reciprocal()


class BrokenByTraining(Spring):
    def __init__(self) -> None:
        super().__init__()
        self.drift = nn.Parameter(torch.zeros(3))

    def forward(self, positions, features, mask=None):
        return super().forward(positions, features, mask) + self.drift * (1 if mask is None else mask.unsqueeze(-1))


class ForgetsItsState(Spring):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.rand(1), persistent=False)

    def forward(self, positions, features, mask=None):
        return super().forward(positions, features, mask) * self.scale


class Random(Spring):
    def forward(self, positions, features, mask=None):
        return super().forward(positions, features, mask) * (1 + torch.rand(()))


class Detached(Spring):
    def distance(self, d):
        return super().distance(d).detach()


class PromotesTypes(Spring):
    def forward(self, positions, features, mask=None):
        return super().forward(positions, features, mask).double()


class BranchesOnValues(Spring):
    def forward(self, positions, features, mask=None):
        return super().forward(positions, features, mask) * (1 if positions.sum() > 0 else 2)


def suite_of(kind):
    suite = SpringSuite()
    suite.kind = kind
    return suite


@pytest.mark.parametrize(
    ("kind", "test", "arguments"),
    [
        (SeesPadding, "test_padding_changes_nothing", ()),
        (SeesPadding, "test_contract_holds_at_initialisation", (torch.float64,)),
        (SeesTheBatch, "test_an_item_of_a_batch_equals_the_item_alone", ()),
        (Constant, "test_the_output_depends_on_every_input", ()),
        (Singular, "test_gradients_are_finite_on_degenerate_input", ("coincident", torch.float64)),
        (BrokenByTraining, "test_contract_holds_after_ten_optimiser_steps", (torch.float32,)),
        (ForgetsItsState, "test_saved_weights_give_the_same_bits", ()),
        (Random, "test_evaluation_repeats_bit_by_bit", ()),
        (Detached, "test_gradients_are_those_of_finite_differences_and_of_forward_mode", ()),
        (PromotesTypes, "test_outputs_have_the_type_of_the_inputs", ()),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_each_fault_fails_its_test(kind, test, arguments):
    with pytest.raises(AssertionError):
        getattr(suite_of(kind), test)(*arguments)


def test_what_training_breaks_passes_before_training():
    suite_of(BrokenByTraining).test_contract_holds_at_initialisation(torch.float64)


def test_a_branch_on_values_is_found_by_vmap():
    with pytest.raises(RuntimeError, match="vmap"):
        suite_of(BranchesOnValues).test_vmap_equals_a_loop()


@pytest.mark.compile
def test_a_graph_break_is_found():
    with pytest.raises(Exception, match=r"(?i)data-dependent|graph break"):
        suite_of(BranchesOnValues).test_compiles_as_one_graph_and_keeps_its_contract()


def test_a_wrong_number_of_parameters_is_named():
    suite = suite_of(Spring)
    suite.parameters = 58
    with pytest.raises(AssertionError, match="has 57 parameters, pinned are 58"):
        suite.test_parameters_are_as_many_as_pinned()


def test_a_contract_that_the_model_keeps_is_not_beyond_it():
    class Modest(SpringSuite):
        def beyond(self, module):
            return contract_of(module)

    with pytest.raises(AssertionError, match="this contract is broken, yet the error is small"):
        Modest().test_a_contract_beyond_the_promise_fails()


def test_a_module_without_a_contract_is_told_to_have_one():
    class Bare(SpringSuite):
        def make(self, dtype):
            return nn.Linear(1, 1)

    with pytest.raises(GroupError, match=r"Linear has no contract: give"):
        Bare().test_contract_holds_at_initialisation(torch.float64)


def test_a_suite_without_its_two_methods_says_which():
    with pytest.raises(NotImplementedError, match="write make"):
        ModelSuite().make(torch.float64)
    with pytest.raises(NotImplementedError, match="write inputs"):
        ModelSuite().inputs(torch.float64, LENGTHS)


def test_the_suite_is_not_collected_by_itself():
    assert not ModelSuite.__name__.startswith("Test")


def test_optimising_lowers_the_loss_and_leaves_eval_mode():
    suite = suite_of(Spring)
    module, inputs = suite._module(torch.float64), suite._all_inputs(torch.float64)

    def loss():
        generator = torch.Generator().manual_seed(0)
        y = outputs(module, inputs)["output"]
        return (y - torch.randn(y.shape, generator=generator, dtype=y.dtype)).square().mean()

    before = loss()
    optimise(module, inputs, steps=10)
    assert loss() < before
    assert not module.training


def test_gradients_of_what_is_unused_are_zero():
    x, y = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    found = gradients(x.sum(), {"x": x, "y": y})
    assert torch.equal(found["x"], torch.ones(2))
    assert torch.equal(found["y"], torch.zeros(3))


def test_every_entry_of_an_output_counts_in_the_total():
    suite = suite_of(Spring)
    module, inputs = suite._module(torch.float64), suite._all_inputs(torch.float64)
    y = outputs(module, inputs)["output"]
    weights = torch.linspace(0.5, 1.5, y.numel(), dtype=torch.float64)
    assert total(module, inputs).item() == pytest.approx(sum(float(a * b) for a, b in zip(y.flatten(), weights, strict=True)))
